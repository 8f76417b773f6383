//! From the bytes of a request to text, whatever its Content-Type claims.
//!
//! In:      bytes as they came over the wire.
//! Out:     UTF-8 text.
//! Promise: packing is known by the bytes themselves (RudderStack's Node client sends gzip labelled as a form; some
//!          proxies unpack and keep the label); unpacking stops at every limit before the memory is taken.

use std::borrow::Cow;
use std::io::Read;

use axum::http::{HeaderMap, header};
use brotli_decompressor::Decompressor;
use flate2::read::MultiGzDecoder;
use flate2::{Decompress, FlushDecompress, Status};

use crate::intake::Reserved;
use crate::refusal::Refusal;
use crate::settings::IngestSettings;
use crate::text::lossy;

const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];
const CHUNK_BYTES: usize = 64 << 10;
/// Below this size no expansion is too much: a page of equal events packs very well.
const RATIO_FREE_BYTES: usize = 1 << 20;
/// The largest window a zstd frame may ask for, as a power of two: 8 MiB, what RFC 8878 wants every decoder to have.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Text of a body, and whether bytes that are not UTF-8 were replaced in it.
pub(crate) struct Text<'a> {
    pub text: Cow<'a, str>,
    pub cleaned: bool,
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
    Zlib,
    /// Without a frame of its own: only the label says so.
    Deflate,
    Brotli,
}

impl Packing {
    /// What the bytes say; the label counts only where a packing has no mark of its own, for labels get lost and stay
    /// behind on the way.
    fn of(wire: &[u8], label: Option<&str>) -> Self {
        let is_labelled = |name: &str| label.is_some_and(|label| label.trim().eq_ignore_ascii_case(name));
        if wire.starts_with(&GZIP_MAGIC) {
            Self::Gzip
        } else if wire.starts_with(&ZSTD_MAGIC) {
            Self::Zstd
        } else if is_zlib(wire) {
            Self::Zlib
        } else if is_labelled("br") && !looks_plain(wire) {
            Self::Brotli
        } else if is_labelled("deflate") && !looks_plain(wire) {
            Self::Deflate
        } else {
            Self::Plain
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Zlib | Self::Deflate => "deflate",
            Self::Brotli => "br",
        }
    }
}

/// RFC 1950: method 8, a window of at most 32 KiB, and a check over both bytes. `x` begins no JSON and no form of an SDK.
fn is_zlib(wire: &[u8]) -> bool {
    matches!(wire, [cmf, flags, ..] if cmf & 0x0F == 8 && cmf >> 4 <= 7 && (u16::from(*cmf) << 8 | u16::from(*flags)).is_multiple_of(31))
}

/// Whether the bytes are text already: a proxy that unpacks and keeps the label. Packed bytes are hardly ever UTF-8 to the end.
fn looks_plain(wire: &[u8]) -> bool {
    let begins = wire.trim_ascii_start().first();
    matches!(begins, None | Some(b'{' | b'[' | b'd' | b'"')) && std::str::from_utf8(wire).is_ok()
}

/// Unpacks `wire` as its bytes, or else its `Content-Encoding`, say, counting what that takes against `reserved`.
pub(crate) fn unpack<'a>(
    wire: &'a [u8],
    headers: &HeaderMap,
    settings: &IngestSettings,
    reserved: &mut Reserved,
) -> Result<Cow<'a, [u8]>, Refusal> {
    let label = headers.get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
    unpack_as(Packing::of(wire, label), wire, settings, reserved)
}

/// As [`unpack`], for what a body holds within.
pub(crate) fn unpack_inner<'a>(
    wire: &'a [u8],
    settings: &IngestSettings,
    reserved: &mut Reserved,
) -> Result<Cow<'a, [u8]>, Refusal> {
    unpack_as(Packing::of(wire, None), wire, settings, reserved)
}

fn unpack_as<'a>(
    packing: Packing,
    wire: &'a [u8],
    settings: &IngestSettings,
    reserved: &mut Reserved,
) -> Result<Cow<'a, [u8]>, Refusal> {
    let unpacked = match packing {
        Packing::Plain => {
            // A body that came plain has passed the wire limit, which may be set above the other.
            let bytes_max = settings.body_bytes_max;
            return if wire.len() <= bytes_max {
                Ok(Cow::Borrowed(wire))
            } else {
                Err(Refusal::TooLarge { bytes_max, decoded: true })
            };
        }
        Packing::Gzip => read_out(MultiGzDecoder::new(wire), packing, wire.len(), settings, reserved),
        Packing::Zlib => read_out(Inflate::of(wire, true), packing, wire.len(), settings, reserved),
        Packing::Deflate => read_out(Inflate::of(wire, false), packing, wire.len(), settings, reserved),
        Packing::Brotli => read_out(Decompressor::new(wire, CHUNK_BYTES), packing, wire.len(), settings, reserved),
        Packing::Zstd => match zstd_decoder(wire) {
            Ok(decoder) => read_out(decoder, packing, wire.len(), settings, reserved),
            Err(error) => Err(broken(packing, 0, &error)),
        },
    };
    unpacked.map(Cow::Owned)
}

fn zstd_decoder(wire: &[u8]) -> std::io::Result<impl Read + '_> {
    let mut decoder = zstd::Decoder::with_buffer(wire)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// A deflate stream, which must reach its own end: flate2's readers take a stream that was cut off for a short one.
struct Inflate<'a> {
    rest: &'a [u8],
    state: Decompress,
    ended: bool,
}

impl<'a> Inflate<'a> {
    fn of(wire: &'a [u8], zlib_header: bool) -> Self {
        Self { rest: wire, state: Decompress::new(zlib_header), ended: false }
    }
}

impl Read for Inflate<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        while !self.ended {
            let (read_before, made_before) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(self.rest, out, FlushDecompress::None)?;
            let delta = |after: u64, before: u64| usize::try_from(after - before).expect("as long as a slice at most");
            let read = delta(self.state.total_in(), read_before);
            let made = delta(self.state.total_out(), made_before);
            self.rest = &self.rest[read..];
            self.ended = status == Status::StreamEnd;
            if made > 0 {
                return Ok(made);
            }
            if !self.ended && read == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(0)
    }
}

fn broken(packing: Packing, unpacked_bytes: usize, error: &std::io::Error) -> Refusal {
    Refusal::Malformed {
        detail: format!(
            "the {} body breaks off or is damaged after {unpacked_bytes} unpacked bytes: {error}",
            packing.name()
        ),
        advice: "send the whole packed stream, or send it unpacked",
    }
}

fn read_out(
    mut decoder: impl Read,
    packing: Packing,
    wire_bytes: usize,
    settings: &IngestSettings,
    reserved: &mut Reserved,
) -> Result<Vec<u8>, Refusal> {
    let mut unpacked = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = decoder.read(&mut chunk).map_err(|error| broken(packing, unpacked.len(), &error))?;
        if count == 0 {
            return Ok(unpacked);
        }
        let total = unpacked.len() + count;
        if settings.body_bytes_max < total {
            return Err(Refusal::TooLarge { bytes_max: settings.body_bytes_max, decoded: true });
        }
        let ratio_max = settings.expansion_ratio_max;
        if RATIO_FREE_BYTES < total && wire_bytes.saturating_mul(ratio_max) < total {
            return Err(Refusal::TooDense { ratio_max });
        }
        reserved.grow(count)?;
        unpacked.extend_from_slice(&chunk[..count]);
    }
}

/// Bytes as text, without a byte order mark; what is not UTF-8 becomes U+FFFD, for one bad letter in one
/// event must not spoil its neighbours.
pub(crate) fn text(bytes: &[u8]) -> Text<'_> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = lossy(bytes);
    let cleaned = matches!(text, Cow::Owned(_));
    Text { text, cleaned }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::intake::Room;

    const PLAIN: &str = r#"{"batch": [{"type": "track", "event": "E", "userId": "u"}]}"#;

    fn unpacked(wire: &[u8], label: Option<&str>) -> Result<Vec<u8>, Refusal> {
        let settings = IngestSettings::default();
        let mut headers = HeaderMap::new();
        if let Some(label) = label {
            headers.insert(header::CONTENT_ENCODING, label.parse().unwrap());
        }
        let place = Room::new(&settings).enter().unwrap();
        unpack(wire, &headers, &settings, &mut place.reserve()).map(Cow::into_owned)
    }

    fn packed(plain: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
        let fast = flate2::Compression::fast();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), fast);
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), fast);
        let mut deflate = flate2::write::DeflateEncoder::new(Vec::new(), fast);
        gzip.write_all(plain).unwrap();
        zlib.write_all(plain).unwrap();
        deflate.write_all(plain).unwrap();
        vec![
            ("gzip", gzip.finish().unwrap()),
            ("deflate", zlib.finish().unwrap()),
            ("deflate", deflate.finish().unwrap()),
            ("zstd", zstd::encode_all(plain, 1).unwrap()),
        ]
    }

    /// Brotli of 'hello, brotli: hello, brotli' as the reference encoder writes it, from Python's `brotli` 1.1.0.
    const BROTLI: &[u8] = b"\x8b\x0d\x80hello, brotli: hello, brotli\x03";

    /// 30 MiB of blanks in 53 bytes, from Python's `brotli` 1.2.1: `brotli.compress(b" " * (30 << 20))`.
    const BROTLI_BOMB: &[u8] =
        b"\xcb\xff\xff?\xf8%@\xe2\xb1@ \xf7\xfe\x8f\xff\xff\x7f\xf0K\x00\xc4a\x11\x80\xee\xfd\x1f\
        \xff\xff\xff\xe0\x97\x00\x88\xc3\x02\x00\xdd\xfb\xbf\xfc\xff\xff\xc2/\x01\x10\x87\x05\x00\xba\xf7_";

    #[test]
    fn every_packing_is_known_by_its_bytes_or_its_label() {
        for (label, wire) in packed(PLAIN.as_bytes()) {
            assert_eq!(unpacked(&wire, Some(label)).unwrap(), PLAIN.as_bytes(), "{label}");
            if label != "deflate" || is_zlib(&wire) {
                assert_eq!(unpacked(&wire, None).unwrap(), PLAIN.as_bytes(), "{label} without its label");
                assert_eq!(unpacked(&wire, Some("identity")).unwrap(), PLAIN.as_bytes(), "{label} under another");
            }
            assert!(unpacked(&wire[..wire.len() - 3], Some(label)).is_err(), "{label} cut off");
        }
        assert_eq!(unpacked(BROTLI, Some("br")).unwrap(), b"hello, brotli: hello, brotli");
        assert!(unpacked(&BROTLI[..BROTLI.len() - 3], Some("br")).is_err(), "br cut off");
    }

    #[test]
    fn a_label_left_behind_on_plain_text_is_ignored() {
        for label in ["gzip", "deflate", "br", "zstd", "nonsense"] {
            assert_eq!(unpacked(PLAIN.as_bytes(), Some(label)).unwrap(), PLAIN.as_bytes(), "{label}");
        }
    }

    #[test]
    fn no_packing_gets_past_the_limits() {
        let bombs = packed(&vec![b' '; 30 << 20]).into_iter().chain([("br", BROTLI_BOMB.to_vec())]);
        for (label, wire) in bombs {
            let refused = unpacked(&wire, Some(label));
            assert!(
                matches!(refused, Err(Refusal::TooDense { .. } | Refusal::TooLarge { .. })),
                "{label}: {:?}",
                refused.map(|bytes| bytes.len())
            );
        }
    }
}
