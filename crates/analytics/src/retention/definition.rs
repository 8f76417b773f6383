//! What a table of retention is asked: who is in a cohort, what counts as coming back, and when.
//!
//! In:       the parts, each from the asker.
//! Out:      a `RetentionDefinition`, checked once and shared by folds and counts.
//! Promise:  the table it leads to has at most `CELL_COUNT_MAX` cells.
//! Not here: rows (`fold.rs`), the table (`counts.rs`).

use std::ops::Range;
use std::sync::Arc;

use crate::calendar::{Calendar, ElapsedWindows};
use crate::error::AnalyticsError;

/// Cohorts times columns: 8 MB of them, and a year of days by a year of days fits twice.
pub const CELL_COUNT_MAX: u64 = 1 << 18;

/// Which of a unit's starts put it into a cohort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CohortRule {
    /// Its very first, if that is in the range; feed the rows from before the range as well.
    FirstEver,
    /// Its first within the range.
    FirstInRange,
    /// The first of each period in the range: a unit may be in several cohorts.
    Recurring,
}

/// What counts as coming back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReturnEvent {
    /// What counts as a start. The start itself is a return in period 0.
    SameAsStart,
    /// What the caller says of each row.
    Own,
}

/// How far from the start a return is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    /// In periods of the calendar: period 0 is that of the start, whatever is left of it.
    Calendar(SamePeriod),
    /// In windows of one length, the first beginning with the start.
    SinceStart(ElapsedWindows),
}

/// Which returns of the start's own period count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SamePeriod {
    /// Those not before the start; of one time, all.
    FromStart,
    /// All of them, as it is where dates alone are compared.
    Whole,
}

/// What a column of the table counts. Periods are counted from the start's, which is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counting {
    /// Units that came back in period k, for k from 0 to `period_max`.
    Bounded { period_max: u32 },
    /// Units that came back in period k or later, be it after `period_max`.
    Rolling { period_max: u32 },
    /// Units that came back in a period from the first to the last of a bracket, both included.
    Brackets(Vec<(u32, u32)>),
}

/// The parts of a definition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionQuestion {
    /// Which periods cohorts are named by, and returns counted in if `windows` are the calendar's.
    pub calendar: Calendar,
    /// Which starts count; the end is exclusive. Returns count whenever they come.
    pub starts_us: Range<i64>,
    pub cohort_rule: CohortRule,
    pub return_event: ReturnEvent,
    pub windows: Windows,
    pub counting: Counting,
}

/// A question that can be answered. Cheap to clone.
///
/// Invariant: the range is not empty, brackets ascend, cells are at most `CELL_COUNT_MAX`; made only by `new`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionDefinition(Arc<Checked>);

#[derive(Debug, PartialEq, Eq)]
struct Checked {
    question: RetentionQuestion,
    cohort_first: i64,
    cohort_count: usize,
    columns: Vec<(u32, u32)>,
    /// The last period since the start that is in a column.
    period_max: i64,
    /// The column of a period, by its number since the start; none for a period that is in no bracket.
    column_by_period: Vec<Option<u32>>,
}

impl RetentionDefinition {
    /// * Fails for an empty range of starts, for brackets that overlap or do not ascend, and for too many cells.
    pub fn new(question: RetentionQuestion) -> Result<Self, AnalyticsError> {
        let range = &question.starts_us;
        if range.is_empty() {
            return Err(AnalyticsError::EmptyRange);
        }
        let cohort_first = question.calendar.number(range.start);
        let cohort_count = question.calendar.number(range.end - 1).abs_diff(cohort_first) + 1;
        let (period_count, column_count) = match &question.counting {
            Counting::Bounded { period_max } | Counting::Rolling { period_max } => {
                (u64::from(*period_max) + 1, u64::from(*period_max) + 1)
            }
            Counting::Brackets(brackets) => {
                let is_ascending = brackets.windows(2).all(|pair| pair[0].1 < pair[1].0);
                if brackets.is_empty() || !is_ascending || brackets.iter().any(|(first, last)| last < first) {
                    return Err(AnalyticsError::Brackets { given: format!("{brackets:?}") });
                }
                (u64::from(brackets[brackets.len() - 1].1) + 1, brackets.len() as u64)
            }
        };
        // What one unit did is kept by period until its rows are over, so periods are bounded as well.
        let is_table_large = CELL_COUNT_MAX < cohort_count.saturating_mul(column_count);
        if is_table_large || CELL_COUNT_MAX < cohort_count.saturating_add(period_count) {
            let columns = if is_table_large { column_count } else { period_count };
            return Err(AnalyticsError::CellCount { rows: cohort_count, columns, max: CELL_COUNT_MAX });
        }
        let columns: Vec<(u32, u32)> = match &question.counting {
            Counting::Bounded { period_max } | Counting::Rolling { period_max } => {
                (0..=*period_max).map(|period| (period, period)).collect()
            }
            Counting::Brackets(brackets) => brackets.clone(),
        };
        let mut column_by_period = vec![None; usize::try_from(period_count).expect("few cells")];
        for (column, (first, last)) in (0_u32..).zip(&columns) {
            column_by_period[*first as usize..=*last as usize].fill(Some(column));
        }
        let period_max = i64::try_from(period_count - 1).expect("few cells");
        let cohort_count = usize::try_from(cohort_count).expect("few cells");
        Ok(Self(Arc::new(Checked { question, cohort_first, cohort_count, columns, period_max, column_by_period })))
    }

    pub fn question(&self) -> &RetentionQuestion {
        &self.0.question
    }

    /// The number of the first cohort's period; the others follow.
    pub fn cohort_first(&self) -> i64 {
        self.0.cohort_first
    }

    pub fn cohort_count(&self) -> usize {
        self.0.cohort_count
    }

    /// The first and the last period of each column, counted from the start's.
    pub fn columns(&self) -> &[(u32, u32)] {
        &self.0.columns
    }

    pub(super) fn is_rolling(&self) -> bool {
        matches!(self.0.question.counting, Counting::Rolling { .. })
    }

    /// The last period since the start that is in a column.
    pub(super) fn period_max(&self) -> i64 {
        self.0.period_max
    }

    /// The column of a period since the start, if there is one.
    pub(super) fn column(&self, period: i64) -> Option<usize> {
        let period = usize::try_from(period).ok()?;
        self.0.column_by_period.get(period).copied().flatten().map(|column| column as usize)
    }

    pub(super) fn is_counted_start(&self, time_us: i64) -> bool {
        self.0.question.starts_us.contains(&time_us)
    }
}
