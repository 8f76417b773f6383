//! Six thousand users of a reference experiment, asked about in SQL: the numbers GrowthBook's engine returned.
//!
//! In:       `analytics/tests/data/experiments`: users one by one, and what was answered about them.
//! Promise:  from events through exposure, windows, covariates and strata to the interval, nothing is lost.
//! Not here: all cases of the statistics: `analytics/tests/it/experiment_gbstats.rs`.

use std::path::PathBuf;

use serde_json::Value;
use tributary_query::{Engine, QuerySettings};
use tributary_schemas::{Event, EventKind, Exposure, Money};

use crate::experiment_oracle::rows;
use crate::world::{self, DAY_US, HOUR_US, MARCH_US, World};

fn data(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../analytics/tests/data/experiments").join(file)
}

/// Each user's past, exposure and what came after, an event each; amounts that are no money in the properties.
async fn users() -> World {
    let world = World::empty().await;
    let text = std::fs::read_to_string(data("users.csv")).unwrap();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    let mut events = Vec::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |name: &str| cells[header.iter().position(|column| *column == name).unwrap()];
        let user = cell("user_id");
        let did = |name: &str, time_us: i64, prefix: &str| {
            let of = |column: &str| cell(&format!("{prefix}{column}")).to_owned();
            let device = format!("u{user}");
            let event = world::event(&format!("{name}-{user}"), &device, EventKind::Custom, time_us);
            Event {
                event_name: name.to_owned(),
                value: Some(Money::parse(&of("revenue")).unwrap()),
                currency: Some("EUR".to_owned()),
                properties: Some(format!(r#"{{"n":{},"converted":{}}}"#, of("sessions"), of("converted"))),
                ..event
            }
        };
        let exposure = Exposure {
            experiment: "reference".to_owned(),
            variant: cell("variation").to_owned(),
            decision_id: None,
            probability: None,
        };
        events.push(did("before", MARCH_US - 2 * DAY_US, "pre_"));
        events.push(Event {
            exposures: vec![exposure],
            country: Some(cell("country").to_owned()),
            device_class: Some(cell("device").to_owned()),
            ..world::event(&format!("see-{user}"), &format!("u{user}"), EventKind::Page, MARCH_US)
        });
        events.push(did("after", MARCH_US + HOUR_US, ""));
    }
    world.plant(0, &events).await;
    world
}

/// The arguments of a metric of the reference; `None` for one that is told otherwise here.
fn metric(name: &str) -> &'static str {
    match name {
        "mean_revenue" => "metric => 'value', conversion => event_kind = 'custom'",
        "cuped_revenue" => "metric => 'value', conversion => event_kind = 'custom', cuped => '7 days'",
        "cuped_sessions" => {
            "metric => 'value', conversion => event_kind = 'custom', cuped => '7 days',
            value => json_get_int(properties, 'n')"
        }
        "proportion_converted" => "metric => 'conversion', conversion => json_get_int(properties, 'converted') = 1",
        "cuped_proportion" => {
            "metric => 'conversion', conversion => json_get_int(properties, 'converted') = 1, cuped => '7 days'"
        }
        "ratio_revenue_per_session" => {
            "metric => 'ratio', numerator => value, denominator => json_get_int(properties, 'n')"
        }
        "cuped_ratio_revenue_per_session" => {
            // Nobody's denominator before is 0 there.
            "metric => 'ratio', numerator => value, cuped => '7 days',
            denominator => json_get_int(properties, 'n') + CASE WHEN event_name = 'before' THEN 1 ELSE 0 END"
        }
        other => panic!("no metric {other}"),
    }
}

struct Case<'a> {
    metric: &'a str,
    treatment: &'a str,
    test: &'a str,
    strata: Option<&'a str>,
    is_relative: bool,
    result: &'a Value,
}

impl<'a> Case<'a> {
    fn of(case: &'a Value) -> Self {
        Self {
            metric: case["metric"].as_str().unwrap(),
            treatment: case["treatment"].as_str().unwrap(),
            test: case["test"].as_str().unwrap(),
            strata: case["strata"].as_str(),
            is_relative: case["difference_type"] == "relative",
            result: &case["result"],
        }
    }

    fn statistics(&self) -> Option<&'static str> {
        let is_share = self.metric == "proportion_converted";
        match self.test {
            // Of a share ours is the pooled z test; and variances of shares in strata it takes over n.
            "two_sided" | "sequential_two_sided" | "bayes_proper" if is_share && self.strata.is_some() => None,
            "two_sided" if is_share => None,
            "two_sided" => Some("statistics => 'fixed'"),
            "sequential_two_sided" => Some("statistics => 'sequential'"),
            // It brings a relative prior to the metric's unit by the plain mean of control, also where there are strata.
            "bayes_proper" if self.strata.is_some() && !self.is_relative => None,
            "bayes_proper" => Some("statistics => 'bayes', prior => [0, 0.3]"),
            _ => None,
        }
    }

    fn tolerance(&self) -> f64 {
        // Covariances of shares with their past: over n there, over n - 1 here.
        match (self.metric, self.strata) {
            ("cuped_proportion", None) => 1e-4,
            ("cuped_proportion", Some(_)) => 1e-6,
            _ => 1e-9,
        }
    }
}

fn close(ours: &str, theirs: &Value, tolerance: f64, what: &str) {
    let (ours, theirs) = (ours.parse::<f64>().unwrap_or_else(|_| panic!("{what}: {ours}")), theirs.as_f64().unwrap());
    assert!((ours - theirs).abs() <= tolerance * theirs.abs().max(1.0), "{what}: {ours} is not {theirs}");
}

async fn check(engine: &Engine, case: &Case<'_>) -> bool {
    let Some(statistics) = case.statistics() else { return false };
    let strata = match case.strata {
        None => "NULL",
        Some("device") => "device_class",
        Some(column) => column,
    };
    let what = format!("{} {} {} by {strata}, relative {}", case.metric, case.treatment, case.test, case.is_relative);
    let sql = format!(
        "SELECT difference, difference_low, difference_high, relative_lift, relative_lift_low, relative_lift_high, p_value,
            chance_to_win, treatment_risk, control_risk
        FROM experiment(name => 'reference', {}, {statistics}, strata => {strata}) WHERE variant = '{}'",
        metric(case.metric),
        case.treatment
    );
    let row = &rows(engine, &sql).await[0];
    let tolerance = case.tolerance();
    let ours = if case.is_relative { &row[3..6] } else { &row[..3] };
    close(&ours[0], &case.result["expected"], tolerance, &what);
    close(&ours[1], &case.result["ci"][0], tolerance, &what);
    close(&ours[2], &case.result["ci"][1], tolerance, &what);
    if case.is_relative {
        // Tests and risks are of the difference here.
        return true;
    }
    if case.test == "bayes_proper" {
        close(&row[7], &case.result["chanceToWin"], tolerance, &what);
        close(&row[8], &case.result["risk"][1], tolerance, &what);
        close(&row[9], &case.result["risk"][0], tolerance, &what);
    } else {
        close(&row[6], &case.result["pValue"], tolerance, &what);
    }
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_reference_experiment_is_answered_in_sql_as_growthbook_answers_it() {
    let world = users().await;
    let engine = world.engine(QuerySettings { threads: 2, ..QuerySettings::default() });
    let text = std::fs::read_to_string(data("expected_gbstats_head.json")).unwrap();
    let expected: Value = serde_json::from_str(&text).unwrap();
    let mut checked = 0;
    for case in expected["cases"].as_array().unwrap() {
        checked += usize::from(check(&engine, &Case::of(case)).await);
    }
    assert_eq!(checked, 100, "cases of the reference that have the same meaning here");
}

/// gbstats 0.8.0 capped the revenue at the 95th percentile of what is not 0, over all users.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn winsorized_means_slices_and_units_are_those_of_gbstats() {
    let world = users().await;
    let engine = world.engine(QuerySettings { threads: 2, ..QuerySettings::default() });
    let json = |file: &str| -> Value { serde_json::from_str(&std::fs::read_to_string(data(file)).unwrap()).unwrap() };
    let expected = json("expected_gbstats.json");
    let sql = "SELECT variant, persons, metric_value, p_value FROM experiment(name => 'reference', metric => 'value',
        conversion => event_kind = 'custom', winsorize => 0.95, winsorize_of => 'nonzero')";
    let found = rows(&engine, sql).await;
    assert_eq!(found.iter().map(|row| row[0].as_str()).collect::<Vec<_>>(), ["control", "t1", "t2"]);
    for row in &found {
        let theirs = &expected["stats"][&row[0]]["winsorized_revenue_p95_nonzero"];
        assert_eq!(row[1], theirs["n"].to_string());
        let mean = theirs["sum"].as_f64().unwrap() / theirs["n"].as_f64().unwrap();
        close(&row[2], &Value::from(mean), 1e-9, &row[0]);
    }
    let of_case = |treatment: &str| {
        let cases = expected["cases"].as_array().unwrap();
        cases
            .iter()
            .find(|case| {
                case["metric"] == "winsorized_revenue_p95_nonzero"
                    && case["treatment"] == treatment
                    && case["test"] == "two_sided"
                    && case["difference_type"] == "absolute"
            })
            .unwrap()["result"]["p_value"]
            .clone()
    };
    close(&found[1][3], &of_case("t1"), 1e-9, "t1");
    close(&found[2][3], &of_case("t2"), 1e-9, "t2");

    // Each country by itself: units and sums.
    let dimensions = json("expected_gbstats_dimensions.json");
    let sql =
        "SELECT slice, variant, persons, persons * metric_value FROM experiment(name => 'reference', metric => 'value',
        conversion => event_kind = 'custom', by => country)";
    let found = rows(&engine, sql).await;
    let theirs = dimensions["rows"].as_array().unwrap();
    let mut met = 0;
    for row in &found {
        let Some(of) = theirs.iter().find(|of| of["dimension"] == row[0] && of["variation"] == row[1]) else {
            continue;
        };
        assert_eq!(row[2], of["users"].to_string());
        close(&row[3], &of["m0_main_sum"], 1e-9, &row[0]);
        met += 1;
    }
    assert_eq!(met, found.len());
}
