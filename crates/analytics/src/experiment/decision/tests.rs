use super::*;
use crate::experiment::{Effect, FixedTest, Proportion, check_split};

/// 1,000 units an arm, as planned, with so many successes each.
fn evidence(control: u64, treatment: u64) -> Evidence {
    let arm = |successes| Proportion::new(successes, 1_000).unwrap();
    let estimate = Effect::of_proportions(arm(control), arm(treatment)).map(|effect| effect.absolute());
    Evidence {
        split: Ok(check_split(&[1_000, 1_000], &[1.0, 1.0]).unwrap()),
        control_unit_count: 1_000,
        treatment_unit_count: 1_000,
        crossover_unit_count: 0,
        expected_count_min: Some(100.0),
        effect: estimate.map(|estimate| (estimate, FixedTest::CONVENTIONAL.run(&estimate))),
        look: Look::Fixed { planned_unit_count: 2_000 },
        guardrails: Vec::new(),
        novelty: None,
        remaining: None,
    }
}

#[track_caller]
fn assert_decision(evidence: &Evidence, rule: &DecisionRule, expected: &str) {
    assert_eq!(decide(evidence, rule).to_string(), expected);
}

#[test]
fn a_clear_winner_at_its_planned_end_is_shipped() {
    assert_decision(
        &evidence(100, 160),
        &DecisionRule::CONVENTIONAL,
        "ship: treatment is better: 0.0600, between 0.0306 and 0.0894; chance alone would show this much with p = \
         10^-4.2, below 0.05",
    );
}

#[test]
fn the_worse_arm_is_not_shipped_whichever_way_is_better() {
    assert_eq!(decide(&evidence(160, 100), &DecisionRule::CONVENTIONAL).advice, Advice::DoNotShip);
    let lower = DecisionRule { goal: Goal::LowerIsBetter, ..DecisionRule::CONVENTIONAL };
    assert_eq!(decide(&evidence(100, 160), &lower).advice, Advice::DoNotShip);
    assert_eq!(decide(&evidence(160, 100), &lower).advice, Advice::Ship);
}

#[test]
fn a_broken_split_and_crossovers_void_whatever_was_found() {
    let broken = Evidence {
        split: Ok(check_split(&[10_000, 9_000], &[1.0, 1.0]).unwrap()),
        crossover_unit_count: 500,
        ..evidence(100, 160)
    };
    assert_decision(
        &broken,
        &DecisionRule::CONVENTIONAL,
        "cannot say: the units are not split as planned (p = 10^-12.4, limit 0.001); 500 units (20.00 %) saw more than \
         one arm, 1.00 % are allowed",
    );
    let few = Evidence { crossover_unit_count: 20, ..evidence(100, 160) };
    assert_eq!(decide(&few, &DecisionRule::CONVENTIONAL).advice, Advice::Ship);
}

#[test]
fn a_fixed_test_before_its_end_decides_nothing() {
    let early = Evidence {
        look: Look::Fixed { planned_unit_count: 5_000 },
        remaining: Some(Remaining { unit_count: 3_000.0, days: Some(6.1) }),
        ..evidence(100, 160)
    };
    assert_decision(
        &early,
        &DecisionRule::CONVENTIONAL,
        "keep running: this is a test for one look at 5000 units, and 2000 are in: deciding now would make false winners; \
         3000 more units are needed, 7 days at this pace",
    );
    let unplanned = Evidence { look: Look::Unplanned, ..evidence(100, 160) };
    assert_eq!(decide(&unplanned, &DecisionRule::CONVENTIONAL).advice, Advice::CannotSay);
    let sequential = Evidence { look: Look::Sequential, ..evidence(100, 160) };
    assert_eq!(decide(&sequential, &DecisionRule::CONVENTIONAL).advice, Advice::Ship);
}

#[test]
fn no_difference_ends_a_fixed_test_and_not_a_sequential_one() {
    let fixed = evidence(100, 104);
    assert_decision(
        &fixed,
        &DecisionRule::CONVENTIONAL,
        "do not ship: chance alone would show this much with p = 0.768, not below 0.05",
    );
    let sequential = Evidence { look: Look::Sequential, ..evidence(100, 104) };
    assert_eq!(decide(&sequential, &DecisionRule::CONVENTIONAL).advice, Advice::KeepRunning);
    let enough = Evidence {
        remaining: Some(Remaining { unit_count: 0.0, days: None }),
        look: Look::Sequential,
        ..evidence(100, 104)
    };
    assert_eq!(decide(&enough, &DecisionRule::CONVENTIONAL).advice, Advice::DoNotShip);
    let careless = DecisionRule { effect_size_min: 0.05, ..DecisionRule::CONVENTIONAL };
    assert_decision(
        &sequential,
        &careless,
        "do not ship: whatever the effect is, it lies between -0.0225 and 0.0305, below the 0.05 one cares for",
    );
}

#[test]
fn a_guardrail_stops_a_winner_at_any_look() {
    let (estimate, tested) = evidence(160, 100).effect.unwrap();
    let guarded_by = |effect| Evidence {
        guardrails: vec![Guardrail { name: "speed".to_owned(), effect, goal: Goal::HigherIsBetter }],
        ..evidence(100, 160)
    };
    let guarded = guarded_by(Ok((estimate, tested.p)));
    assert_decision(
        &guarded,
        &DecisionRule::CONVENTIONAL,
        "do not ship: guardrail speed is worse: -0.0600 (p = 10^-4.2)",
    );
    // Nor does a winner go out past one that nobody can judge; a loser is one all the same.
    let decision = decide(&guarded_by(Err(Untestable::NoDenominator)), &DecisionRule::CONVENTIONAL);
    assert_eq!(decision.advice, Advice::CannotSay);
    assert_eq!(
        decision.grounds[0].to_string(),
        "guardrail speed cannot be tested: its denominator sums to 0 in an arm"
    );
    let loser = Evidence { effect: evidence(160, 100).effect, ..guarded_by(Err(Untestable::NoVariation)) };
    assert_eq!(decide(&loser, &DecisionRule::CONVENTIONAL).advice, Advice::DoNotShip);
}

#[test]
fn an_effect_that_fades_is_watched_longer() {
    let fading = Evidence { novelty: evidence(160, 100).effect.ok(), ..evidence(100, 160) };
    let decision = decide(&fading, &DecisionRule::CONVENTIONAL);
    assert_eq!(decision.advice, Advice::KeepRunning);
    assert!(decision.grounds[0].to_string().starts_with("the effect changes with the days since exposure by -0.0600"));
    let growing = Evidence { novelty: evidence(100, 160).effect.ok(), ..evidence(100, 160) };
    assert_eq!(decide(&growing, &DecisionRule::CONVENTIONAL).advice, Advice::Ship);
}

#[test]
fn too_few_units_are_no_draw() {
    let few = Evidence { control_unit_count: 99, ..evidence(100, 104) };
    assert_decision(
        &few,
        &DecisionRule::CONVENTIONAL,
        "keep running: 99 units in control and 1000 in treatment, 100 are needed in each",
    );
    let rare = Evidence { expected_count_min: Some(4.0), ..evidence(100, 160) };
    assert_eq!(decide(&rare, &DecisionRule::CONVENTIONAL).advice, Advice::KeepRunning);
    let flat = Evidence { effect: Err(Untestable::NoVariation), ..evidence(100, 160) };
    assert_eq!(decide(&flat, &DecisionRule::CONVENTIONAL).advice, Advice::CannotSay);
}

#[test]
fn the_last_look_of_a_group_ends_it() {
    let look = |is_passed, is_last| Evidence { look: Look::Group { is_passed, is_last }, ..evidence(100, 120) };
    assert_eq!(decide(&look(false, false), &DecisionRule::CONVENTIONAL).advice, Advice::KeepRunning);
    assert_eq!(decide(&look(false, true), &DecisionRule::CONVENTIONAL).advice, Advice::DoNotShip);
    assert_eq!(decide(&look(true, false), &DecisionRule::CONVENTIONAL).advice, Advice::Ship);
}
