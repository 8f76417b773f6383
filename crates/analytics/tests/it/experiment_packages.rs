//! Experiments against what tea-tasting, spotify-confidence, statsmodels and scipy returned.
//!
//! In:       `tests/data/experiments`; the whole folder it was taken from where `TRIBUTARY_TEST_ORACLES` names it.
//! Out:      pass or fail; with `--nocapture` the number of comparisons and the largest difference of each test.
//! Promise:  where a package is wrong its number is not expected: what is expected then, and why, stands at the case.

use serde_json::Value;
use tributary_analytics::experiment::{
    Alternative, BetaPrior, Correction, Effect, Estimate, FixedTest, LiftInterval, LiftMethod, Plan, Proportion,
    Reference, Spending, adjust, adjusted_interval, check_split, compare_beta, compare_proportions, lift_interval,
    look_bounds, stratified_means, units_for_effect_size, units_for_shares, units_for_student,
};
use tributary_analytics::stats::{Alpha, Interval, PValue};

use crate::experiment_cases::{TOLERANCE, Tally, Users, count, number, text};
use crate::fixtures::{json_at, oracle_folders, records_at};

/// tea-tasting: Welch on raw users, ratios, CUPED, and the lift by its logarithm.
#[test]
fn every_case_of_tea_tasting_is_met() {
    for folder in oracle_folders("experiments") {
        let expected = json_at(&folder.join("expected_tea_tasting.json"));
        let users = Users(records_at(&folder.join("users.csv")));
        let mut tally = Tally::new("tea-tasting 1.14.0", &folder);
        for case in expected["cases"].as_array().unwrap() {
            let (metric, setting, arm) = (text(&case["metric"]), text(&case["setting"]), text(&case["arm"]));
            // One variance for both arms is an assumption we do not offer; Welch needs none.
            if setting == "equal_var" && metric != "srm" {
                continue;
            }
            tally.case_count += 1;
            let what = format!("{metric} of {arm}, {setting}");
            let effect = match metric {
                "revenue_per_user" => users.effect("mean_revenue", arm, None),
                "sessions_per_user" => stratified_means(&users.strata(["sessions"], arm, None)).unwrap(),
                "conversion" => stratified_means(&users.strata(["converted"], arm, None)).unwrap(),
                "revenue_per_session" => users.effect("ratio_revenue_per_session", arm, None),
                "revenue_cuped" => users.effect("cuped_revenue", arm, None),
                "sessions_cuped" => users.effect("cuped_sessions", arm, None),
                "ratio_cuped" => {
                    compare_cuped_ratio(&users, arm, case);
                    continue;
                }
                "srm" => {
                    compare_corrected_split(&mut tally, case);
                    continue;
                }
                other => panic!("no metric {other}"),
            };
            let test = FixedTest {
                alpha: Alpha::new(if setting == "conf90" { 0.1 } else { 0.05 }).unwrap(),
                alternative: if setting == "greater" { Alternative::Greater } else { Alternative::TwoSided },
                reference: if setting == "normal" { Reference::Normal } else { Reference::Student },
                null_value: 0.0,
            };
            compare_tea(&mut tally, &effect, &test, case, &what);
        }
        tally.finish([66, 66]);
    }
}

fn compare_tea(tally: &mut Tally, effect: &Effect, test: &FixedTest, case: &Value, what: &str) {
    tally.close(effect.control_value, number(&case["control"]), TOLERANCE, what);
    tally.close(effect.treatment_value, number(&case["treatment"]), TOLERANCE, what);
    let tested = test.run(&effect.absolute());
    tally.close(effect.difference, number(&case["effect_size"]), TOLERANCE, what);
    tally.close(tested.statistic, number(&case["statistic"]), TOLERANCE, what);
    tally.close(tested.p.p_value, number(&case["pvalue"]), TOLERANCE, what);
    tally.close(tested.interval.low, number(&case["effect_size_ci_lower"]), TOLERANCE, what);
    if test.alternative == Alternative::TwoSided {
        tally.close(tested.interval.high, number(&case["effect_size_ci_upper"]), TOLERANCE, what);
        let Some(LiftInterval::Bounded(lift)) = lift_interval(effect, LiftMethod::Log, test) else {
            panic!("{what}: the lift is bounded")
        };
        tally.close(lift.low, number(&case["rel_effect_size_ci_lower"]), TOLERANCE, what);
        tally.close(lift.high, number(&case["rel_effect_size_ci_upper"]), TOLERANCE, what);
    }
}

/// It takes the slope from both arms' linearised ratios together, GrowthBook (and we) from each arm's by itself. Either
/// is right; on these users the effects differ by less than a fiftieth of their error.
fn compare_cuped_ratio(users: &Users, arm: &str, case: &Value) {
    let effect = users.effect("cuped_ratio_revenue_per_session", arm, None);
    let theirs = number(&case["effect_size"]);
    let error = effect.absolute().standard_error;
    assert!((effect.difference - theirs).abs() < 0.02 * error, "{} is not {theirs}", effect.difference);
}

/// It corrects chi-square for continuity: half a unit off each count, which makes it err to the large side.
fn compare_corrected_split(tally: &mut Tally, case: &Value) {
    let (control, treatment) = (number(&case["control"]), number(&case["treatment"]));
    let total = control + treatment;
    let off = (control - total * 2.0 / 3.0).abs();
    let ours = check_split(&[control as u64, treatment as u64], &[2.0, 1.0]).unwrap();
    let variance = total * 2.0 / 9.0;
    tally.close(ours.chi_square, off * off / variance, TOLERANCE, "split");
    let z = (off - 0.5) / variance.sqrt();
    let corrected = Estimate { value: z, standard_error: 1.0, degrees_of_freedom: f64::INFINITY, unit_count: total };
    let normal = FixedTest { reference: Reference::Normal, ..FixedTest::CONVENTIONAL };
    let p = normal.run(&corrected).p.p_value;
    tally.close(p, number(&case["pvalue"]), TOLERANCE, "split, corrected");
    assert!(ours.p.p_value < p);
}

fn p_values(values: &[f64]) -> Vec<PValue> {
    values.iter().map(|p| PValue { p_value: *p, log10_p: p.log10() }).collect()
}

#[test]
fn adjusted_p_values_are_statsmodels() {
    for folder in oracle_folders("experiments") {
        let expected = json_at(&folder.join("expected_multiple_testing.json"));
        let mut tally = Tally::new("statsmodels multipletests", &folder);
        for case in expected["cases"].as_array().unwrap() {
            let correction = match text(&case["method"]) {
                "bonferroni" => Correction::Bonferroni,
                "holm" => Correction::Holm,
                "fdr_bh" => Correction::BenjaminiHochberg,
                _ => continue,
            };
            tally.case_count += 1;
            let given: Vec<f64> = case["p"].as_array().unwrap().iter().map(number).collect();
            let ours = adjust(&p_values(&given), correction);
            for (i, ours) in ours.iter().enumerate() {
                let theirs = number(&case["adjusted"][i]);
                tally.close(ours.p_value, theirs, TOLERANCE, &case.to_string());
                let off = (ours.p_value / theirs - 1.0).abs();
                assert!(theirs == 0.0 || off < 1e-9, "in proportion, {} is not {theirs}", ours.p_value);
                assert_eq!(ours.p_value < 0.05, case["reject"][i] == true);
            }
        }
        tally.finish([15, 15]);
    }
}

/// spotify-confidence: z tests with shares of alpha, a margin not to be worse by, looks at a group sequential test.
#[test]
fn spotify_confidence_is_met() {
    for folder in oracle_folders("experiments") {
        let expected = json_at(&folder.join("expected_spotify_confidence.json"));
        let mut tally = Tally::new("spotify-confidence 4.1.0", &folder);
        let arms = [("control", 431, 2_991), ("t1", 255, 1_555), ("t2", 193, 1_454)];
        let arm = |name: &str| {
            let (_, successes, units) = arms.iter().find(|arm| arm.0 == name).unwrap();
            Proportion::new(*successes, *units).unwrap()
        };
        let z_test = FixedTest { reference: Reference::Normal, ..FixedTest::CONVENTIONAL };
        let shares = |name: &str| Effect::of_proportions(arm("control"), arm(name)).unwrap().absolute();
        for (key, correction) in [
            ("ztest_multiple_bonferroni", Correction::Bonferroni),
            ("ztest_multiple_holm", Correction::Holm),
            ("ztest_multiple_fdr_bh", Correction::BenjaminiHochberg),
        ] {
            let tested = ["t1", "t2"].map(|name| z_test.run(&shares(name)));
            let adjusted = adjust(&tested.map(|tested| tested.p), correction);
            for (i, theirs) in expected[key].as_array().unwrap().iter().enumerate() {
                tally.case_count += 1;
                compare_spotify(&mut tally, &shares(["t1", "t2"][i]), &z_test, theirs, key);
                tally.close(adjusted[i].p_value, number(&theirs["adjusted p-value"]), TOLERANCE, key);
                if correction == Correction::Bonferroni {
                    let shared = FixedTest { alpha: Alpha::FIVE_PERCENT.shared_among(2), ..z_test };
                    let interval = shared.run(&shares(["t1", "t2"][i])).interval;
                    tally.close(interval.low, number(&theirs["adjusted ci_lower"]), TOLERANCE, key);
                    tally.close(interval.high, number(&theirs["adjusted ci_upper"]), TOLERANCE, key);
                }
            }
        }
        let users = Users(records_at(&folder.join("users.csv")));
        for (theirs, name) in expected["welch_multiple"].as_array().unwrap().iter().zip(["t1", "t2"]) {
            tally.case_count += 1;
            let estimate = users.effect("mean_revenue", name, None).absolute();
            compare_spotify(&mut tally, &estimate, &FixedTest::CONVENTIONAL, theirs, "welch");
        }
        // Chi-square of two by two is the pooled z, squared.
        let pooled = compare_proportions(arm("control"), arm("t1"), Alpha::FIVE_PERCENT).unwrap();
        tally.close(pooled.p.p_value, number(&expected["chi2"][0]["p-value"]), TOLERANCE, "chi2");
        let theirs = &expected["ztest_non_inferiority_5pct_increase"][0];
        let null_value = number(&theirs["null_hypothesis"]);
        tally.close(null_value, -0.05 * 431.0 / 2_991.0, TOLERANCE, "margin");
        let margin = FixedTest { alternative: Alternative::Greater, null_value, ..z_test };
        let tested = margin.run(&shares("t1"));
        tally.close(tested.p.p_value, number(&theirs["p-value"]), TOLERANCE, "margin");
        tally.close(tested.interval.low, number(&theirs["ci_lower"]), TOLERANCE, "margin");
        compare_looks(&mut tally, &expected);
        // It throws a million times; to that precision.
        let beta = compare_beta(arm("control"), arm("t1"), BetaPrior::UNIFORM);
        let theirs = &expected["beta_binomial"][0];
        tally.close(beta.chance_above, number(&theirs["P(level_2 > level_1)"]), 2e-3, "beta");
        tally.close(beta.expected_gain, number(&theirs["level_2 potential gain"]), 5e-4, "beta");
        tally.close(beta.expected_loss, -number(&theirs["level_2 potential loss"]), 5e-5, "beta");
        tally.case_count += 3;
        tally.finish([21, 21]);
    }
}

fn compare_spotify(tally: &mut Tally, estimate: &Estimate, test: &FixedTest, theirs: &Value, what: &str) {
    let tested = test.run(estimate);
    tally.close(estimate.value, number(&theirs["difference"]), TOLERANCE, what);
    tally.close(tested.p.p_value, number(&theirs["p-value"]), TOLERANCE, what);
    tally.close(tested.interval.low, number(&theirs["ci_lower"]), TOLERANCE, what);
    tally.close(tested.interval.high, number(&theirs["ci_upper"]), TOLERANCE, what);
}

/// Its spending is alpha t², by a trapezoid on a coarse grid: bounds agree to a thousandth, and no better.
fn compare_looks(tally: &mut Tally, expected: &Value) {
    let looks: [[u64; 4]; 5] = [
        [94, 618, 50, 310],
        [188, 1_213, 94, 615],
        [268, 1_784, 154, 937],
        [344, 2_380, 210, 1_257],
        [431, 2_991, 255, 1_555],
    ];
    let ratios = looks.map(|look| (look[1] + look[3]) as f64 / 4_546.0);
    let spending = Spending::Power { exponent: 2.0 };
    let bounds = look_bounds(&ratios, Alpha::FIVE_PERCENT, Alternative::TwoSided, spending);
    let z_test = FixedTest { reference: Reference::Normal, ..FixedTest::CONVENTIONAL };
    for (i, [a, a_units, b, b_units]) in looks.into_iter().enumerate() {
        let arm = |successes, units| Proportion::new(successes, units).unwrap();
        let estimate = Effect::of_proportions(arm(a, a_units), arm(b, b_units)).unwrap().absolute();
        let theirs = &expected["group_sequential_obf_final_n"][i];
        tally.case_count += 2;
        let (is_passed, tested) = bounds[i].run(&estimate, Alternative::TwoSided);
        assert_eq!(is_passed, theirs["is_significant"] == true);
        let z = (number(&theirs["adjusted ci_upper"]) - number(&theirs["difference"])) / estimate.standard_error;
        assert!((bounds[i].z / z - 1.0).abs() < 1e-3, "look {i}: {} is not {z}", bounds[i].z);
        tally.close(tested.interval.low, number(&theirs["adjusted ci_lower"]), 1e-3, "look");
        // Without a planned end it shares alpha among the looks.
        let theirs = &expected["group_sequential_no_final_n"][i];
        let shared = FixedTest { alpha: Alpha::FIVE_PERCENT.shared_among(5), ..z_test };
        let interval = shared.run(&estimate).interval;
        tally.close(interval.low, number(&theirs["adjusted ci_lower"]), TOLERANCE, "shared look");
        tally.close(z_test.run(&estimate).p.p_value, number(&theirs["p-value"]), TOLERANCE, "shared look");
    }
}

/// scipy and statsmodels: Welch, exact chances of Beta shares, sample sizes.
#[test]
fn classical_answers_are_met() {
    for folder in oracle_folders("experiments") {
        let expected = json_at(&folder.join("expected_classical.json"));
        let users = Users(records_at(&folder.join("users.csv")));
        let mut tally = Tally::new("scipy 1.17.1, statsmodels 0.15.0", &folder);
        for case in expected["welch"].as_array().unwrap() {
            tally.case_count += 1;
            let strata = users.strata([text(&case["metric"])], text(&case["treatment"]), None);
            let estimate = stratified_means(&strata).unwrap().absolute();
            let tested = FixedTest::CONVENTIONAL.run(&estimate);
            let what = case.to_string();
            tally.close(tested.statistic, number(&case["welch_t"]), TOLERANCE, &what);
            tally.close(estimate.degrees_of_freedom, number(&case["df"]), TOLERANCE, &what);
            tally.close(tested.p.p_value, number(&case["welch_p"]), TOLERANCE, &what);
            tally.interval(tested.interval, &case["ci"], TOLERANCE, &what);
        }
        for case in expected["proportions"].as_array().unwrap() {
            tally.case_count += 1;
            let arm =
                |successes: &str, units: &str| Proportion::new(count(&case[successes]), count(&case[units])).unwrap();
            let beta = compare_beta(arm("c1", "n1"), arm("c2", "n2"), BetaPrior::UNIFORM);
            let theirs = number(&case["beta_binomial_chance_to_win_uniform_prior_exact"]);
            tally.close(beta.chance_above, theirs, TOLERANCE, &case.to_string());
            tally.close(beta.chance_above + beta.chance_below, 1.0, TOLERANCE, &case.to_string());
        }
        for case in expected["power_proportion"].as_array().unwrap() {
            tally.case_count += 1;
            let plan = Plan { power: number(&case["power"]), ..Plan::CONVENTIONAL };
            let (base, lift, ratio) = (number(&case["base"]), number(&case["rel_mde"]), number(&case["ratio"]));
            let units = units_for_shares(&plan, base, lift, ratio).unwrap();
            tally.close(units, number(&case["n1"]), TOLERANCE, &case.to_string());
            let by_size = units_for_effect_size(&plan, number(&case["cohens_h"]), ratio).unwrap();
            tally.close(by_size, number(&case["n1"]), TOLERANCE, &case.to_string());
        }
        for case in expected["power_ttest"].as_array().unwrap() {
            tally.case_count += 1;
            let units = units_for_student(Alpha::FIVE_PERCENT, number(&case["power"]), number(&case["d"])).unwrap();
            // Its search for the root ends early: at its 393.405693 units the power is 0.799999998 (mpmath, 25 digits), at
            // our 393.405695 it is 0.8 to 16 digits.
            tally.close(units, number(&case["n"]), 1e-7, &case.to_string());
        }
        tally.finish([67, 67]);
    }
}

#[test]
fn an_adjusted_interval_leaves_out_nothing_exactly_when_the_adjusted_p_says_so() {
    let estimate = Estimate { value: 2.0, standard_error: 1.0, degrees_of_freedom: f64::INFINITY, unit_count: 1e4 };
    let test = FixedTest { reference: Reference::Normal, ..FixedTest::CONVENTIONAL };
    let tested = test.run(&estimate);
    for p in [1e-320, 1e-9, 0.049_999, 0.050_001, 0.5, 0.999] {
        let adjusted = adjusted_interval(&estimate, tested.interval, p_values(&[p])[0], test.alpha);
        assert!(adjusted.low <= tested.interval.low && tested.interval.high <= adjusted.high);
        // Never narrowed, so a smaller p leaves the plain interval.
        assert_eq!(adjusted.holds(0.0), 0.05 <= p, "{p} {adjusted:?}");
    }
    let certain = adjusted_interval(&estimate, tested.interval, p_values(&[1.0])[0], test.alpha);
    assert_eq!(certain, Interval { low: f64::NEG_INFINITY, high: f64::INFINITY });
}
