//! Who may come in, and how often.
//!
//! In:      a known write key, the origin of the page a request comes from, the visitor's address.
//! Out:     that it may, or why not.
//! Promise: a rate holds for each key and each address by itself, over any length of time, with a burst of as much as one
//!          second; it is told as 503, which every SDK takes as a reason to come again, and never as 429, which some do not.
//!
//! The counting is GCRA, by the crate `governor`.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::{HeaderMap, header};
use governor::clock::DefaultClock;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::refusal::Refusal;
use crate::settings::{IngestSettings, WriteKey};

type Limiter<K> = RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock>;

pub(crate) struct Guard {
    /// By source; a key without a rate of its own is not in here.
    keys: Vec<(String, Limiter<()>)>,
    addresses: Option<Limiter<IpAddr>>,
    /// Beyond so many, those that could send again anyway are forgotten.
    addresses_max: AtomicUsize,
}

/// As many as are worth no look.
const ADDRESSES_MAX: usize = 100_000;

impl Guard {
    pub(crate) fn new(settings: &IngestSettings) -> Self {
        let quota = |per_second: u32| NonZeroU32::new(per_second).map(Quota::per_second);
        let keys = settings.write_keys.iter();
        Self {
            keys: keys
                .filter_map(|key| Some((key.key.clone(), RateLimiter::keyed(quota(key.requests_per_second)?))))
                .collect(),
            addresses: quota(settings.address_requests_per_second).map(RateLimiter::keyed),
            addresses_max: AtomicUsize::new(ADDRESSES_MAX),
        }
    }

    /// Before anything of a request is read.
    pub(crate) fn let_address(&self, ip: Option<IpAddr>) -> Result<(), Refusal> {
        let (Some(limiter), Some(ip)) = (&self.addresses, ip) else { return Ok(()) };
        // Not on each request while there are many that sent just now.
        if self.addresses_max.load(Ordering::Relaxed) < limiter.len() {
            limiter.retain_recent();
            self.addresses_max.store(ADDRESSES_MAX.max(2 * limiter.len()), Ordering::Relaxed);
        }
        limiter.check_key(&network_of(ip)).map_err(|_| Refusal::TooOften)
    }

    /// Once it is known whose request it is.
    pub(crate) fn let_key(&self, key: &WriteKey, headers: &HeaderMap) -> Result<(), Refusal> {
        if !key.origins.is_empty()
            && let Some(origin) = headers.get(header::ORIGIN)
            && !key.origins.iter().any(|known| origin == known.as_str())
        {
            return Err(Refusal::ForeignOrigin);
        }
        match self.keys.iter().find(|(known, _)| *known == key.key) {
            Some((_, limiter)) => limiter.check_key(&()).map_err(|_| Refusal::TooOften),
            None => Ok(()),
        }
    }
}

/// A household has a /64 of IPv6, and may call from any address of it.
fn network_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) >> 64 << 64)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn settings() -> IngestSettings {
        let key = WriteKey {
            key: "K".to_owned(),
            source: "web".to_owned(),
            origins: vec!["https://shop.example".to_owned()],
            requests_per_second: 3,
            ..WriteKey::default()
        };
        IngestSettings { write_keys: vec![key], address_requests_per_second: 2, ..IngestSettings::default() }
    }

    #[test]
    fn a_rate_holds_for_each_key_and_address() {
        let settings = settings();
        let guard = Guard::new(&settings);
        let ip = |text: &str| Some(text.parse().unwrap());
        assert!(guard.let_address(ip("203.0.113.1")).is_ok() && guard.let_address(ip("203.0.113.1")).is_ok());
        assert!(matches!(guard.let_address(ip("203.0.113.1")), Err(Refusal::TooOften)));
        assert!(guard.let_address(ip("203.0.113.2")).is_ok(), "another is none the worse");
        assert!(guard.let_address(ip("2001:db8::1")).is_ok() && guard.let_address(ip("2001:db8::2")).is_ok());
        assert!(guard.let_address(ip("2001:db8::3")).is_err(), "one household");
        let key = &settings.write_keys[0];
        let taken = (0..10).filter(|_| guard.let_key(key, &HeaderMap::new()).is_ok()).count();
        assert_eq!(taken, 3);
        assert!(guard.let_key(&WriteKey::default(), &HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_page_of_another_origin_may_not_use_the_key() {
        let settings = settings();
        let guard = Guard::new(&settings);
        let from = |origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            guard.let_key(&settings.write_keys[0], &headers)
        };
        assert!(from("https://shop.example").is_ok());
        assert!(matches!(from("https://evil.example"), Err(Refusal::ForeignOrigin)));
        assert!(matches!(from("null"), Err(Refusal::ForeignOrigin)));
    }
}
