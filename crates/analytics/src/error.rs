//! What a caller did wrong.
//!
//! In:       nothing.
//! Out:      one enum for the crate; each variant carries the facts and is cured by fixing the question.
//! Promise:  no variant means "try again": nothing here touches the world, so the same question fails the same way.
//! Not here: broken invariants of ours, which panic with `expect` and say why they cannot be.

/// Why a question cannot be answered. The advice is always the same: change the question.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnalyticsError {
    #[error("a funnel has 1 to {max} steps, not {given}")]
    StepCount { given: usize, max: usize },
    #[error("funnel mode '{given}' is not known; allowed: {allowed}")]
    FunnelMode { given: String, allowed: &'static str },
    #[error("funnel modes '{first}' and '{second}' do not go together")]
    FunnelModePair { first: &'static str, second: &'static str },
    #[error("tie order '{given}' is not known; allowed: {allowed}")]
    TieOrder { given: String, allowed: &'static str },
    #[error("{what} '{given}' is not known; allowed: {allowed}")]
    FunnelWord { what: &'static str, given: String, allowed: &'static str },
    #[error("{what} of a funnel is {least} or more, not {given}")]
    FunnelNumber { what: &'static str, least: i64, given: i64 },
    #[error("time zone '{given}' is not known; take a name of the IANA database, such as Europe/Berlin")]
    FunnelZone { given: String },
    #[error(
        "step {step} of a funnel of {step_count} must not be optional: the first and the last say what the funnel is"
    )]
    FunnelOptionalEnd { step: usize, step_count: usize },
    #[error(
        "an exclusion lies from a step to a later one of {step_count} and has a bit below 32, not from {from_step} to {to_step} with bit {bit}"
    )]
    FunnelExclusion { from_step: usize, to_step: usize, bit: u32, step_count: usize },
    #[error("a funnel cannot be answered exactly with both {first} and {second}; leave one out")]
    FunnelTogether { first: &'static str, second: &'static str },
    #[error("attribution model '{given}' is not known; allowed: {allowed}")]
    AttributionModel { given: String, allowed: &'static str },
    #[error("a time of decay is longer than 0, not {given_us} microseconds")]
    DecayTime { given_us: i64 },
    #[error("a ratio of decay is above 0 and at most 1, not {given}")]
    DecayRatio { given: String },
    #[error("shares of credit are 0 or more and not all 0: {given}")]
    CreditShares { given: String },
    #[error("a view weighs from 0 to 1 of a click, not {given}")]
    ViewWeight { given: String },
    #[error("{given} channels are too many; at most {max}")]
    ChannelCount { given: u32, max: u32 },
    #[error("channel {given} of a path is not below the channel count, {channel_count}")]
    ChannelCode { given: u32, channel_count: u32 },
    #[error("a path has at least one touch")]
    EmptyPath,
    #[error("a path's value is not negative and comes with conversions: {value_micros} micros of {conversion_count}")]
    PathValue { value_micros: i64, conversion_count: u64 },
    #[error("a Markov order is 1 to {max} and {channel_count} channels to its power fit 64 bits; {given} is none")]
    MarkovOrder { given: usize, max: usize, channel_count: u32 },
    #[error("the chain has {given} states; at most {max}. Take a lower order or fewer channels")]
    StateCount { given: usize, max: usize },
    #[error("coalitions of {given} channels are too many to look at each; at most {max}, or draw orders")]
    PlayerCount { given: u32, max: u32 },
    #[error("prior journeys are 0 or more, not {given}")]
    PriorJourneys { given: String },
    #[error("a split has one weight per arm, each 0 or more: {arm_count} arms, {weight_count} weights")]
    SplitWeights { arm_count: usize, weight_count: usize },
    #[error("alpha is between 0 and 1, not {given}")]
    Alpha { given: String },
    #[error("{success_count} successes among {unit_count} units")]
    Proportion { success_count: u64, unit_count: u64 },
    #[error("a direction of paths '{given}' is not known; allowed: {allowed}")]
    PathDirection { given: String, allowed: &'static str },
    #[error(
        "paths of direction '{direction}' have no place for a condition of {condition}; leave it out or take 'between'"
    )]
    PathCondition { direction: String, condition: &'static str },
    #[error("which occurrences begin a path: '{given}' is not known; allowed: {allowed}")]
    PathOccurrence { given: String, allowed: &'static str },
    #[error("a path keeps 1 to {max} steps, not {given}")]
    PathStepCount { given: usize, max: usize },
    #[error("a gap between sessions is 0 or longer, not {given_us} microseconds")]
    SessionGap { given_us: i64 },
    #[error("a node's code is at most {max}, not {given}; number the nodes from 0")]
    NodeCode { given: u32, max: u32 },
    #[error("an n-gram has 1 to {max} nodes, not {given}")]
    NGramLength { given: usize, max: usize },
    #[error("a report shows at most {max} of these, not {given}")]
    ReportLimit { given: usize, max: usize },
    #[error("a key of {length_bytes} bytes is none of a count of paths; make the runs again")]
    PathKey { length_bytes: usize },
    #[error("there is no time zone '{given}'; take an IANA name, such as Europe/Berlin")]
    TimeZone { given: String },
    #[error("period '{given}' is not known; allowed: {allowed}")]
    Period { given: String, allowed: &'static str },
    #[error("week start '{given}' is not known; allowed: {allowed}")]
    WeekStart { given: String, allowed: &'static str },
    #[error("a window is longer than 0, and of whole hours if it begins on the hour, not {given_us} microseconds")]
    WindowLength { given_us: i64 },
    #[error("brackets of periods follow one another without overlap, 0 or later: {given}")]
    Brackets { given: String },
    #[error(
        "{rows} periods down and {columns} across are too many, at most {max} cells; take longer periods, or fewer"
    )]
    CellCount { rows: u64, columns: u64, max: u64 },
    #[error("a range of times ends after it begins")]
    EmptyRange,
    #[error("active units are counted in 1 to {max} windows, each of 1 to {length_max} periods, not {given}")]
    ActiveWindows { given: String, max: usize, length_max: u32 },
    #[error("units are cut into 2 to {max} parts, not {given}")]
    TileCount { given: u32, max: u32 },
}
