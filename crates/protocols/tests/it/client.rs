//! A client of PostgreSQL's protocol that says whatever a test wants said.

use std::net::SocketAddr;
use std::time::Duration;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Client {
    pub(crate) stream: BufReader<TcpStream>,
    pub(crate) process: u32,
    pub(crate) secret: u32,
}

/// Type and body.
pub(crate) type Message = (u8, Vec<u8>);

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

impl Client {
    pub(crate) async fn bare(address: SocketAddr) -> Self {
        let stream = BufReader::with_capacity(1 << 16, TcpStream::connect(address).await.unwrap());
        Self { stream, process: 0, secret: 0 }
    }

    /// Up to the first ReadyForQuery.
    pub(crate) async fn connect(address: SocketAddr, token: &str) -> Self {
        let mut client = Self::bare(address).await;
        client.greet().await;
        let (kind, body) = client.receive().await.unwrap();
        assert_eq!((kind, &body[..]), (b'R', &b"\0\0\0\x0aSCRAM-SHA-256\0\0"[..]));
        client.prove(token).await;
        loop {
            match client.receive().await.unwrap() {
                (b'K', body) => {
                    client.process = u32::from_be_bytes(body[..4].try_into().unwrap());
                    client.secret = u32::from_be_bytes(body[4..].try_into().unwrap());
                }
                (b'Z', _) => return client,
                (b'E', body) => panic!("{}", String::from_utf8_lossy(&body)),
                _ => {}
            }
        }
    }

    pub(crate) async fn greet(&mut self) {
        let body = b"\0\x03\0\0user\0ann\0\0";
        let mut greeting = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
        greeting.extend(body);
        self.say(&greeting).await;
    }

    pub(crate) async fn prove(&mut self, token: &str) {
        let first = "n=,r=client";
        let mut body = b"SCRAM-SHA-256\0".to_vec();
        let said = format!("n,,{first}");
        body.extend(u32::try_from(said.len()).unwrap().to_be_bytes());
        body.extend(said.as_bytes());
        self.say(&message(b'p', &body)).await;
        let (kind, body) = self.receive().await.unwrap();
        assert_eq!((kind, &body[..4]), (b'R', &[0, 0, 0, 11][..]));
        let answer = String::from_utf8(body[4..].to_vec()).unwrap();
        let part = |name: &str| answer.split(',').find_map(|part| part.strip_prefix(name)).unwrap().to_owned();
        let mut salted = [0; 32];
        let (salt, iterations) = (BASE64_STANDARD.decode(part("s=")).unwrap(), part("i=").parse().unwrap());
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, token.as_bytes(), &mut salted);
        let sign =
            |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text).as_ref().to_vec();
        let client_key = sign(&salted, b"Client Key");
        let stored = digest::digest(&digest::SHA256, &client_key).as_ref().to_vec();
        let last = format!("c=biws,r={}", part("r="));
        let signature = sign(&stored, format!("{first},{answer},{last}").as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, with)| key ^ with).collect();
        self.say(&message(b'p', format!("{last},p={}", BASE64_STANDARD.encode(proof)).as_bytes())).await;
    }

    pub(crate) async fn say(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn query(&mut self, sql: &str) {
        self.say(&message(b'Q', format!("{sql}\0").as_bytes())).await;
    }

    /// The next message; `None` when the server has closed.
    pub(crate) async fn receive(&mut self) -> Option<Message> {
        let reading = async {
            let kind = self.stream.read_u8().await.ok()?;
            let length = self.stream.read_u32().await.ok()?;
            let mut body = vec![0; length as usize - 4];
            self.stream.read_exact(&mut body).await.ok()?;
            Some((kind, body))
        };
        tokio::time::timeout(PATIENCE, reading).await.expect("it answers or closes")
    }

    /// All up to ReadyForQuery, or the end.
    pub(crate) async fn receive_all(&mut self) -> Vec<Message> {
        let mut all = Vec::new();
        while let Some(message) = self.receive().await {
            let is_last = message.0 == b'Z';
            all.push(message);
            if is_last {
                break;
            }
        }
        all
    }
}

/// The SQLSTATE of an error.
pub(crate) fn code(message: &Message) -> String {
    assert_eq!(message.0, b'E', "{}", String::from_utf8_lossy(&message.1));
    let fields = message.1.split(|byte| *byte == 0);
    let code = fields.into_iter().find_map(|field| field.strip_prefix(b"C"));
    String::from_utf8(code.unwrap().to_vec()).unwrap()
}

/// The types of messages, in their order.
pub(crate) fn kinds(messages: &[Message]) -> String {
    messages.iter().map(|(kind, _)| char::from(*kind)).collect()
}
