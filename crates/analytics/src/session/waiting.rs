//! What has come in since the last report.
//!
//! In:       events that are in time, each with its line.
//! Out:      the facts of each line that is touched, in their order, and its key.
//! Promise:  an event costs O(1), in order or not; nothing is looked at before the report.
//! Not here: whether an event is in time (`sessionizer.rs`).

use super::event::{SessionEvent, Touch};
use super::fact::{Exposed, Fact, Pile, Reader, context, count_of, touch};
use super::id::tie_key;
use super::texts::{Text, Texts};

#[derive(Debug, Default)]
pub(super) struct Waiting {
    /// Each written by itself, behind the number of the one that came before it for the same line. They lie apart when a
    /// line gathers them, so the fewer bytes the better: a third of what they take to compute with.
    facts: Vec<u8>,
    /// Of the fact that is being made.
    pub(super) pile: Pile,
    pub(super) touched: Vec<Touched>,
    /// The keys of the touched lines, one after the other.
    pub(super) keys: String,
    pub(super) low_offset: Option<i64>,
    last: Last,
}

/// A line that has something to tell.
#[derive(Debug, Clone, Copy)]
pub(super) struct Touched {
    pub(super) line: u32,
    /// Where its key stands in `Waiting::keys`.
    pub(super) key: (usize, usize),
}

/// The numbers last given out for host and context: they come again and again.
#[derive(Debug, Default)]
struct Last {
    host: Text,
    context: [Text; context::COUNT],
}

impl Waiting {
    /// Returns the fact's number: where it stands, counted from 1.
    ///
    /// * `before`: of the fact that came before it for the same line; 0 where there is none.
    pub(super) fn push(&mut self, fact: &Fact, before: u32) -> u32 {
        self.low_offset = Some(self.low_offset.map_or(fact.offset, |low| low.min(fact.offset)));
        let number = self.facts.len() + 1;
        self.facts.extend_from_slice(&before.to_le_bytes());
        fact.pack(&Fact::NONE, &self.pile, &mut self.facts);
        self.pile.clear();
        u32::try_from(number).expect("a report comes long before 4 GiB of events")
    }

    pub(super) fn touch(&mut self, line: u32, key: &str) {
        let start = self.keys.len();
        self.keys.push_str(key);
        self.touched.push(Touched { line, key: (start, self.keys.len()) });
    }

    /// The facts that end with this number, in their order. The pile holds their exposures and nothing else.
    pub(super) fn gather(&self, mut number: u32, fresh: &mut Vec<Fact>, pile: &mut Pile) {
        fresh.clear();
        pile.clear();
        while number != 0 {
            let mut reader = Reader::new(&self.facts, number as usize - 1);
            number = reader.four();
            let mut fact = Fact::NONE;
            fact.unpack(&mut reader, pile);
            fresh.push(fact);
        }
        fresh.reverse();
        if !fresh.is_sorted_by_key(Fact::place) {
            fresh.sort_unstable_by_key(Fact::place);
        }
    }

    /// Makes a fact of an event: texts become numbers.
    pub(super) fn fact_of(&mut self, event: &SessionEvent<'_>, key: &str, texts: &mut Texts) -> Fact {
        let exposures = (count_of(&self.pile), u32::try_from(event.exposures.len()).expect("an event is small"));
        for shown in event.exposures {
            let [experiment, variant] = [shown.experiment, shown.variant].map(|text| texts.number_of(text));
            let decision = shown.decision_id.map_or(Text::NONE, |text| texts.number_of(text));
            self.pile.push(Exposed { experiment, variant, decision, probability: shown.probability });
        }
        let id = |text: Option<&str>, texts: &mut Texts| match text {
            None => Text::NONE,
            Some(id) if id == key => Text::KEY,
            Some(id) => texts.number_of(id),
        };
        let said = |text: Option<&str>, texts: &mut Texts| text.map_or(Text::NONE, |text| texts.number_of(text));
        let again = |text: Option<&str>, last: &mut Text, texts: &mut Texts| {
            let Some(text) = text else { return Text::NONE };
            if !texts.is(*last, text) {
                *last = texts.number_of(text);
            }
            *last
        };
        let mut seen = [event.device_class, event.browser, event.os, event.country, event.region]
            .into_iter()
            .zip(&mut self.last.context);
        Fact {
            time_us: event.time_us,
            tie: tie_key(event.event_id),
            offset: event.offset,
            value_micros: event.value_micros,
            currency: said(event.currency, texts),
            host: again(event.url_host, &mut self.last.host, texts),
            path: said(event.url_path, texts),
            ids: [event.anonymous_id, event.user_id, event.account_id].map(|text| id(text, texts)),
            context: std::array::from_fn(|_| seen.next().map_or(Text::NONE, |(text, last)| again(text, last, texts))),
            touch: touch_of(&event.touch, texts),
            exposures,
            kind: event.kind,
            class: event.engagement_class,
            is_late: event.is_late,
        }
    }

    /// Empties it after a report, and keeps its room.
    pub(super) fn clear(&mut self) {
        self.facts.clear();
        self.pile.clear();
        self.touched.clear();
        self.keys.clear();
        self.low_offset = None;
    }

    /// After texts were forgotten.
    pub(super) fn forget_last(&mut self) {
        self.last = Last::default();
    }

    pub(super) fn heap_bytes(&self) -> usize {
        self.facts.capacity()
            + self.pile.capacity() * size_of::<Exposed>()
            + self.touched.capacity() * size_of::<Touched>()
            + self.keys.capacity()
    }
}

fn touch_of(touch: &Touch<'_>, texts: &mut Texts) -> [Text; touch::COUNT] {
    if *touch == Touch::default() {
        return Default::default();
    }
    let click_id = touch.click_id.map(|(kind, id)| format!("{kind}:{id}"));
    [
        touch.channel,
        touch.campaign_id,
        touch.utm_campaign,
        touch.utm_source,
        touch.utm_medium,
        touch.utm_term,
        touch.creative_id,
        touch.ad_id,
        touch.message_id,
        touch.referrer_host,
        touch.referrer_medium,
        touch.referrer_source,
        click_id.as_deref(),
    ]
    .map(|text| text.map_or(Text::NONE, |text| texts.number_of(text)))
}
