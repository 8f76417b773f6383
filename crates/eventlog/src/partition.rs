//! Which partition a key belongs to: Kafka's default rule, so that keys land alike in both lives and other
//! Kafka clients agree with us.

/// `murmur2(key)` with the sign bit cleared, modulo `partitions` (at least 1).
///
/// Source: Apache Kafka `org.apache.kafka.common.utils.Utils.murmur2` and `BuiltInPartitioner`.
pub fn partition_for(key: &[u8], partitions: u32) -> u32 {
    debug_assert!(0 < partitions, "a topic has at least one partition");
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    // Kafka hashes with Java's 32-bit int length; a key of 4 GiB does not exist.
    #[allow(clippy::cast_possible_truncation, reason = "same wrap as Kafka's")]
    let mut hash = SEED ^ data.len() as u32;
    let (words, tail) = data.as_chunks::<4>();
    for word in words {
        let mut k = u32::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    if !tail.is_empty() {
        for (index, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::{murmur2, partition_for};

    /// The cases of Apache Kafka's own `UtilsTest.testMurmur2` (Apache-2.0).
    #[test]
    fn murmur2_agrees_with_kafka() {
        let cases: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, hash) in cases {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), hash, "key {key}");
        }
    }

    #[test]
    fn a_key_has_one_home_within_range() {
        for partitions in [1, 2, 3, 12, 1000] {
            for key in 0..200u32 {
                let key = key.to_string();
                let home = partition_for(key.as_bytes(), partitions);
                assert!(home < partitions);
                assert_eq!(home, partition_for(key.as_bytes(), partitions));
            }
        }
    }
}
