//! What sort of thing an event name stands for.
//!
//! In:      the name a sender gave a `track` call.
//! Out:     an `EventKind`; `custom` for every name that is in no specification.
//! Promise: names compare without case, and `_`, `-` and blanks count alike: 'order_completed' is 'Order Completed'.
//!
//! Source: Segment's specs for e-commerce v2, e-mail, A/B testing and mobile (Install Attributed and others);
//! GA4's recommended events `purchase`, `generate_lead`, `sign_up`, and its `user_engagement`; Snowplow's page ping;
//! PostHog's `$pageleave`.

use tributary_schemas::EventKind;

const NAMES: &[(&str, EventKind)] = &[
    ("order completed", EventKind::Conversion),
    ("completed order", EventKind::Conversion),
    ("purchase", EventKind::Conversion),
    ("purchased", EventKind::Conversion),
    ("order placed", EventKind::Conversion),
    ("subscription started", EventKind::Conversion),
    ("trial converted", EventKind::Conversion),
    ("lead generated", EventKind::Conversion),
    ("generate lead", EventKind::Conversion),
    ("signed up", EventKind::Conversion),
    ("sign up", EventKind::Conversion),
    ("email sent", EventKind::Send),
    ("email delivered", EventKind::Send),
    ("message sent", EventKind::Send),
    ("message delivered", EventKind::Send),
    ("push notification sent", EventKind::Send),
    ("push notification received", EventKind::Send),
    ("email opened", EventKind::Open),
    ("message opened", EventKind::Open),
    ("push notification opened", EventKind::Open),
    ("push notification tapped", EventKind::Click),
    ("email link clicked", EventKind::Click),
    ("email clicked", EventKind::Click),
    ("message link clicked", EventKind::Click),
    ("link clicked", EventKind::Click),
    ("ad clicked", EventKind::Click),
    ("ad click", EventKind::Click),
    ("promotion clicked", EventKind::Click),
    ("ad impression", EventKind::Impression),
    ("ad viewed", EventKind::Impression),
    ("promotion viewed", EventKind::Impression),
    ("experiment viewed", EventKind::Impression),
    ("page viewed", EventKind::Page),
    ("pageview", EventKind::Page),
    ("page view", EventKind::Page),
    ("screen viewed", EventKind::Page),
    ("unsubscribed", EventKind::Feedback),
    ("email unsubscribed", EventKind::Feedback),
    ("email marked as spam", EventKind::Feedback),
    ("email bounced", EventKind::Feedback),
    ("consent preference updated", EventKind::Consent),
    ("segment consent preference updated", EventKind::Consent),
    ("engagement", EventKind::Engagement),
    ("user engagement", EventKind::Engagement),
    ("page ping", EventKind::Engagement),
    ("$pageleave", EventKind::Engagement),
    ("ad cost", EventKind::Cost),
    ("campaign cost", EventKind::Cost),
];

pub(crate) const EXPERIMENT_VIEWED: &str = "experiment viewed";

/// The kind of a `track` of this name, where its sender says none.
pub fn kind_of_name(name: &str) -> EventKind {
    let plain = plain_name(name);
    NAMES.iter().find(|(known, _)| *known == plain).map_or(EventKind::Custom, |(_, kind)| *kind)
}

/// As [`kind_of_name`], where a name may also be that of a call: `page`, `identify` ...
pub(crate) fn kind_of_call_or_name(name: &str) -> EventKind {
    match name {
        "page" | "screen" => EventKind::Page,
        "identify" => EventKind::Identify,
        "group" => EventKind::Group,
        "alias" => EventKind::Alias,
        name => kind_of_name(name),
    }
}

/// Lower case, words parted by one blank.
pub fn plain_name(name: &str) -> String {
    let words = name.split(|c: char| c.is_whitespace() || c == '_' || c == '-').filter(|word| !word.is_empty());
    let mut plain = String::with_capacity(name.len());
    for word in words {
        if !plain.is_empty() {
            plain.push(' ');
        }
        if word.is_ascii() {
            plain.extend(word.bytes().map(|byte| char::from(byte.to_ascii_lowercase())));
        } else {
            plain.push_str(&word.to_lowercase());
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_specs_have_their_kind() {
        assert_eq!(kind_of_name("Order Completed"), EventKind::Conversion);
        assert_eq!(kind_of_name(" order_completed "), EventKind::Conversion);
        assert_eq!(kind_of_name("Email-Opened"), EventKind::Open);
        assert_eq!(kind_of_name("Order Completed Twice"), EventKind::Custom);
        assert_eq!(kind_of_name(""), EventKind::Custom);
        assert_eq!(plain_name("  ÄRGER__mit-Allem "), "ärger mit allem");
    }

    #[test]
    fn every_name_is_listed_once_and_plain() {
        for (index, (name, _)) in NAMES.iter().enumerate() {
            assert_eq!(plain_name(name), *name);
            assert!(NAMES[..index].iter().all(|(before, _)| before != name), "{name} is there twice");
        }
    }
}
