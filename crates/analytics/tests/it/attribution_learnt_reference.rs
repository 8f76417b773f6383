//! Models that learn from paths, against ChannelAttribution, DP6, fractribution and exact solutions in Python.
//!
//! `paths_synth` was generated for this; `journeys_paths` too; the third table is ChannelAttribution's own.

use std::collections::BTreeMap;

use tributary_analytics::attribution::markov::{Chain, MarkovEffects, Nulls, State, fit_orders, markov_effects};
use tributary_analytics::attribution::shapley::{
    Dp6Game, Dp6Worth, Effort, Measure, cumulative_shapley, dp6_shapley, dp6_totals, leave_one_out, markov_shapley,
    rate_shapley,
};
use tributary_analytics::attribution::{
    Conversion, CreditRule, MarketingTouch, PathCounts, PathTable, Touch, TouchKind, Transform,
};

use crate::fixtures::{Record, Reference, assert_close};

struct Named {
    /// Ascending, as DP6 sorts them.
    names: Vec<String>,
    table: PathTable,
}

impl Named {
    fn read(records: &[Record]) -> Self {
        let names_of = |record: &Record| -> Vec<String> {
            record.text("path").split('>').map(|name| name.trim().to_owned()).collect()
        };
        let mut names: Vec<String> = records.iter().flat_map(names_of).collect();
        names.sort_unstable();
        names.dedup();
        let mut table = PathTable::new(names.len().try_into().unwrap()).unwrap();
        for record in records {
            let channels: Vec<u32> =
                names_of(record).iter().map(|name| names.binary_search(name).unwrap() as u32).collect();
            let count = |column| record.float(column) as u64;
            let counts = PathCounts {
                conversions: count("total_conversions"),
                nulls: count("total_null"),
                value_micros: (record.float("total_conversion_value") * 1e6).round() as i64,
            };
            table.push(&channels, counts).unwrap();
        }
        Self { names, table }
    }

    fn at(&self, name: &str) -> usize {
        self.names.binary_search_by(|other| other.as_str().cmp(name)).unwrap()
    }

    fn transformed(&self, transform: Transform) -> PathTable {
        let mut table = PathTable::new(self.table.channel_count()).unwrap();
        for row in self.table.rows() {
            let kept: Vec<u32> = transform.kept(row.channels).into_iter().map(|at| row.channels[at]).collect();
            table.push(&kept, row.counts).unwrap();
        }
        table
    }

    fn check_effects(&self, effects: &MarkovEffects, expected: &[Record], what: &str) {
        let totals = self.table.totals();
        assert_eq!(expected.len(), self.names.len());
        assert!(effects.mass_left < 1e-12, "{what}: {:e}", effects.mass_left);
        let value_micros = effects.value_credits_micros(totals.value_micros);
        assert_eq!(value_micros.iter().sum::<i128>(), totals.value_micros);
        for record in expected {
            let channel = self.at(record.text("channel"));
            let what = format!("{what} {}", record.text("channel"));
            assert_close(effects.of_conversions[channel], record.float("removal_effect_conv"), 1e-11, &what);
            assert_close(effects.of_value[channel], record.float("removal_effect_value"), 1e-11, &what);
            let conversions = effects.conversion_shares()[channel] * totals.conversions as f64;
            assert_close(conversions, record.float("conversions"), 1e-11, &what);
            assert_close(value_micros[channel] as f64 / 1e6, record.float("value"), 1e-9, &what);
        }
    }
}

const CASES: [(usize, Nulls, &str); 6] = [
    (1, Nulls::Count, "order1"),
    (2, Nulls::Count, "order2"),
    (3, Nulls::Count, "order3"),
    (4, Nulls::Count, "order4"),
    (1, Nulls::Ignore, "order1_nonull"),
    (2, Nulls::Ignore, "order2_nonull"),
];

#[test]
fn markov_effects_equal_the_exact_solution_and_convert_as_often_as_journeys_did() {
    for reference in Reference::all("attribution_markov") {
        let synth = Named::read(&reference.get("paths_synth.csv"));
        for (order, nulls, case) in CASES {
            let effects = markov_effects(&synth.table, order, nulls).unwrap();
            synth.check_effects(&effects, &reference.get(&format!("expected_paths_synth_{case}_exact.csv")), case);
            let ratio = if nulls == Nulls::Count { 7_164.0 / 60_000.0 } else { 1.0 };
            assert_close(effects.conversion_ratio, ratio, 1e-13, case);
        }
        let journeys = Named::read(&reference.get("journeys_paths.csv"));
        let effects = markov_effects(&journeys.table, 1, Nulls::Count).unwrap();
        journeys.check_effects(&effects, &reference.get("expected_journeys_order1_exact.csv"), "journeys");
    }
}

#[test]
fn markov_effects_and_credits_are_dp6s_with_self_transitions_and_without() {
    let paths = Named::read(&Reference::committed("attribution_markov").get("journeys_paths.csv"));
    let effects = markov_effects(&paths.table, 1, Nulls::Count).unwrap();
    let totals = paths.table.totals();
    for reference in Reference::all("attribution_shapley") {
        for (tag, total) in [("count", totals.conversions as f64), ("value", totals.value_micros as f64 / 1e6)] {
            for same in [0, 1] {
                for record in reference.get(&format!("expected_mam_markov_removal_{tag}_same{same}.csv")) {
                    let channel = paths.at(record.text(""));
                    assert_close(effects.of_conversions[channel], record.float("removal_effect"), 1e-13, tag);
                }
                let name = if same == 0 { "attribution_markov" } else { "attribution_markov_same_state" };
                for record in reference.get(&format!("expected_mam_markov_{tag}_same{same}.csv")) {
                    let ours = effects.conversion_shares()[paths.at(record.text("channels"))] * total;
                    assert_close(ours, record.float(&format!("{name}_algorithmic")), 1e-12, tag);
                }
            }
        }
    }
}

fn text(state: &State, names: &[String]) -> String {
    match state {
        State::Start => "(start)".to_owned(),
        State::Conversion => "(conversion)".to_owned(),
        State::Null => "(null)".to_owned(),
        State::Touches(channels) => {
            channels.iter().map(|channel| names[*channel as usize].as_str()).collect::<Vec<_>>().join(" | ")
        }
    }
}

#[test]
fn transitions_are_channel_attributions() {
    let mut checked_count = 0;
    for reference in Reference::all("attribution_markov") {
        let synth = Named::read(&reference.get("paths_synth.csv"));
        for (order, nulls, case) in CASES {
            let Some(expected) = reference.find(&format!("expected_paths_synth_{case}_transitions.csv")) else {
                continue;
            };
            let ours: BTreeMap<(String, String), (u64, f64)> = Chain::build(&synth.table, order, nulls)
                .unwrap()
                .transitions()
                .map(|step| {
                    let ends = (text(&step.from, &synth.names), text(&step.to, &synth.names));
                    (ends, (step.count, step.probability))
                })
                .collect();
            assert_eq!(ours.len(), expected.len(), "{case}");
            for record in expected {
                let key = (record.text("from").to_owned(), record.text("to").to_owned());
                let (count, probability) = ours[&key];
                assert_eq!(count as f64, record.float("count"), "{case} {key:?}");
                assert_close(probability, record.float("probability"), 1e-14, case);
                checked_count += 1;
            }
        }
    }
    assert!(80 + 72 + 711 <= checked_count);
}

/// The package simulates walks that end after so many steps; its own answers differ by as much.
#[test]
fn channel_attributions_simulation_is_around_the_exact_shares() {
    for reference in Reference::all("attribution_markov") {
        let synth = Named::read(&reference.get("paths_synth.csv"));
        for (order, nulls, case) in CASES {
            let Some(runs) = reference.find(&format!("expected_paths_synth_{case}_channelattribution_runs.csv")) else {
                continue;
            };
            let effects = markov_effects(&synth.table, order, nulls).unwrap();
            assert_eq!(runs.len(), 5 * synth.names.len());
            for (at, name) in synth.names.iter().enumerate() {
                let of_channel: Vec<&Record> = runs.iter().filter(|run| run.text("channel_name") == name).collect();
                let mean = |column| of_channel.iter().map(|run| run.float(column)).sum::<f64>() / 5.0;
                let off = (effects.conversion_shares()[at] - mean("total_conversions") / 7_164.0).abs();
                assert!(off < 0.002, "{case} {name}: {off}");
                let off = (effects.of_value[at] - mean("removal_effects_conversion_value")).abs();
                assert!(off < 0.003, "{case} {name}: {off}");
            }
        }
    }
}

#[test]
fn order_measures_are_choose_orders() {
    for reference in Reference::all("attribution_markov") {
        let synth = Named::read(&reference.get("paths_synth.csv"));
        let fits = fit_orders(&synth.table, 6, 1).unwrap();
        let expected = reference.get("expected_paths_synth_choose_order.csv");
        assert_eq!(fits.len(), expected.len());
        for (fit, record) in fits.iter().zip(&expected) {
            assert_eq!(fit.order.to_string(), record.text("order"));
            assert_close(fit.auc.unwrap(), record.float("auc"), 1e-11, "auc");
            assert_close(fit.penalised_auc.unwrap(), record.float("pauc"), 1e-11, "pauc");
        }
        // The paths were made by a rule that looks back one touch and, at some pairs, two. The curve keeps rising with the
        // states there are; what predicts best does not.
        let by_curve =
            fits.iter().max_by(|a, b| a.penalised_auc.unwrap().total_cmp(&b.penalised_auc.unwrap())).unwrap();
        let by_bic = fits.iter().min_by(|a, b| a.bic.total_cmp(&b.bic)).unwrap();
        let by_held_out = fits.iter().max_by(|a, b| a.held_out.unwrap().total_cmp(&b.held_out.unwrap())).unwrap();
        assert_eq!(by_curve.order, 6, "the package's choice");
        assert!(by_bic.order <= 2 && by_held_out.order <= 2, "{} and {}", by_bic.order, by_held_out.order);
        assert!(fits.is_sorted_by(|a, b| a.log_likelihood < b.log_likelihood), "each order has the one before in it");
    }
}

#[test]
fn first_last_and_linear_over_the_table_are_channel_attributions() {
    for reference in Reference::all("attribution_markov") {
        let synth = Named::read(&reference.get("paths_synth.csv"));
        for (column, rule) in
            [("first_touch", CreditRule::First), ("last_touch", CreditRule::Last), ("linear_touch", CreditRule::Linear)]
        {
            let mut credit = vec![[0.0; 2]; synth.names.len()];
            for row in synth.table.rows() {
                for (channel, weight) in
                    row.channels.iter().zip(rule.weights(&clicks(row.channels), &Conversion::new(99, 0)))
                {
                    credit[*channel as usize][0] += weight * row.counts.conversions as f64;
                    credit[*channel as usize][1] += weight * row.counts.value_micros as f64 / 1e6;
                }
            }
            for record in reference.get("expected_paths_synth_heuristics.csv") {
                let ours = credit[synth.at(record.text("channel_name"))];
                assert_close(ours[0], record.float(&format!("{column}_conversions")), 1e-11, column);
                assert_close(ours[1], record.float(&format!("{column}_value")), 1e-11, column);
            }
        }
    }
}

fn clicks(channels: &[u32]) -> Vec<MarketingTouch> {
    let touches = channels.iter().zip(0..).map(|(channel, at)| MarketingTouch {
        touch: Touch { time_us: i64::from(at), index: at.try_into().unwrap() },
        kind: TouchKind::Click,
        channel: *channel,
        mark: 0,
        is_direct: false,
        is_paid: false,
    });
    touches.collect()
}

/// ChannelAttribution's own table, by its copy under the MIT licence; what other programs say of it.
#[test]
fn real_paths_have_the_chain_and_the_effects_that_are_published() {
    let real = Named::read(&Reference::committed("attribution_paths").get("data.csv"));
    assert_eq!(real.table.totals().conversions, 19_785);
    for (order, states, transitions) in [(1, 12, 138), (2, 120, 1_173), (3, 933, 5_604), (4, 3_975, 13_324)] {
        let chain = Chain::build(&real.table, order, Nulls::Count).unwrap();
        assert_eq!((chain.state_count(), chain.transitions().count()), (states, transitions));
        let effects = chain.removal_effects();
        assert_close(effects.conversion_ratio, 0.223_845_135_596_863_8, 1e-12, "conversion ratio");
        // Values have up to 16 digits in the table and six here.
        assert_close(effects.value_micros / 1e6, 0.846_311_919_028_939_3, 1e-6, "value");
        if order == 1 {
            for (name, effect) in [("alpha", 0.5584), ("iota", 0.4058), ("eta", 0.3490), ("beta", 0.2640)] {
                let ours = effects.of_conversions[real.at(name)];
                assert!((ours - effect).abs() < 5e-5, "{name}: {ours}");
            }
        }
    }
    for (order, states, transitions) in [(1, 12, 123), (2, 117, 1_025)] {
        let chain = Chain::build(&real.table, order, Nulls::Ignore).unwrap();
        assert_eq!((chain.state_count(), chain.transitions().count()), (states, transitions));
        let effects = chain.removal_effects();
        assert_close(effects.conversion_ratio, 1.0, 1e-13, "all convert");
        assert_close(effects.value_micros / 1e6, 3.780_792_094_375_075, 1e-6, "value");
    }
}

#[test]
fn shapley_games_equal_their_enumeration() {
    let synth = Named::read(&Reference::committed("attribution_markov").get("paths_synth.csv"));
    let (table, totals) = (&synth.table, synth.table.totals());
    let (conversions, value) = (totals.conversions as f64, totals.value_micros as f64 / 1e6);
    for reference in Reference::all("attribution_shapley") {
        let expected = reference.get("expected_paths_synth_shapley_exact.csv");
        assert_eq!(expected.len(), 8);
        let check = |column: &str, ours: &[f64]| {
            for record in &expected {
                assert_close(ours[synth.at(record.text("channel"))], record.float(column), 1e-9, column);
            }
        };
        let cumulative = cumulative_shapley(table);
        check("cumulative_conversions", &cumulative.conversions);
        let cumulative_value: Vec<f64> = cumulative.value_micros.iter().map(|micros| *micros as f64 / 1e6).collect();
        check("cumulative_value", &cumulative_value);
        assert_eq!(cumulative.value_micros.iter().sum::<i128>(), totals.value_micros);
        let rate = rate_shapley(table, Measure::Conversions, 0.0, Effort::Exact).unwrap();
        check("conv_rate_shapley_raw", &rate.of_channel);
        check("conv_rate_conversions", &rate.scaled_to(conversions));
        let rate = rate_shapley(table, Measure::Value, 0.0, Effort::Exact).unwrap();
        check("value_per_journey_value", &rate.scaled_to(value));
        for order in 1..=3 {
            let markov = markov_shapley(table, order, Nulls::Count, Measure::Conversions, Effort::Exact).unwrap();
            check(&format!("markov{order}_shapley_raw"), &markov.of_channel);
            let ours: Vec<f64> = markov.of_channel.iter().map(|value| value * totals.journeys() as f64).collect();
            check(&format!("markov{order}_conversions"), &ours);
        }
    }
}

#[test]
fn transforms_with_rules_and_leave_one_out_are_fractributions() {
    let synth = Named::read(&Reference::committed("attribution_markov").get("paths_synth.csv"));
    let rules = [
        ("first_touch", CreditRule::First),
        ("last_touch", CreditRule::Last),
        ("linear", CreditRule::Linear),
        ("position_based", CreditRule::U_SHAPED),
    ];
    for reference in Reference::all("attribution_shapley") {
        let expected = reference.get("expected_paths_synth_shapley_exact.csv");
        for (name, transform) in
            [("unique", Transform::Unique), ("exposure", Transform::Exposure), ("first", Transform::First)]
        {
            let table = synth.transformed(transform);
            let check = |model: &str, conversions: &[f64], value: &[f64]| {
                for record in &expected {
                    let channel = synth.at(record.text("channel"));
                    let what = format!("fractribution_{name}_{model}");
                    assert_close(conversions[channel], record.float(&format!("{what}_conversions")), 1e-9, &what);
                    assert_close(value[channel] / 1e6, record.float(&format!("{what}_revenue")), 1e-9, &what);
                }
            };
            let without_one = leave_one_out(&table);
            check("shapley", &without_one.conversions, &without_one.value_micros);
            for (model, rule) in rules {
                let (mut conversions, mut value) = (vec![0.0; 8], vec![0.0; 8]);
                for row in table.rows() {
                    let weights = rule.weights(&clicks(row.channels), &Conversion::new(99, 0));
                    for (channel, weight) in row.channels.iter().zip(weights) {
                        conversions[*channel as usize] += weight * row.counts.conversions as f64;
                        value[*channel as usize] += weight * row.counts.value_micros as f64;
                    }
                }
                check(model, &conversions, &value);
            }
        }
    }
}

#[test]
fn dp6_games_give_dp6s_credit() {
    let paths = Named::read(&Reference::committed("attribution_markov").get("journeys_paths.csv"));
    let worths = [
        ("conv_rate", Dp6Worth::ConversionRate),
        ("conversions", Dp6Worth::Conversions),
        ("conversion_value", Dp6Worth::Paid),
    ];
    let (mut game_count, mut set_count) = (0, 0);
    for reference in Reference::all("attribution_shapley") {
        for (tag, paid, unit) in [("count", Measure::Conversions, 1.0), ("value", Measure::Value, 1e-6)] {
            for (size, is_ordered, (worth_name, worth)) in games(worths) {
                let game = Dp6Game { channel_count_max: Some(size), is_ordered, worth, paid };
                let order = if is_ordered { "_order" } else { "" };
                let name = format!("expected_mam_shapley_{tag}_size{size}_{worth_name}{order}");
                let sets = dp6_shapley(&paths.table, game).unwrap();
                // What is not paid is counted in conversions.
                let unit = if worth == Dp6Worth::Conversions { 1.0 } else { unit };
                let totals = dp6_totals(&sets, paths.table.channel_count());
                for record in reference.get(&format!("{name}.csv")) {
                    assert_close(totals[paths.at(record.text("channel"))] * unit, record.float("value"), 1e-10, &name);
                }
                game_count += 1;
                let Some(table) = reference.find(&format!("{name}_table.csv")) else { continue };
                assert_eq!(table.len(), sets.len(), "{name}");
                for record in table {
                    let channels: Vec<u32> =
                        record.text("combinations").split(" > ").map(|name| paths.at(name) as u32).collect();
                    let set = sets.iter().find(|set| set.channels == channels).unwrap();
                    assert_eq!(set.conversions.to_string(), record.text("conversions"));
                    assert_eq!(set.journeys.to_string(), record.text("total_sequences"));
                    let column = format!("attribution_shapley_size{size}_{worth_name}{order}_algorithmic");
                    let theirs: Vec<f64> = serde_json::from_str(record.text(&column)).unwrap();
                    assert_eq!(set.credits.len(), theirs.len());
                    for (ours, theirs) in set.credits.iter().zip(theirs) {
                        assert_close(ours * unit, theirs, 1e-9, &name);
                    }
                    set_count += 1;
                }
            }
        }
    }
    assert!(16 <= game_count && 200 < set_count, "{game_count} games, {set_count} sets");
}

/// Those that were played: rates for all sizes, the others for four channels; with order only up to three.
fn games(worths: [(&'static str, Dp6Worth); 3]) -> Vec<(usize, bool, (&'static str, Dp6Worth))> {
    let mut games = Vec::new();
    for size in [2, 3, 4, 6] {
        for is_ordered in [false, true] {
            for worth in worths {
                let is_rate = worth.1 == Dp6Worth::ConversionRate;
                if (is_rate || size == 4) && (!is_ordered || size <= 3) {
                    games.push((size, is_ordered, worth));
                }
            }
        }
    }
    games
}
