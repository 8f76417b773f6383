//! Keeps the currency rates of a running stream job as new as their file.
//!
//! In:      the settings, whose table the job began with; the file, looked at again and again.
//! Out:     a newer table for the job; the day of its newest rate as a gauge.
//! Promise: only a table without a fault is taken, and only once two looks in a row found the same text: a file that is
//!          just being written is half a table. Until then the last good one stays.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tributary_analytics::enrich::currency::{NewerRates, Rates, date_text};
use tributary_pipeline::PipelineSettings;

const LOOK_EVERY: Duration = Duration::from_secs(30);
const NEWEST: &str = "tributary_currency_rates_newest_timestamp_seconds";

/// Ends with `stop`, or at once where no file is set.
pub(super) fn spawn(settings: &PipelineSettings, newer: NewerRates, stop: CancellationToken) {
    if settings.currency_rates_file.is_empty() {
        return;
    }
    metrics::describe_gauge!(NEWEST, "Day of the newest currency rate; seconds since 1970, UTC.");
    if let Ok(Some(rates)) = settings.currency_rates() {
        tell_newest(&rates);
    }
    let begun_with = settings.currency_rates_text.as_ref().and_then(|text| text.as_ref().ok());
    let mut watched = Watched::of(begun_with.map_or("", String::as_str));
    let settings = settings.clone();
    tokio::spawn(async move {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let path = PathBuf::from(&settings.currency_rates_file);
            let Ok(text) = tokio::task::spawn_blocking(move || std::fs::read_to_string(path)).await else { return };
            let path = &settings.currency_rates_file;
            let text = match text {
                Ok(text) => text,
                Err(error) => {
                    tracing::warn!(path, %error, "the table of currency rates cannot be read; the last one stays");
                    continue;
                }
            };
            if !watched.is_another(&text) {
                continue;
            }
            let with_text = PipelineSettings { currency_rates_text: Some(Ok(text)), ..settings.clone() };
            match with_text.currency_rates() {
                Ok(Some(rates)) => {
                    tell_newest(&rates);
                    let newest = rates.newest_day().map(date_text);
                    tracing::info!(path, newest, "a newer table of currency rates is in use");
                    newer.put(rates);
                }
                Ok(None) => return,
                Err(faults) => {
                    let faults = faults.join("; ");
                    tracing::warn!(path, faults, "the changed table of currency rates is faulty; the last one stays");
                }
            }
        }
    });
}

fn tell_newest(rates: &Rates) {
    if let Some(day) = rates.newest_day() {
        metrics::gauge!(NEWEST).set(f64::from(day) * 86_400.0);
    }
}

/// What was seen of a file.
struct Watched {
    /// Of the text that was last judged.
    judged: u64,
    /// Of the text at the last look.
    seen: u64,
}

impl Watched {
    fn of(text: &str) -> Self {
        let hash = hash_of(text);
        Self { judged: hash, seen: hash }
    }

    /// Whether the text is one nobody has judged yet, and was the same at the last look.
    fn is_another(&mut self, text: &str) -> bool {
        let hash = hash_of(text);
        let is_settled = std::mem::replace(&mut self.seen, hash) == hash;
        let is_another = is_settled && hash != self.judged;
        if is_another {
            self.judged = hash;
        }
        is_another
    }
}

fn hash_of(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_judged_once_and_only_when_it_stands_still() {
        let mut watched = Watched::of("a");
        let looks = ["a", "ab", "abc", "abc", "abc", "a", "abc", "d", "d"].map(|text| watched.is_another(text));
        assert_eq!(looks, [false, false, false, true, false, false, false, false, true]);
    }
}
