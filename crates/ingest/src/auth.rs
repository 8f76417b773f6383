//! Whose request it is.
//!
//! In:      headers, query and, if need be, the body of a request.
//! Out:     the write key it came with.
//! Promise: each key is compared in constant time; how long an answer takes says nothing of how near a guess was.

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri, header};
use base64::Engine as _;
use subtle::ConstantTimeEq as _;

use crate::refusal::Refusal;
use crate::settings::WriteKey;

static WRITE_KEY: HeaderName = HeaderName::from_static("x-write-key");

/// The keys a request carries outside its body, best first. SDKs send `Basic base64(key:)`; beacons, which
/// can set no header, send `?writeKey=`.
pub(crate) fn keys_outside_body(headers: &HeaderMap, uri: &Uri) -> Vec<String> {
    let mut keys = Vec::new();
    if let Some(authorization) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) {
        let (scheme, rest) = authorization.split_once(' ').unwrap_or((authorization, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim());
            let user = decoded.ok().and_then(|bytes| String::from_utf8(bytes).ok());
            keys.extend(user.map(|text| text.split(':').next().unwrap_or_default().to_owned()));
        } else if scheme.eq_ignore_ascii_case("bearer") {
            keys.push(rest.trim().to_owned());
        }
    }
    if let Some(key) = headers.get(&WRITE_KEY).and_then(|value| value.to_str().ok()) {
        // Jitsu writes `key:secret` here.
        keys.push(key.split(':').next().unwrap_or_default().to_owned());
    }
    let query = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    keys.extend(query.filter(|(name, _)| name == "writeKey").map(|(_, key)| key.into_owned()).take(1));
    keys.retain(|key| !key.is_empty());
    keys
}

/// The source that `names` stand for, in dialects that know sites and apps by a name and have no keys.
pub(crate) fn find_by_name<'k>(known: &'k [WriteKey], names: &[String]) -> Option<&'k WriteKey> {
    names.iter().find_map(|name| known.iter().find(|key| key.known_as.contains(name)))
}

/// The first of `given` that is known.
pub(crate) fn find<'k>(known: &'k [WriteKey], given: &[String]) -> Result<&'k WriteKey, Refusal> {
    let found = given.iter().find_map(|key| {
        // Every known key is compared, also after a hit.
        let is_it = |known: &&WriteKey| bool::from(known.key.as_bytes().ct_eq(key.as_bytes()));
        known.iter().fold(None, |hit, known| if is_it(&known) { Some(known) } else { hit })
    });
    found.ok_or(if given.is_empty() { Refusal::NoKey } else { Refusal::UnknownKey })
}

/// Whether a request carries one of the tokens. Every one is compared, and each whole.
pub(crate) fn check_token(head: &Parts, known: &[String]) -> Result<(), Refusal> {
    let given = keys_outside_body(&head.headers, &head.uri);
    let is_known = |given: &String| {
        known.iter().fold(false, |hit, token| hit | bool::from(token.as_bytes().ct_eq(given.as_bytes())))
    };
    if given.iter().any(is_known) { Ok(()) } else { Err(Refusal::NoToken) }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn keys(headers: &[(&str, &str)], uri: &str) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        keys_outside_body(&map, &uri.parse().unwrap())
    }

    #[test]
    fn a_key_is_found_wherever_sdks_put_it() {
        assert_eq!(keys(&[("authorization", "Basic V0tfU0VHOg==")], "/v1/batch"), ["WK_SEG"]);
        assert_eq!(keys(&[("authorization", "bearer abc")], "/v1/batch"), ["abc"]);
        assert_eq!(keys(&[("x-write-key", "k")], "/v1/batch?writeKey=a%20b"), ["k", "a b"]);
        assert_eq!(keys(&[("authorization", "Basic !!!")], "/v1/batch?writeKey="), Vec::<String>::new());
    }

    #[test]
    fn only_a_known_key_opens() {
        let known = [WriteKey { key: "k1".into(), source: "s1".into(), ..WriteKey::default() }];
        assert_eq!(find(&known, &["x".into(), "k1".into()]).unwrap().source, "s1");
        assert!(matches!(find(&known, &["k".into()]), Err(Refusal::UnknownKey)));
        assert!(matches!(find(&known, &[]), Err(Refusal::NoKey)));
    }
}
