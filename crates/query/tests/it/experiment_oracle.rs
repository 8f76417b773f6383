//! Experiments against plain SQL beside them, on random data: who is counted, and with what.

use tributary_query::{Engine, QuerySettings};
use tributary_schemas::{EventKind, Exposure, Money};

use crate::world::{self, DAY_US, HOUR_US, MARCH_US, World};

/// Xorshift: enough for data, the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound.unsigned_abs()).cast_signed()
    }
}

fn shown(experiment: &str, variant: &str, probability: Option<f64>) -> Exposure {
    Exposure { experiment: experiment.to_owned(), variant: variant.to_owned(), decision_id: None, probability }
}

/// Three hundred units over two weeks, with equal times, exposures beside others on one event, before, between and after what
/// they do; one in ten sees several variants. In five commits.
pub(crate) async fn thrown() -> World {
    use EventKind::{Click, Conversion, Page};
    let world = World::empty().await;
    let mut dice = Dice(20_260_302);
    let mut log_offset = 0;
    for commit in 0..5 {
        let mut events = Vec::new();
        for index in 0..1_200 {
            let unit = dice.below(300);
            let kind = [Page, Click, Conversion][usize::try_from(dice.below(3)).unwrap()];
            // On the hour, so that many come at one time.
            let time_us = MARCH_US + dice.below(14 * 24) * HOUR_US;
            let mut event = world::event(&format!("{commit}-{index}"), &format!("u{unit}"), kind, time_us);
            event.country = Some(["DE", "FR", "US"][usize::try_from(unit % 3).unwrap()].to_owned());
            if kind == Conversion && dice.below(4) < 3 {
                event.value = Some(Money::parse(&format!("{}.{:02}", dice.below(90), dice.below(100))).unwrap());
                event.currency = Some("EUR".to_owned());
            }
            if dice.below(3) == 0 {
                let of_unit = ["a", "b", "c"][usize::try_from(unit / 3 % 3).unwrap()];
                let variant =
                    if unit % 10 == 0 { ["a", "b"][usize::try_from(dice.below(2)).unwrap()] } else { of_unit };
                event.exposures =
                    vec![shown("other", "a", None), shown("shade", variant, Some(0.3 + 0.001 * unit as f64))];
                if unit % 70 == 0 {
                    event.exposures.push(shown("shade", "b", None));
                }
            }
            events.push(event);
        }
        world.plant(log_offset, &events).await;
        log_offset += 1_200;
    }
    world
}

pub(crate) async fn rows(engine: &Engine, sql: &str) -> Vec<Vec<String>> {
    let answer = engine.query(sql).await.unwrap_or_else(|error| panic!("{error}\n{sql}"));
    world::cells(&answer, "NULL")
}

/// First exposure, and whether there was another variant, said the slow way.
const PERSONS: &str = "person AS (
    SELECT person_id, first_value(variant ORDER BY event_time_us, log_offset, variant) AS variant,
        min(event_time_us) AS exposed_us, min(variant) <> max(variant) AS is_crossover
    FROM (
        SELECT person_id, event_time_us, log_offset, shown['variant'] AS variant
        FROM (SELECT person_id, event_time_us, log_offset, unnest(exposures) AS shown
            FROM person_events WHERE exposures IS NOT NULL) AS seen
        WHERE shown['experiment'] = 'shade'
    ) AS exposure
    GROUP BY person_id
)";

/// * `low`, `high`: after the exposure, in microseconds.
fn slow(value: &str, low: i64, high: i64) -> String {
    format!(
        "WITH {PERSONS}
        SELECT person.person_id AS unit, min(variant) AS variant, min(exposed_us) AS exposed_time_us,
            bool_or(is_crossover) AS is_crossover,
            CASE WHEN NOT bool_or(is_crossover) THEN {value} END AS value
        FROM person LEFT JOIN person_events AS event ON event.person_id = person.person_id
            AND exposed_us + {low} <= event.event_time_us AND event.event_time_us <= exposed_us + {high}
        GROUP BY person.person_id ORDER BY unit"
    )
}

const MICROS: &str = "CAST(sum(CASE WHEN event_kind = 'conversion' THEN event.value END) AS DOUBLE)";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_counted_with_what_is_what_plain_sql_says() {
    let world = thrown().await;
    let far = 10_000 * DAY_US;
    let flag = |condition: &str| format!("CAST(coalesce(max(CASE WHEN {condition} THEN 1 END), 0) AS DOUBLE)");
    let ratio = "CAST(count(*) FILTER (WHERE event_kind = 'click') AS DOUBLE)
        / nullif(count(*) FILTER (WHERE event_kind = 'page'), 0)";
    let cases = [
        ("metric => 'conversion'", slow(&flag("event_kind = 'conversion'"), 0, far)),
        (
            "metric => 'conversion', window => '3 days', delay => '1 day'",
            slow(&flag("event_kind = 'conversion'"), DAY_US, 4 * DAY_US),
        ),
        ("metric => 'value', window => '2 days'", slow(&format!("coalesce({MICROS}, 0)"), 0, 2 * DAY_US)),
        (
            "metric => 'count', conversion => event_kind <> 'page'",
            slow("CAST(count(CASE WHEN event_kind <> 'page' THEN 1 END) AS DOUBLE)", 0, far),
        ),
        (
            "metric => 'ratio', numerator => event_kind = 'click', denominator => 'event_kind = ''page'''",
            slow(ratio, 0, far),
        ),
        (
            "metric => 'retention', return_days => [2, 4], returns => event_kind IN ('page', 'click')",
            slow(&flag("event_kind IN ('page', 'click')"), 2 * DAY_US, 4 * DAY_US - 1),
        ),
    ];
    for threads in [1, 2, 5] {
        let engine = world.engine(QuerySettings { threads, ..QuerySettings::default() });
        for (arguments, slow) in &cases {
            let ours = format!(
                "SELECT unit, variant, exposed_time_us, is_crossover, value
                FROM experiment_actors(name => 'shade', {arguments}) ORDER BY unit"
            );
            let found = rows(&engine, &ours).await;
            assert!(250 < found.len() && found.iter().any(|row| row[3] == "true"), "{}", found.len());
            assert_eq!(found, rows(&engine, slow).await, "{threads} threads, {arguments}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn covariates_activation_funnels_and_open_windows_are_what_plain_sql_says() {
    let world = thrown().await;
    let engine = world.engine(QuerySettings { threads: 2, ..QuerySettings::default() });
    // What came in the three days before, to the microsecond before the exposure.
    let before = slow(&format!("coalesce({MICROS}, 0)"), -3 * DAY_US, -1).replace("AS value\n", "AS value_before\n");
    let ours = "SELECT unit, variant, exposed_time_us, is_crossover, value_before
        FROM experiment_actors(name => 'shade', metric => 'value', cuped => '3 days') ORDER BY unit";
    assert_eq!(rows(&engine, ours).await, rows(&engine, &before).await);

    // A click at or after the exposure is what makes a unit count, from then on.
    let activated = format!(
        "WITH {PERSONS}, active AS (
            SELECT person.person_id, min(variant) AS variant, min(exposed_us) AS exposed_us,
                bool_or(is_crossover) AS is_crossover, min(event_time_us) AS starts_us
            FROM person JOIN person_events AS event ON event.person_id = person.person_id
                AND exposed_us <= event_time_us AND event_kind = 'click'
            GROUP BY person.person_id
        )
        SELECT active.person_id, min(variant), min(exposed_us), bool_or(is_crossover),
            CASE WHEN NOT bool_or(is_crossover) THEN CAST(count(event.event_id) AS DOUBLE) END
        FROM active LEFT JOIN person_events AS event ON event.person_id = active.person_id
            AND starts_us <= event_time_us AND event_kind = 'conversion'
        GROUP BY active.person_id ORDER BY 1"
    );
    let ours = "SELECT unit, variant, exposed_time_us, is_crossover, value
        FROM experiment_actors(name => 'shade', metric => 'count', activation => event_kind = 'click') ORDER BY unit";
    let found = rows(&engine, ours).await;
    assert!(found.len() < rows(&engine, "SELECT unit FROM experiment_actors(name => 'shade')").await.len());
    assert_eq!(found, rows(&engine, &activated).await);

    // Two steps in the order of time and log, from the exposure on.
    let funnel = format!(
        "WITH {PERSONS}, through AS (
            SELECT DISTINCT person.person_id FROM person
            JOIN person_events AS one ON one.person_id = person.person_id AND one.event_kind = 'page'
                AND exposed_us <= one.event_time_us
            JOIN person_events AS two ON two.person_id = person.person_id AND two.event_kind = 'conversion'
                AND two.event_time_us <= exposed_us + 2 * {DAY_US}
                AND (one.event_time_us < two.event_time_us
                    OR one.event_time_us = two.event_time_us AND one.log_offset < two.log_offset)
        )
        SELECT person.person_id, variant, CAST(CASE WHEN through.person_id IS NULL THEN 0 ELSE 1 END AS DOUBLE)
        FROM person LEFT JOIN through ON through.person_id = person.person_id
        WHERE NOT is_crossover ORDER BY 1"
    );
    let ours =
        "SELECT unit, variant, value FROM experiment_actors(name => 'shade', metric => 'funnel', window => '2 days',
        steps => [event_kind = 'page', event_kind = 'conversion']) WHERE NOT is_crossover ORDER BY unit";
    assert_eq!(rows(&engine, ours).await, rows(&engine, &funnel).await);

    // Whose three days are not over on the last day there is.
    let open = format!(
        "WITH {PERSONS} SELECT person_id, exposed_us + 3 * {DAY_US} > (SELECT max(event_time_us) FROM events)
        FROM person WHERE NOT is_crossover ORDER BY 1"
    );
    let ours = "SELECT unit, is_in_progress FROM experiment_actors(name => 'shade', window => '3 days',
        in_progress => 'leave_out') WHERE NOT is_crossover ORDER BY unit";
    let found = rows(&engine, ours).await;
    assert!(found.iter().any(|row| row[1] == "true") && found.iter().any(|row| row[1] == "false"));
    assert_eq!(found, rows(&engine, &open).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_and_means_are_those_of_the_units_one_by_one() {
    let world = thrown().await;
    let engine = world.engine(QuerySettings { threads: 2, ..QuerySettings::default() });
    let metrics = "metric => ['conversion', 'value', 'count', 'ratio'],
        numerator => value, denominator => event_kind = 'conversion', window => '5 days', in_progress => 'leave_out'";
    let ours = format!(
        "SELECT metric, variant, persons, crossover_persons, in_progress_persons, round(metric_value, 9)
        FROM experiment(name => 'shade', {metrics}) ORDER BY metric, variant"
    );
    let slow = format!(
        "SELECT metric, variant, count(*) FILTER (WHERE NOT is_crossover AND NOT is_in_progress) AS persons,
            count(*) FILTER (WHERE is_crossover) AS crossover_persons,
            count(*) FILTER (WHERE is_in_progress) AS in_progress_persons,
            round(CASE WHEN metric = 'ratio' THEN sum(numerator) / sum(denominator) ELSE avg(value) END, 9)
        FROM experiment_actors(name => 'shade', {metrics}) GROUP BY metric, variant ORDER BY metric, variant"
    );
    let found = rows(&engine, &ours).await;
    assert_eq!(found.len(), 12);
    assert_eq!(found, rows(&engine, &slow).await);

    // Differences with their errors, by Welch, from the moments of plain SQL.
    let slow = "SELECT treatment.variant,
            round(treatment.mean - control.mean, 9) AS difference,
            round((treatment.mean - control.mean)
                / sqrt(treatment.variance / treatment.units + control.variance / control.units), 6) AS t
        FROM (SELECT variant, avg(value) AS mean, var_samp(value) AS variance, count(value) AS units
            FROM experiment_actors(name => 'shade', metric => 'value') GROUP BY variant) AS treatment,
            (SELECT avg(value) AS mean, var_samp(value) AS variance, count(value) AS units
            FROM experiment_actors(name => 'shade', metric => 'value') WHERE variant = 'a') AS control
        WHERE treatment.variant <> 'a' ORDER BY 1";
    // Of a 68 % interval of hundreds of units half the width is an error; the exact factor cancels in the ratio.
    let ours = "SELECT variant, round(difference, 9), difference / (difference_high - difference_low) AS t
        FROM experiment(name => 'shade', metric => 'value') WHERE NOT is_control ORDER BY 1";
    let (found, slow) = (rows(&engine, ours).await, rows(&engine, slow).await);
    let number = |cell: &str| cell.parse::<f64>().unwrap();
    for (ours, slow) in found.iter().zip(&slow) {
        assert_eq!(ours[..2], slow[..2]);
        // Twice the quantile of Student's t at 2.5 %, of 150 to 400 degrees of freedom.
        let factor = number(&slow[2]) / number(&ours[2]);
        assert!((3.93..3.96).contains(&factor), "{factor}");
    }
    assert_eq!(found.len(), 2);
}

/// Every argument that changes what is gathered, at once.
const ALL: &str = "name => 'shade', metric => ['conversion', 'value', 'count', 'ratio', 'retention'],
    numerator => value, denominator => event_kind = 'conversion', cuped => '3 days', strata => country,
    by => CASE WHEN country = 'US' THEN 'US' ELSE 'Europe' END, winsorize => 0.9, correction => 'holm', units_min => 5";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_is_the_same_to_the_bit_for_any_number_of_threads() {
    let world = thrown().await;
    let questions = [
        format!("SELECT * FROM experiment({ALL})"),
        format!("SELECT * FROM experiment({ALL}, statistics => 'sequential')"),
        "SELECT * FROM experiment(name => 'shade', metric => ['quantile', 'funnel'], level => 0.9,
            steps => [event_kind = 'page', event_kind = 'conversion'], by => country)"
            .to_owned(),
        "SELECT * FROM experiment(name => 'shade', metric => ['conversion', 'value'], statistics => 'bayes')"
            .to_owned(),
        "SELECT * FROM experiment_days(name => 'shade', metric => ['conversion', 'value'], early_days => 2, days => 5)"
            .to_owned(),
        "SELECT * FROM experiment_actors(name => 'shade', metric => ['conversion', 'value'])".to_owned(),
    ];
    for question in questions {
        let mut answers = Vec::new();
        for threads in [1, 2, 5] {
            let engine = world.engine(QuerySettings { threads, ..QuerySettings::default() });
            answers.push(rows(&engine, &question).await);
        }
        assert!(1 < answers[0].len(), "{question}");
        assert_eq!(answers[0], answers[1], "{question}");
        assert_eq!(answers[0], answers[2], "{question}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn days_since_exposure_are_what_plain_sql_says() {
    let world = thrown().await;
    let engine = world.engine(QuerySettings { threads: 2, ..QuerySettings::default() });
    let ours = "SELECT day, control_persons, persons, round(control_value, 9), round(metric_value, 9)
        FROM experiment_days(name => 'shade', metric => 'count', control => 'a', early_days => 2, days => 6)
        WHERE variant = 'b' ORDER BY day";
    let slow = format!(
        "WITH {PERSONS}, unit AS (
            SELECT person.person_id, min(variant) AS variant, day,
                CAST(count(event.event_id) AS DOUBLE) AS amount
            FROM (SELECT *, unnest([0, 1, 2, 3, 4, 5]) AS day FROM person WHERE NOT is_crossover) AS person
            LEFT JOIN person_events AS event ON event.person_id = person.person_id AND event_kind = 'conversion'
                AND exposed_us + day * {DAY_US} <= event_time_us AND event_time_us < exposed_us + (day + 1) * {DAY_US}
            WHERE exposed_us + (day + 1) * {DAY_US} <= (SELECT max(event_time_us) + 1 FROM events)
            GROUP BY person.person_id, day
        )
        SELECT day, count(*) FILTER (WHERE variant = 'a'), count(*) FILTER (WHERE variant = 'b'),
            round(avg(amount) FILTER (WHERE variant = 'a'), 9), round(avg(amount) FILTER (WHERE variant = 'b'), 9)
        FROM unit GROUP BY day ORDER BY day"
    );
    let found = rows(&engine, ours).await;
    assert_eq!(found.len(), 6);
    assert_eq!(found, rows(&engine, &slow).await);
    // Late days less early ones, each unit with itself.
    let change =
        "SELECT DISTINCT round(change, 9) FROM experiment_days(name => 'shade', metric => 'count', control => 'a',
        early_days => 2, days => 6) WHERE variant = 'b'";
    let slow = format!(
        "WITH {PERSONS}, unit AS (
            SELECT person.person_id, min(variant) AS variant,
                count(event.event_id) FILTER (WHERE exposed_us + 2 * {DAY_US} <= event_time_us) / 4.0
                - count(event.event_id) FILTER (WHERE event_time_us < exposed_us + 2 * {DAY_US}) / 2.0 AS change
            FROM person LEFT JOIN person_events AS event ON event.person_id = person.person_id
                AND event_kind = 'conversion'
                AND exposed_us <= event_time_us AND event_time_us < exposed_us + 6 * {DAY_US}
            WHERE NOT is_crossover AND exposed_us + 6 * {DAY_US} <= (SELECT max(event_time_us) + 1 FROM events)
            GROUP BY person.person_id
        )
        SELECT round(avg(change) FILTER (WHERE variant = 'b') - avg(change) FILTER (WHERE variant = 'a'), 9) FROM unit"
    );
    assert_eq!(rows(&engine, change).await, rows(&engine, &slow).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slices_beyond_the_most_are_joined_and_nobody_is_lost() {
    let world = thrown().await;
    let engine = world.engine(QuerySettings { threads: 2, ..QuerySettings::default() });
    let sliced = |by: &str| {
        format!(
            "SELECT slice, CAST(sum(persons) AS BIGINT) AS persons FROM experiment(name => 'shade', by => {by}, slices_max => 2,
            units_min => 1) GROUP BY slice ORDER BY persons DESC, slice"
        )
    };
    let found = rows(&engine, &sliced("country")).await;
    let slow = format!(
        "WITH {PERSONS}, sized AS (
            SELECT event.country, count(DISTINCT person.person_id) AS persons
            FROM person JOIN person_events AS event ON event.person_id = person.person_id
            WHERE NOT is_crossover GROUP BY event.country ORDER BY persons DESC, event.country
        )
        SELECT max(persons), CAST(sum(persons) - max(persons) AS BIGINT) FROM sized"
    );
    let sizes = &rows(&engine, &slow).await[0];
    assert_eq!(found.len(), 2);
    let by_name = |other: bool| found.iter().find(|row| (row[0] == "(other)") == other).unwrap()[1].clone();
    assert_eq!([by_name(false), by_name(true)], [sizes[0].clone(), sizes[1].clone()]);
    let found = rows(&engine, &sliced("CASE WHEN true THEN 'all' END")).await;
    let all = sizes.iter().map(|size| size.parse::<u64>().unwrap()).sum::<u64>();
    assert_eq!(found, [["all".to_owned(), all.to_string()]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_unit_keeps_is_asked_of_the_pool() {
    // Values one by one: more than 16 MiB of them with what sorting takes.
    let world = World::empty().await;
    let mut events = Vec::new();
    for unit in 0..60_000_i64 {
        let mut event = world::event(&format!("e{unit}"), &format!("u{unit}"), EventKind::Conversion, MARCH_US + unit);
        event.exposures = vec![shown("shade", if unit % 2 == 0 { "a" } else { "b" }, None)];
        event.value = Some(Money::parse(&format!("{}.5", unit % 1_000)).unwrap());
        event.currency = Some("EUR".to_owned());
        events.push(event);
    }
    world.plant(0, &events).await;
    let settings = |memory_bytes_max| QuerySettings { memory_bytes_max, threads: 2, ..QuerySettings::default() };
    let sql = "SELECT unit FROM experiment_actors(name => 'shade', metric => ['value', 'count', 'conversion'])";
    let error = world.engine(settings(24 << 20)).query(sql).await.unwrap_err();
    assert!(error.to_string().contains("memory"), "{error}");
    // Sums are small, whatever the number of units.
    let sql = "SELECT persons FROM experiment(name => 'shade', metric => ['value', 'count', 'conversion'])";
    assert_eq!(rows(&world.engine(settings(24 << 20)), sql).await[0], ["30000"]);
}
