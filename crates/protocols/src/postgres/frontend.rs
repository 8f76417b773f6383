//! What a client says.
//!
//! In:       bytes of a connection, in order.
//! Out:      messages, one at a time.
//! Promise:  a message is looked at only once all of it is there, never beyond its end, and none is longer than allowed;
//!           whatever comes, nothing here panics.
//! Not here: what is answered (`session.rs`); the first message of a connection, which has no type (`startup.rs`).

use bytes::{Buf, Bytes, BytesMut};

use super::fault::Fault;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frontend {
    Query {
        sql: String,
    },
    Parse {
        statement: String,
        sql: String,
        types: Vec<u32>,
    },
    Bind(Bind),
    Describe(Named),
    Execute {
        portal: String,
        /// 0: all of them.
        rows_max: u32,
    },
    Close(Named),
    Flush,
    Sync,
    Terminate,
    /// Of a password exchange, whatever the exchange is.
    Password(Bytes),
    /// Of a COPY, which nobody was asked for.
    Copy,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bind {
    pub(crate) portal: String,
    pub(crate) statement: String,
    /// None: all text; one: of all; else one for each.
    pub(crate) formats: Vec<Format>,
    pub(crate) values: Vec<Option<Bytes>>,
    pub(crate) answer_formats: Vec<Format>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Named {
    Statement(String),
    Portal(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Text,
    Binary,
}

/// The next message, if all of it is there.
pub(crate) fn take(read: &mut BytesMut, bytes_max: usize) -> Result<Option<Frontend>, Fault> {
    let Some(&[kind, a, b, c, d]) = read.first_chunk() else {
        // Four bytes of a length may be long in coming: who speaks another language is told at once.
        return match read.first() {
            Some(kind) if !KINDS.contains(kind) => Err(unknown(*kind)),
            _ => Ok(None),
        };
    };
    if !KINDS.contains(&kind) {
        return Err(unknown(kind));
    }
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length < 4 {
        return Err(Fault::protocol(format!("a message says it has {length} bytes, its length among them")));
    }
    if bytes_max < length {
        let told = format!("a message has {length} bytes, {bytes_max} are allowed (postgres.message_bytes_max)");
        return Err(Fault::protocol(told));
    }
    if read.len() <= length {
        read.reserve(length + 1 - read.len());
        return Ok(None);
    }
    let mut message = read.split_to(length + 1).freeze();
    message.advance(5);
    let mut body = Body(message);
    let message = body.message(kind)?;
    if !body.0.is_empty() {
        return Err(malformed());
    }
    Ok(Some(message))
}

const KINDS: &[u8] = b"QPBDECHSXpdcfF";

fn unknown(kind: u8) -> Fault {
    Fault::protocol(format!("there is no message of type {:?}", char::from(kind)))
}

fn malformed() -> Fault {
    Fault::protocol("a message is not what its type says".to_owned())
}

/// The rest of one message.
struct Body(Bytes);

impl Body {
    fn message(&mut self, kind: u8) -> Result<Frontend, Fault> {
        Ok(match kind {
            b'Q' => Frontend::Query { sql: self.text()? },
            b'P' => {
                let (statement, sql) = (self.text()?, self.text()?);
                Frontend::Parse { statement, sql, types: self.list(|body| body.u32())? }
            }
            b'B' => Frontend::Bind(Bind {
                portal: self.text()?,
                statement: self.text()?,
                formats: self.list(Self::format)?,
                values: self.list(Self::value)?,
                answer_formats: self.list(Self::format)?,
            }),
            b'D' => Frontend::Describe(self.named()?),
            b'E' => Frontend::Execute {
                portal: self.text()?,
                // Negative is no limit, as 0.
                rows_max: u32::try_from(self.u32()?.cast_signed()).unwrap_or(0),
            },
            b'C' => Frontend::Close(self.named()?),
            b'H' => Frontend::Flush,
            b'S' => Frontend::Sync,
            b'X' => Frontend::Terminate,
            b'p' => Frontend::Password(std::mem::take(&mut self.0)),
            b'd' | b'c' | b'f' => {
                self.0.clear();
                Frontend::Copy
            }
            // The call of a function by its number, of which there are none.
            b'F' => return Err(Fault::unsupported("calls of functions by number")),
            other => return Err(unknown(other)),
        })
    }

    /// Up to the next zero.
    fn text(&mut self) -> Result<String, Fault> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or_else(malformed)?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        String::from_utf8(text.into()).map_err(|_| Fault::encoding())
    }

    fn u16(&mut self) -> Result<u16, Fault> {
        self.0.try_get_u16().map_err(|_| malformed())
    }

    fn u32(&mut self) -> Result<u32, Fault> {
        self.0.try_get_u32().map_err(|_| malformed())
    }

    fn format(&mut self) -> Result<Format, Fault> {
        match self.u16()? {
            0 => Ok(Format::Text),
            1 => Ok(Format::Binary),
            other => Err(Fault::protocol(format!("there is no format {other}"))),
        }
    }

    fn value(&mut self) -> Result<Option<Bytes>, Fault> {
        let length = self.u32()?;
        if length == u32::MAX {
            return Ok(None);
        }
        let length = length as usize;
        if self.0.len() < length { Err(malformed()) } else { Ok(Some(self.0.split_to(length))) }
    }

    fn list<T>(&mut self, mut item: impl FnMut(&mut Self) -> Result<T, Fault>) -> Result<Vec<T>, Fault> {
        let count = self.u16()?;
        (0..count).map(|_| item(self)).collect()
    }

    fn named(&mut self) -> Result<Named, Fault> {
        let kind = self.0.try_get_u8().map_err(|_| malformed())?;
        let name = self.text()?;
        match kind {
            b'S' => Ok(Named::Statement(name)),
            b'P' => Ok(Named::Portal(name)),
            _ => Err(malformed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use proptest::prelude::*;

    use super::*;

    const BYTES_MAX: usize = 1 << 20;

    fn framed(kind: u8, body: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::new();
        bytes.put_u8(kind);
        bytes.put_u32(u32::try_from(body.len() + 4).unwrap());
        bytes.put_slice(body);
        bytes
    }

    #[test]
    fn messages_are_read_as_they_come_byte_by_byte() {
        let mut bind = BytesMut::new();
        bind.put_slice(b"p\0s\0");
        bind.put_slice(&[0, 1, 0, 1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, b'h', b'i', 0, 0]);
        let mut all = framed(b'P', b"s\0SELECT $1\0\0\x01\0\0\0\x17");
        all.extend_from_slice(&framed(b'B', &bind));
        all.extend_from_slice(&framed(b'E', b"p\0\0\0\0\x05"));
        all.extend_from_slice(&framed(b'S', b""));
        let mut read = BytesMut::new();
        let mut found = Vec::new();
        for byte in all {
            read.put_u8(byte);
            found.extend(take(&mut read, BYTES_MAX).unwrap());
        }
        let bind = Bind {
            portal: "p".to_owned(),
            statement: "s".to_owned(),
            formats: vec![Format::Binary],
            values: vec![None, Some(Bytes::from_static(b"hi"))],
            answer_formats: vec![],
        };
        let parse = Frontend::Parse { statement: "s".to_owned(), sql: "SELECT $1".to_owned(), types: vec![23] };
        let execute = Frontend::Execute { portal: "p".to_owned(), rows_max: 5 };
        assert_eq!(found, [parse, Frontend::Bind(bind), execute, Frontend::Sync]);
        assert!(read.is_empty());
    }

    #[test]
    fn faults_are_told_and_nothing_is_waited_for() {
        let told = |bytes: &[u8]| take(&mut BytesMut::from(bytes), BYTES_MAX).unwrap_err().message;
        assert!(told(b"GET / HTTP/1.1\r\n").contains("no message of type 'G'"));
        assert!(told(b"z").contains("no message of type 'z'"));
        assert!(told(b"Q\x7f\xff\xff\xff").contains("message_bytes_max"));
        assert!(told(b"Q\xff\xff\xff\xff").contains("message_bytes_max"));
        assert!(told(b"Q\0\0\0\x03").contains("3 bytes"));
        // A body that ends before what it promises, goes on after it, or says what no text is.
        for body in [
            &b"P\0\0\0\x08a\0b\0"[..],
            b"P\0\0\0\x0a\0\0\xff\xff\0\0",
            b"Q\0\0\0\x06ab",
            b"S\0\0\0\x05x",
            b"B\0\0\0\x10\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0",
            b"D\0\0\0\x06Xa",
            b"Q\0\0\0\x06\xff\0",
        ] {
            assert!(take(&mut BytesMut::from(body), BYTES_MAX).is_err(), "{body:?}");
        }
        assert_eq!(take(&mut BytesMut::from(&b"Q\0\0\0\x06a"[..]), BYTES_MAX).unwrap(), None);
    }

    proptest! {
        #[test]
        fn whatever_comes_nothing_panics_and_nothing_is_read_beyond_a_message(
            kind in prop::sample::select(KINDS), body in prop::collection::vec(any::<u8>(), 0..64), after in any::<[u8; 4]>()
        ) {
            let mut read = framed(kind, &body);
            read.extend_from_slice(&after);
            drop(take(&mut read, BYTES_MAX));
            prop_assert_eq!(&read[..], &after[..]);
        }
    }
}
