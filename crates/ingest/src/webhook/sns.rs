//! Amazon SNS over HTTPS: the envelope that SES's events come in.
//!
//! In:      an envelope, signed by RSA; the topics the settings name; a way to fetch a certificate.
//! Out:     that it is genuine, or why not; a subscription confirmed.
//! Promise: nothing is fetched from an address that is not SNS's own, by https on its own port, so that nobody makes this
//!          server call where he likes; a topic that is not in the settings is not believed, whoever signed it.
//!
//! Source: Amazon SNS developer guide, "Verifying the signatures of Amazon SNS messages"; checked against `sns-validator`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use url::Url;

use super::Doubt;
use super::web::{Web, WebError};
use crate::clock_rule::{Written, read_time};
use crate::dialect::reading::plain;
use crate::json;
use crate::router::Door;

/// An envelope of a topic we know, not yet verified.
pub(super) struct Message {
    pub time_us: i64,
    signed: String,
    algorithm: &'static dyn VerificationAlgorithm,
    signature: Vec<u8>,
    certificate_url: Url,
}

impl Message {
    pub(super) fn read(wire: &[u8], topics: &[String]) -> Result<Self, Doubt> {
        const UNSIGNED: Doubt =
            Doubt::Unsigned("the body is no signed message of Amazon SNS; turn off raw message delivery");
        let text = std::str::from_utf8(wire).map_err(|_| UNSIGNED)?.trim();
        let members = json::members(text).map_err(|_| UNSIGNED)?;
        // What is verified here is read again by name elsewhere: a second value of a name would not be the signed one.
        let mut names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
        names.sort_unstable();
        if names.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Doubt::Forged);
        }
        let get = |name: &str| members.iter().find(|(known, _)| known == name).and_then(|(_, json)| plain(json));
        let kind = get("Type").ok_or(UNSIGNED)?;
        // Which fields are signed, and in which order, is fixed for each type.
        let names: &[&str] = match kind.as_str() {
            "Notification" => &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
            "SubscriptionConfirmation" | "UnsubscribeConfirmation" => {
                &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
            }
            _ => return Err(UNSIGNED),
        };
        let mut signed = String::new();
        for name in names {
            match get(name) {
                Some(value) => signed.extend([*name, "\n", &value, "\n"]),
                None if *name == "Subject" => {}
                None => return Err(UNSIGNED),
            }
        }
        let algorithm: &'static dyn VerificationAlgorithm = match get("SignatureVersion").as_deref() {
            Some("1") => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
            Some("2") => &RSA_PKCS1_2048_8192_SHA256,
            _ => return Err(Doubt::Forged),
        };
        let topic = get("TopicArn").unwrap_or_default();
        if !topics.contains(&topic) {
            return Err(Doubt::Unsigned("the message is of a topic that the settings of this webhook do not name"));
        }
        let signature = STANDARD.decode(get("Signature").unwrap_or_default()).map_err(|_| Doubt::Forged)?;
        let certificate_url = of_sns(&get("SigningCertURL").unwrap_or_default()).ok_or(Doubt::Forged)?;
        // A query would make one certificate many, each fetched and kept.
        if !certificate_url.path().ends_with(".pem") || certificate_url.query().is_some() {
            return Err(Doubt::Forged);
        }
        let time = get("Timestamp").and_then(|text| {
            let text = json::Scalar::Text(json::CleanedText { text: text.into(), cleaned: false });
            match read_time(Some(&text)) {
                Ok(Written::At(time_us)) => Some(time_us),
                _ => None,
            }
        });
        Ok(Self { time_us: time.ok_or(Doubt::Forged)?, signed, algorithm, signature, certificate_url })
    }

    pub(super) async fn verify(&self, certificates: &Certificates, web: &dyn Web) -> Result<(), Doubt> {
        let key = certificates.key(&self.certificate_url, web).await?;
        let key = UnparsedPublicKey::new(self.algorithm, key);
        key.verify(self.signed.as_bytes(), &self.signature).map_err(|_| Doubt::Forged)
    }
}

/// An address of SNS itself: `https://sns.REGION.amazonaws.com/..`, in China with `.cn`; no port, no user, no fragment.
fn of_sns(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let host = url.host_str()?;
    let region = host.strip_prefix("sns.")?;
    let region = region.strip_suffix(".amazonaws.com").or_else(|| region.strip_suffix(".amazonaws.com.cn"))?;
    let is_region = 3 <= region.len() && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let is_plain =
        url.scheme() == "https" && url.port().is_none() && url.username().is_empty() && url.password().is_none();
    (is_region && is_plain).then_some(url)
}

/// Public keys by the address of their certificate. SNS gives a new certificate a new address.
#[derive(Default)]
pub(super) struct Certificates {
    keys: Mutex<HashMap<String, Vec<u8>>>,
}

impl Certificates {
    /// SNS has one at a time in each region.
    const COUNT_MAX: usize = 32;

    async fn key(&self, url: &Url, web: &dyn Web) -> Result<Vec<u8>, Doubt> {
        // Keys are put in whole; the lock is never held over a wait.
        let known = self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(url.as_str()).cloned();
        if let Some(key) = known {
            return Ok(key);
        }
        let pem = web.get(url.as_str()).await.map_err(Doubt::Away)?;
        let failed = |reason: String| Doubt::Away(WebError { url: url.to_string(), reason });
        let der = CertificateDer::from_pem_slice(&pem).map_err(|error| failed(format!("no certificate: {error}")))?;
        let certificate =
            webpki::EndEntityCert::try_from(&der).map_err(|error| failed(format!("no certificate: {error}")))?;
        let key = certificate.subject_public_key_info().to_vec();
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        if Self::COUNT_MAX <= keys.len() {
            keys.clear();
        }
        keys.insert(url.to_string(), key.clone());
        Ok(key)
    }
}

/// Where a verified message asks to be told that we want its topic.
pub(super) fn confirmation(text: &str) -> Option<String> {
    let [kind, url] = json::pick(text.trim(), ["Type", "SubscribeURL"]).ok()?;
    match plain(kind?)?.as_str() {
        "SubscriptionConfirmation" => Some(plain(url?)?),
        // Whoever ended the subscription meant it; to take it back he has the same address.
        "UnsubscribeConfirmation" => Some(String::new()),
        _ => None,
    }
}

pub(super) async fn confirm(url: &str, door: &Door) -> Result<(), Doubt> {
    if url.is_empty() {
        tracing::warn!("Amazon SNS says that the subscription of a webhook was ended");
        return Ok(());
    }
    let url = of_sns(url).ok_or(Doubt::Forged)?;
    door.parts.web.get(url.as_str()).await.map_err(Doubt::Away)?;
    tracing::info!(host = url.host_str(), "confirmed a subscription at Amazon SNS");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::of_sns;

    #[test]
    fn only_addresses_of_sns_are_called() {
        for good in [
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem",
            "https://sns.cn-north-1.amazonaws.com.cn/x.pem",
            "https://sns.us-gov-west-1.amazonaws.com/?Action=ConfirmSubscription",
        ] {
            assert!(of_sns(good).is_some(), "{good}");
        }
        for bad in [
            "http://sns.us-east-1.amazonaws.com/x.pem",
            "https://sns.us-east-1.amazonaws.com.evil.example/x.pem",
            "https://evil.example/sns.us-east-1.amazonaws.com/x.pem",
            "https://sns.us-east-1.amazonaws.com@evil.example/x.pem",
            "https://user@sns.us-east-1.amazonaws.com/x.pem",
            "https://sns.us-east-1.amazonaws.com:8443/x.pem",
            "https://sns.evil.us-east-1.amazonaws.com/x.pem",
            "https://s3.us-east-1.amazonaws.com/x.pem",
            "https://sns.amazonaws.com/x.pem",
            "https://127.0.0.1/x.pem",
            "https://sns.us-east-1.amazonaws.com\\@evil.example/x.pem",
            "file:///etc/passwd",
            "",
        ] {
            // The last but two is the same host to a browser; what the parser made of it is what is called.
            let host = of_sns(bad).and_then(|url| url.host_str().map(str::to_owned));
            assert!(host.as_deref().is_none_or(|host| host == "sns.us-east-1.amazonaws.com"), "{bad}: {host:?}");
        }
        assert!(of_sns("https://user@sns.us-east-1.amazonaws.com/x.pem").is_none());
        assert!(of_sns("https://sns.us-east-1.amazonaws.com:8443/x.pem").is_none());
    }
}
