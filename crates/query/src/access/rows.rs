//! Which rows an access sees, by what their people allowed.
//!
//! In:       the purposes of an access; consent and flags of a row.
//! Out:      seen or not; the same as SQL.
//! Promise:  a row is seen if its own event's consent allows all purposes at once. Where nobody asked it is not, unless the access
//!           says so; where the browser objected (Global Privacy Control) it is not, for ads and sale, whatever else is said. A
//!           row that cannot show its consent is not seen.
//! Not here: where rows are left out (`table.rs`, `exec.rs`).

use datafusion::arrow::array::{Array, AsArray, BooleanArray, Int64Array};
use datafusion::arrow::datatypes::Int64Type;
use tributary_schemas::{Consent, EventFlags};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowRule {
    purposes: i64,
    unasked: bool,
}

/// What a browser that objects objects to.
const OBJECTED: i64 = Consent::ADS.with(Consent::SALE).0;

impl RowRule {
    /// The columns it looks at.
    pub(crate) const COLUMNS: [&str; 2] = ["consent", "flags"];

    /// * `purposes`: bits of `Consent`, at least one.
    pub(crate) fn new(purposes: i64, unasked: bool) -> Self {
        Self { purposes, unasked }
    }

    /// The same for rows that may lack a consent their sender did give: what could not be read says nothing.
    pub(crate) fn of_unread(self) -> Self {
        Self { unasked: false, ..self }
    }

    /// * `consent`, `flags`: `Int64`, a row each.
    pub(crate) fn seen(self, consent: &dyn Array, flags: &dyn Array) -> BooleanArray {
        let (consent, flags) = (consent.as_primitive::<Int64Type>(), flags.as_primitive::<Int64Type>());
        let of = |row: usize| {
            let value = |array: &Int64Array| array.is_valid(row).then(|| array.value(row));
            Some(self.allows(value(consent), value(flags)))
        };
        (0..consent.len()).map(of).collect()
    }

    pub(crate) fn allows(self, consent: Option<i64>, flags: Option<i64>) -> bool {
        let objected = flags.unwrap_or(0) & EventFlags::PRIVACY_CONTROL.0 != 0 && self.purposes & OBJECTED != 0;
        let granted = match consent {
            Some(granted) => Consent(granted).allows(Consent(self.purposes)),
            None => self.unasked,
        };
        granted && !objected
    }

    /// The same as a condition that is true or false, over the columns of `table`.
    pub(crate) fn sql(self, table: &str) -> String {
        let Self { purposes, unasked } = self;
        let mut sql = format!("coalesce({table}.consent & {purposes} = {purposes}, {unasked})");
        if purposes & OBJECTED != 0 {
            sql += &format!(" AND coalesce({table}.flags & {} = 0, true)", EventFlags::PRIVACY_CONTROL.0);
        }
        sql
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANALYTICS: i64 = Consent::ANALYTICS.0;
    const ADS: i64 = Consent::ADS.0;
    const GPC: Option<i64> = Some(EventFlags::PRIVACY_CONTROL.0);

    #[test]
    fn all_purposes_are_allowed_at_once_or_the_row_is_not_seen() {
        let both = RowRule::new(ANALYTICS | ADS, false);
        let cases = [
            (Some(ANALYTICS | ADS), Some(0), true),
            (Some(ANALYTICS | ADS | 8), None, true),
            (Some(ANALYTICS), Some(0), false),
            (Some(0), Some(0), false),
            (None, Some(0), false),
            (Some(ANALYTICS | ADS), GPC, false),
        ];
        for (consent, flags, seen) in cases {
            assert_eq!(both.allows(consent, flags), seen, "{consent:?} {flags:?}");
        }
    }

    #[test]
    fn where_nobody_asked_the_access_says_and_an_objection_stands() {
        let asked = |purposes, flags| RowRule::new(purposes, true).allows(None, flags);
        assert!(asked(ANALYTICS, Some(0)) && asked(ANALYTICS, GPC) && asked(ADS, Some(0)));
        assert!(!asked(ADS, GPC) && !asked(Consent::SALE.0 | ANALYTICS, GPC));
        assert!(!RowRule::new(ANALYTICS, true).of_unread().allows(None, Some(0)));
        assert!(!RowRule::new(ANALYTICS, true).allows(Some(0), Some(0)), "who was asked and refused has answered");
    }
}
