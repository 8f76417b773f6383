//! Models that learn from paths, against the sentences that define them, on random tables.

use proptest::prelude::*;
use tributary_analytics::attribution::markov::{Chain, Nulls, State, bootstrap_shares, fit_orders, markov_effects};
use tributary_analytics::attribution::shapley::{
    Effort, Measure, cumulative_shapley, exact_shapley, leave_one_out, markov_shapley, rate_shapley,
};
use tributary_analytics::attribution::{
    Conversion, CreditRule, MarketingTouch, PathCounts, PathTable, Touch, TouchKind,
};
use tributary_analytics::error::AnalyticsError;
use tributary_analytics::stats::{Alpha, Interval};
use tributary_testkit::oracle::markov::{Walked, outcome_within, removal_effect};
use tributary_testkit::oracle::shapley::by_orders;

const CHANNELS: u32 = 4;

fn walked() -> impl Strategy<Value = Vec<Walked>> {
    let row = (prop::collection::vec(0..CHANNELS, 1..9), 0_u64..4, 0_u64..6, 0_u32..1_000);
    let row = row.prop_map(|(channels, conversions, nulls, value)| Walked {
        channels,
        conversions,
        nulls,
        value: if conversions == 0 { 0.0 } else { f64::from(value) },
    });
    prop::collection::vec(row, 1..14)
}

fn table(walked: &[Walked], channel_count: u32) -> PathTable {
    let mut table = PathTable::new(channel_count).unwrap();
    for path in walked {
        let counts = PathCounts { conversions: path.conversions, nulls: path.nulls, value_micros: path.value as i64 };
        table.push(&path.channels, counts).unwrap();
    }
    table
}

fn close(ours: f64, theirs: f64, tolerance: f64) -> bool {
    (ours - theirs).abs() <= tolerance * theirs.abs().max(1.0)
}

/// Whether all of a path's channels are in a set.
fn is_within(path: &Walked, members: &[usize]) -> bool {
    path.channels.iter().all(|channel| members.contains(&(*channel as usize)))
}

proptest! {
    #[test]
    fn removal_effects_solve_the_equations_of_the_chain(walked in walked(), order in 1_usize..5, with_nulls: bool) {
        let nulls = if with_nulls { Nulls::Count } else { Nulls::Ignore };
        let effects = markov_effects(&table(&walked, CHANNELS), order, nulls).unwrap();
        let (conversion_ratio, value) = outcome_within(&walked, order, with_nulls, |_| true);
        prop_assert!(close(effects.conversion_ratio, conversion_ratio, 1e-12));
        prop_assert!(close(effects.value_micros, value, 1e-12));
        prop_assert!(effects.mass_left < 1e-12);
        for channel in 0..CHANNELS {
            let (of_conversions, of_value) = removal_effect(&walked, order, with_nulls, channel);
            prop_assert!(close(effects.of_conversions[channel as usize], of_conversions, 1e-11));
            prop_assert!(close(effects.of_value[channel as usize], of_value, 1e-11));
        }
        let conversions: u64 = walked.iter().map(|path| path.conversions).sum();
        if 0 < conversions {
            let share_sum: f64 = effects.conversion_shares().iter().sum();
            prop_assert!(close(share_sum, 1.0, 1e-12));
        }
    }

    /// Each path by itself is credited what the game over all paths gives, whose values are found by trying all orders.
    #[test]
    fn the_shapley_rule_gives_the_values_of_the_cumulative_game(walked in walked()) {
        let mut of_channel = [0.0; CHANNELS as usize];
        for path in &walked {
            let touch = |(index, &channel): (usize, &u32)| MarketingTouch {
                touch: Touch { time_us: 0, index: index as u64 },
                kind: TouchKind::Click,
                channel,
                mark: 0,
                is_direct: false,
                is_paid: false,
            };
            let touches: Vec<MarketingTouch> = path.channels.iter().enumerate().map(touch).collect();
            let weights = CreditRule::Shapley.weights(&touches, &Conversion::new(0, 0));
            for (channel, weight) in path.channels.iter().zip(weights) {
                of_channel[*channel as usize] += weight * path.conversions as f64;
            }
        }
        let worth = |members: &[usize]| {
            walked.iter().filter(|path| is_within(path, members)).map(|path| path.conversions as f64).sum::<f64>()
        };
        for (ours, theirs) in of_channel.into_iter().zip(by_orders(CHANNELS as usize, worth)) {
            prop_assert!(close(ours, theirs, 1e-12));
        }
    }

    #[test]
    fn a_walk_converts_as_often_as_journeys_did_at_any_order(walked in walked(), order in 1_usize..7) {
        let table = table(&walked, CHANNELS);
        let totals = table.totals();
        prop_assume!(0 < totals.journeys());
        let effects = markov_effects(&table, order, Nulls::Count).unwrap();
        prop_assert!(close(effects.conversion_ratio, totals.conversions as f64 / totals.journeys() as f64, 1e-12));
        let value_each = totals.value_micros as f64 / totals.journeys() as f64;
        prop_assert!(close(effects.value_micros, value_each, 1e-12));
        if 0 < totals.value_micros {
            prop_assert_eq!(effects.value_credits_micros(totals.value_micros).iter().sum::<i128>(), totals.value_micros);
        }
        let left: u64 = Chain::build(&table, order, Nulls::Count).unwrap().transitions()
            .filter(|step| step.to == State::Null).map(|step| step.count).sum();
        prop_assert_eq!(left, totals.nulls);
    }

    #[test]
    fn neither_the_order_of_rows_nor_names_change_an_effect(
        walked in walked(),
        renamed in Just(vec![0_u32, 1, 2, 3]).prop_shuffle(),
        order in 1_usize..4,
    ) {
        let ours = markov_effects(&table(&walked, CHANNELS), order, Nulls::Count).unwrap();
        let mut turned = walked.clone();
        turned.reverse();
        prop_assert_eq!(&markov_effects(&table(&turned, CHANNELS), order, Nulls::Count).unwrap(), &ours);
        for path in &mut turned {
            path.channels.iter_mut().for_each(|channel| *channel = renamed[*channel as usize]);
        }
        let others = markov_effects(&table(&turned, CHANNELS), order, Nulls::Count).unwrap();
        for (effect, renamed) in ours.of_conversions.iter().zip(renamed) {
            prop_assert!(close(*effect, others.of_conversions[renamed as usize], 1e-12));
        }
    }

    #[test]
    fn exact_shapley_is_the_mean_over_all_orders(worths in prop::collection::vec(-9.0_f64..9.0, 64), count in 0_usize..7) {
        let mask = |members: &[usize]| members.iter().map(|player| 1 << player).sum::<usize>();
        let ours = exact_shapley(&worths[..1 << count]);
        let theirs = by_orders(count, |members| worths[mask(members)]);
        prop_assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            prop_assert!(close(*ours, theirs, 1e-12));
        }
    }

    #[test]
    fn the_closed_form_is_the_cumulative_game(walked in walked()) {
        let ours = cumulative_shapley(&table(&walked, CHANNELS));
        let within = |members: &[usize]| walked.iter().filter(|path| is_within(path, members)).collect::<Vec<_>>();
        let conversions = by_orders(4, |members| within(members).iter().map(|path| path.conversions as f64).sum());
        let value = by_orders(4, |members| within(members).iter().map(|path| path.value).sum());
        for channel in 0..4 {
            prop_assert!(close(ours.conversions[channel], conversions[channel], 1e-12));
            prop_assert!((ours.value_micros[channel] as f64 - value[channel]).abs() < 1.0 + 1e-9);
        }
        prop_assert_eq!(ours.value_micros.iter().sum::<i128>(), table(&walked, CHANNELS).totals().value_micros);
    }

    #[test]
    fn the_rate_game_is_the_rate_of_journeys_within_a_coalition(walked in walked(), prior in 0_u32..4) {
        let prior_journeys = f64::from(prior);
        let table = table(&walked, CHANNELS);
        let totals = table.totals();
        prop_assume!(0 < totals.journeys());
        let rate_of_all = totals.conversions as f64 / totals.journeys() as f64;
        let ours = rate_shapley(&table, Measure::Conversions, prior_journeys, Effort::Exact).unwrap();
        let theirs = by_orders(4, |members| {
            let within = || walked.iter().filter(|path| is_within(path, members));
            let conversions: u64 = within().map(|path| path.conversions).sum();
            let journeys: u64 = within().map(|path| path.conversions + path.nulls).sum();
            let weight = journeys as f64 + prior_journeys;
            if members.is_empty() || weight == 0.0 {
                return 0.0;
            }
            (conversions as f64 + prior_journeys * rate_of_all) / weight
        });
        for (ours, theirs) in ours.of_channel.iter().zip(theirs) {
            prop_assert!(close(*ours, theirs, 1e-12));
        }
        prop_assert!(close(ours.of_channel.iter().sum(), rate_of_all, 1e-12));
    }

    #[test]
    fn the_markov_game_is_the_chance_to_convert_with_a_coalition_alone(walked in walked(), order in 1_usize..4) {
        let table = table(&walked, CHANNELS);
        prop_assume!(0 < table.totals().journeys());
        let ours = markov_shapley(&table, order, Nulls::Count, Measure::Conversions, Effort::Exact).unwrap();
        let of_value = markov_shapley(&table, order, Nulls::Count, Measure::Value, Effort::Exact).unwrap();
        let within = |members: &[usize]| {
            outcome_within(&walked, order, true, |channel| members.contains(&(channel as usize)))
        };
        let conversions = by_orders(4, |members| within(members).0);
        let value = by_orders(4, |members| within(members).1);
        for channel in 0..4 {
            prop_assert!(close(ours.of_channel[channel], conversions[channel], 1e-12));
            prop_assert!(close(of_value.of_channel[channel], value[channel], 1e-12));
            prop_assert!(-1e-14 <= ours.of_channel[channel]);
        }
    }

    /// All orders of four are 24; some thousand draws come near, and each draw sums to the whole.
    #[test]
    fn drawn_orders_sum_to_the_whole_and_come_near(walked in walked(), seed: u64) {
        let table = table(&walked, CHANNELS);
        prop_assume!(0 < table.totals().conversions);
        let drawn = Effort::Sampled { order_count: 4_000, seed };
        for prior_journeys in [0.0, 5.0] {
            let exact = rate_shapley(&table, Measure::Conversions, prior_journeys, Effort::Exact).unwrap();
            let near = rate_shapley(&table, Measure::Conversions, prior_journeys, drawn).unwrap();
            prop_assert!(close(near.of_channel.iter().sum(), exact.of_channel.iter().sum(), 1e-11));
            for channel in 0..4 {
                let off = (near.of_channel[channel] - exact.of_channel[channel]).abs();
                prop_assert!(off <= 6.0 * near.standard_errors[channel] + 1e-12, "{off}");
            }
        }
    }

    #[test]
    fn leave_one_out_gives_each_path_all_it_converted(walked in walked()) {
        let table = table(&walked, CHANNELS);
        let credit = leave_one_out(&table);
        prop_assert!(close(credit.conversions.iter().sum(), table.totals().conversions as f64, 1e-12));
        prop_assert!(close(credit.value_micros.iter().sum(), table.totals().value_micros as f64, 1e-12));
        prop_assert!(credit.conversions.iter().all(|conversions| 0.0 <= *conversions));
    }
}

#[test]
fn the_markov_game_drawn_comes_near_the_exact_one() {
    let walked: Vec<Walked> = (0..40_u32)
        .map(|row| Walked {
            channels: (0..=row % 5).map(|step| (row * 7 + step * step * 3 + row / 6) % 8).collect(),
            conversions: u64::from(row % 3),
            nulls: u64::from(row % 4),
            value: 0.0,
        })
        .collect();
    let table = table(&walked, 8);
    for order in [1, 2] {
        let game = |effort| markov_shapley(&table, order, Nulls::Count, Measure::Conversions, effort).unwrap();
        let (exact, near) = (game(Effort::Exact), game(Effort::Sampled { order_count: 2_000, seed: 5 }));
        assert_eq!(near, game(Effort::Sampled { order_count: 2_000, seed: 5 }));
        for channel in 0..8 {
            let off = (exact.of_channel[channel] - near.of_channel[channel]).abs();
            assert!(off <= 5.0 * near.standard_errors[channel] && near.standard_errors[channel] < 0.005, "{off}");
        }
    }
}

/// Twenty channels take the tree of a million coalitions; the worth of single ones is checked by the masked chain.
#[test]
fn twenty_channels_are_exact_and_one_more_is_refused() {
    let walked: Vec<Walked> = (0..400_u32)
        .map(|row| Walked {
            channels: (0..=row % 6).map(|step| (row * 13 + step * step * 7 + row / 11) % 20).collect(),
            conversions: u64::from(row % 3),
            nulls: u64::from(row % 4),
            value: 0.0,
        })
        .collect();
    let twenty = table(&walked, 20);
    let exact = markov_shapley(&twenty, 1, Nulls::Count, Measure::Conversions, Effort::Exact).unwrap();
    let near =
        markov_shapley(&twenty, 1, Nulls::Count, Measure::Conversions, Effort::Sampled { order_count: 2_000, seed: 3 })
            .unwrap();
    let totals = twenty.totals();
    let ratio = totals.conversions as f64 / totals.journeys() as f64;
    assert!(close(exact.of_channel.iter().sum(), ratio, 1e-12));
    for channel in 0..20 {
        let off = (exact.of_channel[channel] - near.of_channel[channel]).abs();
        assert!(off <= 5.0 * near.standard_errors[channel] + 1e-12, "{channel}: {off}");
    }
    let refused = AnalyticsError::PlayerCount { given: 21, max: 20 };
    let more = table(&walked, 21);
    let measure = Measure::Conversions;
    assert_eq!(markov_shapley(&more, 1, Nulls::Count, measure, Effort::Exact), Err(refused.clone()));
    assert_eq!(rate_shapley(&more, measure, 0.0, Effort::Exact), Err(refused));
    assert!(rate_shapley(&more, measure, 0.0, Effort::fitting(21, 10, 1)).is_ok());
}

/// A robot that goes to and fro twenty thousand times: sweeps alone would take as many as that.
#[test]
fn a_walk_that_goes_round_for_long_is_solved_as_exactly() {
    let round = |length: u32| (0..length).map(|step| step % 2).collect::<Vec<u32>>();
    let walked = vec![
        Walked { channels: round(20_000), conversions: 1, nulls: 0, value: 5.0 },
        Walked { channels: round(5_001), conversions: 0, nulls: 2, value: 0.0 },
        Walked { channels: vec![2, 0, 1, 3, 3, 0, 2], conversions: 3, nulls: 4, value: 8.0 },
        Walked { channels: vec![3, 1], conversions: 1, nulls: 1, value: 1.0 },
    ];
    for order in 1..5 {
        let effects = markov_effects(&table(&walked, 4), order, Nulls::Count).unwrap();
        assert!(close(effects.conversion_ratio, 5.0 / 12.0, 1e-11), "{order}: {}", effects.conversion_ratio);
        for channel in 0..4 {
            let (of_conversions, of_value) = removal_effect(&walked, order, true, channel);
            assert!(close(effects.of_conversions[channel as usize], of_conversions, 1e-10));
            assert!(close(effects.of_value[channel as usize], of_value, 1e-10));
        }
    }
}

/// 300 channels at order 3 have more states than the array of codes has room for.
#[test]
fn many_channels_are_numbered_by_table_as_by_array() {
    let walked: Vec<Walked> = (0..60_u32)
        .map(|row| Walked {
            channels: (0..=row % 7).map(|step| (row * 31 + step * step * 17) % 12).collect(),
            conversions: u64::from(row % 3),
            nulls: 1,
            value: 0.0,
        })
        .collect();
    let few = markov_effects(&table(&walked, 12), 3, Nulls::Count).unwrap();
    let mut spread = walked.clone();
    for path in &mut spread {
        path.channels.iter_mut().for_each(|channel| *channel *= 25);
    }
    let many = markov_effects(&table(&spread, 300), 3, Nulls::Count).unwrap();
    for channel in 0..300 {
        let expected = if channel % 25 == 0 && channel / 25 < 12 { few.of_conversions[channel / 25] } else { 0.0 };
        assert!(close(many.of_conversions[channel], expected, 1e-12), "{channel}");
    }
}

fn many_times(times: u64) -> PathTable {
    let paths: [(&[u32], u64, u64); 5] =
        [(&[0, 1], 3, 5), (&[1, 2, 0], 2, 4), (&[2], 1, 9), (&[0], 2, 2), (&[1, 1, 2], 1, 1)];
    let mut table = PathTable::new(3).unwrap();
    for (channels, conversions, nulls) in paths {
        let (conversions, nulls) = (conversions * times, nulls * times);
        let value_micros = i64::try_from(conversions).unwrap() * 1_000_000;
        table.push(channels, PathCounts { conversions, nulls, value_micros }).unwrap();
    }
    table
}

#[test]
fn bootstrap_intervals_hold_the_share_and_shrink_with_the_root_of_the_journeys() {
    let alpha = Alpha::new(0.1).unwrap();
    let intervals = |times| bootstrap_shares(&many_times(times), 2, Nulls::Count, 400, alpha, 9).unwrap();
    let (few, many) = (intervals(10), intervals(1_000));
    assert_eq!(few, intervals(10));
    let shares = markov_effects(&many_times(1), 2, Nulls::Count).unwrap().conversion_shares();
    for (channel, share) in shares.into_iter().enumerate() {
        let width = |of: &Interval| of.high - of.low;
        let (wide, narrow) = (few.of_conversions[channel], many.of_conversions[channel]);
        assert!(wide.low < share && share < wide.high);
        let ratio = width(&wide) / width(&narrow);
        assert!((8.0..12.5).contains(&ratio), "{ratio}");
        // An interval of 90 per cent of something normal is 3.29 standard errors wide.
        let in_errors = width(&narrow) / many.conversion_standard_errors[channel];
        assert!((2.9..3.7).contains(&in_errors), "{in_errors}");
        assert!(few.of_value[channel].low < few.of_value[channel].high);
    }
    assert!(bootstrap_shares(&many_times(1), 1, Nulls::Count, 0, alpha, 9).unwrap().of_conversions.is_empty());
}

/// One channel, paths of one or two touches: the chances can be written down.
#[test]
fn likelihood_bic_and_held_out_are_those_written_by_hand() {
    let mut table = PathTable::new(1).unwrap();
    let counts = |conversions, nulls| PathCounts { conversions, nulls, value_micros: 0 };
    table.push(&[0], counts(3, 5)).unwrap();
    table.push(&[0, 0], counts(2, 0)).unwrap();
    let fits = fit_orders(&table, 2, 4).unwrap();
    // Order 1: after nothing the channel 10 of 10; after the channel 2 of 12 on, 5 convert, 5 do not.
    let first = 2.0 * (2.0_f64 / 12.0).ln() + 10.0 * (5.0_f64 / 12.0).ln();
    assert!(close(fits[0].log_likelihood, first, 1e-13));
    assert_eq!(fits[0].parameter_count, 2 * 2);
    assert!(close(fits[0].bic, 4.0 * 22.0_f64.ln() - 2.0 * first, 1e-13));
    // Order 2: after one touch 2 of 10 on, 3 convert, 5 do not; after two touches all convert.
    let second = 2.0 * 0.2_f64.ln() + 3.0 * 0.3_f64.ln() + 5.0 * 0.5_f64.ln();
    assert!(close(fits[1].log_likelihood, second, 1e-13));
    assert_eq!(fits[1].parameter_count, 3 * 2);
    assert!(fits[0].held_out.unwrap() < 0.0);
    assert_eq!(fits, fit_orders(&table, 2, 4).unwrap());
}

#[test]
fn tables_and_orders_that_make_no_sense_are_refused() {
    let mut table = PathTable::new(2).unwrap();
    let counts = PathCounts::default();
    assert_eq!(table.push(&[], counts), Err(AnalyticsError::EmptyPath));
    assert_eq!(table.push(&[0, 2], counts), Err(AnalyticsError::ChannelCode { given: 2, channel_count: 2 }));
    let worth = PathCounts { value_micros: 5, ..counts };
    assert_eq!(table.push(&[0], worth), Err(AnalyticsError::PathValue { value_micros: 5, conversion_count: 0 }));
    assert_eq!(table.row_count(), 0);
    for order in [0, 7] {
        let refused = AnalyticsError::MarkovOrder { given: order, max: 6, channel_count: 2 };
        assert_eq!(markov_effects(&table, order, Nulls::Count), Err(refused));
    }
    let wide = PathTable::new(65_535).unwrap();
    assert!(markov_effects(&wide, 4, Nulls::Count).is_err());
    assert!(markov_effects(&wide, 1, Nulls::Count).is_ok());
    assert!(PathTable::new(65_536).is_err());
    let effects = markov_effects(&table, 1, Nulls::Count).unwrap();
    assert_eq!((effects.conversion_ratio, effects.of_conversions), (0.0, vec![0.0; 2]));
}
