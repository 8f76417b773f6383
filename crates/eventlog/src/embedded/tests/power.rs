//! Power cuts at any write, over several lives of one log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::memory_disk::{Dice, MemoryDisk};
use super::{TOPIC, open, read_all, record};
use crate::embedded::EmbeddedLog;
use crate::{EventLog, LogError, TopicSpec};

const PARTITIONS: u32 = 3;

/// What the outside world was told, over all lives.
#[derive(Default)]
struct Told {
    topic_id: Option<String>,
    acked: BTreeMap<(u32, u64), Vec<u8>>,
    delivered: BTreeMap<(u32, u64), Vec<u8>>,
    kept_from: [u64; PARTITIONS as usize],
    values: u32,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_told_survives_any_power_cut(
        seed in any::<u64>(),
        cuts in prop::collection::vec(0_usize..120, 1..5),
        segment_bytes_max in prop::sample::select(vec![300_u64, 3_000, 1 << 20]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut dice = Dice::new(seed);
            let mut told = Told::default();
            let mut disk = Arc::new(MemoryDisk::default());
            for cut in cuts {
                disk.power_goes_after(cut);
                live(&disk, segment_bytes_max, &mut told, &mut dice).await;
                if dice.below(2) == 0 {
                    // Killed, opened by the next process, which reads and tells what it finds; then the power goes.
                    disk.process_begins_anew();
                    check(&disk, segment_bytes_max, &mut told).await;
                }
                disk = Arc::new(disk.after_power_loss(&mut dice));
                check(&disk, segment_bytes_max, &mut told).await;
            }
        });
    }
}

/// Appends, reads and trims until the power goes.
async fn live(disk: &Arc<MemoryDisk>, segment_bytes_max: u64, told: &mut Told, dice: &mut Dice) {
    let Ok(log) = open(disk, |settings| settings.segment_bytes_max = segment_bytes_max) else { return };
    let Ok(info) = log.ensure_topic(&TopicSpec { name: TOPIC.into(), partitions: PARTITIONS }).await else { return };
    let topic_id = told.topic_id.get_or_insert_with(|| info.topic_id.clone());
    assert_eq!(*topic_id, info.topic_id, "the topic is the one it was");
    while !disk.power_is_gone() {
        append_some(&log, told, dice).await;
        if dice.below(4) == 0 {
            read_some(&log, told).await;
        }
        if dice.below(6) == 0 {
            trim_some(&log, told, dice).await;
        }
    }
}

/// A few appends at a time, so that a round has several requests and frames.
async fn append_some(log: &EmbeddedLog, told: &mut Told, dice: &mut Dice) {
    let appends: Vec<Vec<(u32, Vec<u8>)>> = (0..1 + dice.below(4))
        .map(|_| {
            (0..1 + dice.below(5))
                .map(|_| {
                    told.values += 1;
                    let mut value = told.values.to_le_bytes().to_vec();
                    value.resize(4 + dice.below(900), 0xab);
                    (u32::try_from(dice.below(PARTITIONS as usize)).unwrap(), value)
                })
                .collect()
        })
        .collect();
    let answers = futures::future::join_all(appends.iter().map(|append| {
        log.append(TOPIC, append.iter().map(|(partition, value)| (*partition, record(value.clone()))).collect())
    }))
    .await;
    for ((partition, value), answer) in appends.into_iter().flatten().zip(answers.into_iter().flatten()) {
        if let Ok(ack) = answer {
            assert_eq!(ack.partition, partition);
            let before = told.acked.insert((partition, ack.offset), value);
            assert_eq!(before, None, "no offset is given twice");
        }
    }
}

async fn read_some(log: &EmbeddedLog, told: &mut Told) {
    for partition in 0..PARTITIONS {
        let bounds = log.bounds(TOPIC, partition).await.unwrap();
        let mut reader = log.reader(TOPIC, &[(partition, bounds.earliest)]).await.unwrap();
        for delivered in reader.poll(5_000, Duration::ZERO).await.unwrap().records {
            told.delivered.insert((partition, delivered.offset), delivered.record.value.to_vec());
        }
    }
}

async fn trim_some(log: &EmbeddedLog, told: &mut Told, dice: &mut Dice) {
    for partition in 0..PARTITIONS {
        let next = log.bounds(TOPIC, partition).await.unwrap().next;
        let keep_from = u64::try_from(dice.below(usize::try_from(next).unwrap() + 1)).unwrap();
        let kept_from = &mut told.kept_from[partition as usize];
        *kept_from = keep_from.max(*kept_from);
        match log.trim(TOPIC, partition, keep_from).await {
            Ok(earliest) => assert!(earliest <= *kept_from),
            Err(error) => assert!(matches!(error, LogError::Retriable(_)), "{error}"),
        }
    }
}

async fn check(disk: &Arc<MemoryDisk>, segment_bytes_max: u64, told: &mut Told) {
    let log = open(disk, |settings| settings.segment_bytes_max = segment_bytes_max)
        .unwrap_or_else(|error| panic!("a power cut is no damage: {error}"));
    let spec = TopicSpec { name: TOPIC.into(), partitions: PARTITIONS };
    let info = log.ensure_topic(&spec).await.unwrap();
    assert!(told.topic_id.as_ref().is_none_or(|topic_id| *topic_id == info.topic_id));
    let mut seen = BTreeSet::new();
    for partition in 0..PARTITIONS {
        let records = read_all(&log, partition).await;
        let earliest = log.bounds(TOPIC, partition).await.unwrap().earliest;
        assert!(earliest <= told.kept_from[partition as usize]);
        for (delivered, offset) in records.iter().zip(earliest..) {
            assert_eq!(delivered.offset, offset, "no gap");
            assert!(seen.insert(delivered.record.value[..4].to_vec()), "no record twice");
        }
        for ((_, offset), value) in
            told.acked.iter().chain(&told.delivered).filter(|((of, offset), _)| *of == partition && earliest <= *offset)
        {
            let found = records.get(usize::try_from(offset - earliest).unwrap());
            let found = found.unwrap_or_else(|| panic!("offset {offset} of partition {partition} is lost"));
            assert!(found.record.value == value[..], "offset {offset} of partition {partition} is another record");
        }
        let now_told = records.iter().map(|found| ((partition, found.offset), found.record.value.to_vec()));
        told.delivered.extend(now_told);
    }
    log.close().await.unwrap();
}
