//! What librdkafka says, in our words: above all, whether a record may have been written.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::LogError;

/// Of a record that was given to the producer.
///
/// What is not known to mean "not written" becomes `Unknown`: a double can be dropped by its id later, a lost
/// record can not be found again.
pub(crate) fn of_append(error: &KafkaError, topic: &str, bytes: usize, bytes_max: usize) -> LogError {
    let Some(code) = error.rdkafka_error_code() else {
        return LogError::Fatal(error.to_string());
    };
    match code {
        Code::QueueFull => LogError::Busy,
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => LogError::TooLarge { bytes, bytes_max },
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            LogError::NoSuchTopic { topic: topic.to_owned() }
        }
        // The broker looked at it and will look at it in the same way each time.
        Code::InvalidRecord | Code::InvalidTimestamp | Code::InvalidMessage => LogError::Invalid(error.to_string()),
        // Purged before it was ever sent; refused before it was appended.
        Code::PurgeQueue | Code::NotEnoughReplicas => LogError::Retriable(error.to_string()),
        _ if is_for_a_person(code) => LogError::Fatal(error.to_string()),
        _ => LogError::Unknown,
    }
}

/// Of a request that writes no records.
pub(crate) fn of_request(error: &KafkaError, topic: &str) -> LogError {
    match error.rdkafka_error_code() {
        Some(Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition) => {
            LogError::NoSuchTopic { topic: topic.to_owned() }
        }
        Some(Code::InconsistentGroupProtocol) => LogError::Fatal(format!(
            "{error}: the consumer group has members that are not Tributary's, or of a version that shares partitions in \
             another way. Give the workers a group of their own"
        )),
        Some(code) if is_for_a_person(code) => LogError::Fatal(error.to_string()),
        Some(_) => LogError::Retriable(error.to_string()),
        // An assignment that the group has overtaken.
        None if matches!(error, KafkaError::Subscription(_)) => LogError::Retriable(error.to_string()),
        None => LogError::Fatal(error.to_string()),
    }
}

fn is_for_a_person(code: Code) -> bool {
    matches!(
        code,
        Code::Fatal
            | Code::Authentication
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnsupportedVersion
            | Code::UnsupportedFeature
            | Code::InvalidArgument
            | Code::InvalidReplicationFactor
            | Code::InvalidGroupId
            | Code::InvalidSessionTimeout
            | Code::PolicyViolation
    )
}
