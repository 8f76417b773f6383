//! What it costs to read the same bodies as JSON, and to do nothing else.
//!
//! In:      the bodies of the load, one event each.
//! Out:     bodies a second of one core, into fields that are known and into a tree.

use std::borrow::Cow;
use std::hint::black_box;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::load::body;

#[derive(Deserialize)]
#[expect(dead_code, reason = "they are read, which is what is measured")]
struct Typed<'b> {
    #[serde(borrow)]
    event_id: Cow<'b, str>,
    name: Cow<'b, str>,
    anonymous_id: Cow<'b, str>,
    time: Cow<'b, str>,
    url: Cow<'b, str>,
    title: Cow<'b, str>,
    language: Cow<'b, str>,
    timezone: Cow<'b, str>,
    screen: Cow<'b, str>,
    library: Cow<'b, str>,
    properties: Properties<'b>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "they are read, which is what is measured")]
struct Properties<'b> {
    #[serde(borrow)]
    sku: Cow<'b, str>,
    price: f64,
    note: Cow<'b, str>,
}

/// Bodies a second, by name of the way.
pub(super) fn rates() -> anyhow::Result<[(&'static str, f64); 2]> {
    let bodies: Vec<Vec<u8>> = (0..500).map(|number| body(number, 1, "/v1/events")).collect();
    serde_json::from_slice::<Typed<'_>>(&bodies[0])?;
    let typed = rate(&bodies, |body| serde_json::from_slice::<Typed<'_>>(body).is_ok());
    let tree = rate(&bodies, |body| serde_json::from_slice::<serde_json::Value>(body).is_ok());
    Ok([("serde_json into known fields", typed), ("serde_json into a tree (Value)", tree)])
}

fn rate(bodies: &[Vec<u8>], read: impl Fn(&[u8]) -> bool) -> f64 {
    const FOR: Duration = Duration::from_secs(1);
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < FOR {
        for body in bodies {
            black_box(read(black_box(body)));
        }
        count += bodies.len();
    }
    count as f64 / begun.elapsed().as_secs_f64()
}
