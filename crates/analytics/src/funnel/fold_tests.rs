use super::*;

const A: u32 = 0b001;
const B: u32 = 0b010;
const C: u32 = 0b100;
const LATE: i64 = i64::MAX;

fn outcome(question: FunnelQuestion, rows: &[(i64, u32, u32)], as_of_us: i64) -> FunnelOutcome {
    let mut fold = FunnelFold::new(&FunnelDefinition::new(question).unwrap());
    for (row, (time_us, mask, excluded)) in rows.iter().enumerate() {
        fold.push(*time_us, row as u64, *mask, *excluded, 0);
    }
    let mut outcome = FunnelOutcome::default();
    fold.finish_into(as_of_us, &mut outcome);
    outcome
}

fn within(step_count: usize, length_us: i64) -> FunnelQuestion {
    FunnelQuestion::ordered(step_count, FunnelWindow::Duration { length_us })
}

fn steps(outcome: &FunnelOutcome) -> Vec<Vec<(usize, i64)>> {
    let steps = |attempt: FunnelAttempt<'_>| attempt.reached.iter().map(|step| (step.step, step.time_us)).collect();
    outcome.attempts().map(steps).collect()
}

#[test]
fn a_step_gives_back_the_row_that_the_caller_pushed() {
    let outcome = outcome(within(3, 10), &[(0, B, 0), (1, A, 0), (2, 0, 0), (3, B, 0)], LATE);
    let attempt = outcome.attempt().unwrap();
    assert_eq!(attempt.step(2), Some(&StepReached { step: 2, time_us: 3, row: 3 }));
    assert_eq!((attempt.step(3), attempt.level, attempt.duration_us()), (None, 2, 2));
}

#[test]
fn a_window_of_a_step_counts_from_the_step_before() {
    let mut question = within(3, 100);
    question.steps[2].window_us = Some(5);
    // From the first B it would be too late; the second leads on.
    let rows = [(0, A, 0), (1, B, 0), (20, B, 0), (25, C, 0)];
    assert_eq!(steps(&outcome(question.clone(), &rows, LATE)), [[(1, 0), (2, 20), (3, 25)]]);
    assert!(outcome(question, &rows[..2], 5).is_open);
}

#[test]
fn an_optional_step_is_taken_if_it_is_on_the_way() {
    let mut question = within(3, 100);
    question.steps[1].is_optional = true;
    assert_eq!(steps(&outcome(question.clone(), &[(0, A, 0), (9, C, 0)], LATE)), [[(1, 0), (3, 9)]]);
    assert_eq!(steps(&outcome(question, &[(0, A, 0), (4, B, 0), (9, C, 0)], LATE)), [[(1, 0), (2, 4), (3, 9)]]);
}

#[test]
fn strict_orders_break_or_end_the_search() {
    let rows = [(0, A, 0), (1, 0, 0), (2, B, 0), (3, A, 0), (4, A, 0), (5, B, 0)];
    let level = |order| outcome(FunnelQuestion { order, ..within(2, 100) }, &rows, LATE).level();
    assert_eq!([level(StepOrder::Ordered), level(StepOrder::StrictReset), level(StepOrder::StrictStop)], [2, 2, 1]);
    let reset = FunnelQuestion { order: StepOrder::StrictReset, ..within(2, 100) };
    assert_eq!(steps(&outcome(reset, &rows, LATE)), [[(1, 4), (2, 5)]]);
}

#[test]
fn an_exclusion_ends_the_attempt_or_voids_the_unit() {
    let with = |effect| FunnelQuestion {
        exclusions: vec![Exclusion { bit: 3, from_step: 1, to_step: 2, effect }],
        ..within(2, 100)
    };
    let rows = [(0, A, 0), (1, 0, 0b1000), (2, B, 0)];
    let attempt = outcome(with(ExclusionEffect::VoidAttempt), &rows, LATE);
    assert_eq!((attempt.level(), attempt.attempt().unwrap().met_exclusion, attempt.is_open), (1, true, false));
    let unit = outcome(with(ExclusionEffect::VoidUnit), &rows, LATE);
    assert_eq!((unit.level(), unit.is_voided), (0, true));
    let again = [(0, A, 0), (1, 0, 0b1000), (2, B, 0), (3, A, 0), (4, B, 0)];
    assert_eq!(outcome(with(ExclusionEffect::VoidUnit), &again, LATE).level(), 2);
    assert_eq!(steps(&outcome(with(ExclusionEffect::VoidAttempt), &again, LATE)), [[(1, 3), (2, 4)]]);
}

#[test]
fn totals_count_attempts_that_do_not_overlap() {
    let question = FunnelQuestion { counting: Counting::Totals, ..within(2, 10) };
    let rows = [(0, A, 0), (50, A, 0), (55, A, 0), (58, B, 0), (59, B, 0), (60, A, 0), (61, B, 0), (62, A, 0)];
    let outcome = outcome(question, &rows, 65);
    let expected: [&[(usize, i64)]; 4] = [&[(1, 0)], &[(1, 55), (2, 58)], &[(1, 60), (2, 61)], &[(1, 62)]];
    assert_eq!(steps(&outcome), expected);
    assert!(outcome.is_open);
}

#[test]
fn the_first_attempt_alone_does_not_start_again() {
    let question = FunnelQuestion { counting: Counting::First, ..within(2, 10) };
    assert_eq!(outcome(question, &[(0, A, 0), (50, A, 0), (55, B, 0)], LATE).level(), 1);
}

#[test]
fn a_unit_is_open_until_its_window_is_over() {
    let rows = [(0, A, 0), (3, B, 0)];
    let is_open = |as_of_us| outcome(within(3, 10), &rows, as_of_us).is_open;
    assert_eq!([is_open(9), is_open(10)], [true, false]);
    let watched = outcome(within(3, 10), &rows, 4);
    assert_eq!(watched.attempt().unwrap().observed_until_us, 4);
    assert_eq!(outcome(within(3, 10), &rows, 40).attempt().unwrap().observed_until_us, 10);
}

#[test]
fn sessions_may_overlap_and_do_not_mix() {
    let window = FunnelWindow::SameSession { quiet_gap_us: 100 };
    let definition = FunnelDefinition::new(FunnelQuestion::ordered(2, window)).unwrap();
    let mut fold = FunnelFold::new(&definition);
    let mut outcome = FunnelOutcome::default();
    for (time_us, mask, session) in [(0, A, 7), (1, A, 9), (2, C, 7), (3, B, 8)] {
        fold.push(time_us, 0, mask, 0, session);
    }
    fold.finish_into(50, &mut outcome);
    assert_eq!((outcome.level(), outcome.is_open), (1, true));
    for (time_us, mask, session) in [(0, A, 7), (1, A, 9), (3, B, 7)] {
        fold.push(time_us, 0, mask, 0, session);
    }
    fold.finish_into(500, &mut outcome);
    assert_eq!(steps(&outcome), [[(1, 0), (2, 3)]]);
}

#[test]
fn of_sessions_that_get_as_far_in_one_run_of_ties_that_with_more_steps_counts() {
    let mut question = FunnelQuestion::ordered(3, FunnelWindow::SameSession { quiet_gap_us: 100 });
    (question.steps[1].is_optional, question.tie_order, question.tie_tolerance_us) = (true, TieOrder::Any, 1);
    let definition = FunnelDefinition::new(question).unwrap();
    let mut fold = FunnelFold::new(&definition);
    let mut outcome = FunnelOutcome::default();
    for [first, second] in [[7, 9], [9, 7]] {
        for (time_us, mask, session) in [(3, A, first), (3, C, first), (3, A, second), (3, C, second), (4, B, 9)] {
            fold.push(time_us, 0, mask, 0, session);
        }
        fold.finish_into(500, &mut outcome);
        assert_eq!(steps(&outcome), [[(1, 3), (2, 3), (3, 3)]]);
    }
}

#[test]
fn calendar_days_end_at_the_zones_midnight_when_clocks_change() {
    let us = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
    let question = |day_count| {
        let window = FunnelWindow::CalendarDays { day_count, zone: "Europe/Berlin".to_owned() };
        FunnelQuestion::ordered(2, window)
    };
    // The day on which clocks went forward has 23 hours: it ends at 22:00 UTC.
    let start_us = us("2026-03-29T00:30:00+01:00");
    let level = |day_count, end: &str| outcome(question(day_count), &[(start_us, A, 0), (us(end), B, 0)], LATE).level();
    assert_eq!(level(1, "2026-03-29T21:59:59.999999Z"), 2);
    assert_eq!(level(1, "2026-03-29T22:00:00Z"), 1);
    assert_eq!(level(2, "2026-03-30T21:59:59Z"), 2);
    assert_eq!(level(2, "2026-03-30T22:00:00Z"), 1);
}

#[test]
fn entries_are_put_under_the_day_week_or_month_of_the_zone() {
    let us = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
    let day = |period, zone: &str, text: &str| {
        let buckets = EntryBuckets::new(period, zone).unwrap();
        let first_day = buckets.first_day(us(text));
        assert!(buckets.begin_us(first_day) <= us(text));
        jiff::civil::date(1970, 1, 1).saturating_add(jiff::Span::new().days(first_day)).to_string()
    };
    let text = "2026-03-01T03:30:00Z"; // a Sunday; in New York still Saturday
    assert_eq!(day(EntryPeriod::Day, "America/New_York", text), "2026-02-28");
    assert_eq!(day(EntryPeriod::Day, "Asia/Tokyo", text), "2026-03-01");
    assert_eq!(day(EntryPeriod::Week { first_weekday: 0 }, "UTC", text), "2026-02-23");
    assert_eq!(day(EntryPeriod::Week { first_weekday: 6 }, "UTC", text), "2026-03-01");
    assert_eq!(day(EntryPeriod::Month, "UTC", text), "2026-03-01");
    assert_eq!(day(EntryPeriod::Month, "America/New_York", text), "2026-02-01");
    assert!(EntryBuckets::new(EntryPeriod::Week { first_weekday: 7 }, "UTC").is_err());
    // Samoa had no 30 December 2011; St John's set its clocks back over midnight, and no earlier day came back.
    assert_eq!(day(EntryPeriod::Day, "Pacific/Apia", "2011-12-30T10:00:00Z"), "2011-12-31");
    let saint_johns = EntryBuckets::new(EntryPeriod::Day, "America/St_Johns").unwrap();
    let night_us = us("2010-11-07T02:25:00Z");
    let days: Vec<i64> = (0..120).map(|minute| saint_johns.first_day(night_us + minute * 60_000_000)).collect();
    assert!(days.is_sorted());
}

#[test]
fn thirty_two_steps_work_in_order_and_out_of_it() {
    let rows: Vec<(i64, u32, u32)> = (0..32).map(|step| (i64::from(step), 1 << step, 0)).collect();
    assert_eq!(outcome(within(32, 31), &rows, LATE).level(), 32);
    let mut turned: Vec<(i64, u32, u32)> = rows.iter().rev().map(|row| (31 - row.0, row.1, 0)).collect();
    let any = FunnelQuestion { order: StepOrder::Any, ..within(32, 31) };
    assert_eq!(outcome(any.clone(), &turned, LATE).level(), 32);
    // Rows that could do anything are no more than they are.
    turned.truncate(20);
    turned.iter_mut().for_each(|row| row.1 = u32::MAX);
    assert_eq!(outcome(any, &turned, LATE).level(), 20);
}

#[test]
fn what_cannot_be_answered_exactly_is_refused() {
    let refused = |question: FunnelQuestion| FunnelDefinition::new(question).unwrap_err().to_string();
    let exclusion = Exclusion { bit: 0, from_step: 2, to_step: 2, effect: ExclusionEffect::VoidAttempt };
    assert_eq!(
        refused(FunnelQuestion { order: StepOrder::Any, tie_tolerance_us: 1, ..within(2, 1) }),
        "a funnel cannot be answered exactly with both steps in any order and a tie tolerance; leave one out"
    );
    assert_eq!(
        refused(FunnelQuestion { exclusions: vec![exclusion], ..within(3, 1) }),
        "an exclusion lies from a step to a later one of 3 and has a bit below 32, not from 2 to 2 with bit 0"
    );
    assert_eq!(refused(within(2, -1)), "the window of a funnel is 0 or more, not -1");
    let mut question = within(2, 1);
    question.steps[1].is_optional = true;
    assert!(refused(question).starts_with("step 2 of a funnel of 2 must not be optional"));
    let zone = FunnelWindow::CalendarDays { day_count: 1, zone: "Mars/Olympus".to_owned() };
    assert!(refused(FunnelQuestion::ordered(1, zone)).starts_with("time zone 'Mars/Olympus' is not known"));
    assert_eq!(StepOrder::parse("strict_reset"), Ok(StepOrder::StrictReset));
    assert!(StepOrder::parse("strict").is_err() && Counting::parse("uniques").is_err());
}
