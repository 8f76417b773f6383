//! Attribution by rule against a plain-Python reference: five path rules, fourteen credit rules, all conversions; and against
//! DP6's package, journey by journey.

use std::collections::{BTreeMap, HashMap};

use tributary_analytics::attribution::{
    Conversion, CreditRule, DoubleClicks, Lookbacks, MarketingTouch, OfTwo, PathRule, PositionShares, Touch, TouchKind,
    Transform, Views, WithoutPaid, credit_path, paths_to_conversions,
};

use crate::fixtures::{Record, Reference, assert_close, records};

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;

/// The reference's settings by name.
fn path_rules() -> [(&'static str, PathRule); 5] {
    let rule = |click_days: i64, view_us: i64, double_click_s: i64| PathRule {
        lookbacks: Lookbacks { click_us: click_days * DAY_US, impression_us: view_us, other_us: -1 },
        double_clicks: match double_click_s {
            0 => DoubleClicks::Keep,
            seconds => DoubleClicks::DropWithinOfKept { same_touch_us: seconds * SECOND_US },
        },
        ..PathRule::plain(0)
    };
    [
        ("click30_view1", rule(30, DAY_US, 0)),
        ("click30_view1_dedupe30s", rule(30, DAY_US, 30)),
        ("click7_noview", rule(7, -1, 30)),
        ("click90_view30_collapse", PathRule { transforms: vec![Transform::Exposure], ..rule(90, 30 * DAY_US, 30) }),
        ("click30_view7_clickwins", PathRule { views: Views::OnlyWithoutClick, ..rule(30, 7 * DAY_US, 30) }),
    ]
}

const fn position(first: f64, middle: f64, last: f64, of_two: OfTwo) -> CreditRule {
    CreditRule::Position(PositionShares { first, middle, last, of_two })
}

const CREDIT_RULES: [(&str, CreditRule); 14] = [
    ("first", CreditRule::First),
    ("last", CreditRule::Last),
    ("last_non_direct", CreditRule::LastNonDirect),
    ("linear", CreditRule::Linear),
    ("time_decay_hl7d", CreditRule::TimeDecay { half_life_us: 7 * DAY_US }),
    ("time_decay_hl1d", CreditRule::TimeDecay { half_life_us: DAY_US }),
    ("time_decay_step24h_0.5", CreditRule::SteppedDecay { step_us: DAY_US, kept_ratio: 0.5 }),
    ("u_40_20_40", CreditRule::U_SHAPED),
    ("u_40_20_40_split2", position(0.4, 0.2, 0.4, OfTwo::SplitMiddle)),
    ("j_20_20_60", CreditRule::J_SHAPED),
    ("inverse_j_60_20_20", CreditRule::INVERSE_J),
    ("position_decay", CreditRule::PositionDecay),
    ("participation", CreditRule::Participation),
    ("last_paid_click_else_last", CreditRule::LastPaid { otherwise: WithoutPaid::Last }),
];

/// Codes for texts, in order of appearance.
#[derive(Default)]
struct Codes(HashMap<String, u32>);

impl Codes {
    fn of(&mut self, text: String) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap();
        *self.0.entry(text).or_insert(next)
    }
}

fn joined(touch: &Record, columns: &[&str]) -> String {
    columns.iter().map(|column| touch.text(column)).collect::<Vec<_>>().join("\u{1f}")
}

/// The touches of each user in order. `Touch::index` is the reference's id, by which it breaks ties.
fn touches_by_user(touches: &[Record]) -> HashMap<&str, Vec<MarketingTouch>> {
    let (mut channels, mut marks) = (Codes::default(), Codes::default());
    let mut by_user: HashMap<&str, Vec<MarketingTouch>> = HashMap::new();
    for touch in touches {
        let medium = touch.text("medium");
        by_user.entry(touch.text("user_id")).or_default().push(MarketingTouch {
            touch: Touch {
                time_us: touch.integer("ts") * SECOND_US,
                index: touch.integer("touch_id").try_into().unwrap(),
            },
            kind: if touch.text("kind") == "click" { TouchKind::Click } else { TouchKind::Impression },
            channel: channels.of(joined(touch, &["source", "medium", "campaign"])),
            mark: marks.of(joined(touch, &["source", "medium", "campaign", "ad", "kind"])),
            is_direct: medium == "direct",
            is_paid: ["cpc", "paid_social", "display", "affiliate"].contains(&medium),
        });
    }
    for touches in by_user.values_mut() {
        touches.sort_by_key(|touch| touch.touch);
    }
    by_user
}

/// (setting, model, level, key) to conversions and value in micros.
type Sums = BTreeMap<[String; 4], (f64, i64)>;

fn check_rules(touches: &[Record], conversions: &[Record], summary: &[Record], weights: &[Record]) -> Sums {
    let by_user = touches_by_user(touches);
    let touch_by_id: HashMap<i64, &Record> = touches.iter().map(|touch| (touch.integer("touch_id"), touch)).collect();
    let mut ours = Sums::new();
    // By setting, model, conversion and touch.
    let mut our_weights: HashMap<(&str, &str, i64, i64), f64> = HashMap::new();
    for (setting, path_rule) in &path_rules() {
        for conversion in conversions {
            let value_micros = (conversion.float("value") * 1e6).round() as i64;
            let at = Conversion::new(conversion.integer("ts") * SECOND_US, value_micros);
            let user_touches = by_user.get(conversion.text("user_id")).map_or(&[][..], Vec::as_slice);
            let path = &paths_to_conversions(path_rule, user_touches, &[at])[0];
            for (model, rule) in CREDIT_RULES {
                let mut add = |level: &str, key: String, ratio: f64, value_micros: i64| {
                    let sums =
                        ours.entry([(*setting).to_owned(), model.to_owned(), level.to_owned(), key]).or_default();
                    sums.0 += ratio;
                    sums.1 += value_micros;
                };
                if path.is_empty() {
                    add("unattributed", String::new(), 1.0, value_micros);
                }
                // The reference also lists whom it gives nothing.
                for touch in path {
                    let touch = touch_by_id[&i64::try_from(touch.touch.index).unwrap()];
                    add("channel", format!("{} / {}", touch.text("source"), touch.text("medium")), 0.0, 0);
                    if !touch.text("campaign").is_empty() {
                        add("campaign", touch.text("campaign").to_owned(), 0.0, 0);
                    }
                }
                let credits = credit_path(rule.checked().unwrap(), path_rule.views, path, &at);
                if rule != CreditRule::Participation && !path.is_empty() {
                    assert_eq!(credits.iter().map(|credit| credit.value_micros).sum::<i64>(), value_micros);
                }
                for credit in credits {
                    let touch_id = i64::try_from(credit.touch.index).unwrap();
                    let touch = touch_by_id[&touch_id];
                    let channel = format!("{} / {}", touch.text("source"), touch.text("medium"));
                    add("channel", channel, credit.credit_ratio, credit.value_micros);
                    if !touch.text("campaign").is_empty() {
                        let campaign = touch.text("campaign").to_owned();
                        add("campaign", campaign, credit.credit_ratio, credit.value_micros);
                    }
                    let conversion_id = conversion.integer("conversion_id");
                    our_weights.insert((setting, model, conversion_id, touch_id), credit.credit_ratio);
                }
            }
        }
    }
    assert_eq!(summary.len(), ours.len());
    for record in summary {
        let key = ["config", "model", "level", "key"].map(|column| record.text(column).to_owned());
        let (ratio_sum, value_micros) = ours[&key];
        assert_close(ratio_sum, record.float("conversions"), 1e-9, &format!("{key:?} conversions"));
        // Shares are whole micros: at most one off for each of some hundred touches.
        assert_close(value_micros as f64 / 1e6, record.float("value"), 1e-6, &format!("{key:?} value"));
    }
    for record in weights {
        let key =
            (record.text("config"), record.text("model"), record.integer("conversion_id"), record.integer("touch_id"));
        assert_close(our_weights[&key], record.float("weight"), 1e-11, &format!("{key:?}"));
    }
    ours
}

#[test]
fn credit_by_channel_campaign_and_touch_equals_the_reference() {
    let weights = records("attribution_expected_touch_weights.csv");
    assert_eq!(weights.len(), 1_784);
    check_rules(
        &records("attribution_touches.csv"),
        &records("attribution_conversions.csv"),
        &records("attribution_expected_summary.csv"),
        &weights,
    );
    if let Some(whole) = Reference::extended("attribution_rules") {
        let ours = check_rules(
            &whole.get("touches.csv"),
            &whole.get("conversions.csv"),
            &whole.get("expected_rules_summary.csv"),
            &whole.get("expected_rules_touch_weights.csv"),
        );
        // What a conversion costs and what spend brings are quotients of these sums.
        for record in whole.get("expected_rules_roas.csv") {
            let key = ["config", "model", "level", "key"].map(|column| record.text(column).to_owned());
            let ((conversions, value_micros), spend) = (ours[&key], record.float("spend"));
            if conversions != 0.0 {
                assert_close(spend / conversions, record.float("cpa"), 1e-9, &format!("{key:?} cpa"));
            }
            assert_close(value_micros as f64 / 1e6 / spend, record.float("roas"), 1e-6, &format!("{key:?} roas"));
        }
    }
}

const DP6_RULES: [(&str, CreditRule); 8] = [
    ("first_click", CreditRule::First),
    ("last_click", CreditRule::Last),
    ("last_click_non_direct", CreditRule::LastNonDirect),
    ("linear", CreditRule::Linear),
    ("position_based_0.4_0.2_0.4", position(0.4, 0.2, 0.4, OfTwo::SplitMiddle)),
    ("position_based_0.3_0.3_0.4", position(0.3, 0.3, 0.4, OfTwo::SplitMiddle)),
    ("time_decay0.5_freq24", CreditRule::SteppedDecay { step_us: 24 * 3_600 * SECOND_US, kept_ratio: 0.5 }),
    ("time_decay0.6_freq7", CreditRule::SteppedDecay { step_us: 7 * 3_600 * SECOND_US, kept_ratio: 0.6 }),
];

/// A journey of DP6's: channels, and for each how many hours before the conversion, which is at 0.
fn dp6_path(channels: &[&str], hours: &str, codes: &mut Codes) -> Vec<MarketingTouch> {
    let hours = hours.split(" > ").map(|hours| hours.parse::<f64>().unwrap());
    let touches = channels.iter().zip(hours).zip(0..);
    let path = touches.map(|((channel, hours), index)| MarketingTouch {
        touch: Touch { time_us: -((hours * 3.6e9).round() as i64), index },
        kind: TouchKind::Click,
        channel: codes.of((*channel).to_owned()),
        mark: 0,
        is_direct: *channel == "direct",
        is_paid: false,
    });
    path.collect()
}

#[test]
fn weights_of_each_journey_are_those_of_dp6() {
    let mut checked_count = 0;
    for reference in Reference::all("attribution_shapley") {
        let mut codes = Codes::default();
        for journey in reference.get("expected_mam_per_journey_value_first400.csv") {
            if journey.text("converted_agg") != "True" {
                continue;
            }
            let channels: Vec<&str> = journey.text("channels_agg").split(" > ").collect();
            let path = dp6_path(&channels, journey.text("time_till_conv_agg"), &mut codes);
            for (name, rule) in DP6_RULES {
                // Among touches that are all direct DP6 takes the first here and the last in its sums: the sums are right.
                if rule == CreditRule::LastNonDirect && path.iter().all(|touch| touch.is_direct) {
                    continue;
                }
                let weights = rule.weights(&path, &Conversion::new(0, 0));
                let theirs = journey.text(&format!("attribution_{name}_heuristic")).split(" > ");
                for (weight, theirs) in weights.iter().zip(theirs) {
                    let ours = weight * journey.float("conversion_value");
                    assert_close(
                        ours,
                        theirs.parse().unwrap(),
                        1e-9,
                        &format!("{name} {}", journey.text("journey_id")),
                    );
                    checked_count += 1;
                }
            }
        }
    }
    assert!(500 < checked_count, "{checked_count}");
}

#[test]
fn sums_by_channel_are_those_of_dp6() {
    let Some(whole) = Reference::extended("attribution_shapley") else { return };
    let mut codes = Codes::default();
    let mut sums: HashMap<(&str, String), [f64; 2]> = HashMap::new();
    let journeys = whole.get("journeys.csv");
    for journey in journeys.iter().filter(|journey| journey.text("converted") == "1") {
        let channels: Vec<&str> = journey.text("channels").split(" > ").collect();
        let path = dp6_path(&channels, journey.text("hours_till_conv"), &mut codes);
        for (name, rule) in DP6_RULES {
            for (channel, weight) in channels.iter().zip(rule.weights(&path, &Conversion::new(0, 0))) {
                let sum = sums.entry((name, (*channel).to_owned())).or_default();
                sum[0] += weight;
                sum[1] += weight * journey.float("value");
            }
        }
    }
    for (at, tag) in ["count", "value"].iter().enumerate() {
        for record in whole.get(&format!("expected_mam_heuristics_{tag}.csv")) {
            for (name, _) in DP6_RULES {
                let ours = sums[&(name, record.text("channels").to_owned())][at];
                assert_close(ours, record.float(&format!("attribution_{name}_heuristic")), 1e-9, name);
            }
        }
    }
}
