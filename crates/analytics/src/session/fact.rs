//! What is kept of an event while its session can still change: a value to compute with, some 18 bytes at rest.
//!
//! In:       an event whose texts have become numbers (`Fact`); bytes.
//! Out:      bytes; the same `Fact`.
//! Promise:  `unpack` gives back what `pack` was given, field by field; the order of facts within a key is total: time,
//!           tie key of the event id, offset.
//! Not here: what the numbers stand for (`texts.rs`), which events share a session (`line.rs`).
//!
//! A fact is written as its difference from the one before it in the line: the events of a visit repeat host, ids and
//! context, and lie close in time and in the log.

use tributary_schemas::{EngagementClass, EventKind};

use super::texts::{Marks, Text};

/// Places in `Fact::touch`.
pub(super) mod touch {
    pub(in super::super) const CHANNEL: usize = 0;
    pub(in super::super) const CAMPAIGN: usize = 1;
    pub(in super::super) const UTM_CAMPAIGN: usize = 2;
    pub(in super::super) const SOURCE: usize = 3;
    pub(in super::super) const MEDIUM: usize = 4;
    pub(in super::super) const TERM: usize = 5;
    pub(in super::super) const CREATIVE: usize = 6;
    pub(in super::super) const AD: usize = 7;
    pub(in super::super) const MESSAGE: usize = 8;
    pub(in super::super) const REFERRER: usize = 9;
    pub(in super::super) const REFERRER_MEDIUM: usize = 10;
    pub(in super::super) const REFERRER_SOURCE: usize = 11;
    pub(in super::super) const CLICK: usize = 12;
    pub(in super::super) const COUNT: usize = 13;
}

/// Places in `Fact::ids`.
pub(super) mod ids {
    pub(in super::super) const ANONYMOUS: usize = 0;
    pub(in super::super) const USER: usize = 1;
    pub(in super::super) const ACCOUNT: usize = 2;
    pub(in super::super) const COUNT: usize = 3;
}

/// Places in `Fact::context`.
pub(super) mod context {
    pub(in super::super) const DEVICE: usize = 0;
    pub(in super::super) const BROWSER: usize = 1;
    pub(in super::super) const OS: usize = 2;
    pub(in super::super) const COUNTRY: usize = 3;
    pub(in super::super) const REGION: usize = 4;
    pub(in super::super) const COUNT: usize = 5;
}

/// The place of an event among those of its key. The offset settles what a reused event id leaves open.
pub(super) type Place = (i64, u64, i64);

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fact {
    pub(super) time_us: i64,
    pub(super) tie: u64,
    pub(super) offset: i64,
    pub(super) value_micros: Option<i64>,
    pub(super) currency: Text,
    pub(super) host: Text,
    pub(super) path: Text,
    pub(super) ids: [Text; ids::COUNT],
    pub(super) context: [Text; context::COUNT],
    pub(super) touch: [Text; touch::COUNT],
    /// Where its exposures stand in the pile that goes with it: from, and how many.
    pub(super) exposures: (u32, u32),
    pub(super) kind: EventKind,
    pub(super) class: EngagementClass,
    pub(super) is_late: bool,
}

/// A variant shown with an event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Exposed {
    pub(super) experiment: Text,
    pub(super) variant: Text,
    pub(super) decision: Text,
    pub(super) probability: Option<f64>,
}

/// Exposures of the facts at hand, one after the other.
pub(super) type Pile = Vec<Exposed>;

// The first byte of a fact has room for so many.
const _: () = assert!(EventKind::ALL.len() <= 16 && EngagementClass::ALL.len() <= 8);

/// The times of most clients are whole milliseconds: ten bits less. In the first byte.
const WHOLE_MS: u8 = 1 << 7;

// The second byte says what follows. Host, path, ids and context: only where they are others than before.
const HOST: u8 = 1;
const PATH: u8 = 1 << 1;
const IDS: u8 = 1 << 2;
const CONTEXT: u8 = 1 << 3;
const TOUCH: u8 = 1 << 4;
const VALUE: u8 = 1 << 5;
const EXPOSURES: u8 = 1 << 6;
const LATE: u8 = 1 << 7;

impl Fact {
    /// What a line is written against at its begin.
    pub(super) const NONE: Self = Self {
        time_us: 0,
        tie: 0,
        offset: 0,
        value_micros: None,
        currency: Text::NONE,
        host: Text::NONE,
        path: Text::NONE,
        ids: [Text::NONE; ids::COUNT],
        context: [Text::NONE; context::COUNT],
        touch: [Text::NONE; touch::COUNT],
        exposures: (0, 0),
        kind: EventKind::Custom,
        class: EngagementClass::Unknown,
        is_late: false,
    };

    pub(super) fn place(&self) -> Place {
        (self.time_us, self.tie, self.offset)
    }

    pub(super) fn shown<'p>(&self, pile: &'p Pile) -> &'p [Exposed] {
        let (from, count) = (self.exposures.0 as usize, self.exposures.1 as usize);
        &pile[from..from + count]
    }

    /// Campaign, utm source, utm medium and ad click id.
    pub(super) fn campaign_tags(&self) -> [Text; 4] {
        let [source, medium, click] = [touch::SOURCE, touch::MEDIUM, touch::CLICK].map(|part| self.touch[part]);
        [self.campaign(), source, medium, click]
    }

    /// The first that is there of campaign, utm source and utm medium; and the utm term with it.
    pub(super) fn campaign_name(&self) -> [Text; 2] {
        let name = self.campaign().or(self.touch[touch::SOURCE]).or(self.touch[touch::MEDIUM]);
        [name, if name.is_some() { self.touch[touch::TERM] } else { Text::NONE }]
    }

    fn campaign(&self) -> Text {
        self.touch[touch::UTM_CAMPAIGN].or(self.touch[touch::CAMPAIGN])
    }

    pub(super) fn user(&self) -> Text {
        self.ids[ids::USER]
    }

    pub(super) fn names_user(&self) -> bool {
        self.user().is_some()
    }

    pub(super) fn mark(&self, pile: &Pile, marks: &mut Marks) {
        let texts = [self.currency, self.host, self.path];
        for text in texts.into_iter().chain(self.ids).chain(self.context).chain(self.touch) {
            marks.mark(text);
        }
        for shown in self.shown(pile) {
            [shown.experiment, shown.variant, shown.decision].into_iter().for_each(|text| marks.mark(text));
        }
    }

    /// Appends `self`, which comes after `before` in its line.
    pub(super) fn pack(&self, before: &Self, pile: &Pile, out: &mut Vec<u8>) {
        // Wrapping: times and offsets are any numbers, and so are their differences.
        let step_us = self.time_us.wrapping_sub(before.time_us);
        let whole_ms = step_us % 1_000 == 0;
        let shown = self.shown(pile);
        let mut parts = 0;
        for (part, is_there) in [
            (HOST, self.host != before.host),
            (PATH, self.path != before.path),
            (IDS, self.ids != before.ids),
            (CONTEXT, self.context != before.context),
            (TOUCH, self.touch != [Text::NONE; touch::COUNT]),
            (VALUE, self.value_micros.is_some() || self.currency.is_some()),
            (EXPOSURES, !shown.is_empty()),
            (LATE, self.is_late),
        ] {
            parts |= if is_there { part } else { 0 };
        }
        out.push(self.kind as u8 | (self.class as u8) << 4 | if whole_ms { WHOLE_MS } else { 0 });
        out.push(parts);
        put_signed(if whole_ms { step_us / 1_000 } else { step_us }, out);
        out.extend_from_slice(&self.tie.to_le_bytes());
        put_signed(self.offset.wrapping_sub(before.offset), out);
        let mut put_texts = |texts: &[Text]| texts.iter().for_each(|text| put(text.0.into(), out));
        if parts & HOST != 0 {
            put_texts(&[self.host]);
        }
        if parts & PATH != 0 {
            put_texts(&[self.path]);
        }
        if parts & IDS != 0 {
            put_texts(&self.ids);
        }
        if parts & CONTEXT != 0 {
            put_texts(&self.context);
        }
        if parts & TOUCH != 0 {
            let said = (0..touch::COUNT).filter(|&part| self.touch[part].is_some());
            put(said.clone().fold(0, |mask, part| mask | 1 << part), out);
            said.for_each(|part| put(self.touch[part].0.into(), out));
        }
        if parts & VALUE != 0 {
            put(self.currency.0.into(), out);
            out.push(self.value_micros.is_some().into());
            put_signed(self.value_micros.unwrap_or(0), out);
        }
        if parts & EXPOSURES != 0 {
            put(shown.len() as u64, out);
            for exposed in shown {
                for text in [exposed.experiment, exposed.variant, exposed.decision] {
                    put(text.0.into(), out);
                }
                out.push(exposed.probability.is_some().into());
                out.extend(exposed.probability.into_iter().flat_map(f64::to_le_bytes));
            }
        }
    }

    /// Becomes the fact that follows this one in its line; its exposures are put on the pile.
    pub(super) fn unpack(&mut self, from: &mut Reader<'_>, pile: &mut Pile) {
        let head = from.head(self);
        self.unpack_rest(head, from, pile);
    }

    /// The same, unless that one's place is beyond `last`. Says whether it has.
    #[inline]
    pub(super) fn unpack_up_to(&mut self, last: Place, from: &mut Reader<'_>, pile: &mut Pile) -> bool {
        let mut ahead = *from;
        let head = ahead.head(self);
        if head.place > last {
            return false;
        }
        *from = ahead;
        self.unpack_rest(head, from, pile);
        true
    }

    #[inline]
    fn unpack_rest(&mut self, head: Head, from: &mut Reader<'_>, pile: &mut Pile) {
        let parts = head.parts;
        self.kind = EventKind::ALL[usize::from(head.kind_and_class & 15)];
        self.class = EngagementClass::ALL[usize::from(head.kind_and_class >> 4 & 7)];
        (self.time_us, self.tie, self.offset) = head.place;
        if parts & HOST != 0 {
            self.host = from.text();
        }
        if parts & PATH != 0 {
            self.path = from.text();
        }
        if parts & IDS != 0 {
            self.ids.fill_with(|| from.text());
        }
        if parts & CONTEXT != 0 {
            self.context.fill_with(|| from.text());
        }
        self.touch = [Text::NONE; touch::COUNT];
        if parts & TOUCH != 0 {
            let mask = from.number();
            (0..touch::COUNT).filter(|part| mask & 1 << part != 0).for_each(|part| self.touch[part] = from.text());
        }
        (self.currency, self.value_micros) = (Text::NONE, None);
        if parts & VALUE != 0 {
            self.currency = from.text();
            let is_there = from.byte() != 0;
            self.value_micros = Some(from.signed()).filter(|_| is_there);
        }
        self.exposures = (0, 0);
        if parts & EXPOSURES != 0 {
            let count = from.number();
            self.exposures = (count_of(pile), u32::try_from(count).expect("written from as many"));
            for _ in 0..count {
                let [experiment, variant, decision] = [from.text(), from.text(), from.text()];
                let probability = (from.byte() != 0).then(|| f64::from_le_bytes(from.eight()));
                pile.push(Exposed { experiment, variant, decision, probability });
            }
        }
        self.is_late = parts & LATE != 0;
    }
}

/// How many lie on the pile.
pub(super) fn count_of(pile: &Pile) -> u32 {
    u32::try_from(pile.len()).expect("what is folded between two reports has fewer than 2^32 exposures")
}

/// Seven bits a byte, the lowest first; the top bit says that more follow.
pub(super) fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Small numbers of either sign become small numbers.
pub(super) fn put_signed(number: i64, out: &mut Vec<u8>) {
    put((number << 1 ^ number >> 63).cast_unsigned(), out);
}

/// What a fact begins with.
#[derive(Debug, Clone, Copy)]
struct Head {
    kind_and_class: u8,
    parts: u8,
    place: Place,
}

/// Reads what was written above. The bytes are our own, so there is no error to tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'b> {
    bytes: &'b [u8],
    pub(super) at: usize,
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    #[inline]
    fn head(&mut self, before: &Fact) -> Head {
        let (kind_and_class, parts) = (self.byte(), self.byte());
        let step = self.signed();
        let step_us = if kind_and_class & WHOLE_MS != 0 { step * 1_000 } else { step };
        let tie = u64::from_le_bytes(self.eight());
        let place = (before.time_us.wrapping_add(step_us), tie, before.offset.wrapping_add(self.signed()));
        Head { kind_and_class, parts, place }
    }

    #[inline]
    fn byte(&mut self) -> u8 {
        self.at += 1;
        self.bytes[self.at - 1]
    }

    #[inline]
    fn eight(&mut self) -> [u8; 8] {
        self.at += 8;
        *self.bytes[..self.at].last_chunk().expect("eight bytes have been read")
    }

    /// Not part of a fact: written beside it.
    pub(super) fn four(&mut self) -> u32 {
        self.at += 4;
        u32::from_le_bytes(*self.bytes[..self.at].last_chunk().expect("four bytes have been read"))
    }

    #[inline]
    fn number(&mut self) -> u64 {
        let mut number = 0;
        for shift in (0..).step_by(7) {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        number
    }

    #[inline]
    fn signed(&mut self) -> i64 {
        let number = self.number();
        (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
    }

    #[inline]
    fn text(&mut self) -> Text {
        Text(self.number() as u32)
    }
}
