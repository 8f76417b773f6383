//! Keys: what must be secret and different everywhere, made on the first start.
//!
//! In:       settings, and the data folder.
//! Out:      settings with every secret filled in; `keys.toml` in that folder.
//! Promise:  what somebody set is never touched; what was made once stays; the file is readable by its owner
//!           only; this is the one place of the program where random numbers come from outside.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use tributary_ingest::WriteKey;

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
        data_dir.join("keys.toml")
    }
}

/// Fills in the secrets nobody gave, and writes them down; `None` when nothing was missing.
///
/// * `sources`: which sources get a write key where none has one, and whether their clocks are trusted.
pub(crate) fn add_missing_keys(settings: &mut Settings, sources: &[(&str, bool)]) -> anyhow::Result<Option<Keys>> {
    let file = Keys::path(&settings.serve.data_dir);
    let mut words = Vec::new();
    let mut made = toml::Table::new();
    let mut ingest = toml::Table::new();
    if settings.ingest.write_keys.is_empty() {
        let keys = sources.iter().map(|(source, trusted_clock)| -> anyhow::Result<WriteKey> {
            let key = format!("wk_{}", random_text(16)?);
            Ok(WriteKey { key, source: (*source).to_owned(), trusted_clock: *trusted_clock })
        });
        settings.ingest.write_keys = keys.collect::<anyhow::Result<_>>()?;
        let tables = settings.ingest.write_keys.iter().map(|key| {
            let mut table = toml::Table::new();
            table.insert("source".to_owned(), key.source.clone().into());
            table.insert("key".to_owned(), key.key.clone().into());
            table.insert("trusted_clock".to_owned(), key.trusted_clock.into());
            toml::Value::Table(table)
        });
        words.push("write keys");
        ingest.insert("write_keys".to_owned(), toml::Value::Array(tables.collect()));
    }
    if settings.ingest.ticket_secret.is_empty() {
        settings.ingest.ticket_secret = random_text(32)?;
        words.push("a ticket secret");
        ingest.insert("ticket_secret".to_owned(), settings.ingest.ticket_secret.clone().into());
    }
    if !ingest.is_empty() {
        made.insert("ingest".to_owned(), toml::Value::Table(ingest));
    }
    if settings.query.tokens.is_empty() {
        settings.query.tokens = vec![format!("sql_{}", random_text(16)?)];
        words.push("an SQL token");
        let mut query = toml::Table::new();
        query.insert("tokens".to_owned(), settings.query.tokens.clone().into());
        made.insert("query".to_owned(), toml::Value::Table(query));
    }
    if words.is_empty() {
        return Ok(None);
    }
    write(&file, made)?;
    Ok(Some(Keys { file, made: words }))
}

/// Adds to what the file already holds: it may have been made before another secret was needed.
fn write(file: &Path, made: toml::Table) -> anyhow::Result<()> {
    let cannot = || format!("cannot write the keys to {}", file.display());
    let mut all: toml::Table = match fs::read_to_string(file) {
        Ok(text) => toml::from_str(&text).with_context(|| format!("{} is not TOML", file.display()))?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => toml::Table::new(),
        Err(error) => return Err(error).with_context(cannot),
    };
    for (section, values) in made {
        match (all.get_mut(&section), values) {
            (Some(toml::Value::Table(there)), toml::Value::Table(new)) => there.extend(new),
            (_, values) => {
                all.insert(section, values);
            }
        }
    }
    let text = format!(
        "# Made by the first `tributary serve` in this folder. Keep it secret and keep a copy: links in mails that\n\
         # were signed with ticket_secret work only as long as it is known. Settings files and the environment win\n\
         # over what stands here.\n\n{}",
        toml::to_string(&all).context("the keys cannot be written as TOML")?
    );
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make the data folder {}", folder.display()))?;
    }
    // Written beside and renamed, so that a crash leaves the old file or the new one, never half of one.
    let beside = file.with_extension("toml.new");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = options.open(&beside).with_context(cannot)?;
    out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).with_context(cannot)?;
    fs::rename(&beside, file).with_context(cannot)
}

/// `bytes` random bytes of the operating system as hexadecimal digits.
fn random_text(bytes: usize) -> anyhow::Result<String> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).context("the operating system gives no random bytes to make keys from")?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
