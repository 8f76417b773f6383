//! Keeps the currency rates of a running stream job as new as their file.
//!
//! In:      the settings, whose table the job began with; the file, looked at again and again.
//! Out:     a newer table for the job; the day of its newest rate as a gauge.
//! Promise: only a table without a fault that goes on where the last one ended is taken, and only once two looks in a row
//!          found the same text: a file that is just being written is half a table. Until then the last good one stays.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tributary_analytics::enrich::currency::{NewerRates, Rates, date_text};
use tributary_pipeline::PipelineSettings;

const LOOK_EVERY: Duration = Duration::from_secs(30);
const NEWEST: &str = "tributary_currency_rates_newest_timestamp_seconds";

/// Ends with `stop`; `None` where no file is set.
pub(super) fn spawn(settings: &PipelineSettings, newer: NewerRates, stop: CancellationToken) -> Option<JoinHandle<()>> {
    // The settings were checked: without a table there is nothing to renew.
    let Ok(Some(begun_with)) = settings.currency_rates() else { return None };
    let text = settings.currency_rates_text.as_ref()?.as_ref().ok()?;
    metrics::describe_gauge!(NEWEST, "Day of the newest currency rate; seconds since 1970, UTC.");
    tell_newest(&begun_with);
    let (mut watched, mut in_use) = (Watched::judged(text), Arc::new(begun_with));
    let settings = settings.clone();
    Some(tokio::spawn(async move {
        let path = settings.currency_rates_file.clone();
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let reading = tokio::task::spawn_blocking({
                let path = path.clone();
                move || std::fs::read_to_string(path)
            });
            // A file that does not answer must not hold up the stop.
            let text = match stop.run_until_cancelled(reading).await {
                Some(Ok(Ok(text))) => text,
                Some(Ok(Err(error))) => {
                    tracing::warn!(path, %error, "the table of currency rates cannot be read; the last one stays");
                    continue;
                }
                Some(Err(_)) => continue,
                None => return,
            };
            if !watched.is_another(&text) {
                continue;
            }
            match newer_of(&settings, text, &in_use) {
                Ok(rates) => {
                    tell_newest(&rates);
                    let newest = rates.newest_day().map(date_text);
                    tracing::info!(path, newest, "a newer table of currency rates is in use");
                    newer.put(rates);
                    in_use = newer.get().unwrap_or(in_use);
                }
                Err(fault) => {
                    tracing::warn!(path, fault, "the changed table of currency rates is not taken; the last one stays");
                }
            }
        }
    }))
}

/// The table in `text`, if it can follow the one in use.
fn newer_of(settings: &PipelineSettings, text: String, in_use: &Rates) -> Result<Rates, String> {
    // Whoever writes it may have died in the middle, and half a rate is a rate too.
    if !text.ends_with('\n') {
        return Err("its last line has no end: is it whole?".to_owned());
    }
    let with_text = PipelineSettings { currency_rates_text: Some(Ok(text)), ..settings.clone() };
    let rates = with_text.currency_rates().map_err(|faults| faults.join("; "))?;
    let rates = rates.ok_or("no reporting currency is set")?;
    match rates.lacks(in_use) {
        lacking if lacking.is_empty() => Ok(rates),
        lacking => Err(format!(
            "it lacks days of {} that are in use: write it whole, or start the server again to go on without them",
            lacking.join(", ")
        )),
    }
}

fn tell_newest(rates: &Rates) {
    if let Some(day) = rates.newest_day() {
        metrics::gauge!(NEWEST).set(f64::from(day) * 86_400.0);
    }
}

/// What was seen of a file.
struct Watched {
    /// At the last look.
    text: String,
    is_judged: bool,
}

impl Watched {
    fn judged(text: &str) -> Self {
        Self { text: text.to_owned(), is_judged: true }
    }

    /// Whether the text was the same at the last look, and nobody has judged it since it came.
    fn is_another(&mut self, text: &str) -> bool {
        if self.text != text {
            (self.text, self.is_judged) = (text.to_owned(), false);
            return false;
        }
        !std::mem::replace(&mut self.is_judged, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_judged_once_and_only_when_it_stands_still() {
        let mut watched = Watched::judged("a");
        let looks = ["a", "ab", "abc", "abc", "abc", "a", "abc", "d", "d"].map(|text| watched.is_another(text));
        assert_eq!(looks, [false, false, false, true, false, false, false, false, true]);
    }

    #[test]
    fn a_table_that_was_cut_short_does_not_follow() {
        let settings = PipelineSettings {
            reporting_currency: "EUR".to_owned(),
            currency_rates_file: "rates.csv".to_owned(),
            ..PipelineSettings::default()
        };
        let table = |lines: &str| format!("date,currency,rate\n{lines}");
        let in_use = "2026-03-02,USD,0.92\n2026-03-02,GBP,1.15\n2022-12-30,HRK,0.13\n2026-01-02,USD,0.91\n";
        let in_use = Rates::parse(&table(in_use), "EUR", 7).unwrap();
        let newer =
            |lines: &str| newer_of(&settings, table(lines), &in_use).map(|rates| rates.newest_day().map(date_text));
        let whole = "2026-03-03,GBP,1.16\n2026-03-03,USD,0.93\n2026-03-02,GBP,1.15\n2026-03-02,USD,0.92\n";
        assert_eq!(newer(whole), Ok(Some("2026-03-03".to_owned())));
        // Newest first, and broken off at the end of a line.
        assert!(newer(&whole[..whole.len() - 3]).unwrap_err().contains("no end"));
        let cut = whole.trim_end().rfind('\n').unwrap() + 1;
        assert!(newer(&whole[..cut]).unwrap_err().contains("lacks days of USD"));
        assert!(newer("2026-03-03,GBP,1.16\n2026-03-03,USD,0.93\n").unwrap_err().contains("lacks days of GBP, USD"));
        assert!(newer("2026-03-03,GBP,1.16\n2026-03-03,USD,0.9").unwrap_err().contains("no end"));
        assert!(newer("2026-03-03,GBP,1.16\n").unwrap_err().contains("lacks days of GBP, USD"));
        assert!(newer("2026-03-03,USD,0.9\n2026-03-01,GBP,1.16\n").unwrap_err().contains("lacks days of GBP, USD"));
        assert!(newer("2026-03-03,USD,x\n").unwrap_err().contains("line 2"));
    }
}
