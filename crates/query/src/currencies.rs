//! Currencies of the amounts a fold adds up.
//!
//! In:       the currency of each amount, as the code of a text; other such sums.
//! Out:      two that differ, if there are.
//! Promise:  two numbers, however many amounts; merging in any order gives the same.
//! Not here: what becomes of an answer whose amounts cannot be added: each function says.

/// The first and last by name of the currencies that were counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Currencies(Option<(u32, u32)>);

impl Currencies {
    pub(crate) fn push(&mut self, code: u32) {
        let (low, high) = self.0.unwrap_or((code, code));
        self.0 = Some((low.min(code), high.max(code)));
    }

    pub(crate) fn merge(&mut self, other: Self) {
        if let Some((low, high)) = other.0 {
            self.push(low);
            self.push(high);
        }
    }

    /// Two that differ, if there are.
    pub(crate) fn several(self) -> Option<(u32, u32)> {
        self.0.filter(|(low, high)| low != high)
    }
}
