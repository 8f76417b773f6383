//! Journeys: the path of touches that leads to a conversion, or to none.
//!
//! In:       one person's touches in order, their conversions in order, a path rule.
//! Out:      for each conversion the touches that may have had a part in it, in order.
//! Promise:  the steps are always taken in the same order: lookback by kind, touches already used, double clicks, views,
//!           direct, transforms. Each step only takes touches away.
//! Not here: what each touch gets (`rule.rs`), which events are touches (`query`).

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::{Touch, Transform, lookback};
use crate::error::AnalyticsError;

/// What sort of meeting a touch was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TouchKind {
    Click,
    /// Seen, not clicked: an advert, a mail that was opened.
    Impression,
    /// Anything else: a visit that nobody's click brought, a call, a fair.
    Other,
}

/// A touch and what path and credit rules ask of it. Texts are dictionary codes of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarketingTouch {
    pub touch: Touch,
    pub kind: TouchKind,
    /// What credit is for: a channel, a campaign, source and medium together.
    pub channel: u32,
    /// All that two events share if they are one touch told twice: source, medium, campaign, ad, kind.
    pub mark: u32,
    /// Came by itself: typed the address, used a bookmark.
    pub is_direct: bool,
    pub is_paid: bool,
}

/// One conversion of a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conversion {
    pub time_us: i64,
    /// Millionths of a currency; negative for a refund.
    pub value_micros: i64,
    pub milestones: Milestones,
}

impl Conversion {
    pub fn new(time_us: i64, value_micros: i64) -> Self {
        Self { time_us, value_micros, milestones: Milestones::default() }
    }
}

/// When the person became a lead, and when an opportunity (a deal that sales works on); `None` if never or not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Milestones {
    pub lead_time_us: Option<i64>,
    pub opportunity_time_us: Option<i64>,
}

/// How far back each kind of touch counts, both ends inclusive; a negative one: never.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lookbacks {
    pub click_us: i64,
    pub impression_us: i64,
    pub other_us: i64,
}

impl Lookbacks {
    /// The same for all kinds.
    pub fn of_all(lookback_us: i64) -> Self {
        Self { click_us: lookback_us, impression_us: lookback_us, other_us: lookback_us }
    }

    fn of(self, kind: TouchKind) -> i64 {
        match kind {
            TouchKind::Click => self.click_us,
            TouchKind::Impression => self.impression_us,
            TouchKind::Other => self.other_us,
        }
    }

    fn longest_us(self) -> i64 {
        self.click_us.max(self.impression_us).max(self.other_us)
    }
}

/// Which of two touches with one mark, close in time, is the other told again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DoubleClicks {
    Keep,
    /// One at most so long after the last that was *kept* goes: a burst keeps one touch for each such length.
    DropWithinOfKept {
        same_touch_us: i64,
    },
    /// One at most so long after the one before it, *kept or not*, goes: a burst keeps one touch however long it lasts.
    DropWithinOfPrevious {
        same_touch_us: i64,
    },
}

/// What a touch counts that was seen and not clicked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Views {
    /// As much as a click.
    Include,
    /// Only where no click is on the path; what measurement partners of mobile adverts do.
    OnlyWithoutClick,
    /// So much of what a click would get: from 0 to 1. It changes credit only beside touches that weigh more.
    Weigh { ratio: f64 },
}

/// What a touch counts that nobody's marketing brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direct {
    Keep,
    /// Left out unless the whole path is direct, as Google Analytics 4 has it.
    DropUnlessAlone,
}

/// What a person's second conversion sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TouchUse {
    /// All touches in the lookback again.
    Reuse,
    /// Only touches later than the last conversion before it. Conversions of one time see the same touches.
    Reset,
}

/// Which touches make up the path to a conversion.
#[derive(Debug, Clone, PartialEq)]
pub struct PathRule {
    pub lookbacks: Lookbacks,
    /// Whether a touch at the conversion's own microsecond is before it.
    pub own_time_counts: bool,
    pub touch_use: TouchUse,
    pub double_clicks: DoubleClicks,
    pub views: Views,
    pub direct: Direct,
    /// Taken one after the other.
    pub transforms: Vec<Transform>,
}

impl PathRule {
    /// All touches within the lookback, as they are.
    pub fn plain(lookback_us: i64) -> Self {
        Self {
            lookbacks: Lookbacks::of_all(lookback_us),
            own_time_counts: true,
            touch_use: TouchUse::Reuse,
            double_clicks: DoubleClicks::Keep,
            views: Views::Include,
            direct: Direct::Keep,
            transforms: Vec::new(),
        }
    }

    /// Whether a path is all touches of a stretch of time, whatever they are.
    fn takes_all_in_reach(&self) -> bool {
        let Lookbacks { click_us, impression_us, other_us } = self.lookbacks;
        click_us == impression_us
            && impression_us == other_us
            && self.own_time_counts
            && self.touch_use == TouchUse::Reuse
            && self.double_clicks == DoubleClicks::Keep
            // Weighing changes credit, not the path.
            && self.views != Views::OnlyWithoutClick
            && self.direct == Direct::Keep
            && self.transforms.is_empty()
    }

    /// The rule, if its numbers make sense: call this once before the journeys.
    pub fn checked(self) -> Result<Self, AnalyticsError> {
        match self.views {
            Views::Weigh { ratio } if !(0.0..=1.0).contains(&ratio) => {
                Err(AnalyticsError::ViewWeight { given: ratio.to_string() })
            }
            _ => Ok(self),
        }
    }
}

/// The path to each conversion of one person.
///
/// * `touches`: in the order of `Touch`. `conversions`: by time.
/// * Returns one path per conversion, in the same order; empty where none of the touches counts.
///
/// Source: `docs/methods.md#paths`.
pub fn paths_to_conversions(
    rule: &PathRule,
    touches: &[MarketingTouch],
    conversions: &[Conversion],
) -> Vec<Vec<MarketingTouch>> {
    let mut paths = Vec::with_capacity(conversions.len());
    _ = visit_paths_to_conversions(rule, touches, conversions, |_, path| {
        paths.push(path.to_vec());
        ControlFlow::<()>::Continue(())
    });
    paths
}

/// The same, one path at a time: together they may be as many as touches times conversions.
///
/// * `visit`: given the conversion's place and its path; `Break` ends it.
pub fn visit_paths_to_conversions<B>(
    rule: &PathRule,
    touches: &[MarketingTouch],
    conversions: &[Conversion],
    mut visit: impl FnMut(usize, &[MarketingTouch]) -> ControlFlow<B>,
) -> ControlFlow<B> {
    debug_assert!(conversions.is_sorted_by_key(|conversion| conversion.time_us), "conversions come in time order");
    let takes_all_in_reach = rule.takes_all_in_reach();
    let mut room = Vec::new();
    for (place, conversion) in conversions.iter().enumerate() {
        let earlier = conversions.partition_point(|other| other.time_us < conversion.time_us);
        let previous_us = earlier.checked_sub(1).map(|last| conversions[last].time_us);
        let path = if takes_all_in_reach {
            // Nothing is taken out of the middle: the path lies there as it is.
            let reach = lookback::range_by(
                touches,
                |touch| touch.touch.time_us,
                conversion.time_us,
                rule.lookbacks.longest_us(),
            );
            &touches[reach]
        } else {
            path_before(rule, touches, previous_us, conversion.time_us, &mut room);
            &room
        };
        visit(place, path)?;
    }
    ControlFlow::Continue(())
}

/// The path of a person who did not convert (or not since `converted_us`): the window ends at their last touch.
pub fn path_without_conversion(
    rule: &PathRule,
    touches: &[MarketingTouch],
    converted_us: Option<i64>,
) -> Vec<MarketingTouch> {
    let unconverted = PathRule { own_time_counts: true, touch_use: TouchUse::Reset, ..rule.clone() };
    let mut path = Vec::new();
    if let Some(last) = touches.last() {
        path_before(&unconverted, touches, converted_us, last.touch.time_us, &mut path);
    }
    path
}

/// * `previous_us`: the time of the last earlier conversion; only looked at by `TouchUse::Reset`.
fn path_before(
    rule: &PathRule,
    touches: &[MarketingTouch],
    previous_us: Option<i64>,
    end_us: i64,
    path: &mut Vec<MarketingTouch>,
) {
    let range = lookback::range_by(touches, |touch| touch.touch.time_us, end_us, rule.lookbacks.longest_us());
    let used_until_us = previous_us.filter(|_| rule.touch_use == TouchUse::Reset);
    let counts = |touch: &&MarketingTouch| {
        let time_us = touch.touch.time_us;
        let age_us = end_us.saturating_sub(time_us);
        age_us <= rule.lookbacks.of(touch.kind)
            && (rule.own_time_counts || time_us < end_us)
            && used_until_us.is_none_or(|used_us| used_us < time_us)
    };
    path.clear();
    path.extend(touches[range].iter().filter(counts).copied());
    drop_double_clicks(rule.double_clicks, path);
    let has_click = path.iter().any(|touch| touch.kind == TouchKind::Click);
    if rule.views == Views::OnlyWithoutClick && has_click {
        path.retain(|touch| touch.kind != TouchKind::Impression);
    }
    if rule.direct == Direct::DropUnlessAlone && path.iter().any(|touch| !touch.is_direct) {
        path.retain(|touch| !touch.is_direct);
    }
    for transform in &rule.transforms {
        let channels: Vec<u32> = path.iter().map(|touch| touch.channel).collect();
        // Places ascend, so each moves to where nothing is needed any more.
        let kept = transform.kept(&channels);
        for (to, from) in kept.iter().enumerate() {
            path[to] = path[*from];
        }
        path.truncate(kept.len());
    }
}

fn drop_double_clicks(rule: DoubleClicks, path: &mut Vec<MarketingTouch>) {
    let (same_touch_us, drops_push_on) = match rule {
        DoubleClicks::Keep => return,
        DoubleClicks::DropWithinOfKept { same_touch_us } => (same_touch_us, false),
        DoubleClicks::DropWithinOfPrevious { same_touch_us } => (same_touch_us, true),
    };
    let mut last_us = HashMap::new();
    path.retain(|touch| {
        let time_us = touch.touch.time_us;
        let is_double =
            last_us.get(&touch.mark).is_some_and(|last_us: &i64| time_us.saturating_sub(*last_us) <= same_touch_us);
        if !is_double || drops_push_on {
            last_us.insert(touch.mark, time_us);
        }
        !is_double
    });
}
