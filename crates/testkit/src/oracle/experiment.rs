//! Moments, by two passes over all values.
//!
//! In:       every value of an arm.
//! Out:      mean and sample variance; Welch's statistic and degrees of freedom from them.
//! Promise:  the textbook formulas as printed.
//! Not here: tails and quantiles, which are checked against published numbers.

/// The mean; `None` for no values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// The sample variance, dividing by one less than the count; `None` below two values.
pub fn variance(values: &[f64]) -> Option<f64> {
    let mean = mean(values)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    (2 <= values.len()).then(|| squares / (values.len() - 1) as f64)
}

/// Welch's t (treatment minus control) and Satterthwaite's degrees of freedom; `None` below two values in an
/// arm or without any spread.
pub fn welch(control: &[f64], treatment: &[f64]) -> Option<(f64, f64)> {
    let (count_a, count_b) = (control.len() as f64, treatment.len() as f64);
    let error_a = variance(control)? / count_a;
    let error_b = variance(treatment)? / count_b;
    if error_a + error_b == 0.0 {
        return None;
    }
    let statistic = (mean(treatment)? - mean(control)?) / (error_a + error_b).sqrt();
    let degrees_of_freedom =
        (error_a + error_b).powi(2) / (error_a.powi(2) / (count_a - 1.0) + error_b.powi(2) / (count_b - 1.0));
    Some((statistic, degrees_of_freedom))
}
