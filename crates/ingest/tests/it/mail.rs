//! What mail providers tell, signed here with keys that are made for the run.
//!
//! In:      what happened to a message, as the provider writes it.
//! Out:     the request the provider would make, which a door of [`house`] believes.
//! Promise: no package of a vendor is needed. Whether ours is how they sign, `webhooks` asks the vendors' own libraries.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use axum::body::Body;
use axum::http::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tributary_ingest::{IngestSettings, Provider, WebhookSettings};

use crate::house::{House, NOW_US};

static SENDGRID: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap());
static SNS: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
const MAILGUN: &str = "signing-key";
const POSTMARK: &str = "tributary:a long password";
const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:ses-events";

/// A door with a webhook for each provider, called as the provider is.
pub(crate) fn house(settings: IngestSettings) -> House {
    let webhook = |provider: Provider, secret: String, topics: Vec<String>| WebhookSettings {
        provider,
        source: provider.as_str().to_owned(),
        secret,
        topics,
    };
    let webhooks = vec![
        webhook(Provider::Sendgrid, STANDARD.encode(SENDGRID.public_key()), Vec::new()),
        webhook(Provider::Mailgun, MAILGUN.to_owned(), Vec::new()),
        webhook(Provider::Postmark, POSTMARK.to_owned(), Vec::new()),
        webhook(Provider::Ses, String::new(), vec![TOPIC.to_owned()]),
    ];
    let house = House::with(IngestSettings { webhooks, ..settings });
    house.web.pages.lock().unwrap().insert("*".to_owned(), certificate());
    house
}

pub(crate) fn sendgrid(events: &[Value]) -> Request<Body> {
    let (timestamp, body) = (now_text(), json!(events).to_string());
    let signature = SENDGRID.sign(&SystemRandom::new(), format!("{timestamp}{body}").as_bytes()).unwrap();
    Request::post("/webhooks/sendgrid")
        .header("x-twilio-email-event-webhook-signature", STANDARD.encode(signature))
        .header("x-twilio-email-event-webhook-timestamp", timestamp)
        .body(Body::from(body))
        .unwrap()
}

/// * `data`: with an `id`, which is the token as well: one is good for one body.
pub(crate) fn mailgun(data: &Value) -> Request<Body> {
    let (timestamp, token) = (now_text(), data["id"].as_str().unwrap());
    let mut mac = Hmac::<Sha256>::new_from_slice(MAILGUN.as_bytes()).unwrap();
    mac.update(timestamp.as_bytes());
    mac.update(token.as_bytes());
    let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let signature = json!({"timestamp": timestamp, "token": token, "signature": signature});
    let body = json!({"signature": signature, "event-data": data}).to_string();
    Request::post("/webhooks/mailgun").body(Body::from(body)).unwrap()
}

pub(crate) fn postmark(record: &Value) -> Request<Body> {
    let basic = format!("Basic {}", STANDARD.encode(POSTMARK));
    let body = Body::from(record.to_string());
    Request::post("/webhooks/postmark").header("authorization", basic).body(body).unwrap()
}

/// * `message`: as SES hands it to SNS.
pub(crate) fn ses(message: &Value) -> Request<Body> {
    let (message, time) = (message.to_string(), "2026-11-22T13:04:40.000Z");
    let signed =
        format!("Message\n{message}\nMessageId\nm1\nTimestamp\n{time}\nTopicArn\n{TOPIC}\nType\nNotification\n");
    let mut signature = vec![0; SNS.public_modulus_len()];
    SNS.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    let envelope = json!({
        "Type": "Notification", "MessageId": "m1", "TopicArn": TOPIC, "Message": message, "Timestamp": time,
        "SignatureVersion": "2", "Signature": STANDARD.encode(signature),
        "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem",
    });
    Request::post("/webhooks/ses").body(Body::from(envelope.to_string())).unwrap()
}

/// [`NOW_US`] in seconds.
fn now_text() -> String {
    (NOW_US / 1_000_000).to_string()
}

/// A certificate of the key of SNS, with no more in it than is read of one. Nobody has signed it, and nobody looks: it comes
/// from SNS's own host by TLS.
fn certificate() -> Vec<u8> {
    const INTEGER: u8 = 0x02;
    const BITS: u8 = 0x03;
    const SEQUENCE: u8 = 0x30;
    const VERSION: u8 = 0xA0;
    let key: PublicKeyX509Der<'_> = SNS.public_key().as_der().unwrap();
    let key: &[u8] = key.as_ref();
    let empty = der(SEQUENCE, &[]);
    let body = [
        der(VERSION, &der(INTEGER, &[2])),
        // The serial number; then algorithm, issuer, validity and subject.
        der(INTEGER, &[1]),
        empty.repeat(4),
        key.to_vec(),
    ];
    let signed = [der(SEQUENCE, &body.concat()), empty, der(BITS, &[0])];
    let base64 = STANDARD.encode(der(SEQUENCE, &signed.concat()));
    let lines: Vec<&str> = base64.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n")).into_bytes()
}

fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(contents.len()).unwrap().to_be_bytes();
    let mut bytes = vec![tag];
    match (high, low) {
        (0, 0..=0x7F) => bytes.push(low),
        (0, _) => bytes.extend([0x81, low]),
        _ => bytes.extend([0x82, high, low]),
    }
    bytes.extend(contents);
    bytes
}
