//! How the text of a file is written, and the same text as UTF-8.
//!
//! In:      bytes, and what the mapping says they are.
//! Out:     UTF-8.
//! Promise: UTF-16 is known by its mark or by its zeros; anything else that is not UTF-8 is refused with the setting to
//!          write, for nothing in a file says which of the many it is. A place that cannot be read becomes a byte that is no
//!          UTF-8, so that its line is rejected and not mended in silence.

use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, bail};
use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// What a line that cannot be read is told with.
pub(super) fn not_readable(encoding: &'static Encoding) -> String {
    if encoding == UTF_8 {
        "it is not UTF-8; if the file is Windows-1252, as Excel writes it in Western Europe, write encoding = \"windows-1252\" \
         below [file] into the mapping"
            .to_owned()
    } else {
        format!(
            "it is not {}; state another encoding below [file] in the mapping, or leave it out for UTF-8",
            encoding.name()
        )
    }
}

/// The encoding of a name such as "windows-1252".
///
/// Source: the names of the WHATWG's Encoding Standard, as encoding_rs knows them.
pub(super) fn named(name: &str) -> Result<&'static Encoding, String> {
    Encoding::for_label_no_replacement(name.as_bytes()).ok_or_else(|| {
        format!(
            "file.encoding: {name:?} is no encoding that is known; there are \"utf-8\", \"utf-16\", \"windows-1252\", \"windows-1250\", \
             \"iso-8859-15\", \"macintosh\" and others"
        )
    })
}

/// The input as UTF-8, and what it was.
pub(super) fn as_utf8(
    mut input: Box<dyn BufRead + Send>,
    stated: Option<&'static Encoding>,
) -> anyhow::Result<(Box<dyn BufRead + Send>, &'static Encoding)> {
    let head = input.fill_buf().context("cannot read the file")?;
    let of_mark = Encoding::for_bom(head).map(|(encoding, _)| encoding);
    let utf_16 = |encoding: &'static Encoding| encoding == UTF_16LE || encoding == UTF_16BE;
    let encoding = match (stated, of_mark) {
        (Some(stated), Some(found)) if stated != found && !(utf_16(stated) && utf_16(found)) => bail!(
            "the file begins with the mark of {}, and the mapping says encoding = {:?}; take that out of the mapping",
            found.name(),
            stated.name().to_ascii_lowercase()
        ),
        (_, Some(found)) => found,
        (Some(stated), None) => stated,
        (None, None) => by_zeros(head).unwrap_or(UTF_8),
    };
    if encoding == UTF_8 {
        return Ok((input, encoding));
    }
    let decoded =
        Decoded { input, decoder: encoding.new_decoder_with_bom_removal(), ready: Vec::new(), at: 0, ended: false };
    Ok((Box::new(BufReader::with_capacity(1 << 16, decoded)), encoding))
}

/// UTF-16 without a mark: Latin letters leave a zero in every second byte.
fn by_zeros(head: &[u8]) -> Option<&'static Encoding> {
    let head = &head[..head.len().min(1024)];
    let zeros = |from: usize| head.iter().skip(from).step_by(2).filter(|byte| **byte == 0).count();
    let many = head.len() / 4;
    match (zeros(0), zeros(1)) {
        (0, odd) if many.max(1) < odd => Some(UTF_16LE),
        (even, 0) if many.max(1) < even => Some(UTF_16BE),
        _ => None,
    }
}

struct Decoded {
    input: Box<dyn BufRead + Send>,
    decoder: Decoder,
    ready: Vec<u8>,
    /// How much of `ready` was given.
    at: usize,
    ended: bool,
}

impl Decoded {
    fn more(&mut self) -> std::io::Result<()> {
        self.ready.clear();
        self.at = 0;
        let bytes = self.input.fill_buf()?;
        let last = bytes.is_empty();
        // Room for what the bytes can become at most; `None` is for lengths beyond what memory has addresses for.
        let room = self.decoder.max_utf8_buffer_length_without_replacement(bytes.len()).unwrap_or(1 << 20);
        self.ready.resize(room, 0);
        let (result, read, written) = self.decoder.decode_to_utf8_without_replacement(bytes, &mut self.ready, last);
        self.ready.truncate(written);
        match result {
            DecoderResult::Malformed(..) => self.ready.push(0xff),
            DecoderResult::InputEmpty => self.ended = last,
            DecoderResult::OutputFull => {}
        }
        self.input.consume(read);
        Ok(())
    }
}

impl Read for Decoded {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.at == self.ready.len() {
            if self.ended {
                return Ok(0);
            }
            self.more()?;
        }
        let given = buffer.len().min(self.ready.len() - self.at);
        buffer[..given].copy_from_slice(&self.ready[self.at..self.at + given]);
        self.at += given;
        Ok(given)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8], stated: Option<&str>) -> anyhow::Result<(Vec<u8>, &'static str)> {
        // A few bytes at a time, so that a letter may lie on the edge.
        let input = BufReader::with_capacity(5, std::io::Cursor::new(bytes.to_vec()));
        let input: Box<dyn BufRead + Send> = Box::new(input);
        let (mut text, encoding) = as_utf8(input, stated.map(|name| named(name).unwrap()))?;
        let mut all = Vec::new();
        text.read_to_end(&mut all)?;
        Ok((all, encoding.name()))
    }

    fn utf_16(text: &str, little: bool) -> Vec<u8> {
        text.encode_utf16().flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
    }

    #[test]
    fn a_mark_or_a_name_says_how_text_is_written() {
        let text = "Käufer;€\n";
        let with_mark = |little| utf_16(&format!("\u{feff}{text}"), little);
        for (bytes, stated, name) in [
            (text.as_bytes().to_vec(), None, "UTF-8"),
            (with_mark(true), None, "UTF-16LE"),
            (with_mark(false), None, "UTF-16BE"),
            (with_mark(false), Some("utf-16"), "UTF-16BE"),
            (utf_16(text, true), None, "UTF-16LE"),
            (b"K\xe4ufer;\x80\n".to_vec(), Some("windows-1252"), "windows-1252"),
            (b"K\xe4ufer;\xa4\n".to_vec(), Some("iso-8859-15"), "ISO-8859-15"),
        ] {
            assert_eq!(read(&bytes, stated).unwrap(), (text.as_bytes().to_vec(), name), "{stated:?}");
        }
        let told = read(&with_mark(true), Some("windows-1252")).unwrap_err().to_string();
        assert!(told.contains("UTF-16LE") && told.contains("windows-1252"), "{told}");
    }

    #[test]
    fn what_cannot_be_read_is_not_mended_in_silence() {
        let mut bytes = utf_16("\u{feff}ab", true);
        bytes.extend([0x00, 0xd8]); // half of a pair
        bytes.extend(utf_16("c", true));
        let (text, _) = read(&bytes, None).unwrap();
        assert_eq!(text, b"ab\xffc");
        assert!(named("ebcdic").unwrap_err().contains("windows-1252"));
    }

    proptest! {
        #[test]
        fn utf_16_is_read_back(text in "[a-zäöü€😀;\n]{0,60}", little: bool) {
            let bytes = utf_16(&format!("\u{feff}{text}"), little);
            prop_assert_eq!(read(&bytes, None).unwrap().0, text.into_bytes());
        }
    }
}
