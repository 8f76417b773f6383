//! What the server says.
//!
//! In:       facts.
//! Out:      messages, appended to bytes.
//! Promise:  each message is whole, its length right.
//! Not here: how values are written (`encode.rs`).

use bytes::{BufMut, BytesMut};

use super::fault::Fault;
use super::frontend::Format;
use super::types::Shape;

/// A message of this type with the body that `write` appends.
fn message(out: &mut BytesMut, kind: u8, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    sized(out, write);
}

/// What `write` appends with its length before it, which counts itself.
fn sized(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    let begin = out.len();
    out.put_u32(0);
    write(out);
    let length = u32::try_from(out.len() - begin).expect("a batch of rows is below 2 GiB, and so is each of its rows");
    out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
}

fn text(out: &mut BytesMut, text: &str) {
    // A zero would end it.
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.put_u8(0);
}

pub(crate) enum Authentication<'a> {
    Ok,
    /// The mechanisms there are.
    Sasl(&'a [&'a str]),
    SaslContinue(&'a str),
    SaslFinal(&'a str),
}

pub(crate) fn authentication(out: &mut BytesMut, said: &Authentication<'_>) {
    message(out, b'R', |out| match said {
        Authentication::Ok => out.put_u32(0),
        Authentication::Sasl(mechanisms) => {
            out.put_u32(10);
            for mechanism in *mechanisms {
                text(out, mechanism);
            }
            out.put_u8(0);
        }
        Authentication::SaslContinue(words) => {
            out.put_u32(11);
            out.put_slice(words.as_bytes());
        }
        Authentication::SaslFinal(words) => {
            out.put_u32(12);
            out.put_slice(words.as_bytes());
        }
    });
}

pub(crate) fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    message(out, b'S', |out| {
        text(out, name);
        text(out, value);
    });
}

/// What a client must show to cancel what this connection is at.
pub(crate) fn key_data(out: &mut BytesMut, process: u32, secret: u32) {
    message(out, b'K', |out| {
        out.put_u32(process);
        out.put_u32(secret);
    });
}

/// * `newest_minor`: of version 3 of the protocol.
/// * `unknown`: options of the protocol that are not known here.
pub(crate) fn negotiate(out: &mut BytesMut, newest_minor: u32, unknown: &[String]) {
    message(out, b'v', |out| {
        out.put_u32(newest_minor);
        out.put_u32(u32::try_from(unknown.len()).unwrap_or(0));
        for name in unknown {
            text(out, name);
        }
    });
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transaction {
    None,
    Open,
    /// Until it is rolled back.
    Failed,
}

pub(crate) fn ready(out: &mut BytesMut, transaction: Transaction) {
    message(out, b'Z', |out| {
        out.put_u8(match transaction {
            Transaction::None => b'I',
            Transaction::Open => b'T',
            Transaction::Failed => b'E',
        });
    });
}

/// Those without a body.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bare {
    ParseComplete,
    BindComplete,
    CloseComplete,
    NoData,
    PortalSuspended,
    EmptyQuery,
}

pub(crate) fn bare(out: &mut BytesMut, which: Bare) {
    let kind = match which {
        Bare::ParseComplete => b'1',
        Bare::BindComplete => b'2',
        Bare::CloseComplete => b'3',
        Bare::NoData => b'n',
        Bare::PortalSuspended => b's',
        Bare::EmptyQuery => b'I',
    };
    message(out, kind, |_| {});
}

pub(crate) fn complete(out: &mut BytesMut, tag: &str) {
    message(out, b'C', |out| text(out, tag));
}

pub(crate) fn error(out: &mut BytesMut, fault: &Fault) {
    let severity = if fault.is_fatal { "FATAL" } else { "ERROR" };
    let more = [(b'H', fault.hint.as_deref())];
    message(out, b'E', |out| fields(out, severity, fault.code, &fault.message, more));
}

pub(crate) fn notice(out: &mut BytesMut, words: &str) {
    message(out, b'N', |out| fields(out, "NOTICE", "00000", words, []));
}

/// The same with more to it, which clients show below.
pub(crate) fn notice_with_detail(out: &mut BytesMut, words: &str, detail: Option<&str>) {
    message(out, b'N', |out| fields(out, "NOTICE", "00000", words, [(b'D', detail)]));
}

/// What somebody should look at.
pub(crate) fn warning(out: &mut BytesMut, words: &str) {
    message(out, b'N', |out| fields(out, "WARNING", "01000", words, []));
}

fn fields<const MORE: usize>(
    out: &mut BytesMut,
    severity: &str,
    code: &str,
    words: &str,
    more: [(u8, Option<&str>); MORE],
) {
    let all = [(b'S', Some(severity)), (b'V', Some(severity)), (b'C', Some(code)), (b'M', Some(words))];
    for (field, value) in all.into_iter().chain(more) {
        if let Some(value) = value {
            out.put_u8(field);
            text(out, value);
        }
    }
    out.put_u8(0);
}

/// The columns of an answer. A table's number is not told: rows of views and of questions have none.
pub(crate) fn row_description(out: &mut BytesMut, columns: &[(String, Shape)], format: impl Fn(usize) -> Format) {
    message(out, b'T', |out| {
        out.put_u16(count(columns.len()));
        for (index, (name, shape)) in columns.iter().enumerate() {
            text(out, name);
            out.put_u32(0);
            out.put_u16(0);
            out.put_u32(shape.oid());
            out.put_i16(shape.width());
            out.put_i32(shape.modifier());
            out.put_u16(match format(index) {
                Format::Text => 0,
                Format::Binary => 1,
            });
        }
    });
}

pub(crate) fn parameter_description(out: &mut BytesMut, types: &[u32]) {
    message(out, b't', |out| {
        out.put_u16(count(types.len()));
        for oid in types {
            out.put_u32(*oid);
        }
    });
}

/// One row; `value` appends the bytes of a column's value, or says that it is NULL.
pub(crate) fn data_row(out: &mut BytesMut, columns: usize, mut value: impl FnMut(usize, &mut BytesMut) -> bool) {
    message(out, b'D', |out| {
        out.put_u16(count(columns));
        for column in 0..columns {
            let begin = out.len();
            out.put_u32(u32::MAX);
            if value(column, out) {
                let length = u32::try_from(out.len() - begin - 4).expect("a value lies in a batch below 2 GiB");
                out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
            }
        }
    });
}

/// PostgreSQL allows 1,664 columns; what is above 65,535 cannot be told and is refused before (`session.rs`).
fn count(of: usize) -> u16 {
    u16::try_from(of).expect("checked where the answer begins")
}
