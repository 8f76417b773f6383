//! Each distinct text once: host, path, campaign and all else that events of open sessions repeat.
//!
//! In:       texts of events.
//! Out:      a number a text, the same for the same text, for as long as something refers to it.
//! Promise:  a text costs its bytes and some 16 more; a number is never given to another text while it is referred to.
//! Not here: finding out what is still referred to (`sessionizer.rs` walks its lines).

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// A text, or none, or the very key of the session: anonymous and user ids mostly are that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Text(pub(super) u32);

impl Text {
    pub(super) const NONE: Self = Self(0);
    pub(super) const KEY: Self = Self(1);
    const FIRST: u32 = 2;

    pub(super) fn is_some(self) -> bool {
        self != Self::NONE
    }

    /// This text, else the other.
    pub(super) fn or(self, other: Self) -> Self {
        if self.is_some() { self } else { other }
    }

    fn at(number: usize) -> Self {
        Self(u32::try_from(number).expect("a partition has fewer than 2^32 texts in its open sessions") + Self::FIRST)
    }
}

/// Each text begins at a multiple of so many bytes, so that 32 bits reach 16 GiB.
const GRAIN: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Place {
    /// In grains.
    start: u32,
    bytes: u32,
}

impl Place {
    const FREE: Self = Self { start: 0, bytes: u32::MAX };
}

#[derive(Debug, Default)]
pub(super) struct Texts {
    all: String,
    places: Vec<Place>,
    free: Vec<u32>,
    table: HashTable<u32>,
    /// How many there were after the last sweep.
    kept: usize,
}

/// Fewer are not worth a sweep.
const SWEEP_MIN: usize = 4_096;

impl Texts {
    pub(super) fn number_of(&mut self, text: &str) -> Text {
        let hash = xxh3_64(text.as_bytes());
        let (all, places) = (&self.all, &self.places);
        if let Some(&number) = self.table.find(hash, |&number| at(all, places, number) == text) {
            return Text(number + Text::FIRST);
        }
        let place = self.put(text);
        let number = match self.free.pop() {
            Some(number) => {
                self.places[number as usize] = place;
                number
            }
            None => {
                self.places.push(place);
                Text::at(self.places.len() - 1).0 - Text::FIRST
            }
        };
        let (all, places) = (&self.all, &self.places);
        self.table.insert_unique(hash, number, |&number| xxh3_64(at(all, places, number).as_bytes()));
        Text(number + Text::FIRST)
    }

    fn put(&mut self, text: &str) -> Place {
        let start = u32::try_from(self.all.len() / GRAIN).expect("16 GiB of distinct texts do not fit in memory");
        let bytes = u32::try_from(text.len()).expect("an event is far smaller than 4 GiB");
        let padded = text.len().next_multiple_of(GRAIN);
        if self.all.capacity() < self.all.len() + padded {
            // An eighth more, not double: the largest part of the state must not stand half empty.
            self.all.reserve_exact(padded + self.all.len() / 8 + 256);
        }
        self.all.push_str(text);
        self.all.extend(std::iter::repeat_n('\0', padded - text.len()));
        Place { start, bytes }
    }

    /// * `key`: the session key `text` is relative to.
    pub(super) fn get<'t>(&'t self, text: Text, key: &'t str) -> Option<&'t str> {
        match text {
            Text::NONE => None,
            Text::KEY => Some(key),
            Text(number) => Some(at(&self.all, &self.places, number - Text::FIRST)),
        }
    }

    /// Whether `text` is this one; cheaper than looking it up where it mostly is.
    pub(super) fn is(&self, text: Text, expected: &str) -> bool {
        text.0 >= Text::FIRST && at(&self.all, &self.places, text.0 - Text::FIRST) == expected
    }

    /// Whether texts nobody refers to may have gathered.
    pub(super) fn sweep_is_due(&self) -> bool {
        self.table.len() > SWEEP_MIN.max(2 * self.kept)
    }

    pub(super) fn marks(&self) -> Marks {
        Marks(vec![false; self.places.len()])
    }

    /// Forgets what is not marked. Numbers of the others stay.
    pub(super) fn sweep(&mut self, marks: &Marks) {
        let old = std::mem::take(&mut self.all);
        let live = |place: &Place, marked: &bool| *marked && place.bytes != u32::MAX;
        let bytes = self.places.iter().zip(&marks.0).filter(|(place, marked)| live(place, marked));
        self.all.reserve_exact(bytes.map(|(place, _)| (place.bytes as usize).next_multiple_of(GRAIN)).sum());
        self.free.clear();
        self.table.clear();
        for (number, marked) in marks.0.iter().enumerate() {
            let place = self.places[number];
            if live(&place, marked) {
                let start = place.start as usize * GRAIN;
                self.places[number] = self.put(&old[start..start + place.bytes as usize]);
            } else {
                self.places[number] = Place::FREE;
            }
        }
        self.list();
    }

    /// Makes the table and the list of free numbers from the places.
    fn list(&mut self) {
        let mut live = Vec::new();
        for (number, place) in (0..).zip(&self.places) {
            if place.bytes == u32::MAX { self.free.push(number) } else { live.push(number) }
        }
        let (all, places) = (&self.all, &self.places);
        let hash = |number: &u32| xxh3_64(at(all, places, *number).as_bytes());
        self.table.shrink_to(live.len(), hash);
        self.table.reserve(live.len(), hash);
        for number in live {
            self.table.insert_unique(hash(&number), number, hash);
        }
        self.kept = self.table.len();
    }

    pub(super) fn heap_bytes(&self) -> usize {
        let lists = self.places.capacity() * size_of::<Place>() + self.free.capacity() * size_of::<u32>();
        self.all.capacity() + lists + self.table.allocation_size()
    }

    /// By number, `None` where a number is free: for a snapshot.
    pub(super) fn by_number(&self) -> impl ExactSizeIterator<Item = Option<&str>> {
        self.places.iter().map(|place| (place.bytes != u32::MAX).then(|| of(&self.all, *place)))
    }

    /// The opposite of `by_number`.
    pub(super) fn restored<'t>(by_number: impl Iterator<Item = Option<&'t str>>) -> Self {
        let mut texts = Self::default();
        for text in by_number {
            let place = text.map_or(Place::FREE, |text| texts.put(text));
            texts.places.push(place);
        }
        texts.list();
        texts
    }
}

fn at<'t>(all: &'t str, places: &[Place], number: u32) -> &'t str {
    of(all, places[number as usize])
}

fn of(all: &str, place: Place) -> &str {
    let start = place.start as usize * GRAIN;
    &all[start..start + place.bytes as usize]
}

/// Which texts are referred to.
pub(super) struct Marks(Vec<bool>);

impl Marks {
    pub(super) fn mark(&mut self, text: Text) {
        if text.0 >= Text::FIRST {
            self.0[(text.0 - Text::FIRST) as usize] = true;
        }
    }
}
