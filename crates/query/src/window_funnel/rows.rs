//! The rows a funnel must remember: when, in which order, which steps.
//!
//! In:       batches of arguments, or states of other gatherers.
//! Out:      each group's rows in order; the same rows as a state.
//! Promise:  one flat vector, 24 bytes a row, however many groups: with a vector a group, a million people cost a
//!           million allocations. Grouping makes one copy, and `size` counts it beforehand. Rows that meet no step
//!           are not kept unless the mode asks for them.
//!
//! Exchanging the rows into their groups in place was tried: it needs no copy, but took 3.2 s for ten million rows of a
//! million groups where copying takes 0.8 s.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array, ListArray, UInt32Array};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type, UInt32Type};
use datafusion::common::{Result, exec_datafusion_err};

use super::question::Question;
use crate::columns;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Row {
    // The order of the fields is the order of the rows.
    pub(super) time_us: i64,
    sequence: i64,
    pub(super) mask: u32,
    group: u32,
}

#[derive(Debug, Default)]
pub(super) struct Rows {
    rows: Vec<Row>,
}

/// Rows by group, in order within each.
pub(super) struct Grouped {
    rows: Vec<Row>,
    /// Where each group begins; one more than groups.
    starts: Vec<usize>,
}

impl Rows {
    /// * `group_indices`: `None` where each row is its own group.
    pub(super) fn push_batch(
        &mut self,
        question: &Question,
        values: &[ArrayRef],
        group_indices: Option<&[usize]>,
        filter: Option<&BooleanArray>,
    ) -> Result<()> {
        let times = cast(&values[2], &DataType::Int64)?;
        let times = times.as_primitive::<Int64Type>();
        let sequences = question.has_sequence.then(|| values[3].as_primitive::<Int64Type>());
        let steps = &values[values.len() - question.step_count..];
        let masks = columns::masks(steps.iter().map(|step| step.as_boolean()), times.len());
        for (index, mask) in masks.into_iter().enumerate() {
            let is_wanted = filter.is_none_or(|filter| filter.is_valid(index) && filter.value(index));
            if (mask == 0 && !question.keeps_foreign) || times.is_null(index) || !is_wanted {
                continue;
            }
            // What stands under a null is not specified.
            let sequence = sequences.filter(|sequences| sequences.is_valid(index));
            let sequence = sequence.map_or(0, |sequences| sequences.value(index));
            let group = group_number(group_indices.map_or(index, |groups| groups[index]))?;
            self.rows.push(Row { time_us: times.value(index), sequence, mask, group });
        }
        Ok(())
    }

    pub(super) fn push_state(&mut self, states: &[ArrayRef], group_indices: &[usize]) -> Result<()> {
        let [times, sequences, masks] = [0, 1, 2].map(|index| states[index].as_list::<i32>());
        let time_values = times.values().as_primitive::<Int64Type>();
        let sequence_values = sequences.values().as_primitive::<Int64Type>();
        let mask_values = masks.values().as_primitive::<UInt32Type>();
        for (index, group) in group_indices.iter().enumerate() {
            if times.is_null(index) {
                continue;
            }
            let group = group_number(*group)?;
            // The three lists are of one length and written together, but a batch may have been cut from each.
            let begin = |list: &ListArray| list.value_offsets()[index] as usize;
            let (time_at, sequence_at, mask_at) = (begin(times), begin(sequences), begin(masks));
            for i in 0..times.value_length(index) as usize {
                self.rows.push(Row {
                    time_us: time_values.value(time_at + i),
                    sequence: sequence_values.value(sequence_at + i),
                    mask: mask_values.value(mask_at + i),
                    group,
                });
            }
        }
        Ok(())
    }

    /// The rows of groups below `count`; the others move down by `count`.
    pub(super) fn take_first_groups(&mut self, count: usize) -> Self {
        let count = u32::try_from(count).expect("a group below it has a number that fits");
        let (first, rest) = std::mem::take(&mut self.rows).into_iter().partition(|row| row.group < count);
        self.rows = rest;
        for row in &mut self.rows {
            row.group -= count;
        }
        Self { rows: first }
    }

    pub(super) fn by_group(self, group_count: usize) -> Grouped {
        let mut rows = self.rows;
        let mut starts = vec![0; group_count + 1];
        for row in &rows {
            starts[row.group as usize + 1] += 1;
        }
        for group in 0..group_count {
            starts[group + 1] += starts[group];
        }
        if !rows.is_sorted_by_key(|row| row.group) {
            let mut grouped = vec![Row { time_us: 0, sequence: 0, mask: 0, group: 0 }; rows.len()];
            let mut next = starts.clone();
            for row in &rows {
                let at = &mut next[row.group as usize];
                grouped[*at] = *row;
                *at += 1;
            }
            rows = grouped;
        }
        for group in 0..group_count {
            let rows = &mut rows[starts[group]..starts[group + 1]];
            if !rows.is_sorted() {
                rows.sort_unstable();
            }
        }
        Grouped { rows, starts }
    }

    /// With what giving them out will take besides: the copy of the rows, and where each group begins and ends. A
    /// state's columns are made when the first of the two copies is gone, and are smaller.
    pub(super) fn size(&self, group_count: usize) -> usize {
        (self.rows.capacity() + self.rows.len()) * size_of::<Row>() + group_count * 2 * size_of::<usize>()
    }
}

impl Grouped {
    pub(super) fn into_rows(self) -> Rows {
        Rows { rows: self.rows }
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = &[Row]> {
        self.starts.windows(2).map(|bounds| &self.rows[bounds[0]..bounds[1]])
    }

    pub(super) fn to_state(&self) -> Vec<ArrayRef> {
        let lengths = || self.starts.windows(2).map(|bounds| bounds[1] - bounds[0]);
        let list = |values: ArrayRef| -> ArrayRef {
            let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
            Arc::new(ListArray::new(field, OffsetBuffer::from_lengths(lengths()), values, None))
        };
        vec![
            list(Arc::new(Int64Array::from_iter_values(self.rows.iter().map(|row| row.time_us)))),
            list(Arc::new(Int64Array::from_iter_values(self.rows.iter().map(|row| row.sequence)))),
            list(Arc::new(UInt32Array::from_iter_values(self.rows.iter().map(|row| row.mask)))),
        ]
    }
}

pub(super) fn state_fields(name: &str) -> Vec<FieldRef> {
    let list = |part: &str, data_type: DataType| {
        Arc::new(Field::new_list(format!("{name}[{part}]"), Field::new_list_field(data_type, true), true))
    };
    vec![list("times", DataType::Int64), list("sequences", DataType::Int64), list("masks", DataType::UInt32)]
}

fn group_number(group: usize) -> Result<u32> {
    u32::try_from(group).map_err(|_| exec_datafusion_err!("a funnel of more than {} units at once", u32::MAX))
}
