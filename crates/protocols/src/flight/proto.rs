//! The messages of Arrow Flight and Flight SQL that are spoken here.
//!
//! Source: `Flight.proto` and `FlightSql.proto` of Apache Arrow. Fields nobody here reads or writes are left out: protobuf passes over
//! them.

use bytes::Bytes;
use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FlightDescriptor {
    /// 2: a command.
    #[prost(int32, tag = "1")]
    pub(crate) kind: i32,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) command: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FlightInfo {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) schema: Bytes,
    #[prost(message, optional, tag = "2")]
    pub(crate) descriptor: Option<FlightDescriptor>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) endpoints: Vec<FlightEndpoint>,
    /// -1: nobody knows.
    #[prost(int64, tag = "4")]
    pub(crate) total_records: i64,
    #[prost(int64, tag = "5")]
    pub(crate) total_bytes: i64,
    #[prost(bool, tag = "6")]
    pub(crate) ordered: bool,
}

/// Without a location: where it was asked for.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct FlightEndpoint {
    #[prost(message, optional, tag = "1")]
    pub(crate) ticket: Option<Ticket>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Ticket {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) ticket: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct SchemaResult {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) schema: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct FlightData {
    #[prost(message, optional, tag = "1")]
    pub(crate) descriptor: Option<FlightDescriptor>,
    /// A message of Arrow's IPC, without its length.
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) header: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) metadata: Bytes,
    #[prost(bytes = "bytes", tag = "1000")]
    pub(crate) body: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PutResult {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) metadata: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Action {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) body: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ActionType {
    #[prost(string, tag = "1")]
    pub(crate) kind: String,
    #[prost(string, tag = "2")]
    pub(crate) description: String,
}

/// Of an action.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ActionResult {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) body: Bytes,
}

/// A message and which one it is.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

const TYPES: &str = "type.googleapis.com/arrow.flight.protocol.sql.";

impl Any {
    pub(crate) fn of(name: &str, message: &impl Message) -> Self {
        Self { type_url: format!("{TYPES}{name}"), value: message.encode_to_vec().into() }
    }

    /// The name of the message, if it is one of Flight SQL.
    pub(crate) fn name(&self) -> Option<&str> {
        self.type_url.strip_prefix(TYPES)
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CommandStatementQuery {
    #[prost(string, tag = "1")]
    pub(crate) query: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct TicketStatementQuery {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) handle: Bytes,
}

/// Of a prepared statement: to be run, or to be given values.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct CommandPreparedStatementQuery {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) handle: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct DoPutPreparedStatementResult {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(crate) handle: Option<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ActionCreatePreparedStatementRequest {
    #[prost(string, tag = "1")]
    pub(crate) query: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ActionCreatePreparedStatementResult {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) handle: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) dataset_schema: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) parameter_schema: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CommandGetSqlInfo {
    /// None: all there is.
    #[prost(uint32, repeated, tag = "1")]
    pub(crate) info: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CommandGetDbSchemas {
    #[prost(string, optional, tag = "1")]
    pub(crate) catalog: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) schema_pattern: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CommandGetTables {
    #[prost(string, optional, tag = "1")]
    pub(crate) catalog: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub(crate) schema_pattern: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub(crate) table_pattern: Option<String>,
    #[prost(string, repeated, tag = "4")]
    pub(crate) table_types: Vec<String>,
    #[prost(bool, tag = "5")]
    pub(crate) include_schema: bool,
}
