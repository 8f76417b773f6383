//! The Kafka life: the same conformance against a real broker, and injected faults against librdkafka's mock.

use std::sync::Arc;

use bytes::Bytes;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tributary_eventlog::kafka::{KafkaLog, KafkaSettings};
use tributary_eventlog::{EventLog, LogError, Record, TopicSpec};

use crate::conformance;

/// `host:port` of a broker the tests may use; `cargo xtask test` starts one and sets it.
const BROKER: &str = "TRIBUTARY_TEST_KAFKA";

pub(crate) fn broker(test: &str) -> Option<String> {
    let found = std::env::var(BROKER).ok().filter(|at| !at.is_empty());
    if found.is_none() {
        println!("{test}: skipped, {BROKER} is not set (`cargo xtask test` starts a broker and sets it)");
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_kafka_log_conforms() {
    let Some(at) = broker("the_kafka_log_conforms") else { return };
    let settings = KafkaSettings { replication_factor: 1, ..KafkaSettings::at(at) };
    conformance::all(KafkaLog::connect(settings).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_trims_to_the_very_offset_and_tells_a_reader_it_was_overtaken() {
    let Some(at) = broker("kafka_trims_to_the_very_offset") else { return };
    let settings = KafkaSettings { replication_factor: 1, ..KafkaSettings::at(at) };
    let log = KafkaLog::connect(settings).await.unwrap();
    let name = format!("trim-{}", std::process::id());
    log.ensure_topic(&TopicSpec { name: name.clone(), partitions: 1 }).await.unwrap();
    for answer in log.append(&name, (0..20).map(|_| (0, record(10))).collect()).await {
        answer.unwrap();
    }
    assert_eq!(log.trim(&name, 0, 12).await.unwrap(), 12);
    assert_eq!(log.trim(&name, 0, 3).await.unwrap(), 12, "a lower hint changes nothing");
    assert_eq!(log.trim(&name, 0, 99).await.unwrap(), 20, "a hint beyond the end empties the partition");
    let gone = log.reader(&name, &[(0, 19)]).await.map(|_| "a reader");
    assert!(matches!(gone, Err(LogError::OutOfRange { earliest: 20, next: 20, asked: 19, .. })), "{gone:?}");
    log.close().await.unwrap();
    assert!(matches!(log.check().await, Err(LogError::Closed)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_here_forgets_nothing_unless_told_to() {
    use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
    let Some(at) = broker("a_topic_made_here_forgets_nothing_unless_told_to") else { return };
    let config_of = async |name: &str| {
        let admin: AdminClient<rdkafka::client::DefaultClientContext> =
            rdkafka::ClientConfig::new().set("bootstrap.servers", &at).create().unwrap();
        let topic = [ResourceSpecifier::Topic(name)];
        let config = admin.describe_configs(&topic, &AdminOptions::new()).await.unwrap().remove(0).unwrap();
        let value = |name: &str| config.get(name).and_then(|entry| entry.value.clone()).unwrap();
        [value("retention.ms"), value("retention.bytes"), value("min.insync.replicas")]
    };
    let make = async |name: &str, topic_config: Vec<(String, String)>| {
        let settings = KafkaSettings { replication_factor: 1, topic_config, ..KafkaSettings::at(&at) };
        let log = KafkaLog::connect(settings).await.unwrap();
        log.ensure_topic(&TopicSpec { name: name.to_owned(), partitions: 1 }).await.unwrap();
    };
    let (kept, short) = (format!("kept-{}", std::process::id()), format!("short-{}", std::process::id()));
    make(&kept, Vec::new()).await;
    assert_eq!(config_of(&kept).await, ["-1", "-1", "1"]);
    make(&short, vec![("retention.ms".to_owned(), "60000".to_owned())]).await;
    assert_eq!(config_of(&short).await, ["60000", "-1", "1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_copies_than_brokers_are_refused_with_the_setting_to_change() {
    let Some(at) = broker("more_copies_than_brokers_are_refused_with_the_setting_to_change") else { return };
    let log = KafkaLog::connect(KafkaSettings::at(at)).await.unwrap();
    let spec = TopicSpec { name: format!("copies-{}", std::process::id()), partitions: 1 };
    let refused = log.ensure_topic(&spec).await.unwrap_err().to_string();
    assert!(refused.contains("log.kafka_replication_factor"), "{refused}");
}

#[tokio::test]
async fn no_broker_is_told_at_connect() {
    // Port 1 on loopback: nobody listens there.
    let settings = KafkaSettings { request_timeout_ms: 300, ..KafkaSettings::at("127.0.0.1:1") };
    let refused = KafkaLog::connect(settings).await.map(|_| "connected");
    assert!(matches!(refused, Err(LogError::Retriable(_))), "{refused:?}");
}

fn record(bytes: usize) -> Record {
    Record { key: None, value: Bytes::from(vec![7; bytes]), time_ms: 1 }
}

const TOPIC: &str = "t";

async fn mocked(
    change: impl FnOnce(&mut KafkaSettings),
) -> (MockCluster<'static, DefaultProducerContext>, Arc<KafkaLog>) {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic(TOPIC, 2, 1).unwrap();
    let mut settings = KafkaSettings { replication_factor: 1, ..KafkaSettings::at(cluster.bootstrap_servers()) };
    change(&mut settings);
    let log = KafkaLog::connect(settings).await.unwrap();
    (cluster, log)
}

#[tokio::test]
async fn a_broker_that_is_gone_leaves_the_record_unknown() {
    let (cluster, log) = mocked(|settings| settings.message_timeout_ms = 400).await;
    assert!(log.append(TOPIC, vec![(0, record(5))]).await[0].is_ok());
    cluster.broker_down(1).unwrap();
    let answers = log.append(TOPIC, vec![(0, record(5)), (1, record(5))]).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(LogError::Unknown))), "{answers:?}");
    cluster.broker_up(1).unwrap();
}

#[tokio::test]
async fn a_full_producer_queue_is_busy_and_the_rest_is_answered() {
    let (cluster, log) = mocked(|settings| {
        settings.message_timeout_ms = 400;
        settings.queue_bytes_max = 10_240;
    })
    .await;
    assert!(log.append(TOPIC, vec![(0, record(5))]).await[0].is_ok());
    cluster.broker_down(1).unwrap();
    let answers = log.append(TOPIC, (0..30).map(|_| (0, record(1000))).collect()).await;
    assert_eq!(answers.len(), 30);
    let busy = answers.iter().filter(|answer| matches!(answer, Err(LogError::Busy))).count();
    let unknown = answers.iter().filter(|answer| matches!(answer, Err(LogError::Unknown))).count();
    assert!(0 < busy && 0 < unknown && busy + unknown == 30, "{answers:?}");
}

#[tokio::test]
async fn a_passing_error_is_retried_without_a_double() {
    use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
    let (cluster, log) = mocked(|_| {}).await;
    let errors = [
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
    ];
    cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    let answers = log.append(TOPIC, (0..5).map(|_| (0, record(5))).collect()).await;
    let offsets: Vec<u64> = answers.into_iter().map(|answer| answer.unwrap().offset).collect();
    assert_eq!(offsets, [0, 1, 2, 3, 4]);
    assert_eq!(log.bounds(TOPIC, 0).await.unwrap().next, 5);
}
