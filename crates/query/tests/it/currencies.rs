//! Amounts of several currencies, which no function adds.

use tributary_query::{Engine, QuerySettings};
use tributary_schemas::{Event, EventKind, Money};

use crate::world::{self, HOUR_US, MARCH_US, World};

/// Ada buys in euros and pounds, Bob in euros; Cyd only looks, at what is worth something in dollars.
async fn planted() -> (World, Engine) {
    let worth = |person: &str, kind: EventKind, amount: &str, currency: &str| {
        let event = world::event(&format!("{person}-{amount}"), person, kind, MARCH_US + HOUR_US);
        let value = Some(Money::parse(amount).unwrap());
        Event { value, currency: Some(currency.to_owned()), channel: Some(person.to_owned()), ..event }
    };
    let world = World::empty().await;
    let events = [
        worth("ada", EventKind::Conversion, "10", "EUR"),
        worth("ada", EventKind::Conversion, "0", "USD"),
        worth("ada", EventKind::Conversion, "7", "GBP"),
        worth("bob", EventKind::Conversion, "5", "EUR"),
        worth("cyd", EventKind::Page, "3", "USD"),
    ];
    world.plant(0, &events).await;
    let engine = world.engine(QuerySettings::default());
    (world, engine)
}

async fn rows(engine: &Engine, sql: &str) -> Vec<String> {
    let answer = engine.query(sql).await.unwrap();
    world::cells(&answer, "NULL").into_iter().map(|row| row.join(" ")).collect()
}

#[tokio::test]
async fn a_metric_refuses_amounts_of_several_currencies_and_says_what_to_do() {
    let (_world, engine) = planted().await;
    for measure in ["measure => sum(value)", "numerator => sum(value) / 2, denominator => count(*)"] {
        let error = engine.query(&format!("SELECT * FROM metric({measure})")).await.unwrap_err().to_string();
        assert!(error.contains("EUR and USD among them"), "{error}");
        for way in ["filter => currency = 'EUR'", "by => currency", "sum(value_reporting)"] {
            assert!(error.contains(way), "{way}: {error}");
        }
    }
    let by_currency = "SELECT currency, value FROM metric(measure => sum(value), by => currency)";
    assert_eq!(rows(&engine, by_currency).await, ["EUR 15.000000", "GBP 7.000000", "USD 3.000000"]);
    let in_euro = "SELECT value FROM metric(measure => sum(value), filter => currency = 'EUR')";
    assert_eq!(rows(&engine, in_euro).await, ["15.000000"]);
    // The measure's own condition chooses as well.
    let of_measure = "SELECT value FROM metric(measure => sum(value) FILTER (WHERE currency = 'GBP'))";
    assert_eq!(rows(&engine, of_measure).await, ["7.000000"]);
    // Nothing is added up where amounts are only counted.
    assert_eq!(rows(&engine, "SELECT value FROM metric(measure => count(value))").await, ["5"]);
    let error = engine.query("SELECT * FROM metric(measure => sum(value), by => channel)").await.unwrap_err();
    assert!(error.to_string().contains("EUR and GBP among them"), "{error}");
}

#[tokio::test]
async fn retention_tells_no_value_of_several_currencies_and_counts_as_ever() {
    let (_world, engine) = planted().await;
    let asked = |more: &str| {
        format!(
            "SELECT breakdown, cohort_units, units, value, cumulative_value FROM retention(breakdown => channel, period => 'day' {more})"
        )
    };
    let told = rows(&engine, &asked("")).await;
    assert_eq!(told, ["ada 1 1 NULL NULL", "bob 1 1 5.000000 5.000000", "cyd 1 1 3.000000 3.000000"]);
    let in_euro = rows(&engine, &asked(", starts => currency = 'EUR'")).await;
    assert_eq!(in_euro, ["ada 1 1 10.000000 10.000000", "bob 1 1 5.000000 5.000000"]);
    let all = "SELECT units, value FROM retention(period => 'day')";
    assert_eq!(rows(&engine, all).await, ["3 NULL"]);
    let overall =
        "SELECT eligible FROM (SELECT cohort_units AS eligible FROM retention_overall(period => 'day', periods => 0))";
    assert_eq!(rows(&engine, overall).await.len(), 1);
}

#[tokio::test]
async fn rfm_tells_no_money_of_purchases_in_several_currencies() {
    let (_world, engine) = planted().await;
    let counts = "SELECT count(*) > 0 AND count(segment) = count(*), count(monetary), count(monetary_score) FROM rfm()";
    assert_eq!(rows(&engine, counts).await, ["true 0 0"]);
    let in_euro = "SELECT unit, monetary FROM rfm(purchase => event_kind = 'conversion' AND currency = 'EUR')";
    let told = rows(&engine, in_euro).await;
    assert!(told.len() == 2 && told[0].ends_with("10.000000") && told[1].ends_with("5.000000"), "{told:?}");
    // Dollars were no purchase, and what came later is not asked about.
    let before = "SELECT count(*) FROM rfm(purchase => currency IN ('EUR', 'GBP'), as_of => '2026-03-01')";
    assert_eq!(rows(&engine, before).await, ["0"]);
}
