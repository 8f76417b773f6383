//! The rules of enrichment, from settings and the files they name.
//!
//! In:      settings, with the text of the files.
//! Out:     `Rules`, or every fault as a sentence naming the knob.
//! Promise: no file is read here (`src` does); a fault of a file says which line or rule.

use serde::Deserialize;
use tributary_analytics::enrich::Rules;
use tributary_analytics::enrich::burst::{BurstRule, LINKS_MAX};
use tributary_analytics::enrich::channel_rules::{ChannelRules, Otherwise, RuleSpec};
use tributary_analytics::enrich::currency::Rates;
use tributary_analytics::enrich::referrer::IgnoredReferrers;
use tributary_schemas::currency;

use crate::settings::{FileText, PipelineSettings};

impl PipelineSettings {
    /// What enrichment goes by.
    pub(crate) fn rules(&self) -> Result<Rules, Vec<String>> {
        let mut faults = Vec::new();
        let mut keep = |found: Vec<String>| faults.extend(found);
        let channels = self.channels().map_err(&mut keep).ok();
        let rates = self.currency_rates().map_err(&mut keep).ok();
        let bursts = self.bursts().map_err(&mut keep).ok();
        let ignored = self.ignored().map_err(&mut keep).ok();
        match (channels, rates, bursts, ignored) {
            (Some(channels), Some(rates), Some(bursts), Some(ignored)) => {
                Ok(Rules::new(channels, bursts, rates, ignored))
            }
            _ => Err(faults),
        }
    }

    fn channels(&self) -> Result<ChannelRules, Vec<String>> {
        let path = match self.channel_rules.as_str() {
            "tributary" => return Ok(ChannelRules::Tributary),
            "ga4" => return Ok(ChannelRules::ga4()),
            path => path,
        };
        let text = read("channel_rules", path, &self.channel_rules_text)
            .map_err(|fault| vec![format!("{fault}; write tributary, ga4, or the path of a file of rules")])?;
        let named = |fault: &str| format!("channel_rules: {path}: {fault}");
        let file: ChannelFile = toml::from_str(text).map_err(|error| vec![named(error.message())])?;
        if file.channel.is_empty() {
            return Err(vec![named("there is no rule in it: write [[channel]], a name and a condition")]);
        }
        let specs: Vec<RuleSpec> = file.channel.into_iter().map(RuleSpec::from).collect();
        let rules = ChannelRules::ordered(&specs, file.otherwise.into());
        rules.map_err(|faults| faults.iter().map(|fault| named(fault)).collect())
    }

    /// The table of rates, from the text of its file; `None` where no reporting currency is set.
    ///
    /// # Errors
    ///
    /// What is wrong with the file, and with the knobs around it.
    pub fn currency_rates(&self) -> Result<Option<Rates>, Vec<String>> {
        let age_days_max = self.currency_rate_age_days_max;
        let path = &self.currency_rates_file;
        if self.reporting_currency.is_empty() {
            return match path.is_empty() {
                true => Ok(None),
                false => Err(vec![format!(
                    "currency_rates_file is {path:?}, but reporting_currency is empty: say what the rates lead to"
                )]),
            };
        }
        let Some(reporting) = currency(&self.reporting_currency) else {
            return Err(vec![format!(
                "reporting_currency is {:?}; write its three letters, such as EUR",
                self.reporting_currency
            )]);
        };
        if path.is_empty() {
            return Ok(Some(Rates::without_table(&reporting, age_days_max)));
        }
        let text = read("currency_rates_file", path, &self.currency_rates_text).map_err(|fault| vec![fault])?;
        let rates = Rates::parse(text, &reporting, age_days_max);
        rates
            .map(Some)
            .map_err(|faults| faults.iter().map(|fault| format!("currency_rates_file: {path}: {fault}")).collect())
    }

    fn bursts(&self) -> Result<BurstRule, Vec<String>> {
        let mut faults = Vec::new();
        if !(2..=LINKS_MAX).contains(&self.scanner_links_min) {
            faults.push(format!("scanner_links_min is {}; give 2 to {LINKS_MAX}, best 3", self.scanner_links_min));
        }
        if self.scanner_messages_max == 0 {
            faults.push("scanner_messages_max is 0; give at least 1, best 100000".to_owned());
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        // That one is more than a year is told elsewhere; here it must only not overflow.
        let us = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000);
        Ok(BurstRule {
            links_min: self.scanner_links_min,
            links_us: us(self.scanner_links_ms_max),
            after_send_us: us(self.scanner_after_send_ms_max),
            hold_us: us(self.scanner_hold_ms),
            messages_max: self.scanner_messages_max,
        })
    }

    fn ignored(&self) -> Result<IgnoredReferrers, Vec<String>> {
        let told = |host: &String| {
            format!(
                "ignored_referrers has {host:?}: write a host alone, such as paypal.com, which stands for all below it"
            )
        };
        IgnoredReferrers::new(&self.ignored_referrers).map_err(|hosts| hosts.iter().map(told).collect())
    }
}

fn read<'t>(knob: &str, path: &str, text: &'t FileText) -> Result<&'t str, String> {
    match text {
        Some(Ok(text)) => Ok(text),
        Some(Err(error)) => Err(format!("{knob} is {path:?}, which cannot be read: {error}")),
        None => Err(format!("{knob} is {path:?}, which was not read")),
    }
}

/// A file of channel rules: `docs/methods.md#channel`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelFile {
    #[serde(default)]
    otherwise: OtherwiseWord,
    #[serde(default)]
    channel: Vec<ChannelEntry>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum OtherwiseWord {
    #[default]
    Other,
    Tributary,
    Ga4,
}

impl From<OtherwiseWord> for Otherwise {
    fn from(word: OtherwiseWord) -> Self {
        match word {
            OtherwiseWord::Other => Self::Other,
            OtherwiseWord::Tributary => Self::Tributary,
            OtherwiseWord::Ga4 => Self::Ga4,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct ChannelEntry {
    name: String,
    source: Vec<String>,
    source_kind: Vec<String>,
    source_matches: Option<String>,
    medium: Vec<String>,
    medium_matches: Option<String>,
    campaign: Vec<String>,
    campaign_matches: Option<String>,
    referrer_host: Vec<String>,
    referrer_medium: Vec<String>,
    click_id: Vec<String>,
}

impl From<ChannelEntry> for RuleSpec {
    fn from(entry: ChannelEntry) -> Self {
        Self {
            name: entry.name,
            source: entry.source,
            source_kind: entry.source_kind,
            source_matches: entry.source_matches,
            medium: entry.medium,
            medium_matches: entry.medium_matches,
            campaign: entry.campaign,
            campaign_matches: entry.campaign_matches,
            referrer_host: entry.referrer_host,
            referrer_medium: entry.referrer_medium,
            click_id: entry.click_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(change: impl FnOnce(&mut PipelineSettings)) -> Vec<String> {
        let mut settings = PipelineSettings::default();
        change(&mut settings);
        settings.check()
    }

    #[test]
    fn every_fault_of_the_files_is_told_at_once() {
        assert_eq!(with(|_| {}), [] as [&str; 0]);
        assert_eq!(with(|settings| settings.channel_rules = "ga4".to_owned()), [] as [&str; 0]);
        let faults = with(|settings| {
            settings.channel_rules = "channels.toml".to_owned();
            settings.channel_rules_text = Some(Ok("[[channel]]\nname = \"a\"\nmedium_matches = \"(\"\n".to_owned()));
            settings.reporting_currency = "EUR".to_owned();
            settings.currency_rates_file = "rates.csv".to_owned();
            settings.currency_rates_text = Some(Ok("date,currency,rate\n2026-01-01,USD,x\n".to_owned()));
            settings.scanner_links_min = 1;
            settings.ignored_referrers = vec!["paypal.com".to_owned(), "https://klarna.com/".to_owned()];
        });
        assert_eq!(
            faults,
            [
                "channel_rules: channels.toml: rule 1 (a): medium_matches \"(\" is no regular expression",
                "currency_rates_file: rates.csv: line 2: \"2026-01-01,USD,x\" is no rate; write for example \
                 2026-03-02,USD,0.9215",
                "scanner_links_min is 1; give 2 to 32, best 3",
                "ignored_referrers has \"https://klarna.com/\": write a host alone, such as paypal.com, which stands for \
                 all below it",
            ]
        );
        let missing = with(|settings| {
            settings.channel_rules = "ga5".to_owned();
            settings.channel_rules_text = Some(Err("no such file".to_owned()));
        });
        assert_eq!(
            missing,
            [
                "channel_rules is \"ga5\", which cannot be read: no such file; write tributary, ga4, or the path of a file of \
              rules"
            ]
        );
        assert_eq!(with(|settings| settings.reporting_currency = "euro".to_owned()).len(), 1);
        assert_eq!(with(|settings| settings.currency_rates_file = "rates.csv".to_owned()).len(), 1);
        assert_eq!(with(|settings| settings.scanner_hold_ms = u64::MAX).len(), 1);
    }

    #[test]
    fn a_file_of_rules_is_read_and_changes_the_version() {
        let version = |text: &str| {
            let settings = PipelineSettings {
                channel_rules: "channels.toml".to_owned(),
                channel_rules_text: Some(Ok(text.to_owned())),
                ..PipelineSettings::default()
            };
            settings.rules().map(|rules| rules.version().to_owned())
        };
        let one = version("otherwise = \"ga4\"\n[[channel]]\nname = \"partners\"\nsource = [\"a\"]\n").unwrap();
        let other = version("otherwise = \"ga4\"\n[[channel]]\nname = \"partners\"\nsource = [\"b\"]\n").unwrap();
        assert_ne!(one, other);
        assert!(version("").is_err());
        assert!(version("[[channel]]\nname = \"a\"\nsauce = [\"b\"]\n").is_err());
    }
}
