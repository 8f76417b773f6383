//! Keys: what must be secret and different everywhere, made on the first start.
//!
//! In:       settings, and the data folder.
//! Out:      settings with every secret filled in; `keys.toml` in that folder.
//! Promise:  what somebody set is never touched; what was made once stays, also when several processes start at once in
//!           a new folder; the file is readable by its owner only; this is the one place of the program where random
//!           numbers come from outside.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Deserialize;
use tributary_ingest::WriteKey;
use tributary_query::AccessSettings;

use super::Settings;

/// What was made, to be told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) file: PathBuf,
    /// What was missing, in words.
    pub(crate) made: Vec<&'static str>,
}

/// The sources a first start gives keys to: a website, whose visitors' clocks are checked, and imports, whose
/// times are taken as they are.
pub(crate) const FIRST_SOURCES: [(&str, bool); 2] = [("web", false), ("import", true)];

impl Keys {
    pub(crate) fn path(data_dir: &Path) -> PathBuf {
        keys_file(data_dir)
    }
}

/// Where secrets of this folder are written down.
pub(crate) fn keys_file(data_dir: &Path) -> PathBuf {
    data_dir.join("keys.toml")
}

/// Fills in the secrets nobody gave, and writes them down; `None` when nothing was missing.
///
/// * `sources`: which sources get a write key where none has one, and whether their clocks are trusted.
pub(crate) fn add_missing_keys(settings: &mut Settings, sources: &[(&str, bool)]) -> anyhow::Result<Option<Keys>> {
    let file = Keys::path(&settings.serve.data_dir);
    loop {
        let (made, words) = make_missing(settings, sources)?;
        if words.is_empty() {
            return Ok(None);
        }
        // Another process may have made them since the settings were read; then its secrets hold.
        let there = read(&file)?;
        let is_first = there.is_none();
        let mut all = there.unwrap_or_default();
        if take_up(settings, &all)? {
            continue;
        }
        // It may have been made before another secret was needed.
        for (section, values) in made {
            match (all.get_mut(&section), values) {
                (Some(toml::Value::Table(there)), toml::Value::Table(new)) => there.extend(new),
                (_, values) => drop(all.insert(section, values)),
            }
        }
        if write(&file, &all, is_first)? {
            take_up(settings, &all)?;
            return Ok(Some(Keys { file, made: words }));
        }
    }
}

/// The secrets that are missing, as tables for the file, and in words.
fn make_missing(settings: &Settings, sources: &[(&str, bool)]) -> anyhow::Result<(toml::Table, Vec<&'static str>)> {
    let (mut ingest, mut query, mut words) = (toml::Table::new(), toml::Table::new(), Vec::new());
    if settings.ingest.write_keys.is_empty() {
        let mut keys = Vec::new();
        for (source, trusted_clock) in sources {
            let mut key = toml::Table::new();
            key.insert("source".to_owned(), (*source).into());
            key.insert("key".to_owned(), format!("wk_{}", random_text(16)?).into());
            key.insert("trusted_clock".to_owned(), (*trusted_clock).into());
            keys.push(toml::Value::Table(key));
        }
        ingest.insert("write_keys".to_owned(), keys.into());
        words.push("write keys");
    }
    if settings.ingest.ticket_secret.is_empty() {
        ingest.insert("ticket_secret".to_owned(), random_text(32)?.into());
        words.push("a ticket secret");
    }
    // Not that of SQL: who may read must not therefore be able to file events for any source.
    if settings.ingest.replay_tokens.is_empty() {
        ingest.insert("replay_tokens".to_owned(), vec![format!("replay_{}", random_text(16)?)].into());
        words.push("a replay token");
    }
    if settings.query.tokens.is_empty() {
        query.insert("tokens".to_owned(), vec![format!("sql_{}", random_text(16)?)].into());
        words.push("an SQL token");
    }
    // Only where somebody sees pseudonyms: they would change with it.
    if settings.query.mask_secret.is_empty() && settings.query.access.iter().any(AccessSettings::masks) {
        query.insert("mask_secret".to_owned(), random_text(32)?.into());
        words.push("a secret for pseudonyms");
    }
    let sections = [("ingest", ingest), ("query", query)].into_iter().filter(|(_, values)| !values.is_empty());
    Ok((sections.map(|(name, values)| (name.to_owned(), values.into())).collect(), words))
}

/// What a keys file holds.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Found {
    ingest: FoundIngest,
    query: FoundQuery,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FoundIngest {
    write_keys: Vec<WriteKey>,
    ticket_secret: String,
    replay_tokens: Vec<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FoundQuery {
    tokens: Vec<String>,
    mask_secret: String,
}

impl Found {
    fn of(file: &toml::Table) -> anyhow::Result<Self> {
        file.clone().try_into().context("the keys file does not hold keys")
    }
}

/// Adds the write keys of the keys file to those of stronger layers, but for sources these name themselves.
///
/// A list of a stronger layer replaces that of a weaker one, as everywhere. Here that would shut out every sender that
/// has a key of the first start, as soon as somebody names one more source.
pub(super) fn add_written_keys(settings: &mut Settings, file: &Path) -> anyhow::Result<()> {
    let Some(there) = read(file)? else { return Ok(()) };
    let set = settings.ingest.write_keys.clone();
    let is_set = |written: &WriteKey| set.iter().any(|key| key.source == written.source || key.key == written.key);
    settings.ingest.write_keys.extend(Found::of(&there)?.ingest.write_keys.into_iter().filter(|key| !is_set(key)));
    Ok(())
}

/// Takes from the file what the settings lack; whether there was any.
fn take_up(settings: &mut Settings, file: &toml::Table) -> anyhow::Result<bool> {
    let found = Found::of(file)?;
    let mut took = false;
    if settings.ingest.write_keys.is_empty() && !found.ingest.write_keys.is_empty() {
        (settings.ingest.write_keys, took) = (found.ingest.write_keys, true);
    }
    if settings.ingest.ticket_secret.is_empty() && !found.ingest.ticket_secret.is_empty() {
        (settings.ingest.ticket_secret, took) = (found.ingest.ticket_secret, true);
    }
    if settings.ingest.replay_tokens.is_empty() && !found.ingest.replay_tokens.is_empty() {
        (settings.ingest.replay_tokens, took) = (found.ingest.replay_tokens, true);
    }
    if settings.query.tokens.is_empty() && !found.query.tokens.is_empty() {
        (settings.query.tokens, took) = (found.query.tokens, true);
    }
    if settings.query.mask_secret.is_empty() && !found.query.mask_secret.is_empty() {
        (settings.query.mask_secret, took) = (found.query.mask_secret, true);
    }
    Ok(took)
}

fn read(file: &Path) -> anyhow::Result<Option<toml::Table>> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(Some(toml::from_str(&text).with_context(|| format!("{} is not TOML", file.display()))?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read the keys in {}", file.display())),
    }
}

/// Writes the whole file; `false` when it was to be the first and another process was faster.
fn write(file: &Path, keys: &toml::Table, is_first: bool) -> anyhow::Result<bool> {
    let cannot = || format!("cannot write the keys to {}", file.display());
    let text = format!(
        "# Made by the first `tributary serve` in this folder. Keep it secret and keep a copy: links in mails that\n\
         # were signed with ticket_secret work only as long as it is known, and the ids of events without one are made with\n\
         # it: every door of one log needs the same. Settings files and the environment win\n\
         # over what stands here; a write key here stays good until they name its source.\n\n{}",
        toml::to_string(keys).context("the keys cannot be written as TOML")?
    );
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder).with_context(|| format!("cannot make the data folder {}", folder.display()))?;
    // Written beside and put in place whole, so that a crash leaves the old file or the new one, never half of one.
    let mut random = [0; 8];
    getrandom::fill(&mut random).context(NO_RANDOM)?;
    let beside = file.with_extension(format!("toml.new-{:016x}", u64::from_le_bytes(random)));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = options.open(&beside).with_context(cannot)?;
    out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).with_context(cannot)?;
    let placed = match is_first {
        // A link, unlike a rename, does not replace what another process has put there meanwhile.
        true => fs::hard_link(&beside, file).and_then(|()| fs::remove_file(&beside)),
        false => fs::rename(&beside, file),
    };
    match placed {
        Ok(()) => {}
        Err(error) if is_first && error.kind() == std::io::ErrorKind::AlreadyExists => {
            fs::remove_file(&beside).with_context(cannot)?;
            return Ok(false);
        }
        // A file system without links; two first starts at the same instant are then not kept apart.
        Err(_) => fs::rename(&beside, file).with_context(cannot)?,
    }
    // The name must outlive a power cut as the content does: a ticket secret that is lost takes the links of all
    // mails with it.
    #[cfg(unix)]
    fs::File::open(folder).and_then(|folder| folder.sync_all()).with_context(cannot)?;
    Ok(true)
}

const NO_RANDOM: &str = "the operating system gives no random bytes to make keys from";

/// `bytes` random bytes of the operating system as hexadecimal digits.
fn random_text(bytes: usize) -> anyhow::Result<String> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).context(NO_RANDOM)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
