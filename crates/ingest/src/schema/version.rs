//! The version of a schema: MODEL-REVISION-ADDITION, as Snowplow's SchemaVer has it.
//!
//! In:      text such as `1-0-2`.
//! Out:     a version that can be put in order.
//! Promise: one spelling a version: no signs, no leading zeros, a MODEL of at least 1.

use std::fmt;

/// An ADDITION takes all that the one before took, a REVISION may refuse some of it and takes its place, a MODEL is another
/// shape and stands beside the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SchemaVersion {
    pub model: u32,
    pub revision: u32,
    pub addition: u32,
}

impl SchemaVersion {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split('-').map(|digits| digits.parse::<u32>().ok());
        let mut next = || numbers.next().flatten();
        let version = Self { model: next()?, revision: next()?, addition: next()? };
        // What is written otherwise than we write it is a slip.
        (version.model != 0 && version.to_string() == text).then_some(version)
    }
}

impl fmt::Display for SchemaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.model, self.revision, self.addition)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_version_has_one_spelling() {
        assert_eq!(SchemaVersion::parse("1-0-12").unwrap().to_string(), "1-0-12");
        for text in ["", "1", "1-0", "0-0-1", "1-0-0-0", "1-00-0", "+1-0-0", "1.0.0", "1-0-x", "1-0--1"] {
            assert_eq!(SchemaVersion::parse(text), None, "{text}");
        }
        assert!(SchemaVersion::parse("1-0-10") > SchemaVersion::parse("1-0-9"));
        assert!(SchemaVersion::parse("2-0-0") > SchemaVersion::parse("1-9-9"));
    }
}
