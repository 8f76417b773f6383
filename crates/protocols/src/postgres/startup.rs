//! How a connection begins: TLS or not, who it is, or a request to cancel another.
//!
//! In:       a connection.
//! Out:      a `Wire` and who speaks on it; or nothing more to do.
//! Promise:  nobody comes further who does not know a token; where the server has a certificate, nobody comes in without TLS. What
//!           is not authenticated has little memory and little time.

use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::backend::{self, Authentication};
use super::cancel::Cancels;
use super::fault::Fault;
use super::frontend::Frontend;
use super::scram::{self, Verifier};
use super::wire::{End, Io, Wire};

/// As PostgreSQL has it. The first message holds names, the others of this time a proof.
const BYTES_MAX: usize = 10_000;
/// TLS, encryption of Kerberos, and the greeting itself.
const ROUNDS_MAX: usize = 4;

const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
const CANCEL: u32 = 80_877_102;

/// Who speaks, and what they want to be so.
#[derive(Debug, Default)]
pub(crate) struct Greeting {
    pub(crate) user: String,
    /// Variables of the session.
    pub(crate) variables: Vec<(String, String)>,
    /// Options of the protocol nobody here knows.
    unknown: Vec<String>,
    minor: u32,
}

/// Up to the proof that a token is known, and which, by its place among those of the verifier. What went wrong is told to the client here.
pub(crate) async fn open(
    stream: TcpStream,
    tls: Option<&TlsAcceptor>,
    verifier: &Verifier,
    has_tokens: bool,
    cancels: &Cancels,
) -> io::Result<Option<(Wire, Greeting, usize)>> {
    let Some((stream, is_secure, greeting)) = greet(stream, tls, cancels).await? else { return Ok(None) };
    let mut wire = Wire::new(stream, BytesMut::new());
    let proven = match greeting {
        Ok(greeting) if tls.is_some() && !is_secure => {
            Err((Fault::fatal("28000", "this server takes TLS only: sslmode=require"), greeting))
        }
        Ok(greeting) if !has_tokens => {
            Err((Fault::fatal("28000", "this server has no tokens: set query.tokens"), greeting))
        }
        Ok(greeting) => match authenticate(&mut wire, &greeting, verifier).await {
            Ok(which) => Ok((greeting, which)),
            Err(End::Gone) => return Ok(None),
            Err(End::Fault(fault)) => Err((fault, greeting)),
        },
        Err(fault) => Err((fault, Greeting::default())),
    };
    match proven {
        Ok((greeting, which)) => Ok(Some((wire, greeting, which))),
        Err((fault, greeting)) => {
            tracing::debug!(user = greeting.user, code = fault.code, "a connection was refused: {}", fault.message);
            metrics::counter!("tributary_postgres_refused_total", "code" => fault.code).increment(1);
            backend::error(&mut wire.out, &Fault { is_fatal: true, ..fault });
            wire.close().await;
            Ok(None)
        }
    }
}

type Greeted = (Box<dyn Io>, bool, Result<Greeting, Fault>);

/// Everything before the first message that has a type.
async fn greet(stream: TcpStream, tls: Option<&TlsAcceptor>, cancels: &Cancels) -> io::Result<Option<Greeted>> {
    let mut stream: Box<dyn Io> = Box::new(stream);
    let mut is_secure = false;
    for _ in 0..ROUNDS_MAX {
        let length = stream.read_u32().await? as usize;
        if !(8..=BYTES_MAX).contains(&length) {
            let told = Fault::protocol("this is no greeting of PostgreSQL's protocol".to_owned());
            return Ok(Some((stream, is_secure, Err(told))));
        }
        let mut body = vec![0; length - 4];
        stream.read_exact(&mut body).await?;
        let mut body = Bytes::from(body);
        match body.get_u32() {
            SSL => match tls {
                Some(tls) if !is_secure => {
                    stream.write_all(b"S").await?;
                    stream.flush().await?;
                    // Nothing was read beyond the request, so nothing said in clear passes for said in TLS.
                    stream = Box::new(tls.accept(stream).await?);
                    is_secure = true;
                }
                _ => {
                    stream.write_all(b"N").await?;
                    stream.flush().await?;
                }
            },
            GSS => {
                stream.write_all(b"N").await?;
                stream.flush().await?;
            }
            CANCEL => {
                if body.len() == 8 {
                    cancels.cancel(body.get_u32(), body.get_u32());
                }
                return Ok(None);
            }
            version if version >> 16 == 3 => {
                return Ok(Some((stream, is_secure, read(body, version & 0xffff))));
            }
            version => {
                let told = format!(
                    "version {}.{} of the protocol is not spoken here, 3.0 is",
                    version >> 16,
                    version & 0xffff
                );
                return Ok(Some((stream, is_secure, Err(Fault::fatal("0A000", told)))));
            }
        }
    }
    Ok(None)
}

/// Pairs of texts, each ended by a zero, and a zero at the end.
fn read(body: Bytes, minor: u32) -> Result<Greeting, Fault> {
    let malformed = || Fault::protocol("the greeting cannot be read".to_owned());
    let text = std::str::from_utf8(&body).map_err(|_| malformed())?;
    let text =
        text.strip_suffix("\0\0").or(text.strip_suffix('\0').filter(|text| text.is_empty())).ok_or_else(malformed)?;
    let mut words = text.split('\0');
    let mut greeting = Greeting { minor, ..Greeting::default() };
    while let Some(name) = words.next().filter(|name| !name.is_empty()) {
        let value = words.next().ok_or_else(malformed)?;
        match name {
            "user" => value.clone_into(&mut greeting.user),
            // There is one, whatever it is called.
            "database" => {}
            "replication" if !["false", "off", "no", "0"].contains(&value) => {
                return Err(Fault::fatal("0A000", "replication is not offered here"));
            }
            "options" => greeting.variables.extend(options(value)),
            _ if name.starts_with("_pq_.") => greeting.unknown.push(name.to_owned()),
            _ => greeting.variables.push((name.to_owned(), value.to_owned())),
        }
    }
    if greeting.user.is_empty() {
        return Err(Fault::fatal("28000", "no user name was given; any will do"));
    }
    Ok(greeting)
}

/// `-c name=value --name=value`
fn options(text: &str) -> impl Iterator<Item = (String, String)> {
    let words = text.split_ascii_whitespace().filter(|word| *word != "-c");
    words.filter_map(|word| {
        let (name, value) = word.trim_start_matches("--").trim_start_matches("-c").split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    })
}

async fn authenticate(wire: &mut Wire, greeting: &Greeting, verifier: &Verifier) -> Result<usize, End> {
    if greeting.minor != 0 || !greeting.unknown.is_empty() {
        backend::negotiate(&mut wire.out, 0, &greeting.unknown);
    }
    backend::authentication(&mut wire.out, &Authentication::Sasl(&[scram::MECHANISM]));
    wire.flush().await?;
    let mut random = [0; 18];
    getrandom::fill(&mut random).map_err(|_| End::Fault(Fault::fatal("XX000", "the system has no random numbers")))?;
    let nonce = BASE64_STANDARD_NO_PAD.encode(random);
    let first = said(wire).await?;
    let (answer, exchange) = verifier.begin(chosen(&first).map_err(End::Fault)?, &nonce).map_err(End::Fault)?;
    backend::authentication(&mut wire.out, &Authentication::SaslContinue(&answer));
    wire.flush().await?;
    let (last, which) = exchange.finish(&said(wire).await?).map_err(End::Fault)?;
    backend::authentication(&mut wire.out, &Authentication::SaslFinal(&last));
    Ok(which)
}

async fn said(wire: &mut Wire) -> Result<Bytes, End> {
    match wire.next(BYTES_MAX).await? {
        Frontend::Password(said) => Ok(said),
        Frontend::Terminate => Err(End::Gone),
        _ => Err(End::Fault(Fault::protocol("a password was expected".to_owned()))),
    }
}

/// The first message within the message that chooses a mechanism.
fn chosen(body: &[u8]) -> Result<&[u8], Fault> {
    let malformed = || Fault::protocol("the choice of a mechanism cannot be read".to_owned());
    let end = body.iter().position(|byte| *byte == 0).ok_or_else(malformed)?;
    let (mechanism, rest) = (&body[..end], &body[end + 1..]);
    if mechanism != scram::MECHANISM.as_bytes() {
        return Err(Fault::fatal("28000", format!("{} is the only mechanism there is", scram::MECHANISM)));
    }
    let (length, said) = rest.split_at_checked(4).ok_or_else(malformed)?;
    let length = u32::from_be_bytes(length.try_into().expect("four bytes were split off"));
    if length as usize == said.len() { Ok(said) } else { Err(malformed()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_are_read_or_told() {
        let read = |text: &'static str| read(Bytes::from_static(text.as_bytes()), 0);
        let greeting =
            read("user\0ann\0database\0x\0options\0-c statement_timeout=5 --a.b=c\0application_name\0psql\0\0")
                .unwrap();
        assert_eq!(greeting.user, "ann");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let variables = [pair("statement_timeout", "5"), pair("a.b", "c"), pair("application_name", "psql")];
        assert_eq!(greeting.variables, variables);
        for text in ["", "user\0ann\0", "user\0\0", "\0", "user\0ann\0replication\0database\0\0"] {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert!(chosen(b"SCRAM-SHA-256\0\0\0\0\x02n,").is_ok());
        for body in [&b""[..], b"SCRAM-SHA-256\0", b"SCRAM-SHA-256\0\0\0\0\x03n,", b"PLAIN\0\0\0\0\0"] {
            assert!(chosen(body).is_err(), "{body:?}");
        }
    }
}
