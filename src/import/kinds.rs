//! Which names of events stand for which kind, where the door does not know them.
//!
//! In:      the table `[kinds]` of a mapping: a kind, and names.
//! Out:     the kind of a name; names that stood in no row.
//! Promise: names compare as they do at the door: without case, and `_`, `-` and blanks alike. A name belongs to one kind.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use tributary_ingest::plain_name;
use tributary_schemas::EventKind;

#[derive(Debug, Clone, Default)]
pub(crate) struct Kinds {
    by_name: HashMap<String, Named>,
}

#[derive(Debug, Clone)]
struct Named {
    kind: EventKind,
    /// As the mapping writes it.
    written: String,
    seen: Cell<bool>,
}

impl Kinds {
    pub(crate) fn stated(table: BTreeMap<String, Vec<String>>) -> Result<Self, Vec<String>> {
        let mut faults = Vec::new();
        let mut by_name: HashMap<String, Named> = HashMap::new();
        for (kind, names) in table {
            let Some(kind) = EventKind::parse(&kind) else {
                faults.push(format!("kinds.{kind} is no kind of event; there are: {}", all_kinds()));
                continue;
            };
            for written in names {
                let plain = plain_name(&written);
                match by_name.get(&plain) {
                    Some(other) if other.kind != kind => {
                        faults.push(format!("kinds: {written:?} stands under {} and under {kind}", other.kind));
                    }
                    _ if plain.is_empty() => faults.push(format!("kinds.{kind}: {written:?} is no name")),
                    _ => drop(by_name.insert(plain, Named { kind, written, seen: Cell::new(false) })),
                }
            }
        }
        if faults.is_empty() { Ok(Self { by_name }) } else { Err(faults) }
    }

    pub(crate) fn of(&self, name: &str) -> Option<EventKind> {
        if self.by_name.is_empty() {
            return None;
        }
        let named = self.by_name.get(&plain_name(name))?;
        named.seen.set(true);
        Some(named.kind)
    }

    /// Names that no row had, as the mapping writes them.
    pub(crate) fn unseen(&self) -> Vec<String> {
        let mut unseen: Vec<String> =
            self.by_name.values().filter(|named| !named.seen.get()).map(|named| named.written.clone()).collect();
        unseen.sort();
        unseen
    }
}

pub(crate) fn all_kinds() -> String {
    EventKind::ALL.iter().map(|kind| kind.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(pairs: &[(&str, &[&str])]) -> Result<Kinds, Vec<String>> {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Kinds::stated(pairs.iter().map(|(kind, of)| ((*kind).to_owned(), names(of))).collect())
    }

    #[test]
    fn names_are_found_as_the_door_finds_them() {
        let kinds = kinds(&[("conversion", &["Kauf", "Neuer Kunde"]), ("page", &["Seite"])]).unwrap();
        assert_eq!(kinds.of("KAUF"), Some(EventKind::Conversion));
        assert_eq!(kinds.of("neuer_kunde"), Some(EventKind::Conversion));
        assert_eq!(kinds.of("Käufer"), None);
        assert_eq!(kinds.unseen(), ["Seite"]);
    }

    #[test]
    fn kinds_that_are_none_and_names_of_two_are_told() {
        let told =
            kinds(&[("sale", &["Kauf"]), ("conversion", &["Kauf", ""]), ("page", &["kauf"])]).unwrap_err().join("\n");
        for words in ["kinds.sale is no kind", "impression", "under conversion and under page", "\"\" is no name"] {
            assert!(told.contains(words), "{told}");
        }
    }
}
