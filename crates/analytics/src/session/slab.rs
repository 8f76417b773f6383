//! The lines, by number.
//!
//! In:       lines.
//! Out:      a number for each, for as long as it is there; then the number is given again.
//! Promise:  grows by one block at a time and moves nothing, so a million lines do not for a moment take twice their room.
//! Not here: finding a line by its key.

use super::line::Line;

const BLOCK: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Slab {
    blocks: Vec<Vec<Line>>,
    free: Vec<u32>,
    count: usize,
}

impl Slab {
    pub(super) fn insert(&mut self, line: Line) -> u32 {
        if let Some(number) = self.free.pop() {
            *self.get_mut(number) = line;
            return number;
        }
        if self.count.is_multiple_of(BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        self.blocks[self.count / BLOCK].push(line);
        self.count += 1;
        u32::try_from(self.count - 1).expect("a partition has fewer than 2^32 open lines")
    }

    pub(super) fn remove(&mut self, number: u32) {
        *self.get_mut(number) = Line::new([0; 2], 0);
        self.free.push(number);
    }

    pub(super) fn get(&self, number: u32) -> &Line {
        &self.blocks[number as usize / BLOCK][number as usize % BLOCK]
    }

    pub(super) fn get_mut(&mut self, number: u32) -> &mut Line {
        &mut self.blocks[number as usize / BLOCK][number as usize % BLOCK]
    }

    /// All numbers given are below this.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.blocks.len() * BLOCK * size_of::<Line>() + self.free.capacity() * size_of::<u32>()
    }
}
