//! How fast models learn from paths: a chain of order 1 to 4 with all removal effects, Shapley values, credit by rule.
//!
//! In:       a generated table: 300,000 distinct paths over 12 channels, of 1 to 24 touches, one journey in nine converting.
//! Out:      a line a number. `cargo bench -p tributary-analytics --bench attribution`.
//! Promise:  the same paths in every run; making them is not timed. One thread.
//! Not here: a verdict. ChannelAttribution 2.2.5 took 5.2 s for order 3 on as many paths of another generator, simulating to
//!           within 5 per cent; `docs/bench.md` says on what a number was measured.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use tributary_analytics::attribution::markov::{Chain, Nulls, bootstrap_shares, fit_orders};
use tributary_analytics::attribution::shapley::{
    Effort, Measure, cumulative_shapley, leave_one_out, markov_shapley, rate_shapley,
};
use tributary_analytics::attribution::{
    Conversion, CreditRule, Crediting, DoubleClicks, Lookbacks, MarketingTouch, PathCounts, PathRule, PathTable, Touch,
    TouchKind, Views, paths_to_conversions,
};
use tributary_analytics::stats::Alpha;

const PATH_COUNT: usize = 300_000;
const CHANNEL_COUNT: u32 = 12;

/// A tiny generator of pseudo-random numbers (SplitMix64), so that the bench needs nothing.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % sides
    }

    /// The next channel: often the same again, else more often a small code.
    fn channel(&mut self, last: Option<u32>, channel_count: u32) -> u32 {
        match last {
            Some(last) if self.roll(100) < 30 => last,
            _ => {
                let count = u64::from(channel_count);
                u32::try_from(self.roll(count).min(self.roll(count))).expect("a small number")
            }
        }
    }
}

/// Journeys until there are so many distinct paths.
fn table(path_count: usize, channel_count: u32) -> PathTable {
    let mut dice = Dice(11);
    let mut counts_by_path: BTreeMap<Vec<u32>, PathCounts> = BTreeMap::new();
    while counts_by_path.len() < path_count {
        let mut path = Vec::new();
        loop {
            path.push(dice.channel(path.last().copied(), channel_count));
            if 24 <= path.len() || dice.roll(100) < 15 {
                break;
            }
        }
        let counts = counts_by_path.entry(path).or_default();
        if dice.roll(9) == 0 {
            counts.conversions += 1;
            counts.value_micros += i64::try_from(dice.roll(100_000_000)).expect("a small number");
        } else {
            counts.nulls += 1;
        }
    }
    let mut table = PathTable::new(channel_count).expect("few channels");
    for (path, counts) in counts_by_path {
        table.push(&path, counts).expect("codes are below the count");
    }
    table
}

/// How long this thread has had a processor, where the system tells it (Linux): what others do on the machine is then no
/// part of the number.
fn processor_ns() -> Option<u64> {
    std::fs::read_to_string("/proc/thread-self/schedstat").ok()?.split(' ').next()?.parse().ok()
}

fn timed<R>(name: &str, work: impl FnOnce() -> R) -> R {
    let (begun, begun_ns) = (Instant::now(), processor_ns());
    let result = black_box(work());
    let seconds = match (begun_ns, processor_ns()) {
        (Some(begun_ns), Some(now_ns)) => (now_ns - begun_ns) as f64 / 1e9,
        _ => begun.elapsed().as_secs_f64(),
    };
    println!("{name}: {seconds:.3} s");
    result
}

fn markov(table: &PathTable, orders: std::ops::RangeInclusive<usize>) {
    for order in orders {
        let chain = timed(&format!("order {order}, the chain"), || {
            Chain::build(table, order, Nulls::Count).expect("the order is small")
        });
        let transition_count = chain.transitions().count();
        let effects = timed(
            &format!(
                "order {order}, {} solutions over {} states and {transition_count} transitions",
                table.channel_count() + 1,
                chain.state_count()
            ),
            || chain.removal_effects(),
        );
        let totals = table.totals();
        let ratio = totals.conversions as f64 / totals.journeys() as f64;
        println!(
            "order {order}, off the known conversion ratio by {:.1e}, bound {:.1e}",
            (effects.conversion_ratio - ratio).abs(),
            effects.mass_left
        );
    }
}

/// Each of so many people has twenty touches and a conversion.
fn by_rule() {
    const PERSON_COUNT: usize = 100_000;
    let mut dice = Dice(5);
    let touches: Vec<MarketingTouch> = (0..20_i64)
        .map(|at| {
            let channel = dice.channel(None, CHANNEL_COUNT);
            MarketingTouch {
                touch: Touch { time_us: at * 86_400_000_000, index: at.unsigned_abs() },
                kind: if dice.roll(3) == 0 { TouchKind::Impression } else { TouchKind::Click },
                channel,
                mark: channel,
                is_direct: channel == 3,
                is_paid: channel < 3,
            }
        })
        .collect();
    let rule = PathRule {
        lookbacks: Lookbacks { click_us: 30 * 86_400_000_000, impression_us: 86_400_000_000, other_us: -1 },
        double_clicks: DoubleClicks::DropWithinOfKept { same_touch_us: 30_000_000 },
        ..PathRule::plain(0)
    };
    let conversion = Conversion::new(20 * 86_400_000_000, 49_990_000);
    timed(
        &format!("{PERSON_COUNT} conversions of twenty touches, one path and {} rules each", CreditRule::NAMED.len()),
        || {
            let mut crediting = Crediting::default();
            for _ in 0..PERSON_COUNT {
                let path = &paths_to_conversions(&rule, black_box(&touches), &[conversion])[0];
                for (_, credit_rule) in CreditRule::NAMED {
                    black_box(crediting.credit(credit_rule, Views::Include, path, &conversion));
                }
            }
        },
    );
}

fn main() {
    let twelve = table(PATH_COUNT, CHANNEL_COUNT);
    let touch_count: usize = twelve.rows().map(|row| row.channels.len()).sum();
    println!("{PATH_COUNT} paths, {touch_count} touches, {} journeys", twelve.totals().journeys());
    markov(&twelve, 1..=4);
    let forty = table(PATH_COUNT, 40);
    println!("40 channels:");
    markov(&forty, 3..=4);

    timed("cumulative", || cumulative_shapley(&twelve));
    timed("leave one out", || leave_one_out(&twelve));
    let exact = Effort::Exact;
    timed("rate game, 12 channels", || rate_shapley(&twelve, Measure::Conversions, 0.0, exact).expect("few channels"));
    for order in [1, 2] {
        timed(&format!("Markov game of order {order}, 12 channels"), || {
            markov_shapley(&twelve, order, Nulls::Count, Measure::Conversions, exact).expect("few channels")
        });
    }
    let twenty = table(PATH_COUNT, 20);
    timed("rate game, 20 channels", || rate_shapley(&twenty, Measure::Conversions, 0.0, exact).expect("few channels"));
    timed("Markov game of order 1, 20 channels", || {
        markov_shapley(&twenty, 1, Nulls::Count, Measure::Conversions, exact).expect("few channels")
    });
    timed("orders 1 to 4 compared", || fit_orders(&twelve, 4, 1).expect("the orders are small"));
    let small = table(10_000, CHANNEL_COUNT);
    timed("200 tables of 10,000 paths drawn, order 2", || {
        let alpha = Alpha::new(0.05).expect("between 0 and 1");
        bootstrap_shares(&small, 2, Nulls::Count, 200, alpha, 1).expect("the order is small")
    });
    by_rule();
}
