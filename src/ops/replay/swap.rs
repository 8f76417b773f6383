//! One folder in the place of another, whatever happens in between.
//!
//! In:      the folder of the lake, and of the lake that replaces it, side by side.
//! Out:     the new one under the old name; the old one beside it.
//! Promise: a crash at any line leaves both lakes whole and a note of what was meant; the next start or replay finishes
//!          it. Nothing is deleted.
//!
//! The note (`NAME.swap`) is on the disk before the first rename and goes after the last:
//!
//! | crash | the lake's place | beside it | the next start |
//! |---|---|---|---|
//! | before the note | old | new | has seen nothing |
//! | after the note | old | new | puts the old one aside, the new one in place |
//! | after the old one went aside | nothing | old, new | puts the new one in place |
//! | after the new one came | new | old | removes the note |

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

/// Names, not paths: the folders lie side by side, wherever that is.
#[derive(Serialize, Deserialize)]
struct Note {
    new: String,
    aside: String,
}

/// `NAME.word` beside the folder `NAME`.
pub(super) fn beside(folder: &Path, word: &str) -> PathBuf {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(word);
    folder.with_file_name(name)
}

/// Puts `new` in the place of `folder`; returns what was done, in words.
pub(super) fn swap(folder: &Path, new: &Path) -> anyhow::Result<String> {
    ensure!(new.is_dir(), "{} is not there any more", new.display());
    let aside = (1..)
        .map(|number| beside(folder, &format!("before-replay-{number}")))
        .find(|aside| !aside.exists())
        .context("numbers have no end")?;
    let name = |path: &Path| -> anyhow::Result<String> {
        let name = path.file_name().and_then(|name| name.to_str());
        Ok(name.with_context(|| format!("{} has no name", path.display()))?.to_owned())
    };
    let note = Note { new: name(new)?, aside: name(&aside)? };
    let file = beside(folder, "swap");
    let cannot = || format!("cannot write {}", file.display());
    let draft = beside(folder, "swap.new");
    let mut out = File::create(&draft).with_context(cannot)?;
    out.write_all(&serde_json::to_vec(&note)?).and_then(|()| out.sync_all()).with_context(cannot)?;
    fs::rename(&draft, &file).with_context(cannot)?;
    sync_folder_of(folder)?;
    finish(folder)?.context("the note was just written")
}

/// Finishes a swap that was begun; `None` when none was.
pub(crate) fn finish(folder: &Path) -> anyhow::Result<Option<String>> {
    let file = beside(folder, "swap");
    let text = match fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
    };
    let note: Note = serde_json::from_slice(&text)
        .with_context(|| format!("{} is no note of a swap; look at the folders and remove it", file.display()))?;
    let (new, aside) = (folder.with_file_name(&note.new), folder.with_file_name(&note.aside));
    // Each step only where it has not been done; each is on the disk before the next.
    if new.exists() {
        if folder.exists() && !aside.exists() {
            rename(folder, &aside)?;
        }
        ensure!(
            !folder.exists(),
            "{} is in the way of {}: somebody made it after a replay put the old lake aside; move it away and start again",
            folder.display(),
            new.display()
        );
        rename(&new, folder)?;
    }
    fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
    sync_folder_of(folder)?;
    Ok(Some(match aside.exists() {
        true => {
            format!("{} is the new lake; the old one is {}, delete it when you like", folder.display(), aside.display())
        }
        false => format!("{} is the new lake", folder.display()),
    }))
}

fn rename(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::rename(from, to).with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))?;
    sync_folder_of(to)
}

/// A rename is on the disk once its folder is.
fn sync_folder_of(path: &Path) -> anyhow::Result<()> {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    #[cfg(unix)]
    File::open(above).and_then(|above| above.sync_all()).with_context(|| format!("cannot sync {}", above.display()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn house() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (lake, new) = (dir.path().join("lake"), dir.path().join("lake.replay"));
        for (folder, text) in [(&lake, "old"), (&new, "new")] {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("which"), text).unwrap();
        }
        (dir, lake, new)
    }

    fn which(folder: &Path) -> String {
        fs::read_to_string(folder.join("which")).unwrap_or_default()
    }

    #[test]
    fn the_new_lake_takes_the_place_and_the_old_one_is_kept() {
        let (_dir, lake, new) = house();
        let told = swap(&lake, &new).unwrap();
        assert!(told.contains("before-replay-1"), "{told}");
        assert_eq!((which(&lake), which(&beside(&lake, "before-replay-1"))), ("new".to_owned(), "old".to_owned()));
        assert!(!new.exists() && finish(&lake).unwrap().is_none());
        // A second one finds another name for the old.
        fs::create_dir(&new).unwrap();
        assert!(swap(&lake, &new).unwrap().contains("before-replay-2"));
    }

    #[test]
    fn a_crash_at_any_step_is_finished_by_the_next_start() {
        for step in 0..4 {
            let (_dir, lake, new) = house();
            let aside = beside(&lake, "before-replay-1");
            let note = Note { new: "lake.replay".to_owned(), aside: "before".to_owned() };
            let note = Note { aside: aside.file_name().unwrap().to_str().unwrap().to_owned(), ..note };
            if step >= 1 {
                fs::write(beside(&lake, "swap"), serde_json::to_vec(&note).unwrap()).unwrap();
            }
            if step >= 2 {
                fs::rename(&lake, &aside).unwrap();
            }
            if step >= 3 {
                fs::rename(&new, &lake).unwrap();
            }
            assert_eq!(finish(&lake).unwrap().is_some(), step >= 1);
            let expected = if step == 0 { "old" } else { "new" };
            assert_eq!(which(&lake), expected, "a crash at step {step}");
            assert!(!beside(&lake, "swap").exists());
            assert_eq!(which(if step == 0 { &new } else { &aside }), if step == 0 { "new" } else { "old" });
        }
    }

    #[test]
    fn a_lake_made_in_between_is_not_covered_up() {
        let (_dir, lake, new) = house();
        let aside = beside(&lake, "before-replay-1");
        let note = Note { new: "lake.replay".to_owned(), aside: "lake.before-replay-1".to_owned() };
        fs::write(beside(&lake, "swap"), serde_json::to_vec(&note).unwrap()).unwrap();
        fs::rename(&lake, &aside).unwrap();
        fs::create_dir(&lake).unwrap();
        assert!(finish(&lake).unwrap_err().to_string().contains("in the way"));
        assert_eq!((which(&new), which(&aside)), ("new".to_owned(), "old".to_owned()));
    }
}
