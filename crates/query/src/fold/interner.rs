//! Texts as small numbers.
//!
//! In:       bytes with their hash.
//! Out:      a number: the same for the same bytes, counting from 0 in the order they first came.
//! Promise:  the bytes lie in one block; nothing is allocated for a text that is known.

use hashbrown::HashTable;

/// Of the bytes of a text. Not keyed: units are counted once a question, and a table that somebody made slow by choosing
/// ids would be slow for his own events.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

#[derive(Debug, Default)]
pub(super) struct Interner {
    table: HashTable<u32>,
    hashes: Vec<u64>,
    /// Where each text ends in `bytes`.
    ends: Vec<usize>,
    bytes: Vec<u8>,
}

impl Interner {
    pub(super) fn intern(&mut self, hash: u64, text: &[u8]) -> u32 {
        let (ends, bytes, hashes) = (&self.ends, &self.bytes, &self.hashes);
        let is_it = |index: &u32| hashes[*index as usize] == hash && slice(ends, bytes, *index as usize) == text;
        if let Some(known) = self.table.find(hash, is_it) {
            return *known;
        }
        // A table of more than 2^32 texts would be past any bound on memory.
        let index = self.ends.len() as u32;
        self.hashes.push(hash);
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
        let hashes = &self.hashes;
        self.table.insert_unique(hash, index, |index| hashes[*index as usize]);
        index
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

    pub(super) fn size(&self) -> usize {
        self.table.capacity() * (size_of::<u32>() + 1)
            + (self.hashes.capacity() + self.ends.capacity()) * size_of::<u64>()
            + self.bytes.capacity()
    }
}

fn slice<'a>(ends: &[usize], bytes: &'a [u8], index: usize) -> &'a [u8] {
    let begin = if index == 0 { 0 } else { ends[index - 1] };
    &bytes[begin..ends[index]]
}
