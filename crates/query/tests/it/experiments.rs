//! Experiments whose truth is planted: splits that are uneven, change, or cannot be known; values in several currencies.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::Float64Type;
use tributary_query::{Engine, QuerySettings};
use tributary_schemas::{Event, EventKind, Exposure, Money};

use crate::world::{self, HOUR_US, MARCH_US, World};

const EXPERIMENT: &str = "shade";

/// People shown one variant, each once.
struct Shown {
    variant: &'static str,
    probability: Option<f64>,
    persons: usize,
}

fn shown(variant: &'static str, probability: impl Into<Option<f64>>, persons: usize) -> Shown {
    Shown { variant, probability: probability.into(), persons }
}

fn exposed(person: &str, variant: &str, probability: Option<f64>, time_us: i64) -> Event {
    let exposure =
        Exposure { experiment: EXPERIMENT.to_owned(), variant: variant.to_owned(), decision_id: None, probability };
    let id = format!("see-{person}-{variant}");
    Event { exposures: vec![exposure], ..world::event(&id, person, EventKind::Page, time_us) }
}

fn bought(person: &str, amount: &str, currency: Option<&str>) -> Event {
    let event = world::event(&format!("buy-{person}-{amount}"), person, EventKind::Conversion, MARCH_US + HOUR_US);
    Event { value: Some(Money::parse(amount).unwrap()), currency: currency.map(str::to_owned), ..event }
}

/// Every tenth person buys.
async fn planted(groups: &[Shown], more: Vec<Event>) -> (World, Engine) {
    let world = World::empty().await;
    let mut events = more;
    for (group, shown) in groups.iter().enumerate() {
        for number in 0..shown.persons {
            let person = format!("p{group}-{number}");
            events.push(exposed(&person, shown.variant, shown.probability, MARCH_US));
            if number % 10 == 0 {
                events.push(bought(&person, "10", Some("EUR")));
            }
        }
    }
    world.plant(0, &events).await;
    let engine = world.engine(QuerySettings::default());
    (world, engine)
}

/// `srm_p_value`, and the verdict and reasons of the last treatment.
async fn split(engine: &Engine, arguments: &str) -> (Option<f64>, String, String) {
    let sql = format!("SELECT srm_p_value, verdict, reasons FROM experiment(name => '{EXPERIMENT}' {arguments})");
    let answer = engine.query(&sql).await.unwrap();
    let batch = answer.batches.last().unwrap();
    let last = batch.num_rows() - 1;
    let p_value = batch.column(0).as_primitive::<Float64Type>();
    let text = |column: usize| batch.column(column).as_string::<i32>().value(last).to_owned();
    (p_value.is_valid(last).then(|| p_value.value(last)), text(1), text(2))
}

const BROKEN: &str = "split is not as planned: do not trust";

#[tokio::test]
async fn an_uneven_split_is_as_planned_once_the_plan_is_stated() {
    let groups = [shown("control", None, 900), shown("blue", None, 100)];
    let (_world, engine) = planted(&groups, Vec::new()).await;
    let (p_value, verdict, _) = split(&engine, "").await;
    assert!(p_value.unwrap() < 1e-9);
    assert_eq!(verdict, BROKEN, "nothing says that it was not to be even");
    let (p_value, verdict, _) = split(&engine, ", split => 'control=90, blue=10'").await;
    assert!(p_value.unwrap() > 0.999);
    assert_eq!(verdict, "no clear difference");
}

#[tokio::test]
async fn a_ramp_is_as_planned_by_the_chance_each_person_had() {
    // A thousand at 90 to 10, then a thousand at even odds.
    let mut groups = vec![shown("a", 0.9, 900), shown("b", 0.1, 100), shown("a", 0.5, 500), shown("b", 0.5, 500)];
    let (_world, engine) = planted(&groups, Vec::new()).await;
    let (p_value, verdict, _) = split(&engine, "").await;
    assert!(p_value.unwrap() > 0.999, "{p_value:?}");
    assert_eq!(verdict, "no clear difference");
    // What is stated wins over what was recorded.
    assert_eq!(split(&engine, ", split => 'a=1, b=1'").await.1, BROKEN);
    // 300 of those promised to a in the first phase came to b: 1,100 of 2,000, with 1,400 expected.
    groups[0].persons = 600;
    groups[1].persons = 400;
    let (_world, engine) = planted(&groups, Vec::new()).await;
    assert_eq!(split(&engine, "").await.1, BROKEN);
}

#[tokio::test]
async fn one_probability_that_is_missing_leaves_equal_parts() {
    let mut groups = vec![shown("a", 0.9, 300), shown("b", 0.1, 299), shown("b", None, 1)];
    let (_world, engine) = planted(&groups, Vec::new()).await;
    assert!(split(&engine, "").await.0.unwrap() > 0.999);
    groups[2].probability = Some(0.1);
    let (_world, engine) = planted(&groups, Vec::new()).await;
    assert!(split(&engine, "").await.0.unwrap() < 1e-9, "with all of them the plan is 90 to 10");
}

#[tokio::test]
async fn who_saw_both_is_in_neither_the_counts_nor_the_plan() {
    // Without probabilities, which would leave equal parts if they were looked at.
    let both = (0..50).flat_map(|number| {
        let person = format!("both-{number}");
        [exposed(&person, "a", None, MARCH_US), exposed(&person, "b", None, MARCH_US + 1)]
    });
    let groups = [shown("a", 0.9, 900), shown("b", 0.1, 100)];
    let (_world, engine) = planted(&groups, both.collect()).await;
    let (p_value, ..) = split(&engine, "").await;
    assert!(p_value.unwrap() > 0.999, "{p_value:?}");
}

#[tokio::test]
async fn three_arms_are_checked_where_their_chances_stay_and_said_to_be_unchecked_where_not() {
    let mut groups = vec![shown("a", 0.5, 500), shown("b", 0.3, 300), shown("c", 0.2, 200)];
    let (_world, engine) = planted(&groups, Vec::new()).await;
    let (p_value, verdict, _) = split(&engine, "").await;
    assert!(p_value.unwrap() > 0.999);
    assert_eq!(verdict, "no clear difference");
    groups.push(shown("a", 0.2, 100));
    let (_world, engine) = planted(&groups, Vec::new()).await;
    let (p_value, verdict, reasons) = split(&engine, "").await;
    assert_eq!((p_value, verdict.as_str()), (None, "no clear difference"));
    assert!(reasons.contains("the split is not checked: the recorded probabilities changed"), "{reasons}");
    // The plan may still be stated: 600, 300, 200.
    let (p_value, ..) = split(&engine, ", split => 'a=6, b=3, c=2'").await;
    assert!(p_value.unwrap() > 0.999);
}

#[tokio::test]
async fn values_of_several_currencies_are_refused_and_one_is_chosen_by_the_conversion() {
    let groups = [shown("a", 0.5, 200), shown("b", 0.5, 200)];
    let yen = vec![bought("p0-1", "10000", Some("JPY"))];
    let (_world, engine) = planted(&groups, yen).await;
    let value = format!("experiment(name => '{EXPERIMENT}', metric => 'value'");
    let error = engine.query(&format!("SELECT * FROM {value})")).await.unwrap_err().to_string();
    assert!(error.contains("EUR and JPY"), "{error}");
    assert!(error.contains("conversion => event_kind = 'conversion' AND currency = 'EUR'"), "{error}");
    let in_euro = "conversion => event_kind = 'conversion' AND currency = 'EUR'";
    let answer = engine.query(&format!("SELECT metric_value FROM {value}, {in_euro})")).await.unwrap();
    assert_eq!(answer.batches[0].column(0).as_primitive::<Float64Type>().values(), &[1.0, 1.0]);
    // How many bought does not ask in what.
    engine.query(&format!("SELECT * FROM experiment(name => '{EXPERIMENT}')")).await.unwrap();

    // An amount without a currency is not one of euros; who is not counted does not matter.
    let (_world, engine) = planted(&groups, vec![bought("p0-1", "10000", None)]).await;
    let error = engine.query(&format!("SELECT * FROM {value})")).await.unwrap_err().to_string();
    assert!(error.contains("EUR and XXX"), "{error}");
    let before = Event { event_time_us: MARCH_US - 1, ..bought("p0-1", "10000", Some("JPY")) };
    let (_world, engine) = planted(&groups, vec![before, bought("nobody", "10000", Some("JPY"))]).await;
    engine.query(&format!("SELECT * FROM {value})")).await.unwrap();
}

/// Two hundred units an arm over a fortnight; each does something on one day in five, and those of b once more a day while it
/// is new to them.
#[tokio::test]
async fn an_effect_that_wears_off_is_found_and_one_that_stays_is_none_of_novelty() {
    let day_us = 24 * HOUR_US;
    let world = World::empty().await;
    let mut events = Vec::new();
    let click = |person: &str, day: i64, hour: i64| {
        let id = format!("c-{person}-{day}-{hour}");
        world::event(&id, person, EventKind::Click, MARCH_US + day * day_us + hour * HOUR_US)
    };
    for number in 0..400_i64 {
        let person = format!("p{number}");
        let is_treated = number % 2 == 1;
        events.push(exposed(&person, if is_treated { "b" } else { "a" }, None, MARCH_US));
        for day in 0..14 {
            if (number / 2 + day) % 5 == 0 {
                events.push(click(&person, day, 1));
            }
            if is_treated && (day < 7 || (number / 2 + day) % 3 == 0) {
                events.push(click(&person, day, 2));
            }
        }
    }
    events.push(world::event("end", "nobody", EventKind::Click, MARCH_US + 14 * day_us));
    world.plant(0, &events).await;
    let engine = world.engine(QuerySettings::default());
    let ask = |filter: &str| {
        format!(
            "SELECT day, persons, difference, change, change_p_value, novelty FROM experiment_days(name => '{EXPERIMENT}',
                metric => 'count', conversion => event_kind = 'click', filter => {filter})"
        )
    };
    let found = crate::experiment_oracle::rows(&engine, &ask("true")).await;
    assert_eq!(found.len(), 14);
    let number = |cell: &str| cell.parse::<f64>().unwrap();
    assert!(found.iter().all(|row| row[1] == "200"));
    assert!((number(&found[0][2]) - 1.0).abs() < 1e-12, "one more a day: {:?}", found[0]);
    assert!((number(&found[13][3]) + 2.0 / 3.0).abs() < 0.02 && number(&found[13][4]) < 1e-9, "{:?}", found[13]);
    assert_eq!(found[13][5], "the effect of late days is worse: what was new wears off");
    // Without what wore off nothing changes.
    let stays = "exposures IS NOT NULL OR event_time_us % 86400000000 < 7200000000";
    let found = crate::experiment_oracle::rows(&engine, &ask(stays)).await;
    assert_eq!(found[0][5], "no change found");
}
