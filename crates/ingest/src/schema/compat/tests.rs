#![allow(clippy::unwrap_used)]
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn grades(old: Value, new: Value) -> Vec<Grade> {
    narrowings(&old, &new).into_iter().map(|found| found.grade).collect()
}

#[test]
fn what_takes_more_is_an_addition() {
    for (old, new) in [
        (json!({"type": "integer"}), json!({"type": "number", "description": "more"})),
        (json!({"type": "string"}), json!({"type": ["string", "null"]})),
        (json!({"enum": ["a"]}), json!({"enum": ["a", "b"]})),
        (json!({"const": 1}), json!({"enum": [1, 2], "type": "integer"})),
        (json!({"minimum": 5, "maximum": 6}), json!({"minimum": 4, "exclusiveMaximum": 7})),
        (json!({"exclusiveMinimum": 5}), json!({"minimum": 5})),
        (json!({"type": "string", "maxLength": 3}), json!({"type": "string", "maxLength": 4, "minimum": 9})),
        (json!({"required": ["a", "b"]}), json!({"required": ["a"]})),
        (json!({"properties": {"a": {"type": "integer"}}}), json!({"properties": {"a": {}, "b": true}})),
        (
            json!({"additionalProperties": false}),
            json!({"properties": {"a": {"type": "string"}}, "additionalProperties": false}),
        ),
        (json!({"items": {"type": "integer"}}), json!({"items": {"type": "number"}})),
        (json!({"anyOf": [{"type": "string"}], "title": "x"}), json!({"anyOf": [{"type": "string"}]})),
        (json!({"pattern": "^a"}), json!(true)),
        (json!(false), json!({"type": "string"})),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}, "title": "same"}),
        ),
    ] {
        assert_eq!(narrowings(&old, &new), [], "{old} then {new}");
    }
}

#[test]
fn what_may_refuse_is_told() {
    for (old, new) in [
        (json!({"type": "number"}), json!({"type": "integer"})),
        (json!({}), json!({"type": "string"})),
        (json!({"enum": ["a", "b"]}), json!({"enum": ["a"]})),
        (json!({"minimum": 5}), json!({"exclusiveMinimum": 5})),
        (json!({"minimum": 5}), json!({"minimum": 6})),
        (json!({"maxLength": 5}), json!({"maxLength": 4})),
        (json!({}), json!({"required": ["a"]})),
        (
            json!({"properties": {"a": {"type": "string"}}}),
            json!({"properties": {"a": {"type": "string", "pattern": "^x"}}}),
        ),
        (json!({"properties": {"a": {"type": "string"}}}), json!({"additionalProperties": false})),
        (json!({}), json!({"additionalProperties": {"type": "string"}})),
        (json!({"items": {}}), json!({"items": {"type": "string"}})),
        (json!({"contains": {"type": "null"}, "minContains": 0}), json!({"contains": {"type": "null"}})),
        (json!({"minimum": 5, "exclusiveMinimum": true}), json!({"minimum": 5.5})),
        (json!({"minimum": 5}), json!({"minimum": 5, "exclusiveMinimum": true})),
        (json!({"patternProperties": {"^a": {}}}), json!({"properties": {"ab": {"type": "string"}}})),
        (
            json!({"patternProperties": {"^a": {}}, "additionalProperties": false}),
            json!({"additionalProperties": false}),
        ),
        (
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "number"}}}),
        ),
        (json!({"$schema": "a", "maximum": 1}), json!({"$schema": "b", "maximum": 1})),
        (
            json!({"if": {"type": "string"}, "then": {"maxLength": 1}}),
            json!({"then": {"maxLength": 1}, "if": {"type": "null"}}),
        ),
        (json!({}), json!({"somethingNew": 1})),
        (json!({"type": "string"}), json!({"type": "string", "contentEncoding": "base64"})),
        (json!({"maximum": 9_007_199_254_740_993_i64}), json!({"maximum": 9_007_199_254_740_992_i64})),
        (
            json!({"properties": {"a": {"$defs": {"x": {"type": ["string", "integer"]}}}, "b": {"$ref": "#/properties/a/$defs/x"}}}),
            json!({"properties": {"a": {"$defs": {"x": {"type": "string"}}}, "b": {"$ref": "#/properties/a/$defs/x"}}}),
        ),
        (
            json!({"properties": {"b": {"$dynamicRef": "#x"}}, "$defs": {"x": {"$dynamicAnchor": "x", "type": "number"}}}),
            json!({"properties": {"b": {"$dynamicRef": "#x"}}, "$defs": {"x": {"$dynamicAnchor": "x", "type": "null"}}}),
        ),
        (json!({"type": "object"}), json!(false)),
    ] {
        assert!(grades(old.clone(), new.clone()).contains(&Grade::Narrower), "{old} then {new}");
    }
    // The usual step of a tracking plan.
    let old = json!({"type": "object", "properties": {"total": {"type": "number"}}, "required": ["total"]});
    let mut new = old.clone();
    new["properties"]["coupon"] = json!({"type": "string"});
    assert_eq!(grades(old.clone(), new.clone()), [Grade::Declared]);
    assert_eq!(narrowings(&old, &new)[0].pointer, "/properties/coupon");
}

const NAMES: [&str; 3] = ["a", "b", "ab"];

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|it| json!(it)),
        (-3_i64..6).prop_map(|it| json!(it)),
        (-3_i64..6).prop_map(|it| json!(it as f64 + 0.5)),
        prop::sample::select(vec!["", "a", "ab", "abc", "x@y.zz"]).prop_map(|it| json!(it)),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(NAMES.to_vec()), inner), 0..4).prop_map(|members| members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
}

/// Schemas of few words about few names, so that documents meet them.
fn schema() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(json!(true)), Just(json!(false)), Just(json!({})), keywords(Just(json!({})).boxed())];
    leaf.prop_recursive(3, 40, 3, |inner| keywords(inner.boxed()))
}

fn keywords(inner: BoxedStrategy<Value>) -> impl Strategy<Value = Value> {
    let kind = prop::sample::select(vec!["null", "boolean", "integer", "number", "string", "array", "object"]);
    let names = || prop::collection::vec(prop::sample::select(NAMES.to_vec()), 0..3);
    let number = || (-3_i64..6).prop_map(|it| json!(it));
    let count = || (0_i64..4).prop_map(|it| json!(it));
    let by_name =
        prop::collection::vec((prop::sample::select(NAMES.to_vec()), inner.clone()), 0..3).prop_map(|members| {
            Value::from(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
        });
    let word =
        |name: &'static str, value: BoxedStrategy<Value>| value.prop_map(move |value| (name.to_owned(), value)).boxed();
    let one = prop::strategy::Union::new(vec![
        word("type", kind.clone().prop_map(|it| json!(it)).boxed()),
        word("type", prop::collection::vec(kind, 1..3).prop_map(|it| json!(it)).boxed()),
        word("enum", prop::collection::vec(scalar(), 1..4).prop_map(Value::from).boxed()),
        word("const", scalar().boxed()),
        word("minimum", number().boxed()),
        word("maximum", number().boxed()),
        word("exclusiveMinimum", number().boxed()),
        word("exclusiveMaximum", number().boxed()),
        word("multipleOf", prop::sample::select(vec![json!(1), json!(2)]).boxed()),
        word("minLength", count().boxed()),
        word("maxLength", count().boxed()),
        word("pattern", prop::sample::select(vec![json!("^a"), json!("b")]).boxed()),
        word("minItems", count().boxed()),
        word("maxItems", count().boxed()),
        word("uniqueItems", any::<bool>().prop_map(|it| json!(it)).boxed()),
        word("items", inner.clone()),
        word("contains", inner.clone()),
        word("minContains", count().boxed()),
        word("prefixItems", prop::collection::vec(inner.clone(), 1..3).prop_map(Value::from).boxed()),
        word("required", names().prop_map(|it| json!(it)).boxed()),
        word("properties", by_name.clone().boxed()),
        word("properties", by_name.boxed()),
        word("patternProperties", inner.clone().prop_map(|it| json!({"^a": it})).boxed()),
        word("additionalProperties", inner.clone()),
        word("propertyNames", inner.clone()),
        word("minProperties", count().boxed()),
        word("maxProperties", count().boxed()),
        word("anyOf", prop::collection::vec(inner.clone(), 1..3).prop_map(Value::from).boxed()),
        word("oneOf", prop::collection::vec(inner.clone(), 1..3).prop_map(Value::from).boxed()),
        word("allOf", prop::collection::vec(inner.clone(), 1..3).prop_map(Value::from).boxed()),
        word("not", inner.clone()),
        word("if", inner.clone()),
        word("then", inner.clone()),
        word("else", inner.clone()),
        word("unevaluatedProperties", inner),
    ]);
    prop::collection::vec(one, 0..5).prop_map(|words| Value::from(words.into_iter().collect::<Map<_, _>>()))
}

/// A schema and what became of it: some of its words, at any depth, gone or of another version of it.
fn pair() -> impl Strategy<Value = (Value, Value)> {
    (schema(), schema(), any::<u64>()).prop_map(|(old, other, bits)| {
        let mut bits = bits;
        let new = mixed(&old, &other, &mut bits);
        (old, new)
    })
}

/// One of eight, from a row of them that `bits` stands for.
fn next(bits: &mut u64) -> u64 {
    *bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *bits >> 61
}

fn mixed(old: &Value, other: &Value, bits: &mut u64) -> Value {
    let (Value::Object(old), Value::Object(other)) = (old, other) else {
        return if next(bits) < 4 { old.clone() } else { other.clone() };
    };
    let mut new = Map::new();
    for (name, value) in old {
        match next(bits) {
            0 => {}
            1 => {
                let other = other.get(name).cloned().unwrap_or(Value::Bool(true));
                new.insert(name.clone(), mixed(value, &other, bits));
            }
            _ => {
                new.insert(name.clone(), value.clone());
            }
        }
    }
    for (name, value) in other {
        if next(bits) == 0 {
            new.insert(name.clone(), value.clone());
        }
    }
    Value::from(new)
}

fn validator(schema: &Value) -> Option<jsonschema::Validator> {
    jsonschema::options().with_draft(jsonschema::Draft::Draft202012).build(schema).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The reference is a validator: what both versions say of a document must not contradict what was promised.
    #[test]
    fn what_was_taken_is_taken_by_an_addition(pair in pair(), documents in prop::collection::vec(document(), 12)) {
        let (old, new) = pair;
        let found = narrowings(&old, &new);
        if found.iter().all(|found| found.grade == Grade::Declared)
            && let (Some(before), Some(now)) = (validator(&old), validator(&new))
        {
            let declared: Vec<&str> = found.iter().filter_map(|found| found.pointer.rsplit('/').next()).collect();
            for document in documents {
                let is_shown = declared.is_empty() || !declared.iter().any(|name| mentions(&document, name));
                if is_shown && before.is_valid(&document) {
                    prop_assert!(now.is_valid(&document), "{document} by {old} then {new}: {found:?}");
                }
            }
        }
    }
}
