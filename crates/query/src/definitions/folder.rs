//! The folder of definitions: its files as text.
//!
//! In:      a folder.
//! Out:     name and text of each `*.toml` in it, in the order of their names; those of folders below it are not looked at.
//! Promise: a folder that is no folder, or a file that is too large to have been written by hand, is a fault.

use std::path::Path;

const FILE_BYTES_MAX: u64 = 1 << 20;
const FILES_MAX: usize = 1_000;

pub(super) fn read(folder: &Path) -> Result<Vec<(String, String)>, Vec<String>> {
    let unreadable = |error: std::io::Error| {
        vec![format!("query.metrics_dir: {} cannot be read: {error}; name a folder of TOML files", folder.display())]
    };
    let mut paths = Vec::new();
    for found in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = found.map_err(unreadable)?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // Editors leave files that begin with a dot.
        if name.ends_with(".toml") && !name.starts_with('.') {
            paths.push((name, path));
        }
    }
    paths.sort();
    if FILES_MAX < paths.len() {
        return Err(vec![format!("{}: more than {FILES_MAX} files; put more into each", folder.display())]);
    }
    let (mut files, mut faults) = (Vec::new(), Vec::new());
    for (name, path) in paths {
        match text(&path) {
            Ok(text) => files.push((name, text)),
            Err(fault) => faults.push(format!("{}: {fault}", path.display())),
        }
    }
    if faults.is_empty() { Ok(files) } else { Err(faults) }
}

fn text(path: &Path) -> Result<String, String> {
    let told = |error: std::io::Error| format!("it cannot be read: {error}");
    let bytes = std::fs::metadata(path).map_err(told)?.len();
    if FILE_BYTES_MAX < bytes {
        return Err(format!("{bytes} bytes are more than {FILE_BYTES_MAX}; cut it into several"));
    }
    std::fs::read_to_string(path).map_err(told)
}
