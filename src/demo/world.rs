//! The made-up world: campaigns, mails, visits and purchases whose truth was planted.
//!
//! In:      `testkit::world`.
//! Out:     its events through the door; attribution and experiment beside the truth.
//! Promise: what is compared are the line's answers and the world's own count, made apart from one another.

use tributary_query::Engine;
use tributary_schemas::{Clock, SystemClock};
use tributary_testkit::world::{Sender, Truth, World, WorldEvent, WorldSize};

use super::answers::{number, parse, rows};
use super::report::{Checks, Report};
use super::told;
use crate::import::{Door, ImportOptions, Mapping, Source, Summary, grouped, progress_bar, run};

pub(crate) const WEB: &str = "web";
pub(crate) const MAILER: &str = "mailer";

const SEED: u64 = 2_026;

/// Makes the world and sends it, the site's events and the mailer's by their own keys.
pub(crate) async fn send(
    url: &str,
    web_key: &str,
    mailer_key: &str,
    report: &mut Report,
    checks: &mut Checks,
) -> anyhow::Result<Truth> {
    let now_us = SystemClock.now_us();
    let World { events, truth } =
        tokio::task::spawn_blocking(move || World::generate(SEED, WorldSize::DEMO, now_us)).await?;
    for (sender, name, key) in [(Sender::Web, "website", web_key), (Sender::Mailer, "mailer", mailer_key)] {
        let of_sender = || events.iter().filter(|event| event.sender == sender);
        let sent = send_part(of_sender(), name, url, key).await?;
        told(report, checks, name, &sent, of_sender().count() as u64);
    }
    Ok(truth)
}

async fn send_part(
    events: impl Iterator<Item = &WorldEvent>,
    name: &str,
    url: &str,
    write_key: &str,
) -> anyhow::Result<Summary> {
    let lines: String = events.flat_map(|event| [event.json.to_string(), "\n".to_owned()]).collect();
    let source = Source::Bytes { name: format!("{name}.ndjson"), bytes: lines.into() };
    let door = Door::new(url, write_key)?;
    run(source, Mapping::default(), door, ImportOptions::default(), progress_bar("sending"), Default::default()).await
}

pub(crate) async fn tell(
    engine: &Engine,
    truth: &Truth,
    report: &mut Report,
    checks: &mut Checks,
) -> anyhow::Result<()> {
    let purchases = number(engine, "SELECT count(*) FROM events WHERE event_name = 'Order Completed'").await?;
    checks.equal("world: purchases", truth.purchases, purchases as u64);
    let value = "SELECT sum(value) FROM events WHERE event_name = 'Order Completed'";
    let revenue_cents = (100.0 * number(engine, value).await?).round() as i64;
    checks.equal("world: revenue in cents", truth.revenue_cents, revenue_cents);
    attribution(engine, truth, report, checks).await?;
    experiment(engine, truth, report, checks).await
}

async fn attribution(engine: &Engine, truth: &Truth, report: &mut Report, checks: &mut Checks) -> anyhow::Result<()> {
    report.line(&format!(
        "who brought the {} purchases? Three models, each beside the world's own count in brackets, and what the \
         channel truly caused:",
        grouped(truth.purchases)
    ));
    let models = ["last_touch", "first_touch", "linear"];
    let mut credits = Vec::new();
    for model in models {
        let sql = format!(
            "SELECT channel, sum(conversions) FROM attribution(model => '{model}', by => channel, lookback => '30 days',
                conversion => event_name = 'Order Completed') GROUP BY channel"
        );
        let found = rows(engine, &sql).await?;
        let found = found.into_iter().map(|row| Ok((row[0].clone(), parse(&row[1])?)));
        credits.push(found.collect::<anyhow::Result<std::collections::HashMap<String, f64>>>()?);
    }
    let mut table = Vec::new();
    for channel in &truth.channels {
        let mut line = vec![channel.channel.to_owned()];
        let own_count = [channel.last_touch, channel.first_touch, channel.linear];
        for ((model, credit), expected) in models.iter().zip(&credits).zip(own_count) {
            let found = credit.get(channel.channel).copied().unwrap_or(0.0);
            let what =
                format!("world: {model} credit of {}: {expected:.3} was expected, {found:.3} found", channel.channel);
            checks.holds(&what, (found - expected).abs() < 1e-3);
            line.push(format!("{found:.1} ({expected:.1})"));
        }
        line.push(channel.purchases_caused.to_string());
        table.push(line);
    }
    let none = |credit: &std::collections::HashMap<String, f64>| credit.get("(none)").copied().unwrap_or(0.0);
    let untouched = truth.purchases_untouched as f64;
    checks.holds(
        "world: purchases without a touch",
        credits.iter().all(|credit| (none(credit) - untouched).abs() < 1e-6),
    );
    report.table(&["channel", "last touch", "first touch", "linear", "truly caused"], &table);
    for (model, credit) in models.iter().zip(&credits) {
        let of = |index: usize| credit.get(truth.channels[index].channel).copied().unwrap_or(0.0);
        let in_order = (1..truth.channels.len()).all(|index| of(index - 1) > of(index));
        checks.holds(&format!("world: {model} finds the planted order of channels"), in_order);
    }
    report.line(&format!(
        "{} purchases had no campaign before them and are credited to none",
        grouped(truth.purchases_untouched)
    ));
    Ok(())
}

async fn experiment(engine: &Engine, truth: &Truth, report: &mut Report, checks: &mut Checks) -> anyhow::Result<()> {
    let planted = &truth.experiment;
    report.line("which subject line sells more? Two were tried on half of the people each:");
    let sql = format!(
        "SELECT variant, persons, conversions, metric_value, metric_low, metric_high, p_value, srm_p_value, verdict
        FROM experiment(name => '{}', conversion => event_name = 'Order Completed')",
        planted.experiment
    );
    let found = rows(engine, &sql).await?;
    checks.equal("world: variants of the experiment", planted.variants.len(), found.len());
    let percent = |cell: &str| parse(cell).map(|rate| format!("{:.1} %", 100.0 * rate));
    let mut table = Vec::new();
    for (row, variant) in found.iter().zip(&planted.variants) {
        checks.equal("world: variant", variant.variant, row[0].as_str());
        checks.equal(&format!("world: people shown {}", variant.variant), variant.persons, parse(&row[1])? as u64);
        checks.equal(&format!("world: buyers shown {}", variant.variant), variant.converted, parse(&row[2])? as u64);
        let interval = format!("{} to {}", percent(&row[4])?, percent(&row[5])?);
        table.push(vec![
            row[0].clone(),
            row[1].clone(),
            row[2].clone(),
            percent(&row[3])?,
            interval,
            variant.caused.to_string(),
        ]);
    }
    report.table(&["subject", "people", "bought", "share", "95 % sure", "truly caused"], &table);
    let Some(challenger) = found.get(1) else { return Ok(()) };
    let p_value = parse(&challenger[6])?;
    let more = parse(&challenger[3])? > parse(&found[0][3])?;
    let winner = if more { &challenger[0] } else { &found[0][0] };
    let verdict =
        if challenger[8].starts_with("winner") { format!("{winner} sells more") } else { challenger[8].clone() };
    report.line(&format!(
        "verdict: {verdict}. Were the two alike, shares this far apart would come up once in {} tests. Planted winner: {}",
        grouped((1.0 / p_value.max(1e-12)) as u64),
        planted.winner
    ));
    // The challenger was planted to win, so the verdict must say so and not only the shares.
    checks.equal("world: verdict of the experiment", "winner: treatment", challenger[8].as_str());
    checks.holds("world: the split of the experiment is as planned", 0.001 < parse(&challenger[7])?);
    checks.holds("world: the experiment finds the planted winner", winner == planted.winner && p_value < 0.05);
    Ok(())
}
