use super::*;
use crate::calendar::DAY_US;

fn rule(tile_count: u32, cut: Cut) -> RfmRule {
    RfmRule::new(100 * DAY_US, tile_count, cut).unwrap()
}

/// Units that differ in how often they bought.
fn by_frequency(frequencies: &[u64]) -> Vec<(usize, RfmMeasures)> {
    let measures = |frequency: &u64| RfmMeasures { last_time_us: 0, frequency: *frequency, monetary_micros: 1 };
    frequencies.iter().map(measures).enumerate().collect()
}

fn frequency_scores(frequencies: &[u64], tile_count: u32, cut: Cut) -> Vec<u32> {
    rule(tile_count, cut).scores(&by_frequency(frequencies)).iter().map(|scores| scores.frequency).collect()
}

#[test]
fn tiles_part_equal_values_by_id_and_quantiles_do_not() {
    assert_eq!(frequency_scores(&[1, 1, 1, 1, 1, 2, 9], 3, Cut::Tiles), [1, 1, 1, 2, 2, 3, 3]);
    assert_eq!(frequency_scores(&[1, 1, 1, 1, 1, 2, 9], 3, Cut::Quantiles), [1, 1, 1, 1, 1, 3, 3]);
    assert_eq!(frequency_scores(&[4, 4, 4, 4], 5, Cut::Quantiles), [1; 4]);
}

#[test]
fn fewer_units_than_scores_get_the_lowest_tiles() {
    assert_eq!(frequency_scores(&[7, 3], 5, Cut::Tiles), [2, 1]);
    assert_eq!(frequency_scores(&[7, 3], 5, Cut::Quantiles), [3, 1]);
    assert!(frequency_scores(&[], 5, Cut::Tiles).is_empty());
    assert!(frequency_scores(&[], 5, Cut::Quantiles).is_empty());
}

#[test]
fn the_latest_purchase_scores_best() {
    let units: Vec<(&str, RfmMeasures)> =
        [("a", 3), ("b", 99), ("c", 50)].map(|(id, day)| (id, RfmMeasures::of_purchase(day * DAY_US + 1, 1))).into();
    let scores = rule(3, Cut::Tiles).scores(&units);
    assert_eq!(scores.iter().map(|scores| scores.recency).collect::<Vec<_>>(), [1, 3, 2]);
    assert_eq!(scores.iter().map(|scores| scores.recency_days).collect::<Vec<_>>(), [96, 0, 49]);
    assert!(scores.iter().all(|scores| scores.segment.is_none()), "segments are made for five scores");
}

#[test]
fn what_happens_from_the_day_one_asks_is_not_known() {
    let mut fold = RfmFold::new(10);
    fold.push(9, true, 5_000_000);
    fold.push(4, true, 1_000_000);
    fold.push(8, false, -2_000_000);
    fold.push(10, true, 7_000_000);
    let measures = RfmMeasures { last_time_us: 9, frequency: 2, monetary_micros: 4_000_000 };
    assert_eq!(fold.finish(), Some(measures));
    fold.push(3, false, 1);
    assert_eq!(fold.finish(), None, "never bought");
    let apart = RfmMeasures::of_purchase(9, 3_000_000).merge(RfmMeasures::of_purchase(4, 1_000_000));
    assert_eq!(apart, measures);
}

#[test]
fn every_pair_of_scores_has_a_segment() {
    assert_eq!(segment(5, 5), Some(Segment::Champions));
    assert_eq!(segment(1, 5), Some(Segment::CannotLoseThem));
    assert_eq!(segment(5, 1), Some(Segment::NewCustomers));
    assert_eq!(segment(3, 3), Some(Segment::NeedAttention));
    for (recency, frequency) in [(0, 1), (1, 0), (6, 1), (1, 6)] {
        assert_eq!(segment(recency, frequency), None);
    }
}

#[test]
fn the_count_of_tiles_is_checked() {
    for given in [0, 1, 101] {
        let error = AnalyticsError::TileCount { given, max: TILE_COUNT_MAX };
        assert_eq!(RfmRule::new(0, given, Cut::Tiles), Err(error));
    }
}
