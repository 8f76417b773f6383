//! A curve as text, for a run long enough to have one.
//!
//! In:      points in order of x.
//! Out:     some lines of text with the range of both axes.
//! Promise: each column shows the mean of its points; no point is left out.

const COLUMNS: usize = 64;
const LINES: usize = 8;

/// * `unit`: of the values, after the title.
pub(super) fn plot(title: &str, unit: &str, points: &[(f64, f64)]) -> String {
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return format!("{title}: no points\n") };
    let width = (last.0 - first.0).max(f64::MIN_POSITIVE);
    let mut columns = vec![(0.0, 0_u32); COLUMNS];
    for (x, y) in points {
        let column = (((x - first.0) / width) * (COLUMNS - 1) as f64).round() as usize;
        let (sum, count) = &mut columns[column.min(COLUMNS - 1)];
        (*sum, *count) = (*sum + y, *count + 1);
    }
    let means: Vec<Option<f64>> =
        columns.into_iter().map(|(sum, count)| (count > 0).then(|| sum / f64::from(count))).collect();
    let top = means.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    let mut text = format!("{title}, {unit}\n");
    for line in (0..LINES).rev() {
        let floor = top * line as f64 / LINES as f64;
        let label = if line == LINES - 1 {
            format!("{top:9.1}")
        } else {
            format!("{:9.1}", top * (line + 1) as f64 / LINES as f64)
        };
        let bars: String = means
            .iter()
            .map(|mean| match mean {
                Some(mean) if *mean > floor => '#',
                _ => ' ',
            })
            .collect();
        text.push_str(&format!("{label} |{}\n", bars.trim_end()));
    }
    text.push_str(&format!("{:9} +{}\n{:11}{:<9.0}{:>55.0} s\n", "", "-".repeat(COLUMNS), "", first.0, last.0));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_rises_from_left_to_right() {
        let points: Vec<(f64, f64)> = (0..200).map(|x| (f64::from(x), f64::from(x))).collect();
        let text = plot("memory", "MB", &points);
        let bars: Vec<usize> =
            text.lines().filter(|line| line.contains('|')).map(|line| line.matches('#').count()).collect();
        assert_eq!(bars.len(), LINES);
        assert!(bars.is_sorted() && bars[0] > 0, "{text}");
        assert_eq!(plot("x", "y", &[]), "x: no points\n");
    }
}
