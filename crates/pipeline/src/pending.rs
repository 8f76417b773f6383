//! Rows that wait for the next commit, in few pieces.
//!
//! In:      batches of one table in log order, of any size: a quiet line brings one row at a time.
//! Out:     the same rows in the same order.
//! Promise: what they cost follows what they hold. A batch as the decoder makes it has room for a thousand rows in each
//!          of its 71 columns, some 0.3 MB for one event; of such ones only a few are kept.

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;

/// Larger pieces are left as they are: what a piece costs besides its rows no longer counts.
const MERGED_ROWS_MAX: usize = 8_192;

#[derive(Default)]
pub(crate) struct Pending {
    batches: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
}

impl Pending {
    pub(crate) fn push(&mut self, batch: RecordBatch) {
        self.rows += batch.num_rows();
        self.bytes += batch.get_array_memory_size();
        self.batches.push(batch);
        // As a binary counter carries: each row is copied a dozen times at most, and a dozen small pieces stay.
        while let [.., before, last] = self.batches.as_slice()
            && before.num_rows() < 2 * last.num_rows()
            && before.num_rows() + last.num_rows() <= MERGED_ROWS_MAX
        {
            let merged = concat_batches(&last.schema(), [before, last]).expect("batches of one table");
            self.bytes -= before.get_array_memory_size() + last.get_array_memory_size();
            self.bytes += merged.get_array_memory_size();
            self.batches.truncate(self.batches.len() - 2);
            self.batches.push(merged);
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// What they take in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    pub(crate) fn take(&mut self) -> Vec<RecordBatch> {
        std::mem::take(self).batches
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn rows_keep_their_order_in_few_pieces() {
        let mut pending = Pending::default();
        let mut next = 0;
        for length in [1, 1, 1, 9_000, 2, 1, 500, 1, 1, 20_000].into_iter().chain([1; 3_000]) {
            let column: ArrayRef = Arc::new(Int64Array::from_iter_values(next..next + length));
            pending.push(RecordBatch::try_from_iter([("n", column)]).unwrap());
            next += length;
        }
        assert_eq!(pending.rows(), usize::try_from(next).unwrap());
        let batches = pending.take();
        let values = batches.iter().flat_map(|batch| batch.column(0).as_primitive::<Int64Type>().values());
        assert!(values.copied().eq(0..next));
        assert!(batches.len() < 25, "{} pieces", batches.len());
        assert_eq!((pending.rows(), pending.bytes()), (0, 0));
    }
}
