//! One connection's bytes.
//!
//! In:       a stream, in clear or not.
//! Out:      messages of the client; our bytes, sent.
//! Promise:  what is read ahead is bounded; nothing read or to be written is lost when a wait for it is given up.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::fault::Fault;
use super::frontend::{self, Frontend};

pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

pub(crate) struct Wire {
    stream: Box<dyn Io>,
    read: BytesMut,
    /// What is to be sent with the next `flush`.
    pub(crate) out: BytesMut,
}

/// Why there is no next message.
#[derive(Debug)]
pub(crate) enum End {
    /// It went, with or without a word.
    Gone,
    /// It said what cannot be read.
    Fault(Fault),
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Of messages sent while an answer is under way; more wait in the system's buffers.
const AHEAD_BYTES_MAX: usize = 256 << 10;
/// One read.
const READ_BYTES: usize = 8 << 10;

impl Wire {
    pub(crate) fn new(stream: Box<dyn Io>, read: BytesMut) -> Self {
        Self { stream, read, out: BytesMut::new() }
    }

    /// The next message, once all of it is there. Cancel-safe.
    pub(crate) async fn next(&mut self, bytes_max: usize) -> Result<Frontend, End> {
        loop {
            if let Some(message) = frontend::take(&mut self.read, bytes_max).map_err(End::Fault)? {
                if self.read.is_empty() {
                    // The room of a large message is not kept for as long as the connection.
                    self.read = BytesMut::new();
                }
                return Ok(message);
            }
            self.read.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(End::Gone);
            }
        }
    }

    /// Resolves when the client is gone; what it says meanwhile is kept. Cancel-safe.
    pub(crate) async fn gone(&mut self) {
        while self.read.len() < AHEAD_BYTES_MAX {
            self.read.reserve(READ_BYTES);
            if !matches!(self.stream.read_buf(&mut self.read).await, Ok(1..)) {
                return;
            }
        }
        // Who sends so much ahead is seen to be gone when it is written to.
        std::future::pending().await
    }

    /// Sends all of `out`. Cancel-safe: what is left stays in `out`.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            if self.stream.write_buf(&mut self.out).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.stream.flush().await
    }

    /// Sends what is left and says goodbye, as TLS wants it.
    pub(crate) async fn close(mut self) {
        if self.flush().await.is_ok() {
            drop(self.stream.shutdown().await);
        }
    }
}
