//! The door, told to programs: an OpenAPI 3.1 document.
//!
//! In:      the paths of the router by their lists, and how much a request may hold.
//! Out:     the document: routes, what each takes, and every status it answers with.
//! Promise: what an event may hold is asked of the column table, of the closed lists of words, and of the code that reads it
//!          (`put_column`); so a column that is added or read anew is in here without anybody writing it down. What
//!          other vendors' protocols hold is told loosely, with the address of their own words about it.
//! Not here: `utoipa` and the like. They derive a schema from Rust types, and an event is read into none: its members are
//!          the columns, and their words and units stand in that table only. Nor what the binary adds around the door
//!          (`/metrics`, `/status`, 404 and 405 of paths that are not there).

mod routes;
mod schemas;
#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use self::schemas::of;

/// The paths of the router, as it has them; of an empty list nothing is told.
pub(crate) struct Routes<'r> {
    pub native: &'r [&'r str],
    pub segment: &'r [&'r str],
    pub segment_metrics: &'r [&'r str],
    pub segment_settings: &'r [&'r str],
    pub rudder_config: &'r [&'r str],
    pub rudder_pixel: &'r [&'r str],
    /// With and without the slash at the end; so are the flags'.
    pub posthog: &'r [&'r str],
    pub posthog_v1: &'r [&'r str],
    pub posthog_flags: &'r [&'r str],
    pub posthog_config: &'r [&'r str],
    /// All that take a GET, the one that takes a POST among them.
    pub snowplow_get: &'r [&'r str],
    pub snowplow_post: &'r [&'r str],
    pub matomo: &'r [&'r str],
    pub ga4: &'r [&'r str],
    pub ga4_debug: &'r [&'r str],
    pub cloudevents: &'r [&'r str],
    pub webhooks: &'r [&'r str],
    pub script: &'r [&'r str],
    pub pixel: &'r [&'r str],
    pub link: &'r [&'r str],
    pub way_out: &'r [&'r str],
    pub tail: &'r [&'r str],
    pub replay: &'r [&'r str],
    pub health: &'r [&'r str],
    pub ready: &'r [&'r str],
    /// Where this document is.
    pub itself: &'r [&'r str],
    /// Not the door's own: of the process that answers questions, where it is the same.
    pub sql: &'r [&'r str],
    pub functions: &'r [&'r str],
    pub definitions: &'r [&'r str],
    pub function: &'r [&'r str],
    pub receipts: &'r [&'r str],
}

/// How much one request may hold.
pub(crate) struct Limits {
    pub events_max: usize,
    pub exposures_max: usize,
    pub letters_max: usize,
}

pub(crate) fn document(routes: &Routes<'_>, limits: &Limits) -> Value {
    let mut paths = Map::new();
    for route in routes::table(routes) {
        for path in route.paths {
            let methods = paths.entry(*path).or_insert_with(|| json!({}));
            methods[route.method] = route.operation(path);
        }
    }
    let tags = TAGS.iter().map(|(name, words, link)| {
        let mut tag = json!({"name": name, "description": words});
        if !link.is_empty() {
            tag["externalDocs"] = json!({"url": link});
        }
        tag
    });
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "tributary", "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "What this server takes and answers. A 200 (GA4: a 204) means that all of it is durable; an event that \
                cannot be read is kept as a dead letter behind a 200 and does not spoil its neighbours; 503 is to be sent again \
                with the same ids. Content-Type is not looked at. Bodies may be packed with gzip, zstd, deflate or br. HEAD is \
                answered wherever GET is, OPTIONS as CORS has it.",
        },
        "servers": [{"url": "/"}],
        "tags": tags.collect::<Value>(),
        "paths": paths,
        "components": {
            "schemas": schemas::all(limits), "responses": refusals(), "headers": headers(), "parameters": parameters(),
            "securitySchemes": security_schemes(),
        },
    })
}

/// Name, meaning, and where it is told in full.
const TAGS: &[(&str, &str, &str)] = &[
    ("events", "Our own: events by the names of their columns, and an answer for each.", ""),
    (
        "segment",
        "Segment's HTTP tracking API, as the SDKs of Segment, RudderStack and Jitsu speak it.",
        "https://segment.com/docs/connections/sources/catalog/libraries/server/http-api/",
    ),
    ("posthog", "PostHog's capture API.", "https://posthog.com/docs/api/capture"),
    (
        "snowplow",
        "Snowplow's tracker protocol.",
        "https://docs.snowplow.io/docs/collecting-data/collecting-from-own-applications/snowplow-tracker-protocol/",
    ),
    ("matomo", "Matomo's tracking HTTP API.", "https://developer.matomo.org/api-reference/tracking-api"),
    (
        "ga4",
        "Google's Measurement Protocol for GA4.",
        "https://developers.google.com/analytics/devguides/collection/protocol/ga4/reference",
    ),
    (
        "cloudevents",
        "CloudEvents 1.0 over HTTP: binary (ce- headers), structured, batched.",
        "https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md",
    ),
    ("mail", "What mail providers tell: SendGrid, Amazon SES by way of SNS, Postmark, Mailgun.", ""),
    ("messages", "What is in pages and messages: the script, pixels, links, the way out.", ""),
    ("watch", "For whoever sets something up or mends it.", ""),
    ("questions", "SQL and receipts, where this process answers them.", ""),
];

/// Every way to say the write key outside the body.
const KEYS: &[&str] = &["basic", "bearer", "writeKeyHeader", "writeKeyQuery"];

fn security_schemes() -> Value {
    let query = |name: &str, words: &str| json!({"type": "apiKey", "in": "query", "name": name, "description": words});
    json!({
        "basic": {"type": "http", "scheme": "basic", "description": "The write key as the user, without a password."},
        "bearer": {"type": "http", "scheme": "bearer", "description": "The write key."},
        "writeKeyHeader": {"type": "apiKey", "in": "header", "name": "x-write-key", "description": "The write key."},
        "writeKeyQuery": query("writeKey", "The write key, for beacons and pixels, which can set no header."),
        "apiSecret": query("api_secret", "GA4: the write key."),
        "apiKey": query("api_key", "PostHog: the write key; SDKs put it into the body."),
        "appId": query("aid", "Snowplow: the write key, or a name the source is known as; trackers put it into the body."),
        "siteId": query("idsite", "Matomo: the write key, or a name the source is known as."),
        "tokenAuth": query("token_auth", "Matomo: the write key."),
        "token": {"type": "http", "scheme": "bearer", "description": "A token of the settings: of query.tokens or query.access, or of \
            ingest.watch_tokens and ingest.replay_tokens where those are set."},
    })
}

fn headers() -> Value {
    json!({
        "Durability": {"required": true, "schema": {"type": "string", "enum": ["log", "spool"]},
            "description": "Where what was taken is: in the log, or on this machine's disk while the log is away."},
        "RetryAfter": {"required": true, "schema": {"type": "integer", "minimum": 1}, "description": "Seconds."},
    })
}

fn parameters() -> Value {
    let header = |name: &str, schema: Value, words: &str| json!({"name": name, "in": "header", "schema": schema, "description": words});
    json!({
        "Packing": header("Content-Encoding", json!({"enum": ["gzip", "zstd", "deflate", "br", "identity"]}),
            "How the body is packed, where its bytes do not tell."),
        "RetryCount": header("X-Retry-Count", json!({"type": "integer", "minimum": 0}),
            "How often this was sent before; then its sending time proves nothing."),
        "PrivacyControl": header("Sec-GPC", json!({"enum": ["1"]}),
            "Global Privacy Control: takes ads and sale away from what was granted."),
    })
}

/// The statuses of `Refusal`, and when.
const REFUSALS: &[(u16, &str)] = &[
    (400, "The body as a whole cannot be read; it is kept as a dead letter. Or it broke off."),
    (401, "No key or token, or none that is known."),
    (403, "Pages of this origin may not use this write key."),
    (404, "There is nothing of this name."),
    (408, "The body came too slowly."),
    (413, "Too large, too dense, or too many in one request: send smaller pieces."),
    (503, "Full, too often, or the log is away: send the same again, with the same ids."),
];

fn refusals() -> Value {
    let one = |(status, when): &(u16, &str)| {
        let mut response = answer(when, "application/json", of("Refusal"));
        if *status == 503 {
            response["headers"] = json!({"Retry-After": {"$ref": "#/components/headers/RetryAfter"}});
        }
        (format!("Refused{status}"), response)
    };
    Value::Object(REFUSALS.iter().map(one).collect())
}

fn answer(words: &str, media: &str, schema: Value) -> Value {
    json!({"description": words, "content": {media: {"schema": schema}}})
}
