//! Funnels of every kind, by trying every way of giving events to steps.
//!
//! In:       one unit's rows in log order; what is asked.
//! Out:      level, start and completion of each attempt that counts; whether the unit is open or void.
//! Promise:  obvious, not fast: it lists every assignment that keeps the rules, so keep it to eight rows.
//! Not here: anything clever.

use std::cmp::Reverse;

use super::funnel::Ties;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Ordered,
    StrictReset,
    StrictStop,
    Any,
    AnyWithFirst,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counted {
    Best,
    First,
    Totals,
}

/// No event of `bit` may come while an attempt stands at `from_step` to `to_step - 1`, before and after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Barrier {
    pub bit: u32,
    pub from_step: usize,
    pub to_step: usize,
    pub voids_unit: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub time_us: i64,
    pub step_mask: u32,
    pub exclusion_mask: u32,
    pub session: u64,
}

/// What is asked. Steps are numbered from 1.
#[derive(Clone)]
pub struct Asked<'a> {
    pub step_count: usize,
    pub optional: Vec<usize>,
    pub step_windows_us: Vec<Option<i64>>,
    pub order: Order,
    /// The last moment an attempt of this start may reach a step.
    pub deadline_us: &'a dyn Fn(i64) -> i64,
    /// Each session by itself; it is over after so long a silence.
    pub session_gap_us: Option<i64>,
    pub ties: Ties,
    pub tolerance_us: i64,
    pub barriers: Vec<Barrier>,
    pub counted: Counted,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub level: usize,
    pub completion_us: i64,
    pub start_us: i64,
    /// The most steps that such an attempt can have.
    pub step_count: usize,
    /// Where among the rows it got there.
    place: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdict {
    pub attempts: Vec<Found>,
    pub is_open: bool,
    pub is_voided: bool,
}

/// A way of giving rows to steps: `(step, index of the row)`.
pub type Assignment = Vec<(usize, usize)>;

pub fn verdict(asked: &Asked<'_>, rows: &[Row], as_of_us: i64) -> Verdict {
    let mut sessions: Vec<u64> = rows.iter().map(|row| row.session).collect();
    sessions.sort_unstable();
    sessions.dedup();
    if asked.session_gap_us.is_none() {
        return verdict_of_one(asked, &numbered(rows, None), as_of_us);
    }
    let mut parts: Vec<_> = sessions.iter().map(|session| numbered(rows, Some(*session))).collect();
    if asked.counted == Counted::First {
        let first = parts.iter().filter_map(|part| start_of_first(asked, part)).min();
        parts.retain(|part| first.is_some() && start_of_first(asked, part) == first);
    }
    let voids_unit = asked.barriers.iter().any(|barrier| barrier.voids_unit);
    assert!(parts.len() < 2 || !voids_unit, "several sessions that together void a unit: not told here");
    let verdicts: Vec<Verdict> = parts.iter().map(|part| verdict_of_one(asked, part, as_of_us)).collect();
    let is_open = verdicts.iter().any(|verdict| verdict.is_open);
    let is_voided = verdicts.iter().any(|verdict| verdict.is_voided);
    let mut attempts: Vec<Found> = verdicts.into_iter().flat_map(|verdict| verdict.attempts).collect();
    if asked.counted != Counted::Totals {
        attempts.sort_by_key(|found| rank(asked, found));
        attempts.truncate(1);
    }
    Verdict { attempts, is_open, is_voided }
}

/// Whether rows may be given to steps so.
pub fn allows(asked: &Asked<'_>, rows: &[Row], assignment: &[(usize, usize)]) -> bool {
    let part = settled(asked, &numbered(rows, asked.session_gap_us.map(|_| rows[assignment[0].1].session)));
    localized(&part, assignment).is_some_and(|local| keeps_rules(asked, &part, &local, &asked.barriers))
}

/// Whether an exclusion comes after the assignment while it could go on.
pub fn meets_exclusion(asked: &Asked<'_>, rows: &[Row], assignment: &[(usize, usize)]) -> bool {
    let part = settled(asked, &numbered(rows, asked.session_gap_us.map(|_| rows[assignment[0].1].session)));
    let (part, _) = until_stop(asked, &part);
    let Some(assignment) = localized(&part, assignment) else { return false };
    first_exclusion_after(asked, &part, &assignment, false).is_some_and(|us| us <= until_us(asked, &part, &assignment))
}

fn localized(part: &[Numbered], assignment: &[(usize, usize)]) -> Option<Assignment> {
    let local = |index: usize| part.iter().position(|row| row.index == index);
    assignment.iter().map(|(step, index)| Some((*step, local(*index)?))).collect()
}

#[derive(Debug, Clone, Copy)]
struct Numbered {
    index: usize,
    row: Row,
}

fn numbered(rows: &[Row], session: Option<u64>) -> Vec<Numbered> {
    let all = rows.iter().enumerate().map(|(index, row)| Numbered { index, row: *row });
    all.filter(|numbered| session.is_none_or(|session| numbered.row.session == session)).collect()
}

/// The rows with the time of the tied run each is in.
fn settled(asked: &Asked<'_>, part: &[Numbered]) -> Vec<Numbered> {
    if asked.ties == Ties::InGivenOrder {
        return part.to_vec();
    }
    let mut settled: Vec<Numbered> = Vec::new();
    let mut last_us = None;
    for numbered in part {
        let matters = meets_any_step(asked, &numbered.row) || is_excluded(asked, &numbered.row);
        let mut new = *numbered;
        if matters {
            if last_us.is_some_and(|last_us: i64| numbered.row.time_us - last_us <= asked.tolerance_us) {
                new.row.time_us = settled[settled.len() - 1].row.time_us;
            }
            last_us = Some(numbered.row.time_us);
            settled.push(new);
        }
    }
    settled
}

fn meets_any_step(asked: &Asked<'_>, row: &Row) -> bool {
    (1..=asked.step_count).any(|step| meets(row, step))
}

fn is_excluded(asked: &Asked<'_>, row: &Row) -> bool {
    asked.barriers.iter().any(|barrier| row.exclusion_mask & (1 << barrier.bit) != 0)
}

fn meets(row: &Row, step: usize) -> bool {
    row.step_mask & (1 << (step - 1)) != 0
}

fn is_any_order(asked: &Asked<'_>) -> bool {
    matches!(asked.order, Order::Any | Order::AnyWithFirst)
}

fn keeps_rules(asked: &Asked<'_>, rows: &[Numbered], assignment: &[(usize, usize)], barriers: &[Barrier]) -> bool {
    let time_us = |(_, index): &(usize, usize)| rows[*index].row.time_us;
    let is_distinct = (0..assignment.len())
        .all(|i| (0..i).all(|j| assignment[i].1 != assignment[j].1 && assignment[i].0 != assignment[j].0));
    let is_met = assignment.iter().all(|(step, index)| meets(&rows[*index].row, *step));
    let first_us = assignment.iter().map(time_us).min().unwrap_or(0);
    let in_window = assignment.iter().all(|given| time_us(given) <= (asked.deadline_us)(first_us));
    if !is_distinct || !is_met || !in_window {
        return false;
    }
    if is_any_order(asked) {
        return true;
    }
    let follows = assignment.windows(2).all(|pair| {
        let (before, after) = (pair[0], pair[1]);
        let skipped_are_optional = (before.0 + 1..after.0).all(|step| asked.optional.contains(&step));
        let in_order = match asked.ties {
            Ties::InGivenOrder => before.1 < after.1,
            Ties::AnyOrder => time_us(&before) <= time_us(&after),
            Ties::Never => time_us(&before) < time_us(&after),
        };
        let gap_us = time_us(&after) - time_us(&before);
        let in_step_window = asked.step_windows_us[after.0 - 1].is_none_or(|window_us| gap_us <= window_us);
        let is_unbroken = asked.order != Order::StrictReset
            || (before.1 + 1..after.1).all(|between| meets(&rows[between].row, before.0));
        before.0 < after.0 && skipped_are_optional && in_order && in_step_window && is_unbroken
    });
    let begins = assignment.first().is_none_or(|first| first.0 == 1);
    follows && begins && !crosses(asked, rows, assignment, barriers)
}

/// Whether row `x` comes before, with, or after row `y`: equal times are one moment unless the log's order counts.
fn moment(asked: &Asked<'_>, rows: &[Numbered], index: usize) -> (i64, usize) {
    (rows[index].row.time_us, if asked.ties == Ties::InGivenOrder { index } else { 0 })
}

fn crosses(asked: &Asked<'_>, rows: &[Numbered], assignment: &[(usize, usize)], barriers: &[Barrier]) -> bool {
    let Some(last) = assignment.last() else { return false };
    let stands_at = |is_past: &dyn Fn((i64, usize)) -> bool| {
        assignment.iter().filter(|given| is_past(moment(asked, rows, given.1))).map(|given| given.0).max().unwrap_or(0)
    };
    (0..rows.len()).filter(|index| moment(asked, rows, *index) <= moment(asked, rows, last.1)).any(|index| {
        let now = moment(asked, rows, index);
        let (before, after) = (stands_at(&|then| then < now), stands_at(&|then| then <= now));
        barriers.iter().any(|barrier| {
            rows[index].row.exclusion_mask & (1 << barrier.bit) != 0
                && barrier.from_step <= before
                && before < barrier.to_step
                && after < barrier.to_step
        })
    })
}

fn assignments(asked: &Asked<'_>, rows: &[Numbered], barriers: &[Barrier]) -> Vec<Assignment> {
    let mut all = Vec::new();
    let mut open: Vec<Assignment> = vec![Vec::new()];
    while let Some(assignment) = open.pop() {
        let last_step = assignment.last().map_or(0, |(step, _)| *step);
        for step in last_step + 1..=asked.step_count {
            for index in 0..rows.len() {
                let mut longer = assignment.clone();
                longer.push((step, index));
                // An exclusion may still be left behind within its moment, so it is looked for at the end.
                if keeps_rules(asked, rows, &longer, &[]) {
                    open.push(longer);
                }
            }
        }
        if !assignment.is_empty() && keeps_rules(asked, rows, &assignment, barriers) {
            all.push(assignment);
        }
    }
    if asked.order == Order::AnyWithFirst {
        all.retain(|assignment| assignment.iter().any(|(step, _)| *step == 1));
    }
    if asked.counted == Counted::First
        && let Some((first_us, first)) = first_start(asked, rows)
    {
        all.retain(|assignment| match asked.ties {
            Ties::InGivenOrder => assignment[0].1 == first,
            _ => rows[assignment[0].1].row.time_us == first_us,
        });
    }
    all
}

fn first_start(asked: &Asked<'_>, rows: &[Numbered]) -> Option<(i64, usize)> {
    debug_assert!(!is_any_order(asked));
    rows.iter().enumerate().find(|(_, row)| meets(&row.row, 1)).map(|(index, row)| (row.row.time_us, index))
}

/// When the first attempt of a session starts; of equal times, where the log's order counts, by its place there.
fn start_of_first(asked: &Asked<'_>, part: &[Numbered]) -> Option<(i64, usize)> {
    let rows = settled(asked, part);
    let (time_us, index) = first_start(asked, &rows)?;
    Some((time_us, if asked.ties == Ties::InGivenOrder { rows[index].index } else { 0 }))
}

fn level(asked: &Asked<'_>, assignment: &Assignment) -> usize {
    if is_any_order(asked) { assignment.len() } else { assignment[assignment.len() - 1].0 }
}

fn found(asked: &Asked<'_>, rows: &[Numbered], assignment: &Assignment) -> Found {
    let times = || assignment.iter().map(|(_, index)| rows[*index].row.time_us);
    Found {
        level: level(asked, assignment),
        completion_us: times().max().unwrap_or(0),
        start_us: times().min().unwrap_or(0),
        step_count: assignment.len(),
        place: assignment.iter().map(|(_, index)| rows[*index].index).max().unwrap_or(0),
    }
}

fn rank(asked: &Asked<'_>, found: &Found) -> (Reverse<usize>, i64, usize, Reverse<i64>, Reverse<usize>) {
    let place = if asked.ties == Ties::InGivenOrder || is_any_order(asked) { found.place } else { 0 };
    (Reverse(found.level), found.completion_us, place, Reverse(found.start_us), Reverse(found.step_count))
}

fn best(asked: &Asked<'_>, rows: &[Numbered], all: &[Assignment]) -> Option<Found> {
    all.iter().map(|assignment| found(asked, rows, assignment)).min_by_key(|found| rank(asked, found))
}

/// The last moment a next step may be reached.
fn until_us(asked: &Asked<'_>, rows: &[Numbered], assignment: &[(usize, usize)]) -> i64 {
    let start_us = assignment.iter().map(|(_, index)| rows[*index].row.time_us).min().unwrap_or(0);
    let deadline_us = (asked.deadline_us)(start_us);
    if is_any_order(asked) {
        return deadline_us;
    }
    let (step, index) = assignment[assignment.len() - 1];
    let mut nexts = Vec::new();
    for next in step + 1..=asked.step_count {
        nexts.push(asked.step_windows_us[next - 1].unwrap_or(i64::MAX));
        if !asked.optional.contains(&next) {
            break;
        }
    }
    deadline_us.min(rows[index].row.time_us.saturating_add(nexts.into_iter().max().unwrap_or(0)))
}

/// When the first exclusion comes after the assignment, unless a row that does not fit has ended it before.
fn first_exclusion_after(
    asked: &Asked<'_>,
    rows: &[Numbered],
    assignment: &[(usize, usize)],
    of_units_alone: bool,
) -> Option<i64> {
    let (step, last) = assignment[assignment.len() - 1];
    for index in 0..rows.len() {
        if moment(asked, rows, index) <= moment(asked, rows, last) {
            continue;
        }
        let now = moment(asked, rows, index);
        let together = (0..rows.len()).filter(|other| moment(asked, rows, *other) == now);
        let excluded = together.fold(0, |mask, other| mask | rows[other].row.exclusion_mask);
        let hits = |barrier: &&Barrier| {
            excluded & (1 << barrier.bit) != 0 && barrier.from_step <= step && step < barrier.to_step
        };
        let hit: Vec<&Barrier> = asked.barriers.iter().filter(hits).collect();
        if !hit.is_empty() {
            let counts = !of_units_alone || hit.iter().any(|barrier| barrier.voids_unit);
            return counts.then_some(rows[index].row.time_us);
        }
        if asked.order == Order::StrictReset && !meets(&rows[index].row, step) {
            return None;
        }
    }
    None
}

/// Whether a row at `time_us` after all these could lead the assignment on.
fn could_go_on(asked: &Asked<'_>, rows: &[Numbered], assignment: &Assignment, time_us: i64) -> bool {
    if until_us(asked, rows, assignment) < time_us || level(asked, assignment) == asked.step_count {
        return false;
    }
    if is_any_order(asked) {
        return true;
    }
    let (step, last) = assignment[assignment.len() - 1];
    let is_broken =
        asked.order == Order::StrictReset && (last + 1..rows.len()).any(|index| !meets(&rows[index].row, step));
    !is_broken && first_exclusion_after(asked, rows, assignment, false).is_none()
}

/// The rows up to and with the one that ends the search, and whether there is one.
fn until_stop(asked: &Asked<'_>, rows: &[Numbered]) -> (Vec<Numbered>, bool) {
    if asked.order == Order::StrictStop {
        for end in 0..rows.len() {
            let mut of_prefix = asked.clone();
            of_prefix.counted = if asked.counted == Counted::First { Counted::First } else { Counted::Best };
            let all = assignments(&of_prefix, &rows[..end], &asked.barriers);
            let is_reached = |step: usize| all.iter().any(|assignment| level(asked, assignment) == step);
            let is_usable = |step: usize| {
                step == 1
                    || (1..step).rev().any(|before| {
                        is_reached(before) && (before + 1..step).all(|between| asked.optional.contains(&between))
                    })
            };
            let is_used = (1..=asked.step_count).any(|step| meets(&rows[end].row, step) && is_usable(step));
            let is_complete = is_reached(asked.step_count);
            if !all.is_empty() && !is_used && !is_complete {
                return (rows[..=end].to_vec(), true);
            }
        }
    }
    (rows.to_vec(), false)
}

fn verdict_of_one(asked: &Asked<'_>, part: &[Numbered], as_of_us: i64) -> Verdict {
    let is_quiet = asked
        .session_gap_us
        .is_some_and(|gap_us| part.last().is_some_and(|last| last.row.time_us + gap_us <= as_of_us));
    let rows = settled(asked, part);
    if asked.counted == Counted::Totals {
        let (attempts, is_open) = totals(asked, &rows, as_of_us);
        return Verdict { attempts, is_open: is_open && !is_quiet, is_voided: false };
    }
    let (rows, is_stopped) = until_stop(asked, &rows);
    let all = assignments(asked, &rows, &asked.barriers);
    let best = best(asked, &rows, &all);
    if is_void(asked, part, &rows, &all) {
        let is_open = false;
        return Verdict { attempts: Vec::new(), is_open, is_voided: true };
    }
    let is_complete = best.as_ref().is_some_and(|best| best.level == asked.step_count);
    let is_open =
        best.is_some() && !is_stopped && !is_complete && !is_quiet && could_any_go_on(asked, &rows, &all, as_of_us + 1);
    Verdict { attempts: best.into_iter().collect(), is_open, is_voided: false }
}

fn could_any_go_on(asked: &Asked<'_>, rows: &[Numbered], all: &[Assignment], time_us: i64) -> bool {
    if is_any_order(asked) {
        let is_in_window = |row: &Numbered| time_us <= (asked.deadline_us)(row.row.time_us);
        return rows.iter().any(|row| meets_any_step(asked, &row.row) && is_in_window(row));
    }
    all.iter().any(|assignment| could_go_on(asked, rows, assignment, time_us))
}

/// Void: of the attempts that go as far as any does without the exclusions that void units, none is clean. Of those that
/// one event brings there, the one that started last is looked at.
fn is_void(asked: &Asked<'_>, part: &[Numbered], rows: &[Numbered], all: &[Assignment]) -> bool {
    if asked.barriers.iter().all(|barrier| !barrier.voids_unit) {
        return false;
    }
    let mut without = asked.clone();
    without.barriers.retain(|barrier| !barrier.voids_unit);
    let rows_without = until_stop(&without, &settled(asked, part)).0;
    let furthest = assignments(&without, &rows_without, &without.barriers);
    let Some(furthest) = furthest.iter().map(|assignment| level(asked, assignment)).max() else { return false };
    let there: Vec<&Assignment> = all.iter().filter(|assignment| level(asked, assignment) == furthest).collect();
    !there.iter().any(|assignment| {
        let last = |assignment: &Assignment| moment(asked, rows, assignment[assignment.len() - 1].1);
        let same = there.iter().filter(|other| last(other) == last(assignment));
        let latest = same.max_by_key(|other| rows[other[0].1].row.time_us).expect("the assignment itself");
        first_exclusion_after(asked, rows, latest, true).is_none_or(|us| until_us(asked, rows, latest) < us)
    })
}

fn totals(asked: &Asked<'_>, rows: &[Numbered], as_of_us: i64) -> (Vec<Found>, bool) {
    let mut attempts = Vec::new();
    let mut begin = 0;
    let mut end = 0;
    while end < rows.len() {
        // The rows of one moment are taken in together.
        let next = (end + 1..rows.len())
            .find(|index| moment(asked, rows, *index) != moment(asked, rows, end))
            .unwrap_or(rows.len());
        let piece = &rows[begin..end];
        let all = assignments(asked, piece, &asked.barriers);
        let starts = rows[end..next]
            .iter()
            .any(|row| if is_any_order(asked) { meets_any_step(asked, &row.row) } else { meets(&row.row, 1) });
        if starts && !all.is_empty() && !could_any_go_on(asked, piece, &all, rows[end].row.time_us) {
            attempts.extend(best(asked, piece, &all));
            begin = end;
        }
        let piece = &rows[begin..next];
        let (_, is_stopped) = until_stop(asked, piece);
        let all = assignments(asked, piece, &asked.barriers);
        if is_stopped {
            attempts.extend(best(asked, piece, &all));
            return (attempts, false);
        }
        let is_complete = all.iter().any(|assignment| level(asked, assignment) == asked.step_count);
        if is_complete {
            attempts.extend(best(asked, piece, &all));
            begin = next;
        }
        end = next;
    }
    let piece = &rows[begin..];
    let all = assignments(asked, piece, &asked.barriers);
    let is_open = !all.is_empty() && could_any_go_on(asked, piece, &all, as_of_us + 1);
    attempts.extend(best(asked, piece, &all));
    (attempts, is_open)
}
