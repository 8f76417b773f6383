//! RFM against DuckDB, buyer by buyer.

use tributary_analytics::rfm::{Cut, RfmFold, RfmMeasures, RfmRule};

use crate::retention_cases::{events_by_user, micros, references};

#[test]
fn rfm_scores_equal_duckdb() {
    for reference in references() {
        let as_of_us = 1_715_731_200_000_000;
        let mut units: Vec<(String, RfmMeasures)> = Vec::new();
        let mut fold = RfmFold::new(as_of_us);
        for (user, events) in events_by_user(&reference) {
            events.iter().for_each(|event| fold.push(event.time_us, event.is_purchase, event.value_micros));
            units.extend(fold.finish().map(|measures| (user, measures)));
        }
        let scores = RfmRule::new(as_of_us, 5, Cut::Tiles).unwrap().scores(&units);
        let theirs = reference.get("expected_rfm_ntile5.csv");
        assert_eq!(theirs.len(), units.len());
        for ((record, (user, measures)), ours) in theirs.iter().zip(&units).zip(scores) {
            assert_eq!(record.text("user_id"), user);
            let expected = ["recency_days", "frequency", "r_score", "f_score", "m_score"].map(|it| record.integer(it));
            let found = [
                ours.recency_days,
                i64::try_from(measures.frequency).unwrap(),
                i64::from(ours.recency),
                i64::from(ours.frequency),
                i64::from(ours.monetary),
            ];
            assert_eq!(found, expected, "{user}");
            assert_eq!(measures.monetary_micros, i128::from(micros(record.text("monetary"))), "{user}");
        }
    }
}
