//! Texts as small numbers.
//!
//! In:       bytes with their hash.
//! Out:      a number: the same for the same bytes, counting from 0 in the order they first came.
//! Promise:  the bytes lie in one block; nothing is allocated for a text that is known.

use hashbrown::HashTable;

use super::Texts;

/// Of the bytes of a text. Not keyed: units are counted once a question, and a table that somebody made slow by choosing
/// ids would be slow for his own events.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

#[derive(Debug, Default)]
pub(super) struct Interner {
    table: HashTable<Slot>,
    hashes: Vec<u64>,
    /// Where each text ends in `bytes`.
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

/// A number, with so much of the hash of its text that another text is hardly ever looked at.
#[derive(Debug, Clone, Copy)]
struct Slot {
    tag: u32,
    index: u32,
}

/// Bits that the table does not place by, while it has fewer than 2^24 texts.
fn tag(hash: u64) -> u32 {
    (hash >> 24) as u32
}

impl Interner {
    /// Each text by its place.
    pub(super) fn of(texts: &Texts) -> Self {
        let mut interner = Self::default();
        for text in texts.iter() {
            interner.intern(hash(text.as_bytes()), text.as_bytes());
        }
        interner
    }

    /// What a text of this hash is called, if it is known: most likely, but not yet compared.
    ///
    /// Apart from `confirm`, so that who asks for many can ask for all of them first: each waits for memory, and so all
    /// wait together.
    pub(super) fn guess(&self, hash: u64) -> Option<u32> {
        self.table.find(hash, |slot| slot.tag == tag(hash)).map(|slot| slot.index)
    }

    /// The number of a text, after a guess.
    pub(super) fn confirm(&mut self, guess: Option<u32>, hash: u64, text: &[u8]) -> u32 {
        match guess {
            Some(index) if self.text(index as usize) == text => index,
            _ => self.intern(hash, text),
        }
    }

    pub(super) fn intern(&mut self, hash: u64, text: &[u8]) -> u32 {
        let (ends, bytes) = (&self.ends, &self.bytes);
        let is_it = |slot: &Slot| slot.tag == tag(hash) && slice(ends, bytes, slot.index as usize) == text;
        if let Some(known) = self.table.find(hash, is_it) {
            return known.index;
        }
        // A table of more than 2^32 texts would be past any bound on memory.
        let index = self.ends.len() as u32;
        self.hashes.push(hash);
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
        let hashes = &self.hashes;
        self.table.insert_unique(hash, Slot { tag: tag(hash), index }, |slot| hashes[slot.index as usize]);
        index
    }

    /// The numbers here of all texts of another.
    pub(super) fn intern_all(&mut self, other: &Self) -> Vec<u32> {
        const AT_ONCE: usize = 64;
        let mut numbers = Vec::with_capacity(other.len());
        let mut guesses = [None; AT_ONCE];
        for first in (0..other.len()).step_by(AT_ONCE) {
            let some = first..(first + AT_ONCE).min(other.len());
            for (guess, hash) in guesses.iter_mut().zip(&other.hashes[some.clone()]) {
                *guess = self.guess(*hash);
            }
            for (index, guess) in some.zip(guesses) {
                numbers.push(self.confirm(guess, other.hashes[index], other.text(index)));
            }
        }
        numbers
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// In the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (0..self.len()).map(|index| (self.hashes[index], self.text(index)))
    }

    pub(super) fn text(&self, index: usize) -> &[u8] {
        slice(&self.ends, &self.bytes, index)
    }

    /// As a text, where all are.
    pub(super) fn str(&self, index: usize) -> &str {
        std::str::from_utf8(self.text(index)).expect("they come out of text columns")
    }

    pub(super) fn size(&self) -> usize {
        self.table.capacity() * (size_of::<Slot>() + 1)
            + (self.hashes.capacity() + self.ends.capacity()) * size_of::<u64>()
            + self.bytes.capacity()
    }
}

fn slice<'a>(ends: &[usize], bytes: &'a [u8], index: usize) -> &'a [u8] {
    let begin = if index == 0 { 0 } else { ends[index - 1] };
    &bytes[begin..ends[index]]
}
