//! Mail scanners by what they do in a sequence: every link of one message within seconds, or a click before anyone could.
//!
//! In:       what happened to messages, in the order of the log.
//! Out:      the reason to call an open or a click a scanner's, if there is one.
//! Promise:  a function of the log's prefix, and of it only of what was received in the last `keep_us`: a state rebuilt from
//!           the rows of twice that time goes on the same way. What it remembers is bounded.
//! Not here: events before the rule fired keep their class; a re-run of enrichment over the log does not change that, since
//!           it sees the same prefix. Who counts messages asks for `engagement_class` of the message's events together.
//!
//! A person can click two links of a mail in ten seconds, if the first was the wrong one; hardly three. And a mail takes
//! seconds to arrive and be seen. What gateways do is documented by their makers (they open every link on delivery); how
//! often these numbers are wrong nobody has measured, so the label has no confidence.

use std::collections::{HashMap, VecDeque};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BurstRule {
    /// So many different links of one message clicked within `links_us` are a scanner's.
    pub links_min: usize,
    pub links_us: i64,
    /// A click so soon after the send is a scanner's. 0 turns the rule off.
    pub after_send_us: i64,
    /// How long after it fired the rule speaks of the same message.
    pub hold_us: i64,
    /// Messages remembered at a time; beyond it the oldest are forgotten.
    pub messages_max: usize,
}

impl Default for BurstRule {
    fn default() -> Self {
        Self {
            links_min: 3,
            links_us: 10_000_000,
            after_send_us: 3_000_000,
            hold_us: 60_000_000,
            messages_max: 100_000,
        }
    }
}

/// Webhooks tell of clicks with some delay, and not in order.
const DELAY_US: i64 = 300_000_000;

pub const LINKS_MAX: usize = 32;

impl BurstRule {
    /// By time of receipt, how long anything matters.
    pub fn keep_us(&self) -> i64 {
        self.links_us.max(self.after_send_us).max(self.hold_us).saturating_add(DELAY_US)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    Send,
    Open,
    Click,
}

/// Something that happened to a message.
#[derive(Debug, Clone, Copy)]
pub struct MessageEvent {
    /// Hash of source, message and person.
    pub message: u64,
    pub act: Act,
    /// Hash of the link; of clicks only.
    pub link: u64,
    pub time_us: i64,
    pub ingest_time_us: i64,
    /// It was a HEAD request: no mail reader makes one.
    pub is_head: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    Links,
    AfterSend,
    AfterHead,
}

impl Reason {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Links => "stream_burst_of_links",
            Self::AfterSend => "stream_click_on_delivery",
            Self::AfterHead => "stream_after_head",
        }
    }
}

/// When something happened, and when we heard of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct At {
    time_us: i64,
    ingest_time_us: i64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Message {
    touched_us: i64,
    sent: Option<At>,
    head: Option<At>,
    fired: Option<(At, Reason)>,
    links: Vec<(u64, At)>,
}

/// What is remembered of the messages of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bursts {
    rule: BurstRule,
    messages: HashMap<u64, Message>,
    /// Each remembered message once, about in the order they were last touched.
    by_age: VecDeque<(i64, u64)>,
    newest_us: i64,
}

impl Bursts {
    pub fn new(rule: BurstRule) -> Self {
        Self { rule, messages: HashMap::new(), by_age: VecDeque::new(), newest_us: i64::MIN }
    }

    pub fn rule(&self) -> &BurstRule {
        &self.rule
    }

    pub fn len(&self) -> usize {
        self.messages.len()
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Takes note of the time of receipt of any event of the partition, whether of a message or not.
    pub fn received(&mut self, ingest_time_us: i64) {
        self.newest_us = self.newest_us.max(ingest_time_us);
    }

    /// What is received before this no longer matters.
    pub fn horizon_us(&self) -> i64 {
        self.newest_us.saturating_sub(self.rule.keep_us())
    }

    /// Takes in one event, and says why it is a scanner's if it is.
    pub fn observe(&mut self, event: &MessageEvent) -> Option<Reason> {
        self.received(event.ingest_time_us);
        let horizon_us = self.horizon_us();
        if event.ingest_time_us < horizon_us {
            return None;
        }
        self.forget(horizon_us);
        let rule = self.rule;
        let message = self.messages.entry(event.message).or_insert_with(|| {
            self.by_age.push_back((event.ingest_time_us, event.message));
            Message::default()
        });
        message.touched_us = message.touched_us.max(event.ingest_time_us);
        let reason = message.observe(event, &rule, horizon_us);
        while self.messages.len() > rule.messages_max {
            let Some((_, oldest)) = self.by_age.pop_front() else { break };
            self.messages.remove(&oldest);
        }
        reason
    }

    fn forget(&mut self, horizon_us: i64) {
        while let Some((at_us, key)) = self.by_age.front().copied().filter(|(at_us, _)| *at_us < horizon_us) {
            self.by_age.pop_front();
            match self.messages.get(&key).map(|message| message.touched_us) {
                // Touched since: it waits once more from there.
                Some(touched_us) if touched_us >= horizon_us && touched_us > at_us => {
                    self.by_age.push_back((touched_us, key));
                }
                _ => _ = self.messages.remove(&key),
            }
        }
    }
}

impl Message {
    fn observe(&mut self, event: &MessageEvent, rule: &BurstRule, horizon_us: i64) -> Option<Reason> {
        let now = At { time_us: event.time_us, ingest_time_us: event.ingest_time_us };
        let is_known = |at: &At| at.ingest_time_us >= horizon_us;
        if event.act == Act::Send {
            self.sent = Some(now);
            return None;
        }
        let after = |then: &At| event.time_us.saturating_sub(then.time_us);
        let mut reason = None;
        if event.act == Act::Click {
            self.links.retain(|(link, at)| *link != event.link && is_known(at));
            if self.links.len() >= LINKS_MAX {
                self.links.remove(0);
            }
            self.links.push((event.link, now));
            // Webhooks do not keep the order: as many as lie before it, or as many as lie after it.
            let within = |from_us: i64, to_us: i64| {
                self.links.iter().filter(|(_, at)| (from_us..=to_us).contains(&after(at))).count()
            };
            if within(0, rule.links_us).max(within(-rule.links_us, 0)) >= rule.links_min {
                reason = Some(Reason::Links);
            } else if rule.after_send_us > 0
                && self
                    .sent
                    .as_ref()
                    .filter(|at| is_known(at))
                    .is_some_and(|at| (0..=rule.after_send_us).contains(&after(at)))
            {
                reason = Some(Reason::AfterSend);
            }
        }
        if event.is_head {
            self.head = Some(now);
        } else if reason.is_none()
            && self.head.as_ref().filter(|at| is_known(at)).is_some_and(|at| after(at).abs() <= rule.links_us)
        {
            reason = Some(Reason::AfterHead);
        }
        if let Some(reason) = reason {
            self.fired = Some((now, reason));
            return Some(reason);
        }
        let (at, reason) = self.fired.as_ref()?;
        (is_known(at) && (-rule.links_us..=rule.hold_us).contains(&after(at))).then_some(*reason)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: i64 = 1_000_000;

    fn event(act: Act, message: u64, link: u64, second: i64) -> MessageEvent {
        MessageEvent { message, act, link, time_us: second * S, ingest_time_us: second * S, is_head: false }
    }

    fn reasons(events: &[MessageEvent]) -> Vec<Option<Reason>> {
        let mut bursts = Bursts::new(BurstRule::default());
        events.iter().map(|event| bursts.observe(event)).collect()
    }

    #[test]
    fn three_links_in_ten_seconds_are_a_scanners_and_what_follows_too() {
        let click = |link, second| event(Act::Click, 1, link, second);
        let links = Some(Reason::Links);
        assert_eq!(reasons(&[click(1, 0), click(2, 4), click(3, 10)]), [None, None, links]);
        assert_eq!(reasons(&[click(1, 0), click(2, 4), click(3, 11)]), [None, None, None]);
        assert_eq!(reasons(&[click(1, 0), click(1, 1), click(2, 2), click(2, 3)]), [None; 4], "two links");
        let held = [click(1, 0), click(2, 1), click(3, 2), event(Act::Open, 1, 0, 30), click(1, 62), click(1, 63)];
        assert_eq!(reasons(&held), [None, None, links, links, links, None], "the person comes a minute later");
        let other = [click(1, 0), click(2, 1), click(3, 2), event(Act::Click, 2, 1, 3)];
        assert_eq!(reasons(&other)[3], None, "another message");
        let backwards = [click(1, 10), click(2, 5), click(3, 1)];
        assert_eq!(reasons(&backwards)[2], links, "a webhook may tell them backwards");
    }

    #[test]
    fn a_click_on_delivery_is_a_scanners() {
        let send = event(Act::Send, 1, 0, 100);
        let at = |second| reasons(&[send, event(Act::Click, 1, 1, second)])[1];
        assert_eq!(at(102), Some(Reason::AfterSend));
        assert_eq!((at(104), at(99)), (None, None));
        assert_eq!(reasons(&[send, event(Act::Open, 1, 0, 101)])[1], None, "a proxy may open at once");
    }

    #[test]
    fn what_follows_a_head_request_is_a_scanners() {
        let head = MessageEvent { is_head: true, ..event(Act::Click, 1, 1, 100) };
        let after = |second| reasons(&[head, event(Act::Open, 1, 0, second)])[1];
        assert_eq!((after(101), after(120)), (Some(Reason::AfterHead), None));
        assert_eq!(reasons(&[head]), [None], "itself it is a prefetch, as the door said");
    }

    #[test]
    fn what_is_remembered_is_bounded_by_number_and_by_age() {
        let rule = BurstRule { messages_max: 50, ..BurstRule::default() };
        let mut bursts = Bursts::new(rule);
        for number in 0..1_000 {
            bursts.observe(&event(Act::Click, number, 1, 1));
            assert!(bursts.len() <= 50 && bursts.by_age.len() == bursts.len());
        }
        for number in 0..40 {
            bursts.observe(&event(Act::Click, 5_000, number, 10 + i64::try_from(number).unwrap()));
        }
        assert!(bursts.messages[&5_000].links.len() <= LINKS_MAX);
        bursts.observe(&event(Act::Click, 7, 1, 100_000));
        assert_eq!(bursts.len(), 1, "all else is too old");
    }

    fn any_event() -> impl Strategy<Value = MessageEvent> {
        let act = prop_oneof![Just(Act::Send), Just(Act::Open), Just(Act::Click), Just(Act::Click)];
        (0_u64..3, act, 0_u64..5, -20_i64..20, proptest::bool::weighted(0.1), 0_i64..90).prop_map(
            |(message, act, link, off, is_head, step)| MessageEvent {
                message,
                act,
                link,
                time_us: off * S,
                ingest_time_us: step * S,
                is_head: is_head && act != Act::Send,
            },
        )
    }

    /// As a log has them: time of receipt grows, with some disorder.
    fn any_log() -> impl Strategy<Value = Vec<MessageEvent>> {
        proptest::collection::vec(any_event(), 0..120).prop_map(|mut events| {
            let mut clock_us = 0;
            for event in &mut events {
                clock_us += event.ingest_time_us;
                event.ingest_time_us = clock_us - (event.ingest_time_us % 7) * S;
                event.time_us += clock_us;
            }
            events
        })
    }

    proptest! {
        #[test]
        fn a_restart_goes_on_the_same_way(events in any_log(), cut in 0_usize..120) {
            let rule = BurstRule::default();
            let cut = cut.min(events.len());
            let mut running = Bursts::new(rule);
            for event in &events[..cut] {
                running.observe(event);
            }
            // From the rows of twice the time that matters, as the lake holds them.
            let mut rebuilt = Bursts::new(rule);
            let newest_us = events[..cut].iter().map(|event| event.ingest_time_us).max().unwrap_or(0);
            rebuilt.received(newest_us - rule.keep_us());
            for event in &events[..cut] {
                if event.ingest_time_us >= newest_us - 2 * rule.keep_us() {
                    rebuilt.observe(event);
                }
            }
            rebuilt.received(newest_us);
            for event in &events[cut..] {
                let reason = running.observe(event);
                prop_assert_eq!(rebuilt.observe(event), reason);
            }
        }
    }
}
