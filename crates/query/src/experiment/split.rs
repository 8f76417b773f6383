//! The planned split: what the asker says it is, else what was recorded.
//!
//! In:       `'control=90, blue=10'`; the arms as they were counted.
//! Out:      a weight for each arm.
//! Promise:  a plan that names other arms than there are is refused: the rest of it would be a guess.
//! Not here: weights from recorded probabilities, the test itself: `analytics::experiment`.

/// One weight for each arm, by name; none above 0 missing.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Split(Vec<(String, f64)>);

impl Split {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            |what: String| format!("split: {what}; write a weight for each variant, such as 'control=90, blue=10'");
        let mut weights: Vec<(String, f64)> = Vec::new();
        for part in text.split(',') {
            let named = part.rsplit_once('=').map(|(name, weight)| (name.trim(), weight.trim()));
            let Some((name, weight)) = named.filter(|(name, _)| !name.is_empty()) else {
                return Err(wrong(format!("'{}' is no variant with a weight", part.trim())));
            };
            let weight = weight.parse().ok().filter(|weight: &f64| weight.is_finite() && 0.0 <= *weight);
            let weight = weight.ok_or_else(|| wrong(format!("the weight of '{name}' is no number of 0 or more")))?;
            if weights.iter().any(|(other, _)| other == name) {
                return Err(wrong(format!("'{name}' has two weights")));
            }
            weights.push((name.to_owned(), weight));
        }
        if weights.iter().all(|(_, weight)| *weight == 0.0) {
            return Err(wrong("no weight is above 0".to_owned()));
        }
        Ok(Self(weights))
    }

    /// In the order of `variants`, the names of all arms there are.
    pub(super) fn weights(&self, variants: &[&str]) -> Result<Vec<f64>, String> {
        let there_are = variants.join(", ");
        if let Some((name, _)) = self.0.iter().find(|(name, _)| !variants.contains(&name.as_str())) {
            return Err(format!("split: nobody was shown '{name}'; the variants are: {there_are}"));
        }
        let weight_of = |variant: &&str| {
            let found = self.0.iter().find(|(name, _)| name == variant).map(|(_, weight)| *weight);
            found.ok_or_else(|| format!("split: '{variant}' has no weight; the variants are: {there_are}"))
        };
        variants.iter().map(weight_of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_found_by_name() {
        let split = Split::parse("control=90, the = blue one = 10").unwrap();
        assert_eq!(split.weights(&["control", "the = blue one"]), Ok(vec![90.0, 10.0]));
        assert_eq!(split.weights(&["the = blue one", "control"]), Ok(vec![10.0, 90.0]));
        assert!(split.weights(&["control"]).unwrap_err().contains("nobody was shown 'the = blue one'"));
        assert!(split.weights(&["a", "control", "the = blue one"]).unwrap_err().contains("'a' has no weight"));
    }

    #[test]
    fn what_is_no_plan_is_refused() {
        for (text, fault) in [
            ("", "is no variant"),
            ("90, 10", "is no variant"),
            ("=3", "is no variant"),
            ("a=1,", "is no variant"),
            ("a=x", "is no number"),
            ("a=-1, b=2", "is no number"),
            ("a=inf, b=2", "is no number"),
            ("a=1, a=2", "two weights"),
            ("a=0, b=0", "above 0"),
        ] {
            let told = Split::parse(text).unwrap_err();
            assert!(told.contains(fault) && told.contains("such as 'control=90, blue=10'"), "{text}: {told}");
        }
    }
}
