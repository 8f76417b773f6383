//! A made-up stream: shop visitors as a Segment SDK would send them, in order of arrival.
//!
//! In:      a seed and a number of events.
//! Out:     lines of JSON of some 500 bytes.
//! Promise: the same seed gives the same lines, however many are taken; memory does not grow with their number: an hour's
//!          copies and what is on its way are all that is kept.
//!
//! One in a hundred comes twice, the copy within the hour; one in fifty comes up to ten minutes late. A few people come
//! often and most once or twice: ranks follow Zipf and Mandelbrot, so that the keenest makes a hundred visits a month and
//! not a hundred thousand. A visit has a lognormal number of events with lognormal pauses.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// 2026-06-01T00:00:00Z.
const BEGIN_US: i64 = 1_780_272_000_000_000;
const SECOND_US: i64 = 1_000_000;
/// On average between two events of the whole shop: 10 million make some 35 days, like a shop of middle size.
const STEP_US: f64 = 302_400.0;
const PEOPLE_PER_EVENTS: u64 = 16;

/// SplitMix64: the same for ever.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Above 0, at most 1.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 1.0) / (1_u64 << 53) as f64
    }

    /// The exponential of a normal number, by Box and Muller.
    fn lognormal(&mut self, mean: f64, deviation: f64) -> f64 {
        let normal = (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos();
        (mean + deviation * normal).exp()
    }
}

/// One more event of a visit: when, whose, how many come after it.
type Step = (i64, u64, u32, u32);

pub(crate) struct Made {
    chance: Chance,
    people: u64,
    now_us: f64,
    number: u64,
    left: u64,
    visits: BinaryHeap<Reverse<Step>>,
    /// By time of arrival.
    on_its_way: BinaryHeap<Reverse<(i64, u64, String)>>,
}

impl Made {
    pub(crate) fn new(events: u64, seed: u64) -> Self {
        Self {
            chance: Chance(seed),
            people: (events / PEOPLE_PER_EVENTS).max(100),
            now_us: 0.0,
            number: 0,
            left: events,
            visits: BinaryHeap::new(),
            on_its_way: BinaryHeap::new(),
        }
    }

    /// Makes the next event of all visits and puts it, and now and then a copy of it, on its way.
    fn step(&mut self) {
        // A visit begins whenever fewer people are there than the shop's pace asks for.
        while self.visits.peek().is_none_or(|Reverse(next)| next.0 as f64 > self.now_us) {
            let flat = self.people as f64 / 200.0;
            let person = (flat * ((self.people as f64 + flat) / flat).powf(self.chance.unit()) - flat) as u64;
            let length = self.chance.lognormal(1.3, 0.9).clamp(1.0, 80.0) as u32;
            self.visits.push(Reverse((self.now_us as i64, person, 0, length)));
        }
        let Some(Reverse((time_us, person, position, length))) = self.visits.pop() else { return };
        self.now_us += STEP_US * -self.chance.unit().ln();
        if position + 1 < length {
            let pause_us = (self.chance.lognormal(3.2, 1.3).clamp(0.05, 2_400.0) * SECOND_US as f64) as i64;
            self.visits.push(Reverse((time_us + pause_us, person, position + 1, length)));
        }
        let late_us = match self.chance.below(50) {
            0 => self.chance.below(600 * SECOND_US.unsigned_abs()).cast_signed(),
            _ => SECOND_US / 20,
        };
        let arrival_us = time_us + late_us;
        let number = self.number;
        self.number += 1;
        let line = self.line(number, person, position, time_us, arrival_us);
        if self.chance.below(100) == 0 {
            let again_us = arrival_us + SECOND_US + self.chance.below(3_599 * SECOND_US.unsigned_abs()).cast_signed();
            self.on_its_way.push(Reverse((again_us, number, line.clone())));
        }
        self.on_its_way.push(Reverse((arrival_us, number, line)));
    }

    fn line(&mut self, number: u64, person: u64, position: u32, time_us: i64, arrival_us: i64) -> String {
        const CHANNELS: [(&str, &str, &str); 6] = [
            ("direct", "", ""),
            ("organic_search", "google", "organic"),
            ("paid_search", "google", "cpc"),
            ("paid_social", "instagram", "paid_social"),
            ("email", "newsletter", "email"),
            ("affiliate", "awin", "affiliate"),
        ];
        const DEVICES: [(&str, &str); 4] =
            [("mobile", "iOS"), ("mobile", "Android"), ("desktop", "Windows"), ("desktop", "macOS")];
        const COUNTRIES: [&str; 8] = ["US", "GB", "DE", "FR", "ES", "PL", "BR", "JP"];
        let (channel, source, medium) = CHANNELS[(person % 6) as usize];
        let (device, os) = DEVICES[(person / 6 % 4) as usize];
        let country = COUNTRIES[(person / 24 % 8) as usize];
        let page = self.chance.below(300);
        let kind = match self.chance.below(40) {
            0 if position > 2 => "purchase",
            0..=2 if position > 1 => "add_to_cart",
            3..=17 => "click",
            _ => "page",
        };
        let campaign = match source {
            "" => format!(r#"{{"channel":"{channel}"}}"#),
            _ => format!(
                r#"{{"channel":"{channel}","name":"{channel}-2026-06-brand-{:02}","source":"{source}","medium":"{medium}","content":"creative-{}"}}"#,
                person % 12,
                person % 4
            ),
        };
        let user = match person % 5 {
            0 => format!(r#""user_{person:09}""#),
            _ => "null".to_owned(),
        };
        let money = match kind {
            "purchase" => format!(
                r#","product_id":"sku-{page:05}","revenue":{}.{:02},"currency":"USD""#,
                5 + page,
                self.chance.below(100)
            ),
            "add_to_cart" => format!(r#","product_id":"sku-{page:05}""#),
            _ => String::new(),
        };
        let device_id = uuid_like(person, 0xA11CE);
        let event_id = uuid_like(number, 0x5EED);
        format!(
            r#"{{"type":"track","messageId":"{event_id}","event":"{kind}","anonymousId":"{device_id}","userId":{user},"timestamp":"{}","receivedAt":"{}","context":{{"device":{{"type":"{device}"}},"os":{{"name":"{os}"}},"locale":"en-{country}","campaign":{campaign},"page":{{"path":"/products/alpha-{page:03}","url":"https://shop.example.com/products/alpha-{page:03}"}}}},"properties":{{"country":"{country}","variant":"control"{money}}}}}"#,
            text_of(BEGIN_US + time_us),
            text_of(BEGIN_US + arrival_us),
        )
    }
}

impl Iterator for Made {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        self.left = self.left.checked_sub(1)?;
        // Whatever is made from here on happens, and so arrives, no earlier than the next step.
        while self.on_its_way.peek().is_none_or(|Reverse((arrival_us, ..))| {
            self.visits.peek().is_none_or(|Reverse(next)| next.0 < *arrival_us) || self.now_us < *arrival_us as f64
        }) {
            self.step();
        }
        self.on_its_way.pop().map(|Reverse((_, _, line))| line.into_bytes())
    }
}

fn uuid_like(number: u64, salt: u64) -> String {
    let mut chance = Chance(number.wrapping_mul(2).wrapping_add(salt));
    let (high, low) = (chance.next(), chance.next());
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    )
}

fn text_of(time_us: i64) -> String {
    match jiff::Timestamp::from_microsecond(time_us) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_stream_is_of_the_shape_it_says() {
        let events = 20_000;
        let lines: Vec<Vec<u8>> = Made::new(events, 7).collect();
        assert_eq!(lines, Made::new(events, 7).collect::<Vec<_>>(), "the same seed, the same lines");
        assert_eq!(lines.len() as u64, events);
        let (mut ids, mut people) = (HashSet::new(), HashSet::new());
        let (mut before, mut newest, mut behind, mut bytes) = (0, 0, 0, 0);
        for line in &lines {
            bytes += line.len();
            let event: serde_json::Value = serde_json::from_slice(line).unwrap();
            let time = |name: &str| event[name].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_microsecond();
            if ids.insert(event["messageId"].to_string()) {
                assert!(before <= time("receivedAt"), "in order of arrival");
                before = time("receivedAt");
            }
            behind += usize::from(time("timestamp") < newest);
            newest = newest.max(time("timestamp"));
            people.insert(event["anonymousId"].to_string());
        }
        let (doubles, mean) = (lines.len() - ids.len(), bytes / lines.len());
        assert!((100..300).contains(&doubles), "{doubles} copies");
        assert!((420..600).contains(&mean), "{mean} bytes a line");
        assert!((50..1_500).contains(&behind), "{behind} events behind a later one");
        assert!((300..1_300).contains(&people.len()), "{} people", people.len());
    }
}
