//! Attribution against a plain-Python reference: five lookback settings, three models, all conversions.

use std::collections::{BTreeMap, HashMap};

use tributary_analytics::attribution::{Model, split_value, touches_in_lookback};

use crate::fixtures::{Record, assert_close, records};

const DAY_S: i64 = 86_400;

/// The reference's settings; all but the lookbacks are path rules of the reference, done here by hand.
struct Setting {
    name: &'static str,
    click_lookback_s: i64,
    view_lookback_s: i64,
    double_click_s: i64,
    collapse_runs: bool,
    click_over_view: bool,
}

const SETTINGS: [Setting; 5] = [
    Setting { name: "click30_view1", ..setting(30, 1, 0) },
    Setting { name: "click30_view1_dedupe30s", ..setting(30, 1, 30) },
    Setting { name: "click7_noview", view_lookback_s: -1, ..setting(7, 0, 30) },
    Setting { name: "click90_view30_collapse", collapse_runs: true, ..setting(90, 30, 30) },
    Setting { name: "click30_view7_clickwins", click_over_view: true, ..setting(30, 7, 30) },
];

const fn setting(click_days: i64, view_days: i64, double_click_s: i64) -> Setting {
    Setting {
        name: "",
        click_lookback_s: click_days * DAY_S,
        view_lookback_s: view_days * DAY_S,
        double_click_s,
        collapse_runs: false,
        click_over_view: false,
    }
}

const MODELS: [(&str, Model); 3] =
    [("first", Model::FirstTouch), ("last", Model::LastTouch), ("linear", Model::Linear)];

fn key<'a>(touch: &'a Record, columns: &[&str]) -> Vec<&'a str> {
    columns.iter().map(|column| touch.text(column)).collect()
}

/// The touches of one user that lead to a conversion, in order of time and id.
fn path<'a>(touches: &[&'a Record], conversion_s: i64, setting: &Setting) -> Vec<&'a Record> {
    let mut eligible: Vec<&Record> = Vec::new();
    for (kind, lookback_s) in [("click", setting.click_lookback_s), ("impression", setting.view_lookback_s)] {
        let of_kind: Vec<&Record> = touches.iter().copied().filter(|touch| touch.text("kind") == kind).collect();
        let times_us: Vec<i64> = of_kind.iter().map(|touch| touch.integer("ts") * 1_000_000).collect();
        // The reference's -1 second means "never"; ours is told so in microseconds and finds nothing too.
        let range = touches_in_lookback(&times_us, conversion_s * 1_000_000, lookback_s * 1_000_000);
        eligible.extend(&of_kind[range]);
    }
    eligible.sort_by_key(|touch| (touch.integer("ts"), touch.integer("touch_id")));
    let mut last_kept_s: HashMap<Vec<&str>, i64> = HashMap::new();
    eligible.retain(|touch| {
        let same = key(touch, &["source", "medium", "campaign", "ad", "kind"]);
        let time_s = touch.integer("ts");
        let is_double = 0 < setting.double_click_s
            && last_kept_s.get(&same).is_some_and(|kept_s| time_s - kept_s <= setting.double_click_s);
        if !is_double {
            last_kept_s.insert(same, time_s);
        }
        !is_double
    });
    if setting.click_over_view && eligible.iter().any(|touch| touch.text("kind") == "click") {
        eligible.retain(|touch| touch.text("kind") == "click");
    }
    if setting.collapse_runs {
        // Keeps the latest of a run: drop each touch that the next one repeats.
        let repeats_next: Vec<bool> = (0..eligible.len())
            .map(|i| {
                let channel = |touch| key(touch, &["source", "medium", "campaign"]);
                eligible.get(i + 1).is_some_and(|next| channel(next) == channel(eligible[i]))
            })
            .collect();
        let mut dropped = repeats_next.iter();
        eligible.retain(|_| !dropped.next().unwrap());
    }
    eligible
}

fn touches_by_user(touches: &[Record]) -> HashMap<&str, Vec<&Record>> {
    let mut by_user: HashMap<&str, Vec<&Record>> = HashMap::new();
    for touch in touches {
        by_user.entry(touch.text("user_id")).or_default().push(touch);
    }
    for touches in by_user.values_mut() {
        touches.sort_by_key(|touch| (touch.integer("ts"), touch.integer("touch_id")));
    }
    by_user
}

#[test]
fn credit_by_channel_and_campaign_equals_the_reference() {
    let (touches, conversions) = (records("attribution_touches.csv"), records("attribution_conversions.csv"));
    let by_user = touches_by_user(&touches);
    // (setting, model, level, key) to conversions and value in micros.
    let mut ours: BTreeMap<[String; 4], (f64, i64)> = BTreeMap::new();
    for (setting, (model_name, model)) in
        SETTINGS.iter().flat_map(|setting| MODELS.iter().map(move |model| (setting, model)))
    {
        for conversion in &conversions {
            let mut add = |level: &str, key: String, ratio: f64, value_micros: i64| {
                let sums =
                    ours.entry([setting.name.to_owned(), (*model_name).to_owned(), level.to_owned(), key]).or_default();
                sums.0 += ratio;
                sums.1 += value_micros;
            };
            let user_touches = by_user.get(conversion.text("user_id")).map_or(&[][..], Vec::as_slice);
            let path = path(user_touches, conversion.integer("ts"), setting);
            let value_micros = (conversion.float("value") * 1e6).round() as i64;
            if path.is_empty() {
                add("unattributed", String::new(), 1.0, value_micros);
            }
            let shares_micros = split_value(value_micros, *model, path.len());
            assert_eq!(shares_micros.iter().sum::<i64>(), if path.is_empty() { 0 } else { value_micros });
            for ((touch, ratio), share_micros) in path.iter().zip(model.credit_ratios(path.len())).zip(shares_micros) {
                let channel = format!("{} / {}", touch.text("source"), touch.text("medium"));
                add("channel", channel, ratio, share_micros);
                if !touch.text("campaign").is_empty() {
                    add("campaign", touch.text("campaign").to_owned(), ratio, share_micros);
                }
            }
        }
    }
    let expected = records("attribution_expected_summary.csv");
    assert_eq!(expected.len(), ours.len());
    for record in expected {
        let key = ["config", "model", "level", "key"].map(|column| record.text(column).to_owned());
        let (ratio_sum, value_micros) = ours[&key];
        assert_close(ratio_sum, record.float("conversions"), 1e-9, &format!("{key:?} conversions"));
        // Shares are whole micros: at most one off for each of some hundred touches.
        assert_close(value_micros as f64 / 1e6, record.float("value"), 1e-6, &format!("{key:?} value"));
    }
}

#[test]
fn linear_credit_of_each_touch_equals_the_reference() {
    let (touches, conversions) = (records("attribution_touches.csv"), records("attribution_conversions.csv"));
    let by_user = touches_by_user(&touches);
    let mut ours: HashMap<(String, i64, i64), f64> = HashMap::new();
    for setting in
        SETTINGS.iter().filter(|setting| ["click30_view1_dedupe30s", "click90_view30_collapse"].contains(&setting.name))
    {
        for conversion in conversions.iter().filter(|conversion| conversion.integer("conversion_id") < 250) {
            let user_touches = by_user.get(conversion.text("user_id")).map_or(&[][..], Vec::as_slice);
            let path = path(user_touches, conversion.integer("ts"), setting);
            for (touch, ratio) in path.iter().zip(Model::Linear.credit_ratios(path.len())) {
                let key = (setting.name.to_owned(), conversion.integer("conversion_id"), touch.integer("touch_id"));
                ours.insert(key, ratio);
            }
        }
    }
    let expected = records("attribution_expected_touch_weights.csv");
    assert_eq!(expected.len(), ours.len());
    for record in expected {
        let key = (record.text("config").to_owned(), record.integer("conversion_id"), record.integer("touch_id"));
        assert_close(ours[&key], record.float("weight"), 1e-11, &format!("{key:?}"));
    }
}
