//! The funnel fold against trying every way of giving events to steps, for every definition it takes.

use proptest::prelude::*;
use tributary_analytics::funnel::{
    Counting, Exclusion, ExclusionEffect, FunnelCounts, FunnelDefinition, FunnelFold, FunnelOutcome, FunnelQuestion,
    FunnelStep, FunnelWindow, StepOrder, TieOrder,
};
use tributary_testkit::oracle::funnel::Ties;
use tributary_testkit::oracle::funnel_attempts::{
    Asked, Barrier, Counted, Order, Row, allows, meets_exclusion, verdict,
};

const AS_OF_US: i64 = 14;

fn rows(count_max: usize, step_count: usize) -> impl Strategy<Value = Vec<Row>> {
    // Single steps are as likely as any mixture, or chains get past nothing.
    let mask = prop_oneof![
        3 => (0..step_count).prop_map(|step| 1_u32 << step),
        1 => 0_u32..(1 << step_count),
    ];
    let excluded = prop_oneof![4 => Just(0_u32), 1 => 1_u32..4];
    prop::collection::vec((0_i64..12, mask, excluded, 0_u64..2), 0..=count_max).prop_map(|rows| {
        let mut rows: Vec<Row> = rows
            .into_iter()
            .map(|(time_us, step_mask, exclusion_mask, session)| Row { time_us, step_mask, exclusion_mask, session })
            .collect();
        rows.sort_by_key(|row| row.time_us);
        rows
    })
}

fn question() -> impl Strategy<Value = FunnelQuestion> {
    let order = prop_oneof![
        4 => Just(StepOrder::Ordered),
        2 => Just(StepOrder::StrictReset),
        2 => Just(StepOrder::StrictStop),
        1 => Just(StepOrder::Any),
        1 => Just(StepOrder::AnyWithFirst),
    ];
    let window = prop_oneof![
        2 => Just(FunnelWindow::Unlimited),
        4 => (0_i64..10).prop_map(|length_us| FunnelWindow::Duration { length_us }),
        1 => (0_i64..5).prop_map(|quiet_gap_us| FunnelWindow::SameSession { quiet_gap_us }),
    ];
    let ties = prop_oneof![Just(TieOrder::Ingest), Just(TieOrder::Any), Just(TieOrder::StrictlyIncreasing)];
    let counting = prop_oneof![2 => Just(Counting::Best), 1 => Just(Counting::First), 1 => Just(Counting::Totals)];
    let steps = prop::collection::vec((prop::bool::weighted(0.3), prop::option::weighted(0.2, 0_i64..6)), 1..=4);
    let exclusions = prop::collection::vec((0_u32..2, 1_usize..4, 1_usize..4, prop::bool::weighted(0.3)), 0..=2);
    (
        order,
        window,
        ties,
        prop_oneof![3 => Just(0_i64), 1 => 1_i64..3],
        counting,
        steps,
        exclusions,
        any::<(bool, bool)>(),
    )
        .prop_map(
            |(order, window, tie_order, tie_tolerance_us, counting, steps, exclusions, (has_windows, excludes))| {
                let count = steps.len();
                let steps = steps.into_iter().enumerate().map(|(index, (is_optional, window_us))| FunnelStep {
                    is_optional: is_optional && 0 < index && index + 1 < count,
                    window_us: window_us.filter(|_| has_windows),
                });
                let exclusions = exclusions.into_iter().filter(|_| excludes);
                let exclusions = exclusions.map(|(bit, from_step, length, voids_unit)| Exclusion {
                    bit,
                    from_step,
                    to_step: from_step + length,
                    effect: if voids_unit { ExclusionEffect::VoidUnit } else { ExclusionEffect::VoidAttempt },
                });
                FunnelQuestion {
                    steps: steps.collect(),
                    order,
                    window,
                    tie_order,
                    tie_tolerance_us,
                    exclusions: exclusions.filter(|exclusion| exclusion.to_step <= count).collect(),
                    counting,
                }
            },
        )
}

fn asked<'a>(question: &FunnelQuestion, deadline_us: &'a dyn Fn(i64) -> i64) -> Asked<'a> {
    let step = |(index, step): (usize, &FunnelStep)| step.is_optional.then_some(index + 1);
    Asked {
        step_count: question.steps.len(),
        optional: question.steps.iter().enumerate().filter_map(step).collect(),
        step_windows_us: question.steps.iter().map(|step| step.window_us).collect(),
        order: match question.order {
            StepOrder::Ordered => Order::Ordered,
            StepOrder::StrictReset => Order::StrictReset,
            StepOrder::StrictStop => Order::StrictStop,
            StepOrder::Any => Order::Any,
            StepOrder::AnyWithFirst => Order::AnyWithFirst,
        },
        deadline_us,
        session_gap_us: match question.window {
            FunnelWindow::SameSession { quiet_gap_us } => Some(quiet_gap_us),
            _ => None,
        },
        ties: match question.tie_order {
            _ if matches!(question.order, StepOrder::Any | StepOrder::AnyWithFirst) => Ties::InGivenOrder,
            TieOrder::Ingest => Ties::InGivenOrder,
            TieOrder::Any => Ties::AnyOrder,
            TieOrder::StrictlyIncreasing => Ties::Never,
        },
        tolerance_us: question.tie_tolerance_us,
        barriers: question
            .exclusions
            .iter()
            .map(|exclusion| Barrier {
                bit: exclusion.bit,
                from_step: exclusion.from_step,
                to_step: exclusion.to_step,
                voids_unit: exclusion.effect == ExclusionEffect::VoidUnit,
            })
            .collect(),
        counted: match question.counting {
            Counting::Best => Counted::Best,
            Counting::First => Counted::First,
            Counting::Totals => Counted::Totals,
        },
    }
}

/// The calendar's days by jiff, which the code under test does not ask for them.
fn deadline_of(window: &FunnelWindow) -> Box<dyn Fn(i64) -> i64> {
    match window {
        FunnelWindow::Duration { length_us } => {
            let length_us = *length_us;
            Box::new(move |start_us| start_us.saturating_add(length_us))
        }
        FunnelWindow::CalendarDays { day_count, zone } => {
            let zone = jiff::tz::TimeZoneDatabase::bundled().get(zone).unwrap();
            let days = jiff::Span::new().days(i64::from(*day_count));
            Box::new(move |start_us| {
                let start = jiff::Timestamp::from_microsecond(start_us).unwrap().to_zoned(zone.clone());
                let next = start.date().checked_add(days).unwrap().to_zoned(zone.clone()).unwrap();
                next.timestamp().as_microsecond() - 1
            })
        }
        _ => Box::new(|_| i64::MAX),
    }
}

fn fold_once(fold: &mut FunnelFold, rows: &[Row], as_of_us: i64) -> FunnelOutcome {
    for (index, row) in rows.iter().enumerate() {
        fold.push(row.time_us, index as u64, row.step_mask, row.exclusion_mask, row.session);
    }
    let mut outcome = FunnelOutcome::default();
    fold.finish_into(as_of_us, &mut outcome);
    outcome
}

/// Says no to questions whose answer the slow version does not tell.
fn is_told(question: &FunnelQuestion) -> bool {
    let is_session = matches!(question.window, FunnelWindow::SameSession { .. });
    let voids = question.exclusions.iter().any(|exclusion| exclusion.effect == ExclusionEffect::VoidUnit);
    let is_of_one_session = question.counting == Counting::First && question.tie_order == TieOrder::Ingest;
    !(is_session && voids && !is_of_one_session)
}

fn compare(question: &FunnelQuestion, rows: &[Row], as_of_us: i64, fold: &mut FunnelFold) -> Result<(), TestCaseError> {
    let outcome = fold_once(fold, rows, as_of_us);
    let deadline_us = deadline_of(&question.window);
    let asked = asked(question, &deadline_us);
    let expected = verdict(&asked, rows, as_of_us);
    let has_step_windows = question.steps.iter().any(|step| step.window_us.is_some());
    let key = |level: usize, completion_us: i64, start_us: i64, step_count: usize| {
        (level, completion_us, start_us, if has_step_windows { 0 } else { step_count })
    };
    let mut ours: Vec<_> = outcome
        .attempts()
        .map(|attempt| {
            let last = attempt.reached[attempt.reached.len() - 1];
            key(attempt.level, last.time_us, attempt.start_us(), attempt.reached.len())
        })
        .collect();
    let theirs = expected.attempts.iter();
    let mut theirs: Vec<_> =
        theirs.map(|found| key(found.level, found.completion_us, found.start_us, found.step_count)).collect();
    if asked.session_gap_us.is_some() {
        ours.sort_unstable();
        theirs.sort_unstable();
    }
    prop_assert_eq!(ours, theirs);
    prop_assert_eq!((outcome.is_open, outcome.is_voided), (expected.is_open, expected.is_voided));
    for attempt in outcome.attempts() {
        let assignment: Vec<(usize, usize)> =
            attempt.reached.iter().map(|reached| (reached.step, usize::try_from(reached.row).unwrap())).collect();
        prop_assert!(allows(&asked, rows, &assignment), "not by the rules: {:?}", assignment);
        if question.counting != Counting::Totals {
            prop_assert_eq!(attempt.met_exclusion, meets_exclusion(&asked, rows, &assignment));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn fold_finds_what_trying_everything_finds(question in question(), units in prop::collection::vec(rows(7, 4), 1..3)) {
        let Ok(definition) = FunnelDefinition::new(question.clone()) else { return Ok(()) };
        if !is_told(&question) {
            return Ok(());
        }
        // One fold for unit after unit, as callers use it.
        let mut fold = FunnelFold::new(&definition);
        for rows in units {
            compare(&question, &rows, AS_OF_US, &mut fold)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Over the night in which clocks of Berlin go forward, and that in which those of New York go back.
    #[test]
    fn windows_of_calendar_days_follow_the_zone(
        mut question in question(), mut rows in rows(7, 4), day_count in 1_u32..4, in_spring in any::<bool>(),
    ) {
        const HOURS_US: i64 = 5 * 3_600_000_000;
        let (begin, zone) = match in_spring {
            true => ("2026-03-28T00:30:00Z", "Europe/Berlin"),
            false => ("2026-10-31T00:00:00Z", "America/New_York"),
        };
        let begin_us = begin.parse::<jiff::Timestamp>().unwrap().as_microsecond();
        rows.iter_mut().for_each(|row| row.time_us = begin_us + row.time_us * HOURS_US);
        question.window = FunnelWindow::CalendarDays { day_count, zone: zone.to_owned() };
        let Ok(definition) = FunnelDefinition::new(question.clone()) else { return Ok(()) };
        compare(&question, &rows, begin_us + AS_OF_US * HOURS_US, &mut FunnelFold::new(&definition))?;
    }
}

fn level(question: &FunnelQuestion, rows: &[Row]) -> usize {
    fold_once(&mut FunnelFold::new(&FunnelDefinition::new(question.clone()).unwrap()), rows, AS_OF_US).level()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn order_within_a_tied_run_changes_nothing_where_ties_may_be_in_any_order(
        mut question in question(), rows in rows(10, 4),
    ) {
        (question.tie_order, question.order) = (TieOrder::Any, StepOrder::Ordered);
        let Ok(definition) = FunnelDefinition::new(question) else { return Ok(()) };
        let mut turned = rows.clone();
        turned.reverse();
        turned.sort_by_key(|row| row.time_us);
        let key = |rows: &[Row]| {
            let outcome = fold_once(&mut FunnelFold::new(&definition), rows, AS_OF_US);
            let steps = |attempt: tributary_analytics::funnel::FunnelAttempt<'_>| {
                (attempt.level, attempt.start_us(), attempt.duration_us(), attempt.reached.len())
            };
            (outcome.attempts().map(steps).collect::<Vec<_>>(), outcome.is_open)
        };
        prop_assert_eq!(key(&rows), key(&turned));
    }

    #[test]
    fn one_more_event_never_lowers_the_best_attempt(
        mut question in question(), rows in rows(9, 4), without in 0_usize..9,
    ) {
        question.exclusions.clear();
        (question.counting, question.tie_tolerance_us) = (Counting::Best, 0);
        if matches!(question.order, StepOrder::StrictReset | StepOrder::StrictStop) {
            question.order = StepOrder::Ordered;
        }
        if rows.len() <= without || FunnelDefinition::new(question.clone()).is_err() {
            return Ok(());
        }
        let mut fewer = rows.clone();
        fewer.remove(without);
        prop_assert!(level(&question, &fewer) <= level(&question, &rows));
    }

    #[test]
    fn merged_counts_are_the_whole_and_fall_from_step_to_step(
        question in question(), units in prop::collection::vec(rows(7, 4), 0..12), cut in 0_usize..12,
    ) {
        let Ok(definition) = FunnelDefinition::new(question) else { return Ok(()) };
        let mut fold = FunnelFold::new(&definition);
        let mut parts = [FunnelCounts::new(&definition), FunnelCounts::new(&definition)];
        let mut whole = FunnelCounts::new(&definition);
        for (index, rows) in units.iter().enumerate() {
            let outcome = fold_once(&mut fold, rows, AS_OF_US);
            parts[usize::from(index < cut)].push(&outcome);
            whole.push(&outcome);
        }
        let [mut merged, other] = parts;
        merged.merge(&other);
        prop_assert_eq!(&merged, &whole);
        let mandatory = (1..=definition.step_count()).filter(|step| !definition.is_optional(*step));
        let reached: Vec<u64> = mandatory.map(|step| whole.reached(step)).collect();
        prop_assert!(reached.is_sorted_by(|before, after| after <= before), "{:?}", reached);
    }
}
