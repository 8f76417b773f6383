#![allow(clippy::unwrap_used)]

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::*;
use crate::question::Dialect;
use crate::statement;

fn read(text: &str) -> Result<Definitions, Vec<String>> {
    Definitions::of_texts(&[("shop.toml".to_owned(), text.to_owned())])
}

fn sql_of(definitions: &Definitions, kind: Kind, name: &str) -> String {
    definitions.all().iter().find(|it| it.kind == kind && it.name == name).unwrap().sql.clone()
}

const SHOP: &str = r#"
    [events.looked]
    condition = "event_kind = 'page'"
    [events.bought]
    condition = "event_kind = 'conversion' OR event('by_phone')"
    description = "Paid"
    [events.by_phone]
    condition = "event_name = 'Call'"

    [[channels]]
    name = "phone"
    condition = "event('by_phone')"
    [[channels]]
    name = "mail"
    condition = "utm_medium = 'email'"

    [segments.regulars]
    condition = "event('bought')"
    having = "count(*) >= 3"

    [metrics.revenue]
    measure = "sum(value)"
    filter = "event('bought') AND currency = 'EUR'"
    unit = "EUR"
    [funnels.checkout]
    steps = ["event('looked')", "event_kind = 'click'", "event('bought')"]
    window = "7 days"
    calendar_days = 3
"#;

#[test]
fn what_one_takes_from_others_is_written_out() {
    let shop = read(SHOP).unwrap();
    assert_eq!(sql_of(&shop, Kind::Event, "bought"), "event_kind = 'conversion' OR (event_name = 'Call')");
    assert_eq!(
        sql_of(&shop, Kind::Segment, "regulars"),
        "person_id IN (SELECT person_id FROM person_events WHERE \
         (event_kind = 'conversion' OR (event_name = 'Call')) GROUP BY person_id HAVING count(*) >= 3)"
    );
    assert_eq!(
        sql_of(&shop, Kind::Funnel, "checkout"),
        "funnel(calendar_days => 3, names => ['looked', 'event_kind = ''click''', 'bought'], \
         steps => [(event_kind = 'page'), 'event_kind = ''click''', \
         (event_kind = 'conversion' OR (event_name = 'Call'))], window => '7 days')"
    );
    let revenue = shop.all().iter().find(|it| it.name == "revenue").unwrap();
    assert_eq!(revenue.unit.as_deref(), Some("EUR"));
    let channels: Vec<&str> =
        shop.all().iter().filter(|it| it.kind == Kind::Channel).map(|it| it.name.as_str()).collect();
    assert_eq!(channels, ["phone", "mail"], "in the order of the rules");
}

fn expanded(definitions: &Definitions, sql: &str) -> Result<String, String> {
    let mut statement = statement::parse(sql, Dialect::Generic, usize::MAX).map_err(|error| error.to_string())?;
    expand(definitions, &mut statement).map_err(|error| error.to_string())?;
    Ok(statement.to_string())
}

#[test]
fn names_in_a_question_become_their_sql() {
    let shop = read(SHOP).unwrap();
    for (asked, wanted) in [
        (
            "SELECT count(*) FROM person_events AS e WHERE NOT event('looked')",
            "SELECT count(*) FROM person_events AS e WHERE NOT (event_kind = 'page')",
        ),
        (
            "SELECT Channel_Of() AS c FROM person_events",
            "SELECT (CASE WHEN (event_name = 'Call') THEN 'phone' WHEN utm_medium = 'email' THEN 'mail' ELSE channel END) \
             AS c FROM person_events",
        ),
        // Text, as programs send it, and steps are called by their names.
        (
            "SELECT * FROM funnel(steps => ['event(''looked'')', 'true'], breakdown => 'channel')",
            "SELECT * FROM funnel(steps => [(event_kind = 'page'), 'true'], breakdown => 'channel', \
             names => ['looked', 'true'])",
        ),
        // What the call says goes before what the definition says; its names fit its own steps only.
        (
            "SELECT unit FROM funnel_actors(definition => 'checkout', steps => [true], window => '1 day') AS f",
            "SELECT unit FROM funnel_actors(steps => [true], window => '1 day', calendar_days => 3) AS f",
        ),
        (
            "SELECT * FROM metric('revenue', by => channel)",
            "SELECT * FROM metric(by => channel, filter => (event_kind = 'conversion' OR (event_name = 'Call')) AND \
             currency = 'EUR', measure => 'sum(value)', unit => 'EUR')",
        ),
        ("SELECT * FROM funnel(definition => NULL, steps => [a])", "SELECT * FROM funnel(steps => [a])"),
        // No name of ours.
        (
            "SELECT event FROM t WHERE s.event('x') AND segments('y')",
            "SELECT event FROM t WHERE s.event('x') AND segments('y')",
        ),
        (
            "SELECT * FROM funnel(steps => [true], names => ['event(''looked'')'])",
            "SELECT * FROM funnel(steps => [true], names => ['event(''looked'')'])",
        ),
    ] {
        assert_eq!(expanded(&shop, asked).unwrap(), wanted);
    }
}

#[test]
fn a_name_nobody_has_is_told_with_those_there_are() {
    let shop = read(SHOP).unwrap();
    let none = Definitions::default();
    for (definitions, asked, told) in [
        (
            &shop,
            "SELECT 1 FROM person_events WHERE event('boought')",
            "did you mean bought? there are bought, by_phone, looked",
        ),
        (&shop, "SELECT * FROM metric('revenu')", "metric: there is no metric \"revenu\": did you mean revenue?"),
        (&shop, "SELECT 1 FROM person_events WHERE event(bought)", "event(...) takes one name in quotes"),
        (&shop, "SELECT channel_of('x')", "takes no arguments"),
        (&shop, "SELECT * FROM lifecycle(definition => 'a')", "no definitions are made of it"),
        (&shop, "SELECT * FROM funnel(definition => 7)", "give a name in quotes"),
        (&none, "SELECT 1 FROM person_events WHERE event('a')", "none is defined; write [events.a]"),
    ] {
        let error = expanded(definitions, asked).unwrap_err();
        assert!(error.contains(told), "{asked}: {error}");
    }
}

#[test]
fn all_faults_of_all_files_are_told_together() {
    let faulty = r#"
        [events.a]
        condition = "event('b')"
        [events.b]
        condition = "event('c')"
        [events.c]
        condition = "event('a') AND"
        [events.d]
        condition = "event('e')"
        [events.e]
        condition = "segment('f')"
        [segments.f]
        condition = "event('d')"
        [events.url_path]
        condition = "true"
        [events.persons]
        condition = "true"
        [events.funnel]
        condition = "true"
        [events."Signed Up"]
        condition = "true"
        [events.typo]
        conditon = "true"
        [events.nobody]
        condition = "event('nobodi')"
        [segments.all]
        description = "all"
        [funnels.a]
        step = ["true"]
        [metrics.a]
        measure = {a = 1}
        [[channels]]
        name = ""
        condition = "true"
        [[channels]]
        name = "x"
        condition = "event('zz')"
        [metric.b]
        measure = "1"
    "#;
    let files = [
        ("a.toml".to_owned(), faulty.to_owned()),
        (
            "b.toml".to_owned(),
            "[events.typo_b]\ncondition = 'true'\n[[channels]]\nname = 'y'\ncondition = 'true'".to_owned(),
        ),
        ("c.toml".to_owned(), "[events".to_owned()),
        ("d.toml".to_owned(), "[events.nobody]\ncondition = 'true'".to_owned()),
    ];
    let faults = Definitions::of_texts(&files).unwrap_err();
    let told = faults.join("\n");
    for wanted in [
        "a.toml: events.c: condition: ",
        "a.toml: events.b: there is no event \"c\"",
        "a.toml: segments.f: it goes round in a circle: event d > event e > segment f > event d",
        "a.toml: events.url_path: a column of events is called so",
        "a.toml: events.persons: a table is called so",
        "a.toml: events.funnel: a function is called so",
        "a.toml: events.Signed Up: a name is a word of small letters",
        "a.toml: events.typo: unknown field `conditon`",
        "a.toml: events.nobody: there is no event \"nobodi\": did you mean nobody?",
        "a.toml: segments.all: it has neither condition nor having",
        "a.toml: funnels.a: there is no argument of funnel \"step\": did you mean steps?",
        "a.toml: metrics.a: measure: a table means nothing here",
        "a.toml: channels.: a channel's name",
        "a.toml: channels.x: there is no event \"zz\"",
        "a.toml: metric: nothing is called so; there are events, channels,",
        "b.toml: channels: a.toml has rules too",
        "c.toml: expected TOML",
        "d.toml: events.nobody: a.toml has one of this name too",
    ] {
        assert!(told.contains(wanted), "{wanted}\n--- of\n{told}");
    }
}

#[test]
fn definitions_that_double_are_refused_before_they_fill_the_memory() {
    let mut text = "[events.x0]\ncondition = \"event_kind = 'page'\"\n".to_owned();
    for step in 1..60 {
        let before = step - 1;
        text.push_str(&format!("[events.x{step}]\ncondition = \"event('x{before}') OR event('x{before}')\"\n"));
    }
    let told = read(&text).unwrap_err().join("\n");
    assert!(told.contains("bytes of SQL"), "{told}");
}

#[test]
fn a_long_chain_many_names_and_many_rules_are_refused_before_they_are_a_tree() {
    // Each takes the one before it, which is there already; or the one after it, which is not.
    let chain = |count: usize, is_backward: bool| {
        let of = |step: usize| {
            let taken = if is_backward { step.checked_sub(1) } else { Some(step + 1).filter(|step| *step < count) };
            let condition =
                taken.map_or_else(|| "event_kind = 'page'".to_owned(), |step| format!("event('x{step:03}')"));
            format!("[events.x{step:03}]\ncondition = \"{condition}\"\n")
        };
        read(&(0..count).map(of).collect::<String>())
    };
    for (is_backward, words) in [(true, "operators in one chain"), (false, "definitions take one another")] {
        chain(30, is_backward).unwrap();
        let told = chain(200, is_backward).unwrap_err().join("\n");
        assert!(told.contains(words), "{told}");
    }
    let ids: Vec<String> = (0..100).map(|id| format!("'u{id}'")).collect();
    let names = vec!["event('a')"; 600].join(", ");
    let many = format!(
        "[events.a]\ncondition = \"user_id IN ({})\"\n[events.b]\ncondition = \"true IN ({names})\"\n",
        ids.join(", ")
    );
    let told = read(&many).unwrap_err().join("\n");
    assert!(told.contains("events.b: names of definitions stand for more than"), "{told}");
    let rule = |index: usize| {
        format!("[[channels]]\nname = \"c{index}\"\ncondition = \"utm_source = 'a' AND utm_medium = 'b{index}'\"\n")
    };
    read(&(0..300).map(rule).collect::<String>()).unwrap();
    let told = read(&(0..400).map(rule).collect::<String>()).unwrap_err().join("\n");
    assert!(told.contains("channels: all rules together"), "{told}");
}

#[test]
fn a_call_within_a_definition_takes_no_other_definition_round_in_a_circle() {
    let by_name = r#"
        [events.a]
        condition = "person_id IN (SELECT unit FROM funnel_actors(definition => 'f'))"
        [funnels.f]
        steps = ["event('a')"]
    "#;
    assert!(read(by_name).unwrap_err().join("\n").contains("write its arguments out"));
    let by_text = r#"
        [events.a]
        condition = "person_id IN (SELECT unit FROM funnel_actors(steps => ['event(''a'')']))"
    "#;
    assert!(read(by_text).unwrap_err().join("\n").contains("circle"));
}

#[test]
fn each_kind_that_holds_arguments_is_taken_by_its_function() {
    for kind in Kind::ALL {
        if let Some(function) = kind.function() {
            assert_eq!(Kind::of_function(function), Some(kind), "{function}");
        }
    }
    for (function, kind) in [
        ("funnel_curve", Kind::Funnel),
        ("retention_overall", Kind::Retention),
        ("touchpoints", Kind::Attribution),
        ("path_list", Kind::Path),
    ] {
        assert_eq!(Kind::of_function(function), Some(kind));
    }
    assert_eq!(Kind::of_function("rfm"), None);
}

#[test]
fn what_is_written_out_is_sql_that_reads_the_same() {
    for definition in read(SHOP).unwrap().all().iter().filter(|it| it.kind.function().is_none()) {
        let again = Parser::new(&GenericDialect {}).try_with_sql(&definition.sql).unwrap().parse_expr().unwrap();
        assert_eq!(again.to_string(), definition.sql);
    }
}
