//! The log on Apache Kafka, through librdkafka.
//!
//! In:       records with their partition; positions to read from.
//! Out:      acknowledgements after `acks=all` from an idempotent producer; records in offset order.
//! Promise:  offsets for recovery never live in the consumer group. A reader's partitions are named by its owner; or a
//!           group names them (`group`), and then the owner still names the offsets. librdkafka's blocking calls run on
//!           blocking threads.
//! Limits:   `topic_id` is cluster id and topic name. Kafka knows a uuid for each topic, but rdkafka 0.39 offers no
//!           safe way to ask for it: a topic deleted and made anew under its old name has the same id here. Whoever
//!           stores positions stores with them what the last record looked like (`EventLog::record_at`).

mod context;
mod errors;
mod group;
mod inspect;
mod reader;

use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::config::{ClientConfig, FromClientConfigAndContext as _};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{DeliveryFuture, FutureProducer, FutureRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::OnceCell;

use crate::log::check_spec;
use crate::{Ack, Bounds, EventLog, LogError, LogReader, Record, TopicInfo, TopicSpec};
use context::Context;
pub use inspect::replicas;
use reader::KafkaReader;

type Asking = BaseConsumer<Context>;

/// Begin with [`KafkaSettings::at`] and change what you must.
#[derive(Debug, Clone)]
pub struct KafkaSettings {
    /// `host:port`, comma-separated.
    pub bootstrap_servers: String,
    /// Of topics we make. 3 on a real cluster; 1 on one broker.
    pub replication_factor: u16,
    /// How long librdkafka tries before an append is told `Unknown`.
    pub message_timeout_ms: u32,
    /// Of every request that is not an append.
    pub request_timeout_ms: u32,
    /// How long a batch waits for more. Short: an HTTP answer hangs on it.
    pub linger_ms: u32,
    /// Key and value together. The broker's `message.max.bytes` must allow it too (it refuses with `TooLarge`).
    pub record_bytes_max: usize,
    /// What may wait in the producer before appends are told `Busy`.
    pub queue_bytes_max: usize,
    /// What one reader fetches ahead.
    pub reader_queue_bytes_max: usize,
    /// Of topics we make, as in Kafka's documentation: `retention.ms`, `min.insync.replicas` ... They go before our
    /// own, which keep records for ever and, from three copies on, ask for two in sync.
    pub topic_config: Vec<(String, String)>,
    /// librdkafka's own names, for what is not above: `security.protocol`, `sasl.*`, `ssl.*`, `compression.type` ...
    pub extra: Vec<(String, String)>,
}

impl KafkaSettings {
    pub fn at(bootstrap_servers: impl Into<String>) -> Self {
        Self {
            bootstrap_servers: bootstrap_servers.into(),
            replication_factor: 3,
            message_timeout_ms: 30_000,
            request_timeout_ms: 15_000,
            linger_ms: 2,
            record_bytes_max: 1 << 20,
            queue_bytes_max: 64 << 20,
            reader_queue_bytes_max: 64 << 20,
            topic_config: Vec::new(),
            extra: Vec::new(),
        }
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap_servers).set("client.id", "tributary");
        for (name, value) in &self.extra {
            config.set(name, value);
        }
        config
    }

    fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", self.linger_ms.to_string())
            .set("message.timeout.ms", self.message_timeout_ms.to_string())
            // Above our own limit by more than a record's framing, so that the limit told is ours.
            .set("message.max.bytes", (self.record_bytes_max + 4096).to_string())
            .set("queue.buffering.max.kbytes", (self.queue_bytes_max / 1024).max(1).to_string())
            .set("queue.buffering.max.messages", "1000000");
        config
    }

    fn consumer(&self, group: &str) -> ClientConfig {
        let mut config = self.client();
        config
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("isolation.level", "read_committed")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "true")
            .set("allow.auto.create.topics", "false")
            .set("queued.max.messages.kbytes", (self.reader_queue_bytes_max / 1024).max(1).to_string())
            // A broker answers after this when it has nothing new: the price of knowing the end.
            .set("fetch.wait.max.ms", "100");
        config
    }

    /// A consumer whose partitions a group names.
    fn member(&self, group: &str) -> ClientConfig {
        let mut config = self.consumer(group);
        // With it a rebalance leaves alone what stays where it is; the older strategies take everything from everybody
        // first, and each worker would have to rebuild all its state each time.
        config.set("partition.assignment.strategy", "cooperative-sticky");
        // How soon the group notices partitions that were added; librdkafka's own is five minutes.
        let refresh = "topic.metadata.refresh.interval.ms";
        if self.extra.iter().all(|(name, _)| name != refresh) {
            config.set(refresh, "30000");
        }
        config
    }

    fn request_timeout(&self) -> Duration {
        Duration::from_millis(self.request_timeout_ms.into())
    }

    /// Of topics we make, unless `topic_config` says otherwise. A broker as shipped forgets after a week, and takes the
    /// word of a leader that has lost its followers for "all".
    fn topic_defaults(&self) -> [(&'static str, &'static str); 3] {
        let replicas_min = if self.replication_factor >= 3 { "2" } else { "1" };
        [("retention.ms", "-1"), ("retention.bytes", "-1"), ("min.insync.replicas", replicas_min)]
    }
}

pub struct KafkaLog {
    settings: KafkaSettings,
    /// Known once the cluster has answered.
    cluster_id: OnceCell<String>,
    producer: FutureProducer<Context>,
    admin: AdminClient<Context>,
    /// Asks for metadata and watermarks. A consumer, because a producer that asks for a topic may create it.
    asker: Asker,
    /// Partition counts of topics seen.
    topics: RwLock<HashMap<String, u32>>,
    /// One idle consumer a group, only to commit and fetch its positions.
    groups: Mutex<HashMap<String, Arc<Asking>>>,
    closed: AtomicBool,
}

/// Blocking questions to the cluster, off the runtime's threads.
#[derive(Clone)]
pub(crate) struct Asker {
    consumer: Arc<Asking>,
    context: Context,
    timeout: Duration,
}

impl Asker {
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Asking, Duration) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let Self { consumer, timeout, .. } = self.clone();
        blocking(move || question(&consumer, timeout)).await
    }

    /// Asks again for a while: a broker that has just been made leader, of a new topic or by an election, may not know it yet.
    pub(crate) async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, LogError> {
        retried(self.timeout, || {
            let topic = topic.to_owned();
            self.ask(move |consumer, timeout| {
                let marks = consumer.fetch_watermarks(&topic, native(partition)?, timeout);
                let (low, high) = marks.map_err(|error| errors::of_request(&error, &topic))?;
                Ok(Bounds { earliest: low.max(0).cast_unsigned(), next: high.max(0).cast_unsigned() })
            })
        })
        .await
    }

    /// `None`: there is no such topic. An error while a partition has no leader.
    async fn partitions(&self, topic: &str) -> Result<Option<u32>, LogError> {
        let topic = topic.to_owned();
        self.ask(move |consumer, timeout| {
            let metadata = consumer.fetch_metadata(Some(&topic), timeout);
            let metadata = metadata.map_err(|error| errors::of_request(&error, &topic))?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let Some(found) = found else { return Ok(None) };
            match found.error().map(RDKafkaErrorCode::from) {
                None => {}
                Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => return Ok(None),
                Some(RDKafkaErrorCode::InvalidTopic) => return Ok(None),
                Some(code) => return Err(errors::of_request(&KafkaError::MetadataFetch(code), &topic)),
            }
            if found.partitions().is_empty() || found.partitions().iter().any(|partition| partition.leader() < 0) {
                return Err(LogError::Retriable(format!("a partition of topic {topic} has no leader")));
            }
            Ok(u32::try_from(found.partitions().len()).ok())
        })
        .await
    }
}

impl KafkaLog {
    /// Returns once the cluster has answered.
    pub async fn connect(settings: KafkaSettings) -> Result<Arc<Self>, LogError> {
        let log = Self::lazily(settings)?;
        log.cluster_id().await?;
        Ok(log)
    }

    /// Asks nothing yet: for who has somewhere to keep records while the cluster is away.
    pub fn lazily(settings: KafkaSettings) -> Result<Arc<Self>, LogError> {
        if settings.replication_factor == 0 {
            return Err(LogError::Invalid("replication_factor is 0".into()));
        }
        let bad = |error: KafkaError| LogError::Invalid(format!("Kafka settings: {error}"));
        let context = Context::default();
        let producer = settings.producer().create_with_context(context.clone()).map_err(bad)?;
        let admin = AdminClient::from_config_and_context(&settings.client(), context.clone()).map_err(bad)?;
        let consumer: Asking = settings.consumer("tributary-asks").create_with_context(context.clone()).map_err(bad)?;
        let asker = Asker { consumer: Arc::new(consumer), context, timeout: settings.request_timeout() };
        Ok(Arc::new(Self {
            settings,
            cluster_id: OnceCell::new(),
            producer,
            admin,
            asker,
            topics: RwLock::default(),
            groups: Mutex::default(),
            closed: AtomicBool::new(false),
        }))
    }

    async fn cluster_id(&self) -> Result<&str, LogError> {
        let servers = self.settings.bootstrap_servers.clone();
        let asking = || {
            self.asker.ask(move |consumer, timeout| {
                consumer.client().fetch_cluster_id(timeout).ok_or_else(|| {
                    LogError::Retriable(format!("no answer from Kafka at {servers}: is it running and reachable?"))
                })
            })
        };
        Ok(self.cluster_id.get_or_try_init(asking).await?)
    }

    fn check_open(&self) -> Result<(), LogError> {
        if self.closed.load(Ordering::Acquire) { Err(LogError::Closed) } else { Ok(()) }
    }

    /// As many as when the topic was last looked at.
    async fn known_partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.check_open()?;
        let known = self.topics.read().unwrap_or_else(PoisonError::into_inner).get(topic).copied();
        match known {
            Some(partitions) => Ok(partitions),
            None => self.partitions(topic).await,
        }
    }

    async fn check_partition(&self, topic: &str, partition: u32) -> Result<(), LogError> {
        if partition < self.known_partitions(topic).await? {
            return Ok(());
        }
        // It may have been added since.
        let partitions = self.partitions(topic).await?;
        if partition < partitions {
            return Ok(());
        }
        Err(LogError::NoSuchPartition { topic: topic.to_owned(), partition, partitions })
    }

    async fn create_topic(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let replication = TopicReplication::Fixed(self.settings.replication_factor.into());
        let mut topic = NewTopic::new(&spec.name, native(spec.partitions)?, replication);
        for (name, value) in self.settings.topic_defaults() {
            if self.settings.topic_config.iter().all(|(set, _)| set != name) {
                topic = topic.set(name, value);
            }
        }
        for (name, value) in &self.settings.topic_config {
            topic = topic.set(name, value);
        }
        let made = self.admin.create_topics([&topic], &self.admin_options()).await;
        match made.map_err(|error| errors::of_request(&error, &spec.name))?.into_iter().next() {
            None | Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, RDKafkaErrorCode::InvalidReplicationFactor))) => Err(LogError::Fatal(format!(
                "topic {} cannot be made with {} copies: the cluster has fewer brokers. Set \
                 log.kafka_replication_factor to at most their number (1 for a single broker)",
                spec.name, self.settings.replication_factor
            ))),
            Some(Err((_, code))) => Err(errors::of_request(&KafkaError::AdminOp(code), &spec.name)),
        }
    }

    fn admin_options(&self) -> AdminOptions {
        let timeout = Some(self.settings.request_timeout());
        AdminOptions::new().operation_timeout(timeout).request_timeout(timeout)
    }

    /// Hands one record to librdkafka; the future tells when it is durable.
    fn send(&self, topic: &str, partitions: u32, partition: u32, record: &Record) -> Result<DeliveryFuture, LogError> {
        if partitions <= partition {
            return Err(LogError::NoSuchPartition { topic: topic.to_owned(), partition, partitions });
        }
        let bytes = record_bytes(record);
        let bytes_max = self.settings.record_bytes_max;
        if bytes_max < bytes {
            return Err(LogError::TooLarge { bytes, bytes_max });
        }
        let mut message: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(topic).partition(native(partition)?).payload(&record.value[..]).timestamp(record.time_ms);
        if let Some(key) = &record.key {
            message = message.key(&key[..]);
        }
        self.producer.send_result(message).map_err(|(error, _)| errors::of_append(&error, topic, bytes, bytes_max))
    }

    async fn group<T: Send + 'static>(
        &self,
        group: &str,
        work: impl FnOnce(&Asking) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let known = self.groups.lock().unwrap_or_else(PoisonError::into_inner).get(group).cloned();
        let consumer = match known {
            Some(consumer) => consumer,
            None => {
                let made: Asking = self
                    .settings
                    .consumer(group)
                    .create_with_context(self.asker.context.clone())
                    .map_err(|error| LogError::Invalid(format!("group {group}: {error}")))?;
                let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
                groups.entry(group.to_owned()).or_insert_with(|| Arc::new(made)).clone()
            }
        };
        blocking(move || work(&consumer)).await
    }
}

#[async_trait]
impl EventLog for KafkaLog {
    async fn ensure_topic(&self, spec: &TopicSpec) -> Result<TopicInfo, LogError> {
        check_spec(spec)?;
        self.check_open()?;
        let cluster_id = self.cluster_id().await?;
        if self.asker.partitions(&spec.name).await.is_ok_and(|found| found.is_none()) {
            self.create_topic(spec).await?;
        }
        // A topic that was just made shows up, and gets its leaders, a moment later.
        let found = retried(self.settings.request_timeout(), || self.partitions(&spec.name)).await?;
        if found != spec.partitions {
            return Err(LogError::PartitionsDiffer { topic: spec.name.clone(), asked: spec.partitions, found });
        }
        let topic_id = format!("{cluster_id}/{}", spec.name);
        Ok(TopicInfo { topic: spec.name.clone(), topic_id, partitions: found })
    }

    async fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.check_open()?;
        let found = self.asker.partitions(topic).await?;
        let partitions = found.ok_or_else(|| LogError::NoSuchTopic { topic: topic.to_owned() })?;
        self.topics.write().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned(), partitions);
        Ok(partitions)
    }

    async fn append(&self, topic: &str, records: Vec<(u32, Record)>) -> Vec<Result<Ack, LogError>> {
        let partitions = match self.known_partitions(topic).await {
            Ok(partitions) => partitions,
            Err(error) => return vec![Err(error); records.len()],
        };
        // All are handed over before the first is awaited, without a pause, so that they keep their order and
        // travel together.
        let sent: Vec<_> = records
            .iter()
            .map(|(partition, record)| (record_bytes(record), self.send(topic, partitions, *partition, record)))
            .collect();
        drop(records);
        let mut answers = Vec::with_capacity(sent.len());
        for (bytes, sent) in sent {
            answers.push(match sent {
                Ok(delivery) => acknowledged(delivery, topic, bytes, self.settings.record_bytes_max).await,
                Err(error) => Err(error),
            });
        }
        answers
    }

    async fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, LogError> {
        self.check_partition(topic, partition).await?;
        self.asker.bounds(topic, partition).await
    }

    async fn reader(&self, topic: &str, start: &[(u32, u64)]) -> Result<Box<dyn LogReader>, LogError> {
        for (partition, _) in start {
            self.check_partition(topic, *partition).await?;
        }
        self.known_partitions(topic).await?;
        let config = self.settings.consumer("tributary-reads");
        Ok(Box::new(KafkaReader::start(&config, self.asker.clone(), topic, start).await?))
    }

    async fn group_reader(&self, group: &str, topic: &str) -> Result<Box<dyn LogReader>, LogError> {
        self.known_partitions(topic).await?;
        Ok(Box::new(KafkaReader::join(&self.settings.member(group), self.asker.clone(), topic)?))
    }

    async fn report_position(&self, group: &str, topic: &str, next: &[(u32, u64)]) -> Result<(), LogError> {
        for (partition, _) in next {
            self.check_partition(topic, *partition).await?;
        }
        let list = positions(topic, next)?;
        let topic = topic.to_owned();
        self.group(group, move |consumer| {
            consumer.commit(&list, CommitMode::Sync).map_err(|error| errors::of_request(&error, &topic))
        })
        .await
    }

    async fn position(&self, group: &str, topic: &str, partition: u32) -> Result<Option<u64>, LogError> {
        self.check_partition(topic, partition).await?;
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, native(partition)?);
        let (topic, timeout) = (topic.to_owned(), self.settings.request_timeout());
        self.group(group, move |consumer| {
            let found = consumer.committed_offsets(list, timeout);
            let found = found.map_err(|error| errors::of_request(&error, &topic))?;
            Ok(found.elements().first().and_then(|element| match element.offset() {
                Offset::Offset(next) => u64::try_from(next).ok(),
                _ => None,
            }))
        })
        .await
    }

    async fn trim(&self, topic: &str, partition: u32, keep_from: u64) -> Result<u64, LogError> {
        let bounds = self.bounds(topic, partition).await?;
        if keep_from <= bounds.earliest {
            return Ok(bounds.earliest);
        }
        let list = positions(topic, &[(partition, keep_from.min(bounds.next))])?;
        let trimmed = self.admin.delete_records(&list, &self.admin_options()).await;
        let trimmed = trimmed.map_err(|error| errors::of_request(&error, topic))?;
        for element in trimmed.elements() {
            element.error().map_err(|error| errors::of_request(&error, topic))?;
        }
        Ok(self.bounds(topic, partition).await?.earliest)
    }

    async fn check(&self) -> Result<(), LogError> {
        self.check_open()?;
        if let Some((code, why)) = self.producer.client().fatal_error() {
            return Err(LogError::Fatal(format!("Kafka's producer stopped: {code}: {why}")));
        }
        let topics: Vec<String> = self.topics.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect();
        for topic in topics {
            if self.asker.partitions(&topic).await?.is_none() {
                return Err(LogError::NoSuchTopic { topic });
            }
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), LogError> {
        self.closed.store(true, Ordering::Release);
        let producer = self.producer.clone();
        let timeout = Duration::from_millis(self.settings.message_timeout_ms.into());
        blocking(move || producer.flush(timeout).map_err(|_| LogError::Unknown)).await
    }
}

async fn acknowledged(delivery: DeliveryFuture, topic: &str, bytes: usize, bytes_max: usize) -> Result<Ack, LogError> {
    match delivery.await {
        Ok(Ok(done)) => match (u32::try_from(done.partition), u64::try_from(done.offset)) {
            (Ok(partition), Ok(offset)) => Ok(Ack { partition, offset, spooled: false }),
            // Delivered before, and the broker no longer knows where (a duplicate of an old retry).
            _ => Err(LogError::Unknown),
        },
        Ok(Err((error, _))) => Err(errors::of_append(&error, topic, bytes, bytes_max)),
        // The producer went away with the record.
        Err(_) => Err(LogError::Unknown),
    }
}

async fn retried<T, F: Future<Output = Result<T, LogError>>>(
    patience: Duration,
    mut attempt: impl FnMut() -> F,
) -> Result<T, LogError> {
    const PAUSE: Duration = Duration::from_millis(50);
    let deadline = tokio::time::Instant::now() + patience;
    loop {
        match attempt().await {
            Err(LogError::Retriable(_) | LogError::NoSuchTopic { .. })
                if tokio::time::Instant::now() + PAUSE < deadline =>
            {
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| LogError::Fatal(format!("a question to Kafka was ended: {error}")))?
}

pub(crate) fn positions(topic: &str, next: &[(u32, u64)]) -> Result<TopicPartitionList, LogError> {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in next {
        let offset = i64::try_from(*offset).map_err(|_| LogError::Invalid(format!("offset {offset} is too large")))?;
        list.add_partition_offset(topic, native(*partition)?, Offset::Offset(offset))
            .map_err(|error| LogError::Invalid(error.to_string()))?;
    }
    Ok(list)
}

/// A list of partitions without offsets.
pub(crate) fn partitions(topic: &str, numbers: &[u32]) -> Result<TopicPartitionList, LogError> {
    let mut list = TopicPartitionList::new();
    for number in numbers {
        list.add_partition(topic, native(*number)?);
    }
    Ok(list)
}

pub(crate) fn record_bytes(record: &Record) -> usize {
    record.value.len() + record.key.as_ref().map_or(0, bytes::Bytes::len)
}

fn native(partition: u32) -> Result<i32, LogError> {
    i32::try_from(partition).map_err(|_| LogError::Invalid(format!("partition {partition} is too large")))
}
