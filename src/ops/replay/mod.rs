//! `tributary replay`: the lake made anew from the log, beside the old one, checked, and put in its place where asked.
//!
//! In:       a log nobody else holds; the lake there is, if there is one.
//! Out:      a new lake; what is the same in both; with `--swap`, the new one in the place of the old.
//! Promise:  the same job makes it that makes every lake, so a replay that is killed goes on where its tables stand. The
//!           old lake is not touched until the new one has every record of the log in exactly one row; then it is put
//!           aside, not deleted.
//! Not here: moving folders (`swap`), what the person sees meanwhile (`progress`).

mod progress;
mod swap;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tributary_lake::Lake;
use tributary_pipeline::{Assignment, Parts, PipelineSettings, Tables};
use tributary_schemas::{Clock, SystemClock, Table};

use super::look::Look;
use super::report::TopicReport;
use super::status::{all_books, running};
use crate::cli::UserError;
use crate::import::grouped;
use crate::serve::{LogParts, Signals, existing_log, lake_folder};
use crate::settings::{LogKind, Settings, SettingsError};
use progress::Progress;
pub(crate) use swap::finish as finish_swap;

#[derive(clap::Args)]
pub(crate) struct ReplayArgs {
    /// Data folder
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where the new lake is made; by default beside the old one, under its name and `.replay`. One that a replay was
    /// making is gone on with
    #[arg(long, value_name = "FOLDER or URL")]
    to: Option<String>,
    /// Put it in the place of the old one when it is whole; the old one is kept beside it
    #[arg(long)]
    swap: bool,
    /// Also from a log whose first records are gone
    #[arg(long)]
    from_earliest: bool,
}

pub(crate) async fn command(
    args: ReplayArgs,
    load: impl FnOnce(Option<PathBuf>) -> Result<Settings, SettingsError>,
) -> anyhow::Result<()> {
    let settings = load(args.data.clone())?;
    if let Some(folder) = lake_folder(&settings)
        && let Some(told) = swap::finish(&folder)?
    {
        println!("{told}");
    }
    if let Some(url) = running(&settings).await.filter(|_| args.swap || settings.log.kind == LogKind::Embedded) {
        return Err(
            UserError(format!("a server runs on this folder ({url}); stop it first: it writes the old lake")).into()
        );
    }
    let to = target(&args, &settings)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let Some(log) = existing_log(&settings, clock).await? else {
        return Err(UserError(format!(
            "there is no log of ours to replay in {}; name a data folder with --data",
            settings.log.dir.display()
        ))
        .into());
    };
    let replayed = replay(&args, &settings, &log, &to).await;
    // Let go of before folders are moved: whoever starts next needs it.
    let closed = log.log.close().await;
    replayed?;
    closed?;
    if args.swap {
        let folder = lake_folder(&settings).context("it was checked before")?;
        println!("{}", swap::swap(&folder, Path::new(&to))?);
    } else {
        println!("the old lake stays as it is; put the new one in its place with the same command and --swap");
    }
    Ok(())
}

/// Where the new lake goes, or why it cannot.
fn target(args: &ReplayArgs, settings: &Settings) -> anyhow::Result<String> {
    let old = lake_folder(settings);
    let to = match (&args.to, &old) {
        (Some(to), _) => to.clone(),
        (None, Some(old)) => swap::beside(old, "replay").display().to_string(),
        (None, None) => {
            let advice =
                format!("{} is no folder of this machine; say with --to where the new lake goes", settings.lake.url);
            return Err(UserError(advice).into());
        }
    };
    if args.swap {
        let is_folder = !to.contains("://");
        let same_parent = old.as_ref().is_some_and(|old| Path::new(&to).parent() == old.parent());
        if !is_folder || !same_parent {
            let advice = "only a folder beside the old lake can be put in its place; leave --to away, or replay without \
                          --swap and set lake.url to the new lake";
            return Err(UserError(advice.to_owned()).into());
        }
    }
    if old.as_ref().is_some_and(|old| old == Path::new(&to)) || to == settings.lake.url {
        return Err(UserError(
            "the new lake cannot be made in the place of the old one; choose another with --to".to_owned(),
        )
        .into());
    }
    if !to.contains("://") {
        let folder = Path::new(&to);
        let is_lake = folder.join(Table::Events.name()).join("_delta_log").is_dir();
        let is_empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
        // A replay that was killed before its first table was made leaves an empty table folder at most.
        let is_begun = Table::ALL.iter().any(|table| folder.join(table.name()).is_dir());
        if !is_lake && !is_empty && !is_begun {
            return Err(
                UserError(format!("{to} holds something that is no lake; choose another place with --to")).into()
            );
        }
    }
    Ok(to)
}

async fn replay(args: &ReplayArgs, settings: &Settings, log: &LogParts, to: &str) -> anyhow::Result<()> {
    let look = Look::take(Some(log), None).await?;
    let total: u64 = look.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.next - p.earliest).sum();
    if let Some(gone) = what_is_gone(&look.topics) {
        if !args.from_earliest {
            return Err(UserError(format!(
                "the log no longer holds its first records: {gone}. A lake made from it would lack them, and sessions that \
                 began in them. Keep the old lake; or, if that is lost, take what is left with --from-earliest"
            ))
            .into());
        }
        println!("the new lake will lack what the log no longer holds: {gone}");
    }
    let lake = Lake::open(tributary_lake::LakeSettings { url: to.to_owned(), ..settings.lake.clone() })
        .await
        .with_context(|| format!("the new lake in {to} cannot be opened"))?;
    let already = standing_at(&lake, log).await?;
    let begun_with = sum(&already, &look.topics);
    match begun_with {
        0 => println!("replaying {} records into {to}", grouped(total)),
        done => println!("going on with the lake in {to}: {} of {} records are in it", grouped(done), grouped(total)),
    }
    make(settings, log, &lake, &look.topics).await?;
    verify(settings, log, &lake, &look, to).await
}

/// Offsets below the first that is still there, in words.
fn what_is_gone(topics: &[TopicReport]) -> Option<String> {
    let gone: Vec<String> = topics
        .iter()
        .flat_map(|topic| {
            topic.partitions.iter().filter(|partition| partition.earliest > 0).map(move |partition| {
                format!(
                    "partition {} of topic {} up to offset {}",
                    partition.partition,
                    topic.topic,
                    partition.earliest - 1
                )
            })
        })
        .collect();
    (!gone.is_empty()).then(|| gone.join(", "))
}

/// Where the lake stands, topic by topic as in a look.
type At = Vec<Vec<(u32, u64)>>;

async fn standing_at(lake: &Lake, log: &LogParts) -> anyhow::Result<At> {
    let standing = Tables::read(lake).await?.standing(&log.events, &log.dead_letters);
    Ok(vec![
        standing.events.iter().map(|at| (at.partition, at.events.unwrap_or(0))).collect(),
        standing.dead_letters.iter().map(|(partition, at)| (*partition, at.unwrap_or(0))).collect(),
    ])
}

/// Records that are in the lake.
fn sum(at: &At, topics: &[TopicReport]) -> u64 {
    let mut sum = 0;
    for (at, topic) in at.iter().zip(topics) {
        for partition in &topic.partitions {
            let reached = at.iter().find(|(other, _)| *other == partition.partition).map_or(0, |(_, reached)| *reached);
            sum += reached.min(partition.next).saturating_sub(partition.earliest);
        }
    }
    sum
}

/// Runs the stream job until the lake has all the log held when it was looked at.
async fn make(settings: &Settings, log: &LogParts, lake: &Lake, topics: &[TopicReport]) -> anyhow::Result<()> {
    // One worker for all partitions, however many share them while the line runs.
    let pipeline = PipelineSettings {
        assignment: Assignment::Static,
        worker_ordinal: 0,
        worker_count: 1,
        ..settings.pipeline.clone()
    };
    let mut told = Progress::begin(topics);
    let mut signals = Signals::listen()?;
    loop {
        let (progress_in, mut progress) = watch::channel(tributary_pipeline::Progress::default());
        let parts = Parts {
            log: log.log.clone(),
            lake: lake.clone(),
            events: log.events.clone(),
            dead_letters: log.dead_letters.clone(),
            progress: progress_in,
        };
        let stop = CancellationToken::new();
        let mut job = tokio::spawn(tributary_pipeline::run(pipeline.clone(), parts, stop.clone()));
        let ended = loop {
            let now = progress.borrow_and_update().clone();
            let at: At = vec![now.events, now.dead_letters];
            let left = told.total().saturating_sub(sum(&at, topics));
            told.tell(&at);
            // What is left is read at once: the stop takes it in and commits, and waits for no timer.
            if !at[0].is_empty() && left <= pipeline.commit_rows_max as u64 && !stop.is_cancelled() {
                stop.cancel();
            }
            tokio::select! {
                changed = progress.changed(), if !stop.is_cancelled() => {
                    // The job has ended: its own words follow.
                    if changed.is_err() { stop.cancel(); }
                }
                () = told.next_line() => {}
                ended = &mut job => break ended,
                name = signals.next() => {
                    stop.cancel();
                    drop(job.await);
                    told.end();
                    bail!("interrupted by {name}; the same command goes on from here");
                }
            }
        };
        if let Err(error) = ended.context("the stream job broke off")? {
            told.end();
            return Err(anyhow::Error::new(error)
                .context("the stream job failed; mend what it says and run the same command again"));
        }
        let at = standing_at(lake, log).await?;
        let before = told.reached();
        told.tell(&at);
        if sum(&at, topics) >= told.total() {
            told.end();
            return Ok(());
        }
        // The bounded drain of the job was too short for what was left; it goes on where it stands.
        anyhow::ensure!(
            sum(&at, topics) > before,
            "the stream job does not come on; see what it says with RUST_LOG=info"
        );
    }
}

/// Every record of the log in exactly one row; and what differs from the old lake.
async fn verify(settings: &Settings, log: &LogParts, lake: &Lake, look: &Look, to: &str) -> anyhow::Result<()> {
    let tables = Tables::read(lake).await?;
    let standing = tables.standing(&log.events, &log.dead_letters);
    let books = all_books(look, &tables, &standing, log).await?;
    if books.difference > 0 {
        bail!(
            "the new lake is not whole: {} offsets are in no table, first {}, and {} are in twice. The old one is untouched",
            books.missing,
            books.first_missing.as_deref().unwrap_or("-"),
            books.doubled
        );
    }
    println!("whole: each of {} records is in exactly one row of {to}", grouped(books.offsets));
    let Some(old) = crate::serve::existing_lake(settings).await.ok().flatten() else {
        println!("there is no old lake to compare it with");
        return Ok(());
    };
    let old = Tables::read(&old).await?;
    let old_standing = old.standing(&log.events, &log.dead_letters);
    let same_place = standing.events.iter().zip(&old_standing.events).all(|(new, old)| new.events == old.events)
        && standing.dead_letters == old_standing.dead_letters;
    for (new, old) in tables.all().into_iter().zip(old.all()) {
        let rows = |files: &[tributary_lake::DataFile]| files.iter().map(|file| file.rows).sum::<u64>();
        let (after, before) = (rows(new.files()), rows(old.files()));
        // How often a session was told depends on where commits were cut.
        let word = match (new.table() == Table::Sessions, after == before) {
            (true, _) => "versions",
            (false, true) => "rows, the same",
            (false, false) => "rows, NOT the same",
        };
        println!("  {}: {} {word} ({} in the old lake)", new.table().name(), grouped(after), grouped(before));
    }
    if !same_place {
        println!("  the old lake stands elsewhere in the log, so counts may differ");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::report::PartitionReport;
    use super::*;

    #[test]
    fn what_is_gone_is_named_and_what_is_in_is_counted() {
        let partition = |partition, earliest, next| PartitionReport { partition, earliest, next, ..Default::default() };
        let topic = |partitions| TopicReport { topic: "t".to_owned(), partitions, ..Default::default() };
        assert_eq!(what_is_gone(&[topic(vec![partition(0, 0, 9)])]), None);
        let topics = [topic(vec![partition(0, 0, 9), partition(1, 4, 9)]), topic(vec![partition(0, 0, 3)])];
        assert_eq!(what_is_gone(&topics).as_deref(), Some("partition 1 of topic t up to offset 3"));
        assert_eq!(sum(&vec![vec![(0, 5), (1, 6)], vec![(0, 99)]], &topics), 5 + 2 + 3);
    }
}
