use super::tail::{
    ln_chi_square_tail, ln_normal_above, ln_normal_tail, ln_student_above, ln_student_tail, normal_excess,
    normal_quantile, normal_quantile_of_ln, student_quantile, student_quantile_signed,
};
use super::*;

fn assert_close(ours: f64, theirs: f64, tolerance_ratio: f64) {
    let off = (ours - theirs).abs() / theirs.abs().max(f64::MIN_POSITIVE);
    assert!(off <= tolerance_ratio, "{ours} is not {theirs}: off by {off:e}");
}

/// Reference: mpmath 1.3 with 40 digits, the logarithm of the density integrated from t up.
#[test]
fn student_tail_matches_mpmath_from_one_to_a_billion_degrees() {
    for (t, degrees_of_freedom, ln_tail) in STUDENT {
        assert_close(ln_student_tail(t, degrees_of_freedom), ln_tail, 1e-12);
    }
}

#[test]
fn student_quantile_is_the_tail_read_backwards() {
    for degrees_of_freedom in [1.0, 2.5, 10.0, 1_234.5, 999_999.0, 1_000_001.0, 1e9] {
        for tail in [0.5, 0.4, 0.025, 0.005, 1e-6] {
            let t = student_quantile(tail, degrees_of_freedom);
            assert_close(ln_student_tail(t.abs(), degrees_of_freedom).exp(), tail, 1e-11);
        }
    }
}

/// Reference: mpmath `log(ncdf(-z))` with 40 digits.
#[test]
fn normal_tail_keeps_its_logarithm_where_the_tail_underflows() {
    for (z, ln_tail) in NORMAL {
        assert_close(ln_normal_tail(z), ln_tail, 1e-13);
    }
}

#[test]
fn normal_quantile_is_the_tail_read_backwards() {
    assert_close(normal_quantile(0.025), 1.959_963_984_540_054, 1e-14);
    for tail in [0.45, 0.1, 0.025, 0.005, 0.001, 1e-6, 1e-12] {
        assert_close(ln_normal_tail(normal_quantile(tail)).exp(), tail, 1e-12);
    }
}

/// Reference: mpmath with 40 digits, as are the next two.
#[test]
fn what_lies_above_a_negative_value_keeps_its_small_complement() {
    for (z, ln_above) in NORMAL_ABOVE {
        assert_close(ln_normal_above(z), ln_above, 1e-13);
    }
    for (t, degrees_of_freedom, ln_above) in STUDENT_ABOVE {
        assert_close(ln_student_above(t, degrees_of_freedom), ln_above, 1e-12);
    }
    assert_close(student_quantile_signed(0.9, 7.0), -student_quantile(0.1, 7.0), 1e-12);
}

#[test]
fn the_excess_keeps_its_digits_where_its_two_terms_cancel() {
    for (z, excess) in EXCESS {
        assert_close(normal_excess(z), excess, 2e-12);
    }
}

#[test]
fn a_normal_quantile_is_found_from_a_logarithm_no_tail_can_hold() {
    for (z, ln_tail) in QUANTILE_OF_LN {
        assert_close(normal_quantile_of_ln(ln_tail), z, 1e-12);
    }
}

/// Reference: mpmath `log(gammainc(df/2, x/2, regularized=True))` with 40 digits.
#[test]
fn chi_square_tail_keeps_its_logarithm_where_the_tail_underflows() {
    for (x, degrees_of_freedom, ln_tail) in CHI_SQUARE {
        assert_close(ln_chi_square_tail(x, degrees_of_freedom), ln_tail, 1e-11);
    }
}

#[test]
fn moments_merge_in_any_grouping() {
    let values: Vec<f64> = (0..1_000).map(|i| f64::from(i * 7_919 % 1_009) / 3.0).collect();
    let whole: Moments = values.iter().copied().collect();
    for cut in [0, 1, 333, 999, 1_000] {
        let (left, right) = values.split_at(cut);
        let merged = left.iter().copied().collect::<Moments>().merge(right.iter().copied().collect());
        assert_eq!(merged.unit_count(), 1_000);
        assert_close(merged.mean().unwrap(), whole.mean().unwrap(), 1e-14);
        assert_close(merged.variance().unwrap(), whole.variance().unwrap(), 1e-13);
    }
}

#[test]
fn moments_keep_a_small_spread_beside_a_large_mean() {
    let moments: Moments = [4.0, 7.0, 13.0, 16.0].map(|value| value + 1e9).into_iter().collect();
    assert_eq!(moments.variance(), Some(30.0));
}

#[test]
fn moments_from_mean_and_variance_give_them_back_untouched() {
    for (mean, variance) in [(1e7, 1.006_5), (99.9, 0.0), (-3.0, 1e-12)] {
        let moments = Moments::from_mean_and_variance(1_000, mean, variance);
        assert_eq!(moments.mean(), Some(mean));
        assert_close(moments.variance().unwrap() + 1.0, variance + 1.0, 1e-15);
    }
    assert_eq!(Moments::from_mean_and_variance(137, 99.9, 0.0).variance(), Some(0.0));
    assert_eq!(Moments::from_mean_and_variance(1, 5.0, f64::NAN).variance(), None);
    assert_eq!(Moments::from_mean_and_variance(0, 0.0, 0.0), Moments::default());
}

#[test]
fn moments_of_none_and_one_say_so() {
    assert_eq!((Moments::default().mean(), Moments::default().variance()), (None, None));
    let one = Moments::from_sums(1, 5.0, 25.0);
    assert_eq!((one.mean(), one.variance()), (Some(5.0), None));
    assert_eq!(Moments::from_sums(0, 0.0, 0.0), Moments::default());
}

#[test]
fn wilson_is_exact_at_both_ends_and_none_without_trials() {
    assert_eq!(wilson_interval(0, 0, Alpha::FIVE_PERCENT), None);
    let none = wilson_interval(0, 50, Alpha::FIVE_PERCENT).unwrap();
    assert_eq!(none.low, 0.0);
    assert_close(none.high, 0.071_347_599_133_358_74, 1e-12);
    let all = wilson_interval(50, 50, Alpha::FIVE_PERCENT).unwrap();
    assert_eq!(all.high, 1.0);
    assert_close(all.low, 1.0 - 0.071_347_599_133_358_74, 1e-12);
}

#[test]
fn alpha_is_a_ratio_between_nothing_and_certainty() {
    for given in [0.0, 1.0, -0.1, f64::NAN] {
        assert!(Alpha::new(given).is_err());
    }
    assert_eq!(Alpha::new(0.05), Ok(Alpha::FIVE_PERCENT));
}

/// `(t, degrees of freedom, ln tail)`.
const STUDENT: [(f64, f64, f64); 11] = [
    (1.0, 1.0, -1.386_294_361_119_890_6),
    (0.3, 2.5, -0.932_239_272_058_319_2),
    (40.0, 3.0, -10.971_162_936_870_327),
    (2.2, 30.0, -4.027_197_072_493_760_5),
    (12.0, 30.0, -28.907_531_385_111_042),
    (1.96, 2_443.5, -3.686_696_075_005_213),
    (60.0, 2_443.5, -1_110.918_892_050_834_8),
    (0.01, 500_000.0, -0.701_157_889_422_660_8),
    (2.0, 1_000_000.0, -3.783_178_400_657_982_3),
    (100.0, 1_000_000.0, -4_980.684_660_362_62),
    (2.0, 1_000_000_000.0, -3.783_184_327_748_993),
];

/// `(z, ln tail)`.
const NORMAL: [(f64, f64); 9] = [
    (0.0, -std::f64::consts::LN_2),
    (0.5, -1.175_911_761_593_618_5),
    (1.96, -3.688_963_651_729_638_5),
    (8.0, -35.013_437_159_914_55),
    (29.9, -451.322_912_458_528_6),
    (30.0, -454.321_243_956_343_2),
    (38.0, -726.557_216_018_820_1),
    (100.0, -5_005.524_208_694_205),
    (10_000.0, -50_000_010.129_278_91),
];

/// `(x, degrees of freedom, ln tail)`.
const CHI_SQUARE: [(f64, f64, f64); 5] = [
    (3.84, 1.0, -2.994_862_227_180_027),
    (100.0, 1.0, -52.538_137_969_952_52),
    (1_000.0, 1.0, -503.680_666_504_381_7),
    (1_400.0, 3.0, -696.602_964_072_860_8),
    (5_000.0, 9.0, -2_475.068_175_113_051),
];

/// `(z, ln of what lies above)`.
const NORMAL_ABOVE: [(f64, f64); 7] = [
    (-40.0, 0.0),
    (-8.0, -6.220_960_574_271_786e-16),
    (-3.0, -0.001_350_809_964_748_193_8),
    (-1.5, -0.069_143_455_612_233_98),
    (-0.1, -0.616_505_010_115_026_3),
    (0.1, -0.776_154_592_730_273_3),
    (5.0, -15.064_998_393_988_725),
];

/// `(t, degrees of freedom, ln of what lies above)`.
const STUDENT_ABOVE: [(f64, f64, f64); 4] = [
    (-0.3, 2.5, -0.500_332_842_289_528_6),
    (-2.2, 30.0, -0.017_984_984_608_353_44),
    (-12.0, 30.0, -2.790_092_707_600_017e-13),
    (-1.96, 2_443.5, -0.025_373_854_796_333_97),
];

/// `(z, E[max(Z - z, 0)])`.
const EXCESS: [(f64, f64); 10] = [
    (-40.0, 40.0),
    (-3.0, 3.000_382_154_317_047_7),
    (-0.5, 0.697_796_557_401_306_1),
    (0.0, 0.398_942_280_401_432_7),
    (0.5, 0.197_796_557_401_306_03),
    (2.9, 0.000_541_673_848_662_143_9),
    (3.1, 0.000_267_249_095_223_014_05),
    (8.0, 7.550_262_411_946_499e-17),
    (20.0, 1.370_012_494_729_579_8e-90),
    (37.0, 1.545_199_190_512_202_4e-301),
];

/// `(z, ln tail)`.
const QUANTILE_OF_LN: [(f64, f64); 6] = [
    (0.25, -0.913_061_764_811_135_1),
    (1.96, -3.688_963_651_729_638_5),
    (30.0, -454.321_243_956_343_2),
    (40.0, -804.608_442_013_753_8),
    (100.0, -5_005.524_208_694_205),
    (1_000.0, -500_007.826_694_812_16),
];
