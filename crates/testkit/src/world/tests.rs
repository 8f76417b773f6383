use std::collections::{HashMap, HashSet};

use super::*;

fn world() -> World {
    World::generate(7, WorldSize::DEMO, TEST_NOW_US)
}

#[test]
fn the_same_seed_gives_the_same_world_and_another_seed_another() {
    let size = WorldSize::SMALL;
    assert_eq!(World::generate(1, size, TEST_NOW_US), World::generate(1, size, TEST_NOW_US));
    assert_ne!(World::generate(1, size, TEST_NOW_US).events, World::generate(2, size, TEST_NOW_US).events);
}

#[test]
fn a_demo_world_has_the_size_and_the_kinds_it_promises() {
    let world = world();
    let mut names: HashMap<&str, usize> = HashMap::new();
    for event in &world.events {
        let name = event.json["event"].as_str().or(event.json["type"].as_str()).unwrap();
        *names.entry(name).or_default() += 1;
    }
    assert!((60_000..=100_000).contains(&world.events.len()), "{} events: {names:?}", world.events.len());
    for name in
        ["page", "identify", "Email Sent", "Email Opened", "Email Link Clicked", "Experiment Viewed", "Order Completed"]
    {
        assert!(names.get(name).is_some_and(|count| *count > 500), "{name}: {names:?}");
    }
    assert_eq!(names["Order Completed"] as u64, world.truth.purchases);
    assert!(world.events.is_sorted_by_key(|event| event.time_us));
    assert!(world.events.iter().all(|event| event.time_us < TEST_NOW_US));
    let ids: HashSet<&str> = world.events.iter().map(|event| event.json["messageId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), world.events.len());
}

#[test]
fn every_model_shares_out_each_touched_purchase_once() {
    let truth = world().truth;
    let touched = (truth.purchases - truth.purchases_untouched) as f64;
    for credit in [
        |channel: &ChannelTruth| channel.last_touch,
        |channel: &ChannelTruth| channel.first_touch,
        |channel: &ChannelTruth| channel.linear,
    ] {
        let sum: f64 = truth.channels.iter().map(credit).sum();
        assert!((sum - touched).abs() < 1e-6, "{sum} of {touched}");
    }
}

#[test]
fn the_planted_order_of_channels_stands_out_under_each_model() {
    for seed in 0..3 {
        let truth = World::generate(seed, WorldSize::DEMO, TEST_NOW_US).truth;
        for (model, credit) in [
            ("caused", (|channel| channel.purchases_caused as f64) as fn(&ChannelTruth) -> f64),
            ("last", |channel| channel.last_touch),
            ("first", |channel| channel.first_touch),
            ("linear", |channel| channel.linear),
        ] {
            let credits: Vec<f64> = truth.channels.iter().map(credit).collect();
            assert!(credits.windows(2).all(|pair| pair[0] > 1.1 * pair[1]), "seed {seed}, {model}: {credits:?}");
        }
    }
}

#[test]
fn the_planted_winner_converts_clearly_more() {
    for seed in 0..3 {
        let experiment = World::generate(seed, WorldSize::DEMO, TEST_NOW_US).truth.experiment;
        let [a, b] = experiment.variants.as_slice() else { panic!("two variants") };
        let rate = |variant: &VariantTruth| variant.converted as f64 / variant.persons as f64;
        let pooled = (a.converted + b.converted) as f64 / (a.persons + b.persons) as f64;
        let error = (pooled * (1.0 - pooled) * (1.0 / a.persons as f64 + 1.0 / b.persons as f64)).sqrt();
        assert_eq!(experiment.winner, "b");
        assert!((rate(b) - rate(a)) / error > 2.5, "seed {seed}: {a:?} {b:?}");
    }
}
