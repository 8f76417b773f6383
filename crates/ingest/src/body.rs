//! From the bytes of a request to text, whatever its Content-Type claims.
//!
//! In:      bytes as they came over the wire.
//! Out:     UTF-8 text.
//! Promise: gzip is known by its first two bytes (RudderStack's Node client sends gzip labelled as a form; some
//!          proxies unpack and keep the label); unpacking stops at every limit before the memory is taken.

use std::borrow::Cow;
use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use crate::intake::Reserved;
use crate::refusal::Refusal;
use crate::settings::IngestSettings;

const GZIP_MAGIC: [u8; 2] = [0x1F, 0x8B];
const CHUNK_BYTES: usize = 64 << 10;
/// Below this size no expansion is too much: a page of equal events packs very well.
const RATIO_FREE_BYTES: usize = 1 << 20;

/// Text of a body, and whether bytes that are not UTF-8 were replaced in it.
pub(crate) struct Text<'a> {
    pub text: Cow<'a, str>,
    pub cleaned: bool,
}

/// Unpacks `wire` if it is gzip, counting what that takes against `reserved`.
pub(crate) fn unpack<'a>(
    wire: &'a [u8],
    settings: &IngestSettings,
    reserved: &mut Reserved,
) -> Result<Cow<'a, [u8]>, Refusal> {
    if !wire.starts_with(&GZIP_MAGIC) {
        // A body that came plain has passed the wire limit, which may be set above the other.
        let bytes_max = settings.body_bytes_max;
        return if wire.len() <= bytes_max {
            Ok(Cow::Borrowed(wire))
        } else {
            Err(Refusal::TooLarge { bytes_max, decoded: true })
        };
    }
    let mut decoder = MultiGzDecoder::new(wire);
    let mut unpacked = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let count = decoder.read(&mut chunk).map_err(|error| Refusal::Malformed {
            detail: format!("the gzip body breaks off or is damaged after {} unpacked bytes: {error}", unpacked.len()),
            advice: "send the whole gzip stream, or send it unpacked",
        })?;
        if count == 0 {
            return Ok(Cow::Owned(unpacked));
        }
        let total = unpacked.len() + count;
        if settings.body_bytes_max < total {
            return Err(Refusal::TooLarge { bytes_max: settings.body_bytes_max, decoded: true });
        }
        let ratio_max = settings.expansion_ratio_max;
        if RATIO_FREE_BYTES < total && wire.len().saturating_mul(ratio_max) < total {
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
    let text = String::from_utf8_lossy(bytes);
    let cleaned = matches!(text, Cow::Owned(_));
    Text { text, cleaned }
}
