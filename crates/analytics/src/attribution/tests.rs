use super::*;

const DAY_US: i64 = 86_400_000_000;

#[test]
fn lookback_is_inclusive_at_both_ends() {
    let times_us = [-DAY_US - 1, -DAY_US, -5, 0, 0, 1];
    assert_eq!(touches_in_lookback(&times_us, 0, DAY_US), 1..5);
    assert_eq!(touches_in_lookback(&times_us, 0, 0), 3..5);
    assert_eq!(touches_in_lookback(&times_us, 0, i64::MAX), 0..5);
    assert_eq!(touches_in_lookback(&[], 0, DAY_US), 0..0);
}

#[test]
fn negative_lookback_finds_nothing() {
    assert!(touches_in_lookback(&[-1, 0, 1, 2], 0, -2).is_empty());
}

#[test]
fn extreme_times_do_not_overflow() {
    assert_eq!(touches_in_lookback(&[i64::MIN, 0, i64::MAX], i64::MIN, i64::MAX), 0..1);
    assert_eq!(touches_in_lookback(&[i64::MIN, 0, i64::MAX], i64::MAX, i64::MAX), 1..3);
}

#[test]
fn model_names_read_back_and_a_wrong_one_lists_the_right_ones() {
    for model in Model::ALL {
        assert_eq!(Model::parse(model.name()), Ok(model));
    }
    let message = Model::parse("last").unwrap_err().to_string();
    assert_eq!(message, "attribution model 'last' is not known; allowed: last_touch, first_touch, linear");
}

#[test]
fn what_does_not_divide_goes_to_the_latest_touches() {
    assert_eq!(split_value(11, Model::Linear, 4), [2, 3, 3, 3]);
    assert_eq!(split_value(2, Model::Linear, 3), [0, 1, 1]);
    assert_eq!(split_value(-11, Model::Linear, 4), [-2, -3, -3, -3]);
    assert_eq!(split_value(11, Model::LastTouch, 3), [0, 0, 11]);
    assert_eq!(split_value(11, Model::FirstTouch, 3), [11, 0, 0]);
    assert_eq!(split_value(11, Model::Linear, 0), [0_i64; 0]);
    assert_eq!(split_value(i64::MIN, Model::Linear, 1), [i64::MIN]);
}

#[test]
fn only_touches_with_credit_are_returned() {
    let touches = [(-10, 7), (-5, 8), (0, 9)].map(|(time_us, index)| Touch { time_us, index });
    let last = credit_conversion(Model::LastTouch, &touches, 0, 100, 5_000_000);
    assert_eq!(last, [Credit { touch: touches[2], credit_ratio: 1.0, value_micros: 5_000_000 }]);
    let linear = credit_conversion(Model::Linear, &touches, -1, 100, 3);
    assert_eq!(
        linear,
        [
            Credit { touch: touches[0], credit_ratio: 0.5, value_micros: 1 },
            Credit { touch: touches[1], credit_ratio: 0.5, value_micros: 2 },
        ]
    );
    assert!(credit_conversion(Model::Linear, &touches, 50, 10, 3).is_empty());
}
