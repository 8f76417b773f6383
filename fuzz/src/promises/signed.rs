//! What strangers cannot make: the signatures of webhooks and of tickets.
//!
//! In:      a request without any.
//! Out:     the same, signed; one that brings a signature of its own stays as it is.
//! Promise: its keys are made anew in each process, and none lies in the repository.

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use tributary_ingest::{Provider, WebhookSettings};

use super::written::Written;
use crate::house::{NOW_US, SECRET};

const POSTMARK: &str = "tributary:a long password";
const MAILGUN: &str = "signing-key";
const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:ses-events";

/// A webhook of each provider, under the provider's name.
pub(super) fn webhooks() -> Vec<WebhookSettings> {
    let webhook = |provider: Provider, secret: &str| WebhookSettings {
        provider,
        source: provider.as_str().to_owned(),
        secret: secret.to_owned(),
        topics: if provider == Provider::Ses { vec![TOPIC.to_owned()] } else { Vec::new() },
    };
    vec![
        webhook(Provider::Postmark, POSTMARK),
        webhook(Provider::Mailgun, MAILGUN),
        webhook(Provider::Sendgrid, &KEYS.sendgrid_public),
        webhook(Provider::Ses, ""),
    ]
}

/// What lies behind SNS's address of its certificate.
pub(super) fn ses_certificate() -> Vec<u8> {
    KEYS.ses_certificate.clone()
}

pub(super) fn sign(written: &mut Written, parser: &str) {
    match written.address.as_str() {
        "/webhooks/postmark" => written.put("authorization", format!("Basic {}", STANDARD.encode(POSTMARK))),
        "/webhooks/sendgrid" => sign_for_sendgrid(written),
        "/webhooks/mailgun" => sign_for_mailgun(written),
        "/webhooks/ses" => sign_for_ses(written),
        _ if parser == "tickets" => sign_ticket(written),
        _ => {}
    }
}

struct Keys {
    sendgrid: EcdsaKeyPair,
    sendgrid_public: String,
    ses: RsaKeyPair,
    ses_certificate: Vec<u8>,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let sendgrid = EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_ASN1_SIGNING).expect("a key can be made");
    let ses = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key can be made");
    let public = sendgrid.public_key().as_der().expect("a key has a form");
    Keys {
        sendgrid_public: STANDARD.encode(public.as_ref()),
        ses_certificate: certificate(ses.public_key().as_der().expect("a key has a form").as_ref()),
        sendgrid,
        ses,
    }
});

/// A certificate around a public key, with no more in it than a parser asks for. Nobody signed it: SNS's are believed for
/// where they were fetched from.
fn certificate(public_key: &[u8]) -> Vec<u8> {
    let sequence = |parts: &[&[u8]]| der(0x30, &parts.concat());
    // sha256WithRSAEncryption
    let algorithm = sequence(&[&der(0x06, b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b"), &der(0x05, b"")]);
    let nobody = sequence(&[]);
    let validity = sequence(&[&der(0x17, b"200101000000Z"), &der(0x17, b"491231235959Z")]);
    let version = der(0xA0, &der(0x02, &[2]));
    let body = sequence(&[&version, &der(0x02, &[1]), &algorithm, &nobody, &validity, &nobody, public_key]);
    let whole = sequence(&[&body, &algorithm, &der(0x03, &[0; 257])]);
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(whole)).into_bytes()
}

fn der(tag: u8, inside: &[u8]) -> Vec<u8> {
    let length = inside.len().to_be_bytes();
    let mut out = vec![tag];
    match inside.len() {
        0..0x80 => out.push(length[7]),
        0x80..0x100 => out.extend([0x81, length[7]]),
        _ => out.extend([0x82, length[6], length[7]]),
    }
    out.extend(inside);
    out
}

fn sign_for_sendgrid(written: &mut Written) {
    let seconds = (NOW_US / 1_000_000).to_string();
    let signed = [seconds.as_bytes(), &written.body].concat();
    let signature = KEYS.sendgrid.sign(&SystemRandom::new(), &signed).expect("a key signs");
    written.put("x-twilio-email-event-webhook-timestamp", seconds);
    written.put("x-twilio-email-event-webhook-signature", STANDARD.encode(signature));
}

/// Puts a signature in front of the members of the body, if it has none and is an object.
fn sign_for_mailgun(written: &mut Written) {
    let Some(rest) = written.body.strip_prefix(b"{").filter(|_| !holds(&written.body, b"\"signature\"")) else {
        return;
    };
    let seconds = NOW_US / 1_000_000;
    // A token is good for one body.
    let token = hex(&Sha256::digest(&written.body));
    let mut mac = Hmac::<Sha256>::new_from_slice(MAILGUN.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(format!("{seconds}{token}").as_bytes());
    let signature = hex(&mac.finalize().into_bytes());
    let signature = serde_json::json!({"timestamp": seconds.to_string(), "token": token, "signature": signature});
    let comma = if rest.trim_ascii_start().starts_with(b"}") { "" } else { "," };
    written.body = [format!("{{\"signature\":{signature}{comma}").as_bytes(), rest].concat();
}

/// Puts the body into an envelope of SNS, unless it is one.
fn sign_for_ses(written: &mut Written) {
    if holds(&written.body, b"\"Signature\"") {
        return;
    }
    let message = String::from_utf8_lossy(&written.body);
    let time = "2026-11-22T13:04:40.000Z";
    let signed =
        format!("Message\n{message}\nMessageId\nm\nTimestamp\n{time}\nTopicArn\n{TOPIC}\nType\nNotification\n");
    let mut signature = vec![0; KEYS.ses.public_modulus_len()];
    KEYS.ses
        .sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .expect("a key signs");
    let envelope = serde_json::json!({
        "Type": "Notification", "MessageId": "m", "TopicArn": TOPIC, "Message": message, "Timestamp": time,
        "SignatureVersion": "2", "Signature": STANDARD.encode(signature),
        "SigningCertURL": "https://sns.us-east-1.amazonaws.com/x.pem",
    });
    written.body = envelope.to_string().into_bytes();
}

/// Makes the body a signed ticket and puts it at the end of the address; without a body the address stays as it is.
fn sign_ticket(written: &mut Written) {
    if written.body.is_empty() {
        return;
    }
    let payload = URL_SAFE_NO_PAD.encode(std::mem::take(&mut written.body));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(b"tributary ticket\0");
    mac.update(payload.as_bytes());
    let code = URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes());
    written.address = format!("{}{payload}.{code}", written.address);
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
