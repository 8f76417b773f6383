//! How long a column's text may be, what becomes of longer text, and of bytes that are none.
//!
//! In:      text of any length; bytes.
//! Out:     text within its limit, cut between characters, and whether it was cut.
//! Promise: ids are never cut, for two cut ids may be one; the caller refuses them instead.

use std::borrow::Cow;

/// Limits in bytes. Ids: `tributary_schemas::ids::ID_BYTES_MAX`.
/// Chosen so that the longest honest value of the kind passes: an address bar takes 2,000 and a little,
/// GA4 cuts names at 40 and values at 100 characters, gclids run to some 100.
pub(crate) const NAME_BYTES_MAX: usize = 256;
pub(crate) const TITLE_BYTES_MAX: usize = 512;
pub(crate) const PATH_BYTES_MAX: usize = 2_048;
pub(crate) const QUERY_BYTES_MAX: usize = 4_096;
pub(crate) const AGENT_BYTES_MAX: usize = 512;
pub(crate) const CODE_BYTES_MAX: usize = 64;

/// The longest beginning of `text` of at most `bytes_max` bytes that ends between two characters.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

/// Bytes as text; what is not UTF-8 becomes U+FFFD. As `String::from_utf8_lossy`, which takes thirty times as long for what is
/// text already.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

#[cfg(test)]
mod tests {
    use super::cut;

    #[test]
    fn a_cut_falls_between_characters() {
        assert_eq!(cut("äöü", 3), "ä");
        assert_eq!(cut("äöü", 4), "äö");
        assert_eq!(cut("abc", 9), "abc");
        assert_eq!(cut("😀", 3), "");
    }
}
