//! One person's thirty days: what reaches them, what they do, and what caused what.
//!
//! In:      a number, the days, a random generator.
//! Out:     drafts of events; touches and purchases with their cause.
//! Promise: nobody's visits overlap another of theirs; a browser is known only from its login on.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::{DAY_US, HOUR_US, SECOND_US, Sender, WorldEvent};

/// The channels of the world and what one visit by them adds to the chance of a purchase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Channel {
    PaidSearch,
    Email,
    PaidSocial,
}

impl Channel {
    pub(super) const ALL: [Self; 3] = [Self::PaidSearch, Self::Email, Self::PaidSocial];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::PaidSearch => "paid_search",
            Self::Email => "email",
            Self::PaidSocial => "paid_social",
        }
    }

    /// Planted: the added chance of a purchase a visit by this channel brings.
    pub(super) fn effect(self) -> f64 {
        match self {
            Self::PaidSearch => 0.16,
            Self::Email => 0.08,
            Self::PaidSocial => 0.05,
        }
    }

    /// How often the purchase comes in a later visit instead of this one.
    fn delayed(self) -> f64 {
        match self {
            Self::PaidSearch => 0.10,
            Self::Email => 0.15,
            Self::PaidSocial => 0.60,
        }
    }

    fn campaign(self) -> &'static str {
        match self {
            Self::PaidSearch => "brand-search",
            Self::Email => "newsletter",
            Self::PaidSocial => "autumn-looks",
        }
    }

    /// The query of a landing address by this channel.
    fn landing_query(self, campaign: &str, click: u64) -> String {
        match self {
            Self::PaidSearch => {
                format!("utm_source=google&utm_medium=cpc&utm_campaign={campaign}&gclid=Cj0KCQ{click:016x}")
            }
            Self::Email => format!("utm_source=newsletter&utm_medium=email&utm_campaign={campaign}"),
            Self::PaidSocial => {
                format!("utm_source=facebook&utm_medium=paid_social&utm_campaign={campaign}&fbclid=IwAR{click:016x}")
            }
        }
    }

    fn referrer(self) -> &'static str {
        match self {
            Self::PaidSearch => "https://www.google.com/",
            Self::Email => "",
            Self::PaidSocial => "https://l.facebook.com/",
        }
    }
}

/// The tested mailing: its subject line comes in two variants.
pub(super) const EXPERIMENT: &str = "autumn-sale-subject";
/// Planted: the chance that somebody who got this variant buys because of it.
pub(super) const VARIANTS: [(&str, f64); 2] = [("a", 0.04), ("b", 0.14)];
/// The day of the tested mailing, counted from the world's first.
const EXPERIMENT_DAY: i64 = 12;
/// Chance that anyone visits unprompted on a day, and that they buy then.
const DIRECT_VISIT: f64 = 0.05;
const DIRECT_PURCHASE: f64 = 0.02;

const DESKTOP: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1";
/// What Apple's Mail Privacy Protection calls itself when it fetches a mail's pictures for nobody.
const MAIL_PROXY: &str = "Mozilla/5.0";

/// An event before it has its id.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub time_us: i64,
    sender: Sender,
    json: Value,
}

/// A visit a campaign brought.
#[derive(Debug, Clone, Copy)]
pub(super) struct Touch {
    pub time_us: i64,
    pub channel: Channel,
    pub browser: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Purchase {
    pub time_us: i64,
    pub revenue_cents: i64,
    /// `None`: it would have come anyway.
    pub caused_by: Option<Channel>,
    /// It was the tested mailing that caused it.
    pub by_experiment: bool,
}

/// All about one person.
#[derive(Debug)]
pub(super) struct Life {
    pub drafts: Vec<Draft>,
    pub touches: Vec<Touch>,
    pub purchases: Vec<Purchase>,
    /// Whether each browser was logged in on at some time: only then its visits can be known as this person's.
    pub known: Vec<bool>,
    /// Index into [`VARIANTS`].
    pub variant: usize,
    pub exposed_time_us: i64,
}

/// What a visit is to lead to.
#[derive(Debug, Clone, Copy)]
struct Plan {
    time_us: i64,
    channel: Option<Channel>,
    campaign: &'static str,
    buys: Option<Cause>,
}

#[derive(Debug, Clone, Copy)]
struct Cause {
    channel: Option<Channel>,
    by_experiment: bool,
}

/// Lives one person's days.
pub(super) fn live(number: usize, start_us: i64, end_us: i64, random: &mut ChaCha8Rng) -> Life {
    let browsers = if random.random_bool(0.3) { 2 } else { 1 };
    let mut life = Life {
        drafts: Vec::new(),
        touches: Vec::new(),
        purchases: Vec::new(),
        known: vec![false; browsers],
        variant: usize::from(random.random_bool(0.5)),
        exposed_time_us: 0,
    };
    let user_id = format!("u{:05}", number + 1);
    let mut plans = Vec::new();
    mails(&mut life, &user_id, start_us, end_us, random, &mut plans);
    visits(start_us, end_us, random, &mut plans);
    plans.sort_by_key(|plan| plan.time_us);
    // A visit lasts at most 15 minutes; two hours between them keep each a session of its own.
    plans.dedup_by(|next, kept| next.buys.is_none() && next.time_us - kept.time_us < 2 * HOUR_US);
    for plan in plans {
        visit(&mut life, number, &user_id, plan, end_us, random);
    }
    life
}

/// The mailings: one every fourth day, one of them tested.
fn mails(life: &mut Life, user_id: &str, start_us: i64, end_us: i64, random: &mut ChaCha8Rng, plans: &mut Vec<Plan>) {
    // A third of mailboxes fetch pictures by machine the moment a mail comes in.
    let machine_opens = random.random_bool(0.33);
    for day in (0..super::DAYS).step_by(4) {
        let tested = day == EXPERIMENT_DAY;
        let campaign = if tested { "autumn-sale" } else { Channel::Email.campaign() };
        let message_id = format!("m{day:02}-{user_id}");
        let sent_us = start_us + day * DAY_US + 8 * HOUR_US + random.random_range(0..600) * SECOND_US;
        let (variant, effect) = VARIANTS[life.variant];
        let mut properties = json!({"campaign_id": campaign, "message_id": message_id});
        if tested {
            life.exposed_time_us = sent_us;
            properties["experiment_id"] = EXPERIMENT.into();
            properties["variation_id"] = variant.into();
            let viewed = json!({
                "type": "track", "event": "Experiment Viewed", "userId": user_id,
                "properties": {"experiment_id": EXPERIMENT, "variation_id": variant, "campaign_id": campaign},
            });
            life.drafts.push(Draft { time_us: sent_us, sender: Sender::Mailer, json: viewed });
        }
        let mut mail = |event: &str, time_us: i64, agent: Option<&str>| {
            let mut json = json!({"type": "track", "event": event, "userId": user_id, "properties": properties});
            if let Some(agent) = agent {
                json["context"] = json!({"userAgent": agent});
            }
            life.drafts.push(Draft { time_us, sender: Sender::Mailer, json });
        };
        mail("Email Sent", sent_us, None);
        if machine_opens {
            mail("Email Opened", sent_us + random.random_range(5..60) * SECOND_US, Some(MAIL_PROXY));
        }
        let buys = tested && random.random_bool(effect);
        let opens = buys || random.random_bool(0.35);
        if !opens {
            continue;
        }
        let opened_us = sent_us + random.random_range(300..30_000) * SECOND_US;
        mail("Email Opened", opened_us, Some(PHONE));
        if buys || random.random_bool(0.35) {
            let clicked_us = opened_us + random.random_range(5..90) * SECOND_US;
            if clicked_us + HOUR_US > end_us {
                continue;
            }
            mail("Email Link Clicked", clicked_us, Some(PHONE));
            let caused = buys || (!tested && random.random_bool(Channel::Email.effect()));
            let cause = caused.then_some(Cause { channel: Some(Channel::Email), by_experiment: buys });
            // The tested mailing's buyers buy at once: its effect must not be blurred by what comes between.
            let delayed = !buys && random.random_bool(Channel::Email.delayed());
            plan(Some(Channel::Email), campaign, clicked_us + 2 * SECOND_US, cause, delayed, end_us, random, plans);
        }
    }
}

/// Visits by ads, and unprompted ones.
fn visits(start_us: i64, end_us: i64, random: &mut ChaCha8Rng, plans: &mut Vec<Plan>) {
    let days = (end_us - start_us) / DAY_US;
    for day in 0..days {
        for (channel, chance) in [(Channel::PaidSearch, 0.05), (Channel::PaidSocial, 0.02)] {
            if random.random_bool(chance) {
                let time_us = start_us + day * DAY_US + random.random_range(6 * 3_600..22 * 3_600) * SECOND_US;
                let caused = random.random_bool(channel.effect());
                let cause = caused.then_some(Cause { channel: Some(channel), by_experiment: false });
                let delayed = random.random_bool(channel.delayed());
                plan(Some(channel), channel.campaign(), time_us, cause, delayed, end_us, random, plans);
            }
        }
        if random.random_bool(DIRECT_VISIT) {
            let time_us = start_us + day * DAY_US + random.random_range(6 * 3_600..22 * 3_600) * SECOND_US;
            let caused = random.random_bool(DIRECT_PURCHASE);
            let cause = caused.then_some(Cause { channel: None, by_experiment: false });
            plan(None, "", time_us, cause, false, end_us, random, plans);
        }
    }
}

/// Plans a visit, and where the purchase comes later, an unprompted second one for it.
#[expect(clippy::too_many_arguments, reason = "one visit's facts, drawn in two places")]
fn plan(
    channel: Option<Channel>,
    campaign: &'static str,
    time_us: i64,
    buys: Option<Cause>,
    delayed: bool,
    end_us: i64,
    random: &mut ChaCha8Rng,
    plans: &mut Vec<Plan>,
) {
    let later_us = time_us + random.random_range(6 * 3_600..4 * 24 * 3_600) * SECOND_US;
    // Where the world ends before the later visit, the purchase comes in this one.
    if buys.is_some() && delayed && later_us + HOUR_US < end_us {
        plans.push(Plan { time_us, channel, campaign, buys: None });
        plans.push(Plan { time_us: later_us, channel: None, campaign: "", buys });
    } else {
        plans.push(Plan { time_us, channel, campaign, buys });
    }
}

/// A visit: landing, some pages, perhaps a login, perhaps a purchase.
fn visit(life: &mut Life, number: usize, user_id: &str, plan: Plan, end_us: i64, random: &mut ChaCha8Rng) {
    let browser = if life.known.len() > 1 { random.random_range(0..life.known.len()) } else { 0 };
    let anonymous_id = format!("b{:05}-{browser}", number + 1);
    let agent = if browser == 0 { PHONE } else { DESKTOP };
    let pages = random.random_range(1..7_i64) + if plan.buys.is_some() { 3 } else { 0 };
    let lasts_us = (pages + 3) * 90 * SECOND_US;
    if plan.time_us + lasts_us >= end_us {
        return;
    }
    let mut time_us = plan.time_us;
    let push = |life: &mut Life, time_us: i64, mut json: Value| {
        json["anonymousId"] = anonymous_id.as_str().into();
        json["context"]["userAgent"] = agent.into();
        json["context"]["locale"] = "de-DE".into();
        life.drafts.push(Draft { time_us, sender: Sender::Web, json });
    };
    for page in 0..pages {
        let path = match page {
            0 => "/".to_owned(),
            _ if plan.buys.is_some() && page == pages - 2 => "/cart".to_owned(),
            _ if plan.buys.is_some() && page == pages - 1 => "/checkout".to_owned(),
            _ => format!("/product/{}", random.random_range(1..200)),
        };
        let mut url = format!("https://shop.example{path}");
        let mut context = json!({"page": {"path": path}});
        if let (0, Some(channel)) = (page, plan.channel) {
            url = format!("{url}?{}", channel.landing_query(plan.campaign, random.random_range(0..u64::MAX)));
            context["page"]["referrer"] = channel.referrer().into();
            life.touches.push(Touch { time_us, channel, browser });
        }
        context["page"]["url"] = url.into();
        push(life, time_us, json!({"type": "page", "name": path, "properties": {}, "context": context}));
        time_us += random.random_range(8..90) * SECOND_US;
    }
    // Buyers log in; so do four in ten of those who only look.
    if plan.buys.is_some() || random.random_bool(0.4) {
        push(life, time_us, json!({"type": "identify", "userId": user_id, "traits": {"country": "DE"}}));
        life.known[browser] = true;
        time_us += 5 * SECOND_US;
    }
    if let Some(cause) = plan.buys {
        let revenue_cents = random.random_range(1_900..14_900_i64);
        // Exact in a float: cents below a thousand euros.
        let revenue = revenue_cents as f64 / 100.0;
        let properties = json!({"order_id": format!("o{:05}-{}", number + 1, life.purchases.len() + 1), "revenue": revenue, "currency": "EUR"});
        let order = json!({"type": "track", "event": "Order Completed", "userId": user_id, "properties": properties});
        push(life, time_us, order);
        let Cause { channel, by_experiment } = cause;
        life.purchases.push(Purchase { time_us, revenue_cents, caused_by: channel, by_experiment });
    }
}

impl Draft {
    pub(super) fn into_event(self, message_id: &str) -> WorldEvent {
        let Self { time_us, sender, mut json } = self;
        json["messageId"] = message_id.into();
        json["timestamp"] = rfc3339(time_us).into();
        WorldEvent { time_us, sender, json }
    }
}

/// `time_us` in RFC 3339, UTC, to the millisecond.
///
/// Source for the day arithmetic: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn rfc3339(time_us: i64) -> String {
    let days = time_us.div_euclid(DAY_US);
    let in_day_ms = time_us.rem_euclid(DAY_US) / 1_000;
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (in_day_ms / 3_600_000, in_day_ms / 60_000 % 60);
    let (second, milli) = (in_day_ms / 1_000 % 60, in_day_ms % 1_000);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn times_are_written_as_rfc3339() {
        assert_eq!(rfc3339(1_790_812_800_000_000), "2026-10-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_709_208_000_123_000), "2024-02-29T12:00:00.123Z");
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
    }
}
