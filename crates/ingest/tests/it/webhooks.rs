//! Webhooks of mail providers, as they sign them: ours and the vendors' own verifiers agree, and each event is read.

use std::collections::HashSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use base64::Engine as _;
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tributary_ingest::{IngestSettings, Provider, WebhookSettings};
use tributary_schemas::{Clock as _, SystemClock};

use crate::house::{Answer, House, NOW_US, assert_columns, settings};

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:ses-events";
const POSTMARK: &str = "tributary:a long password";

/// A script of `tests/sdk` about to run, or `None` where `cargo xtask test` did not say where its packages are.
fn script(test: &str, name: &str) -> Option<Command> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/sdk");
    let (variable, mut command, path) = match name.ends_with(".py") {
        true => {
            let python = std::env::var("TRIBUTARY_TEST_PYTHON").ok();
            ("TRIBUTARY_TEST_PYTHON", python.map(Command::new), format!("{folder}/python/{name}"))
        }
        false => {
            let modules = std::env::var("TRIBUTARY_TEST_NODE_MODULES").ok();
            let node = modules.map(|modules| {
                let mut node = Command::new("node");
                node.env("NODE_PATH", modules);
                node
            });
            ("TRIBUTARY_TEST_NODE_MODULES", node, format!("{folder}/node/{name}"))
        }
    };
    if command.is_none() {
        let line = format!("SKIPPED {test}: {variable} is not set; `cargo xtask test` sets it and runs this too\n");
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        if let Some(file) = std::env::var_os("TRIBUTARY_TEST_SKIPPED") {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(file);
            file.unwrap().write_all(line.trim_start_matches("SKIPPED ").as_bytes()).unwrap();
        }
    }
    command.as_mut()?.arg(path);
    command
}

/// Runs a script to its end with `input`, and gives back its lines.
fn lines(mut command: Command, input: &str) -> Vec<Value> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A key for `provider`: what signs, and what the settings hold.
struct Signer {
    provider: Provider,
    /// Signs and verifies.
    script: &'static str,
    key_file: Option<tempfile::NamedTempFile>,
    secret: String,
}

impl Signer {
    fn new(test: &str, provider: Provider) -> Option<Self> {
        let (script_name, key_script, arguments, public): (_, Option<&str>, &[&str], _) = match provider {
            Provider::Sendgrid => ("sendgrid.cjs", Some("sendgrid.cjs"), &["key"], "public"),
            Provider::Ses => ("sns.cjs", Some("sns_key.py"), &[], "cert"),
            Provider::Mailgun => ("mailgun.py", None, &[], ""),
            Provider::Postmark => ("postmark.py", None, &[], ""),
        };
        script(test, script_name)?;
        let mut signer = Self { provider, script: script_name, key_file: None, secret: "signing-key".to_owned() };
        if let Some(key_script) = key_script {
            let mut command = script(test, key_script)?;
            command.args(arguments);
            let key = lines(command, "").remove(0);
            signer.secret = key[public].as_str().unwrap().to_owned();
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(key.to_string().as_bytes()).unwrap();
            signer.key_file = Some(file);
        }
        if provider == Provider::Postmark {
            signer.secret = POSTMARK.to_owned();
        }
        Some(signer)
    }

    fn signed(&self, test: &str, count: usize) -> Vec<Value> {
        let mut command = script(test, self.script).unwrap();
        match (self.provider, &self.key_file) {
            (Provider::Postmark, _) => command.arg(count.to_string()),
            (_, Some(file)) => command.arg("sign").arg(file.path()).arg(count.to_string()),
            (_, None) => command.args(["sign", &self.secret]).arg(count.to_string()),
        };
        lines(command, "")
    }

    fn house(&self) -> House {
        let (secret, topics) = match self.provider {
            Provider::Ses => (String::new(), vec![TOPIC.to_owned()]),
            _ => (self.secret.clone(), Vec::new()),
        };
        let webhook = WebhookSettings { provider: self.provider, source: "mail".to_owned(), secret, topics };
        let house = House::with(IngestSettings { webhooks: vec![webhook], ..settings() });
        // They are signed by the clock of the wall.
        house.clock.advance_us(SystemClock.now_us() - NOW_US);
        if self.provider == Provider::Ses {
            house.web.pages.lock().unwrap().insert("*".to_owned(), self.secret.clone().into_bytes());
        }
        house
    }
}

async fn post(house: &House, line: &Value) -> Answer {
    let mut request = Request::post("/webhooks/mail");
    for (name, value) in line["headers"].as_object().unwrap() {
        request = request.header(name, value.as_str().unwrap());
    }
    house.ask(request.body(Body::from(line["body"].as_str().unwrap().to_owned())).unwrap()).await
}

/// How many events of each name.
fn names(events: &[Value]) -> std::collections::BTreeMap<String, usize> {
    let mut names = std::collections::BTreeMap::new();
    for event in events {
        *names.entry(event["event_name"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    names
}

fn expected(counts: &[(&str, usize)]) -> std::collections::BTreeMap<String, usize> {
    counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

#[tokio::test]
async fn sendgrid_is_believed_and_read() {
    let test = "sendgrid_is_believed_and_read";
    let Some(signer) = Signer::new(test, Provider::Sendgrid) else { return };
    let house = signer.house();
    let line = signer.signed(test, 1).remove(0);
    for _ in 0..2 {
        assert_eq!(post(&house, &line).await.status, StatusCode::OK);
    }
    assert_eq!(house.dead_letters(), Vec::<Value>::new());
    let events = house.events();
    // SendGrid sends many things twice; the ids are the same, and the line counts one.
    let (once, again) = events.split_at(events.len() / 2);
    let ids = |events: &[Value]| events.iter().map(|event| event["event_id"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(once), ids(again));
    assert_eq!(
        names(once),
        expected(&[
            ("Email Bounced", 1),
            ("Email Deferred", 1),
            ("Email Delivered", 1),
            ("Email Dropped", 1),
            ("Email Link Clicked", 1),
            ("Email Marked as Spam", 1),
            ("Email Opened", 2),
            ("Email Sent", 1),
            ("Resubscribed", 1),
            ("Unsubscribed", 2),
        ])
    );
    let find = |name: &str, class: &str| {
        once.iter().find(|event| event["event_name"] == name && event["engagement_class"] == class).unwrap()
    };
    assert_columns(
        find("Email Opened", "human"),
        json!({
            "source": "mail", "dialect": "sendgrid", "event_kind": "open", "user_id": "user-0", "campaign_id": "spring-2026",
            "message_id": "14c5d75ce93", "channel": "email", "ip_truncated": "203.0.113.0/24", "clock_quality": "trusted",
            "event_time_us": 1_795_000_005_000_000_i64,
        }),
    );
    assert_columns(find("Email Opened", "privacy_proxy"), json!({"engagement_reasons": ["sg_machine_open"]}));
    assert_columns(
        find("Email Link Clicked", "human"),
        json!({"event_kind": "click", "url_path": "/sale", "utm_campaign": "spät", "link_id": "0"}),
    );
    assert_columns(find("Email Bounced", "unknown"), json!({"event_kind": "feedback", "ip_truncated": null}));
}

#[tokio::test]
async fn ses_is_believed_and_read() {
    let test = "ses_is_believed_and_read";
    let Some(signer) = Signer::new(test, Provider::Ses) else { return };
    let house = signer.house();
    // A confirmation and nine kinds of event, each in both versions of the signature.
    for line in signer.signed(test, 20) {
        let answer = post(&house, &line).await;
        assert_eq!(answer.status, StatusCode::OK, "{line}: {answer:?}");
    }
    assert_eq!(house.dead_letters(), Vec::<Value>::new());
    assert_eq!(
        names(&house.events()),
        expected(&[
            ("Email Bounced", 2),
            ("Email Deferred", 2),
            ("Email Delivered", 2),
            ("Email Dropped", 2),
            ("Email Link Clicked", 2),
            ("Email Marked as Spam", 2),
            ("Email Opened", 2),
            ("Email Sent", 2),
            ("Unsubscribed", 2),
        ])
    );
    let asked = house.web.asked.lock().unwrap().clone();
    assert_eq!(asked.iter().filter(|url| url.contains("ConfirmSubscription")).count(), 2, "{asked:?}");
    assert_eq!(asked.iter().filter(|url| url.ends_with(".pem")).count(), 1, "a certificate is fetched once: {asked:?}");
    let events = house.events();
    let click = events.iter().find(|event| event["event_kind"] == "click").unwrap();
    assert_columns(
        click,
        json!({
            "dialect": "ses", "campaign_id": "spring-2026", "channel": "email", "utm_source": "news",
            "ip_truncated": "203.0.113.0/24", "engagement_class": "human",
        }),
    );
    assert!(click["user_id"].as_str().unwrap().starts_with("user-"));

    // Another topic, signed as well as ours, is not ours.
    let stranger = Signer::new(test, Provider::Ses).unwrap();
    let webhook = WebhookSettings {
        provider: Provider::Ses,
        source: "mail".to_owned(),
        secret: String::new(),
        topics: vec![format!("{TOPIC}-of-ours")],
    };
    let house = House::with(IngestSettings { webhooks: vec![webhook], ..settings() });
    house.clock.advance_us(SystemClock.now_us() - NOW_US);
    assert_eq!(post(&house, &stranger.signed(test, 1)[0]).await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(*house.web.asked.lock().unwrap(), Vec::<String>::new(), "nothing is fetched for a stranger");
    // A second value of a name is not what was signed, whichever of the two is read.
    let mut doubled = signer.signed(test, 3).remove(2);
    let body = doubled["body"].as_str().unwrap();
    let forged = body.trim_end().strip_suffix('}').unwrap().trim_end().to_owned()
        + r#", "Message": "{\"eventType\":\"Complaint\",\"mail\":{\"messageId\":\"x\"}}"}"#;
    assert!(serde_json::from_str::<Value>(&forged).is_ok());
    doubled["body"] = forged.into();
    assert_eq!(post(&signer.house(), &doubled).await.status, StatusCode::UNAUTHORIZED);
    // Without the certificate nobody can tell: SNS comes again.
    let house = signer.house();
    house.web.pages.lock().unwrap().clear();
    assert_eq!(post(&house, &signer.signed(test, 3)[2]).await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn mailgun_is_believed_and_read() {
    let test = "mailgun_is_believed_and_read";
    let Some(signer) = Signer::new(test, Provider::Mailgun) else { return };
    let house = signer.house();
    let lines = signer.signed(test, 11);
    for line in &lines {
        assert_eq!(post(&house, line).await.status, StatusCode::OK);
    }
    assert_eq!(house.dead_letters(), Vec::<Value>::new());
    let events = house.events();
    assert_eq!(
        names(&events),
        expected(&[
            ("Email Bounced", 1),
            ("Email Deferred", 1),
            ("Email Delivered", 1),
            ("Email Link Clicked", 2),
            ("Email Marked as Spam", 1),
            ("Email Opened", 3),
            ("Email Sent", 1),
            ("Unsubscribed", 1),
        ])
    );
    let classes: Vec<&str> = events[2..7].iter().map(|event| event["engagement_class"].as_str().unwrap()).collect();
    assert_eq!(classes, ["human", "privacy_proxy", "privacy_proxy", "human", "bot"]);
    // The same request again is a repeat; its token on another body is a forgery.
    assert_eq!(post(&house, &lines[0]).await.status, StatusCode::OK);
    let mut forged = lines[0].clone();
    forged["body"] = forged["body"].as_str().unwrap().replace("accepted", "complained").into();
    assert_eq!(post(&house, &forged).await.status, StatusCode::UNAUTHORIZED);
    // Old ones are not taken: their token may have been forgotten.
    house.clock.advance_us(3 * 86_400_000_000 + 1_000_000);
    assert_eq!(post(&house, &lines[1]).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn postmark_is_believed_and_read() {
    let test = "postmark_is_believed_and_read";
    let Some(signer) = Signer::new(test, Provider::Postmark) else { return };
    let house = signer.house();
    let lines = signer.signed(test, 16);
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(POSTMARK));
    for line in &lines {
        assert_eq!(post(&house, line).await.status, StatusCode::UNAUTHORIZED, "without the password");
        let mut line = line.clone();
        line["headers"]["Authorization"] = basic.as_str().into();
        assert_eq!(post(&house, &line).await.status, StatusCode::OK);
        line["headers"]["Authorization"] = format!("{basic}AAAA").into();
        assert_eq!(post(&house, &line).await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(house.dead_letters(), Vec::<Value>::new());
    let events = house.events();
    assert_eq!(events.len(), lines.len());
    for (line, event) in lines.iter().zip(&events) {
        let body: Value = serde_json::from_str(line["body"].as_str().unwrap()).unwrap();
        let name = match body["RecordType"].as_str().unwrap() {
            "Open" => "Email Opened",
            "Click" => "Email Link Clicked",
            "Delivery" => "Email Delivered",
            "Bounce" if body["Type"] == "HardBounce" => "Email Bounced",
            "Bounce" => continue,
            "SpamComplaint" => "Email Marked as Spam",
            "SubscriptionChange" if body["SuppressSending"] == false => "Resubscribed",
            "SubscriptionChange" => "Unsubscribed",
            other => panic!("{other}"),
        };
        assert_eq!(event["event_name"], name, "{body}");
        assert_eq!(event["message_id"], body["MessageID"]);
        assert_eq!(event["clock_quality"], "trusted");
    }
}

/// A provider that does not hear our answer comes again, and SendGrid comes again with much that was answered: by its id the
/// line counts it once, and what is something else has another.
#[tokio::test]
async fn what_is_told_twice_has_the_same_ids() {
    let test = "what_is_told_twice_has_the_same_ids";
    let basic = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(POSTMARK));
    // As many requests as hold each kind of event once.
    for (provider, count) in
        [(Provider::Sendgrid, 1), (Provider::Ses, 20), (Provider::Mailgun, 11), (Provider::Postmark, 6)]
    {
        let Some(signer) = Signer::new(test, provider) else { continue };
        let house = signer.house();
        let mut told = Vec::new();
        for mut line in signer.signed(test, count) {
            if provider == Provider::Postmark {
                line["headers"]["Authorization"] = basic.as_str().into();
            }
            let before = house.events().len();
            for _ in 0..2 {
                assert_eq!(post(&house, &line).await.status, StatusCode::OK, "{line}");
                // An id that held the time of receipt would be another a minute later.
                house.clock.advance_us(60_000_000);
            }
            let events = house.events().split_off(before);
            let (once, again) = events.split_at(events.len() / 2);
            let ids = |events: &[Value]| events.iter().map(|event| event["event_id"].clone()).collect::<Vec<_>>();
            assert_eq!(ids(once), ids(again), "{line}");
            told.extend_from_slice(once);
        }
        assert_eq!(house.dead_letters(), Vec::<Value>::new());
        let ids: HashSet<&str> = told.iter().map(|event| event["event_id"].as_str().unwrap()).collect();
        assert_eq!(ids.len(), told.len(), "{provider:?}: two events are not one");
        for name in ["Email Delivered", "Email Opened", "Email Link Clicked"] {
            assert!(names(&told).contains_key(name), "{provider:?} told of no {name}");
        }
    }
}

/// Ours and the vendor's verifier on the same requests, most of them spoilt somewhere.
async fn agrees(test: &str, provider: Provider) {
    let Some(signer) = Signer::new(test, provider) else { return };
    let seed = 20_261_126;
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let mut requests = signer.signed(test, 250);
    for request in &mut requests {
        spoil(request, &mut chance);
    }
    let input: String = requests.iter().map(|request| format!("{request}\n")).collect();
    let mut command = script(test, signer.script).unwrap();
    command.arg("verify");
    let theirs: Vec<bool> = lines(command, &input).iter().map(|value| value.as_bool().unwrap()).collect();
    assert_eq!(theirs.len(), requests.len());
    for (request, theirs) in requests.iter().zip(&theirs) {
        let house = signer.house();
        let status = post(&house, request).await.status;
        assert!(status != StatusCode::SERVICE_UNAVAILABLE, "{request}");
        if *theirs && status == StatusCode::UNAUTHORIZED {
            // Node's decoder takes base64 in several spellings for the same bytes; to us a signature has one.
            let again = post(&signer.house(), &respelled(request)).await.status;
            assert_eq!(again, StatusCode::OK, "seed {seed}: {request}");
            continue;
        }
        assert_eq!(status != StatusCode::UNAUTHORIZED, *theirs, "seed {seed}: {status} {request}");
    }
    let believed = theirs.iter().filter(|theirs| **theirs).count();
    assert!((20..requests.len() - 50).contains(&believed), "{believed} of {}: spoil more, or less", requests.len());
}

/// The same request with its signature spelled as the standard has it.
fn respelled(request: &Value) -> Value {
    use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
    use base64::engine::{DecodePaddingMode, Engine as _};
    let lenient = GeneralPurpose::new(
        &base64::alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let plain = |text: &str| {
        let letters: String = text
            .replace('-', "+")
            .replace('_', "/")
            .chars()
            .take_while(|letter| *letter != '=')
            .filter(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '+' | '/'))
            .collect();
        base64::engine::general_purpose::STANDARD.encode(lenient.decode(letters).unwrap())
    };
    let mut request = request.clone();
    let header = "X-Twilio-Email-Event-Webhook-Signature";
    if let Some(signature) = request["headers"].get(header).and_then(Value::as_str) {
        request["headers"][header] = plain(signature).into();
    }
    let body = request["body"].as_str().unwrap();
    if let Some((before, rest)) = body.split_once("\"Signature\" : \"") {
        let (signature, after) = rest.split_once('"').unwrap();
        request["body"] = format!("{before}\"Signature\" : \"{}\"{after}", plain(signature)).into();
    }
    request
}

/// Changes one letter of the body or of a header, cuts the body, or leaves all as it is.
fn spoil(request: &mut Value, chance: &mut ChaCha8Rng) {
    let headers: Vec<String> = request["headers"].as_object().unwrap().keys().cloned().collect();
    let signed: Vec<&String> = headers.iter().filter(|name| name.to_lowercase().contains("webhook")).collect();
    match chance.random_range(0..8) {
        0 | 1 => {}
        2 if !signed.is_empty() => {
            let name = signed[chance.random_range(0..signed.len())].clone();
            let spoilt = changed(request["headers"][&name].as_str().unwrap(), chance);
            request["headers"][&name] = spoilt.into();
        }
        3 => {
            let body = request["body"].as_str().unwrap();
            let cut = body.floor_char_boundary(chance.random_range(0..body.len()));
            request["body"] = body[..cut].into();
        }
        _ => request["body"] = changed(request["body"].as_str().unwrap(), chance).into(),
    }
}

/// One letter replaced by another; letters outside ASCII stay, for SendGrid's library reads them as text and we as bytes.
fn changed(text: &str, chance: &mut ChaCha8Rng) -> String {
    let letters: Vec<char> = text.chars().collect();
    let at = loop {
        let at = chance.random_range(0..letters.len());
        if letters[at].is_ascii_graphic() {
            break at;
        }
    };
    let other = loop {
        let other = char::from(chance.random_range(b'!'..=b'~'));
        if other != letters[at] {
            break other;
        }
    };
    letters.iter().enumerate().map(|(index, letter)| if index == at { other } else { *letter }).collect()
}

#[tokio::test]
async fn our_verifier_and_sendgrids_agree() {
    agrees("our_verifier_and_sendgrids_agree", Provider::Sendgrid).await;
}

#[tokio::test]
async fn our_verifier_and_one_for_sns_agree() {
    agrees("our_verifier_and_one_for_sns_agree", Provider::Ses).await;
}

#[tokio::test]
async fn our_verifier_and_mailguns_words_agree() {
    agrees("our_verifier_and_mailguns_words_agree", Provider::Mailgun).await;
}

#[tokio::test]
async fn a_webhook_nobody_set_up_is_not_there() {
    assert_eq!(House::new().post("/webhooks/mail", "[]").await.status, StatusCode::NOT_FOUND);
}
