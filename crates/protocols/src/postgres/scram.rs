//! SCRAM-SHA-256: showing that one knows a token without saying it.
//!
//! In:       the tokens; the messages of a client.
//! Out:      what to answer, and whether the client knows one of the tokens.
//! Promise:  a token never crosses the wire, in TLS or not; each token is tried whole, so that time tells nothing of which was
//!           nearly right.
//! Not here: channel binding (`SCRAM-SHA-256-PLUS`), which no client asks for that was not told to.
//!
//! Source: RFC 5802, RFC 7677. A token is visible ASCII, which SASLprep leaves as it is. The server knows its tokens in clear (HTTP
//! sends them so), so what SCRAM derives from them is derived at start. Of a token it knows only the hash of, it could not: such a
//! one lets nobody in here.

use std::num::NonZeroU32;

use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use subtle::{Choice, ConditionallySelectable as _, ConstantTimeEq as _};

use super::fault::Fault;

pub(crate) const MECHANISM: &str = "SCRAM-SHA-256";

/// PostgreSQL's own number. A token is random, so guessing it is hopeless in any case.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4_096).expect("4096 is not 0");

type Key = [u8; 32];

/// What is known of the tokens.
pub(crate) struct Verifier {
    salt: String,
    keys: Vec<Keys>,
}

struct Keys {
    stored: Key,
    server: Key,
}

impl Verifier {
    pub(crate) fn new<'t>(tokens: impl Iterator<Item = &'t str>) -> Result<Self, getrandom::Error> {
        let mut salt = [0; 16];
        getrandom::fill(&mut salt)?;
        Ok(Self::with_salt(tokens, &salt))
    }

    fn with_salt<'t>(tokens: impl Iterator<Item = &'t str>, salt: &[u8]) -> Self {
        let of = |token: &str| {
            let mut salted = Key::default();
            pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, ITERATIONS, salt, token.as_bytes(), &mut salted);
            let (client, server) = (sign(&salted, b"Client Key"), sign(&salted, b"Server Key"));
            Keys { stored: hash(&client), server }
        };
        Self { salt: BASE64_STANDARD.encode(salt), keys: tokens.map(of).collect() }
    }

    /// The answer to a client's first message, and what to do with its second.
    ///
    /// * `nonce`: of visible ASCII without commas, random.
    pub(crate) fn begin(&self, first: &[u8], nonce: &str) -> Result<(String, Exchange<'_>), Fault> {
        let first = std::str::from_utf8(first).map_err(|_| malformed())?;
        // gs2-cbind-flag "," [authzid] "," client-first-message-bare
        let mut parts = first.splitn(3, ',');
        let (Some(flag), Some(authzid), Some(bare)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(malformed());
        };
        if !["n", "y"].contains(&flag) {
            return Err(Fault::fatal(
                "28000",
                "channel binding is not offered here: channel_binding=prefer or disable",
            ));
        }
        let theirs = bare.split(',').find_map(|part| part.strip_prefix("r=")).filter(|nonce| !nonce.is_empty());
        let nonce = format!("{}{nonce}", theirs.ok_or_else(malformed)?);
        let answer = format!("r={nonce},s={},i={ITERATIONS}", self.salt);
        let said = format!("{bare},{answer}");
        Ok((answer, Exchange { verifier: self, header: format!("{flag},{authzid},"), nonce, said }))
    }
}

/// Between a client's first and second message.
pub(crate) struct Exchange<'v> {
    verifier: &'v Verifier,
    header: String,
    nonce: String,
    said: String,
}

impl Exchange<'_> {
    /// The last answer and which token it is, by its place in the list, if the client knows one.
    pub(crate) fn finish(self, last: &[u8]) -> Result<(String, usize), Fault> {
        let last = std::str::from_utf8(last).map_err(|_| malformed())?;
        let (without_proof, proof) = last.rsplit_once(",p=").ok_or_else(malformed)?;
        let bound = without_proof.split(',').find_map(|part| part.strip_prefix("c=")).ok_or_else(malformed)?;
        let nonce = without_proof.split(',').find_map(|part| part.strip_prefix("r=")).ok_or_else(malformed)?;
        if BASE64_STANDARD.decode(bound).ok().as_deref() != Some(self.header.as_bytes()) || nonce != self.nonce {
            return Err(malformed());
        }
        let proof = BASE64_STANDARD.decode(proof).ok().and_then(|proof| Key::try_from(proof).ok());
        let proof = proof.ok_or_else(malformed)?;
        let said = format!("{},{without_proof}", self.said);
        let (mut known, mut server, mut which) = (Choice::from(0), Key::default(), 0);
        for (keys, index) in self.verifier.keys.iter().zip(0_u64..) {
            let mut client = sign(&keys.stored, said.as_bytes());
            client.iter_mut().zip(proof).for_each(|(byte, with)| *byte ^= with);
            let is_it = hash(&client).ct_eq(&keys.stored);
            known |= is_it;
            which.conditional_assign(&index, is_it);
            for (byte, of) in server.iter_mut().zip(keys.server) {
                byte.conditional_assign(&of, is_it);
            }
        }
        if !bool::from(known) {
            return Err(refused());
        }
        let which = usize::try_from(which).expect("it counts a list");
        Ok((format!("v={}", BASE64_STANDARD.encode(sign(&server, said.as_bytes()))), which))
    }
}

/// What a client hears that knows no token.
pub(crate) fn refused() -> Fault {
    Fault::fatal("28P01", "password authentication failed: there is no such token").with_hint(
        "the password is a token of query.tokens or query.access; the server's own are in keys.toml in its data folder",
    )
}

fn malformed() -> Fault {
    Fault::protocol("the SCRAM exchange cannot be read".to_owned())
}

fn sign(key: &Key, message: &[u8]) -> Key {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    Key::try_from(tag.as_ref()).expect("SHA-256 has 32 bytes")
}

fn hash(message: &[u8]) -> Key {
    Key::try_from(digest::digest(&digest::SHA256, message).as_ref()).expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3.
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const LAST: &str =
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn verifier(tokens: &[&str]) -> Verifier {
        Verifier::with_salt(tokens.iter().copied(), &BASE64_STANDARD.decode(SALT).unwrap())
    }

    #[test]
    fn the_exchange_of_the_rfc_comes_out() {
        for (tokens, place) in [(&["pencil"][..], 0), (&["another", "pencil", "third"], 1)] {
            let verifier = verifier(tokens);
            let (answer, exchange) = verifier.begin(FIRST, NONCE).unwrap();
            assert_eq!(
                answer,
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
            );
            let (last, which) = exchange.finish(LAST.as_bytes()).unwrap();
            assert_eq!(which, place);
            assert_eq!(last, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        }
    }

    #[test]
    fn another_token_another_proof_and_no_token_are_refused() {
        for tokens in [&["pencils"][..], &[]] {
            let verifier = verifier(tokens);
            let (_, exchange) = verifier.begin(FIRST, NONCE).unwrap();
            assert_eq!(exchange.finish(LAST.as_bytes()).unwrap_err().code, "28P01");
        }
        let verifier = verifier(&["pencil"]);
        for last in [LAST.replace("p=d", "p=e"), LAST.replace("biws", "eSws"), LAST.replace("rOpr", "rOps")] {
            let (_, exchange) = verifier.begin(FIRST, NONCE).unwrap();
            assert!(exchange.finish(last.as_bytes()).is_err(), "{last}");
        }
        for first in [&b""[..], b"n,,", b"p=tls-server-end-point,,n=,r=x", b"n,,n=,r=", b"\xff"] {
            assert!(verifier.begin(first, NONCE).is_err(), "{first:?}");
        }
    }
}
