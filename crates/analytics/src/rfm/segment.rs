//! Names for scores.
//!
//! In:       scores of recency and frequency from 1 to 5.
//! Out:      the segment.
//! Promise:  each pair has exactly one; the grid is data.
//! Not here: what to do about a segment.
//!
//! Source: the ten segments of the RFM grid by recency and frequency that marketing tools show (Putler, "RFM Analysis For
//! Successful Customer Segmentation", in its form on five by five scores); `docs/methods.md#rfm`.

/// What a pair of scores is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    Champions,
    LoyalCustomers,
    PotentialLoyalists,
    NewCustomers,
    Promising,
    NeedAttention,
    AboutToSleep,
    AtRisk,
    CannotLoseThem,
    Hibernating,
}

impl Segment {
    pub fn name(self) -> &'static str {
        match self {
            Self::Champions => "champions",
            Self::LoyalCustomers => "loyal_customers",
            Self::PotentialLoyalists => "potential_loyalists",
            Self::NewCustomers => "new_customers",
            Self::Promising => "promising",
            Self::NeedAttention => "need_attention",
            Self::AboutToSleep => "about_to_sleep",
            Self::AtRisk => "at_risk",
            Self::CannotLoseThem => "cannot_lose_them",
            Self::Hibernating => "hibernating",
        }
    }
}

/// By recency (rows, 1 = longest ago first), then frequency (columns, 1 = rarest first).
pub const SEGMENT_GRID: [[Segment; 5]; 5] = {
    use Segment::*;
    [
        [Hibernating, Hibernating, AtRisk, AtRisk, CannotLoseThem],
        [Hibernating, Hibernating, AtRisk, AtRisk, CannotLoseThem],
        [AboutToSleep, AboutToSleep, NeedAttention, LoyalCustomers, LoyalCustomers],
        [Promising, PotentialLoyalists, PotentialLoyalists, LoyalCustomers, LoyalCustomers],
        [NewCustomers, PotentialLoyalists, PotentialLoyalists, Champions, Champions],
    ]
};

/// The segment of scores from 1 to 5; `None` for others.
pub fn segment(recency: u32, frequency: u32) -> Option<Segment> {
    let row = SEGMENT_GRID.get(recency.checked_sub(1)? as usize)?;
    row.get(frequency.checked_sub(1)? as usize).copied()
}
