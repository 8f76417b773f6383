#![allow(clippy::unwrap_used)]

use std::collections::HashSet;

use serde_json::Value;
use tributary_schemas::event::EVENT_COLUMNS;

use super::schemas::is_read;
use crate::dialect::{matomo, posthog, segment, snowplow};
use crate::router::described;

const EVENTS_MAX: usize = 2_500;

/// Every string under a member of this name, anywhere.
fn all<'v>(value: &'v Value, name: &str, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            found.extend(value.as_str().filter(|_| key == name));
            all(value, name, found);
        }),
        Value::Array(list) => list.iter().for_each(|value| all(value, name, found)),
        _ => {}
    }
}

#[test]
fn every_path_of_the_router_is_told() {
    let document = described(EVENTS_MAX);
    let mut paths: Vec<String> = segment::PATHS.iter().map(|(path, _)| (*path).to_owned()).collect();
    paths.extend(snowplow::GET_PATHS.iter().chain(matomo::PATHS).map(|path| (*path).to_owned()));
    paths.extend(
        posthog::PATHS.iter().chain(posthog::FLAGS_PATHS).flat_map(|path| [(*path).to_owned(), format!("{path}/")]),
    );
    // And those that are written out in the router.
    let written = include_str!("../router.rs").split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
    paths.extend(written.map(str::to_owned));
    for path in &paths {
        assert!(document["paths"][path].is_object(), "{path}");
    }
}

#[test]
fn each_operation_has_an_id_of_its_own_and_a_known_tag() {
    let document = described(EVENTS_MAX);
    let (mut ids, mut seen) = (Vec::new(), HashSet::new());
    all(&document["paths"], "operationId", &mut ids);
    assert!(ids.iter().all(|id| seen.insert(*id)), "{ids:?}");
    let tags: Vec<&Value> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    let operations = document["paths"].as_object().unwrap().values().flat_map(|methods| methods.as_object().unwrap());
    for (method, operation) in operations {
        assert!(tags.contains(&&operation["tags"][0]), "{method} {operation}");
    }
}

#[test]
fn whatever_is_pointed_at_is_there() {
    let document = described(EVENTS_MAX);
    let mut targets = Vec::new();
    all(&document, "$ref", &mut targets);
    for target in targets {
        assert!(document.pointer(&target[1..]).is_some(), "{target}");
    }
}

#[test]
fn an_event_has_a_member_for_each_column_the_native_dialect_reads() {
    let document = described(EVENTS_MAX);
    let members = document["components"]["schemas"]["Event"]["properties"].as_object().unwrap();
    let read: Vec<&str> = EVENT_COLUMNS.iter().filter(|column| is_read(column)).map(|column| column.name).collect();
    assert!(30 < read.len(), "{read:?}");
    // Those the mapping takes before it looks for columns.
    let map = include_str!("../dialect/native/map.rs");
    let arms = map.lines().filter_map(|line| line.trim().split_once(" => head."));
    let taken: Vec<&str> = arms.flat_map(|(names, _)| names.split(" | ").map(|name| name.trim_matches('"'))).collect();
    assert!(10 < taken.len(), "{taken:?}");
    for name in read.iter().chain(&taken) {
        assert!(members.contains_key(*name), "{name} is read, and nobody is told");
    }
    for name in members.keys() {
        assert!(read.contains(&name.as_str()) || taken.contains(&name.as_str()), "{name} is told, and nobody reads it");
    }
}
