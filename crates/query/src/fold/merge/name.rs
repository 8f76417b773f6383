//! Names of units, to be put in order.
//!
//! In:       texts.
//! Out:      a few machine words that compare as the texts do.
//! Promise:  nearly every comparison looks at these words alone, which lie in the order they are read; the text itself lies
//!           somewhere else.

use std::cmp::Ordering;

const WORDS: usize = 5;
const BYTES: usize = WORDS * size_of::<u64>();

/// The first 40 bytes of a text, and how long it is: all of a UUID, and of most ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name {
    head: [u64; WORDS],
    length: u32,
}

impl Name {
    /// Comes after the name of every text: no text begins with such a byte.
    pub(super) const NONE: Self = Self { head: [u64::MAX; WORDS], length: 0 };

    pub(super) fn of(text: &str) -> Self {
        let mut bytes = [0; BYTES];
        let length = text.len().min(BYTES);
        bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        let mut head = [0; WORDS];
        for (word, bytes) in head.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_be_bytes(*bytes);
        }
        // No id comes near 4 GiB.
        Self { head, length: u32::try_from(text.len()).unwrap_or(u32::MAX) }
    }

    /// Writes the text behind others; it is asked for if it is long.
    pub(super) fn write<'t>(&self, to: &mut String, text: impl FnOnce() -> &'t str) {
        let mut bytes = [0; BYTES];
        for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(self.head) {
            *bytes = word.to_be_bytes();
        }
        match bytes.get(..self.length as usize).and_then(|bytes| std::str::from_utf8(bytes).ok()) {
            Some(told) => to.push_str(told),
            None => to.push_str(text()),
        }
    }

    /// Compares two, of which the texts are asked for where they begin alike and are long.
    pub(super) fn compare<'t>(&self, other: &Self, texts: impl FnOnce() -> (&'t str, &'t str)) -> Ordering {
        self.head.cmp(&other.head).then_with(|| {
            if self.length.max(other.length) as usize <= BYTES {
                self.length.cmp(&other.length)
            } else {
                let (own, other) = texts();
                own.cmp(other)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_as_their_texts() {
        let long = "an id that is a good deal longer than most ids are";
        let texts =
            ["", "\0", "a", "a\0", "ab", "b", "ä", "\u{10ffff}", &long[..39], &long[..40], &long[..41], long, "z"];
        for one in texts {
            for other in texts {
                let told = Name::of(one).compare(&Name::of(other), || (one, other));
                assert_eq!(told, one.cmp(other), "{one:?} and {other:?}");
            }
            assert_eq!(Name::of(one).compare(&Name::NONE, || unreachable!()), Ordering::Less);
            let mut written = "x".to_owned();
            Name::of(one).write(&mut written, || one);
            assert_eq!(written, format!("x{one}"));
        }
    }
}
