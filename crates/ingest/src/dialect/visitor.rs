//! A visitor who brings no id, known for a day.
//!
//! In:      what a request shows: address, user agent, host of the page.
//! Out:     an id that is the same for the same day, source and visitor.
//! Promise: nothing is stored on the device, and the address does not leave this function; without the secret nobody can
//!          tell whose id it is, nor join one day with the next. With the secret a guess can be tried, so the id is
//!          pseudonymous, not anonymous.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tributary_schemas::Event;

use super::Sender;

const DAY_US: i64 = 86_400_000_000;

/// Of the secret's other uses none begins so.
const PREFIX: &[u8] = b"tributary visitor of the day\0";

/// `None` where the server has no secret, or the request shows no address.
pub(crate) fn id_of_the_day(event: &Event, sender: &Sender<'_>) -> Option<String> {
    let secret = sender.settings.ticket_secret.as_bytes();
    let ip = sender.ip?;
    if secret.is_empty() {
        return None;
    }
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    mac.update(PREFIX);
    mac.update(&sender.ingest_time_us.div_euclid(DAY_US).to_le_bytes());
    for part in [
        sender.key.source.as_str(),
        &ip.to_string(),
        event.user_agent.as_deref().or(sender.user_agent.as_deref()).unwrap_or_default(),
        event.url_host.as_deref().unwrap_or_default(),
    ] {
        mac.update(&part.len().to_le_bytes());
        mac.update(part.as_bytes());
    }
    let code = mac.finalize().into_bytes();
    let hex: String = code.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Some(format!("day-{hex}"))
}
