//! The clients the tests use: unmodified SDKs and engines that are not ours, from PyPI and npm.
//!
//! In:      `tests/sdk/python/requirements.txt`, `tests/sdk/node/package-lock.json`: every version pinned.
//! Out:     a Python to run, and a `node_modules` directory, both in the cache.
//! Promise: made once for each content of those files; an interrupted install never passes for a whole one.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{root, succeed};

/// The interpreter of a virtual environment that has the pinned packages.
pub(crate) fn python(cache_dir: &Path) -> Result<PathBuf> {
    let requirements = root().join("tests/sdk/python/requirements.txt");
    // The interpreter is part of the name: an environment made by another Python would break when that one goes.
    let version = told_by(Command::new("python3").args(["-c", "import sys; print(sys.version, sys.prefix)"]))
        .context("Python 3.10 or newer (python3, with venv) is needed for the SDK tests")?;
    let home = cache_dir.join(format!("py-{}", fingerprint(&[&version, &read(&requirements)?])));
    made_once(&home, |aside| {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(aside))?;
        succeed(
            Command::new(aside.join("bin/python"))
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"])
                .arg(&requirements),
        )
        .context("fetching the Python packages of the tests from PyPI")
    })?;
    Ok(home.join("bin/python"))
}

/// A `node_modules` directory with the pinned packages, for `NODE_PATH`.
pub(crate) fn node_modules(cache_dir: &Path) -> Result<PathBuf> {
    let from = root().join("tests/sdk/node");
    let version = told_by(Command::new("node").arg("--version"))
        .context("Node 20 or newer (node, npm) is needed for the SDK tests")?;
    let home = cache_dir.join(format!("node-{}", fingerprint(&[&version, &read(&from.join("package-lock.json"))?])));
    made_once(&home, |aside| {
        fs::create_dir_all(aside)?;
        for name in ["package.json", "package-lock.json"] {
            fs::copy(from.join(name), aside.join(name)).with_context(|| format!("copying {name}"))?;
        }
        npm_ci(aside).context("fetching the Node packages of the tests from npm")
    })?;
    Ok(home.join("node_modules"))
}

/// Where the Chromium of npm finds the font it brings. Its own file names folders of the cloud it was made for, and without a font
/// it dies of the first field that is drawn.
const FONTS: &str = "<?xml version=\"1.0\"?>\n<!DOCTYPE fontconfig SYSTEM \"fonts.dtd\">\n<fontconfig>\n\
                     <dir prefix=\"relative\">fonts</dir>\n<cachedir prefix=\"xdg\">fontconfig</cachedir>\n</fontconfig>\n";

/// A Chromium: the one of this machine, or else the one that npm has.
pub(crate) fn browser(cache_dir: &Path, node_modules: &Path) -> Result<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    let known = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].map(PathBuf::from);
    if let Some(found) = named.into_iter().chain(known).find(|path| path.is_file()) {
        return Ok(found);
    }
    let lock = read(&root().join("tests/sdk/node/package-lock.json"))?;
    let home = cache_dir.join(format!("chromium-{}", fingerprint(&[&lock, FONTS])));
    made_once(&home, |aside| {
        fs::create_dir_all(aside)?;
        let unpack = "import('@sparticuz/chromium').then((m) => m.default.executablePath())";
        // A module is looked for beside the folder it is asked from.
        let beside = node_modules.parent().context("the packages of npm lie in a folder")?;
        let mut node = Command::new("node");
        node.args(["--input-type=module", "-e", unpack]).current_dir(beside).env("TMPDIR", aside);
        // Under this name the package unpacks the libraries too that a bare machine lacks (NSS, expat).
        succeed(node.env("AWS_EXECUTION_ENV", "AWS_Lambda_nodejs20.x"))
            .context("unpacking the Chromium that npm has")?;
        let start = "#!/bin/sh\nhere=$(dirname \"$0\")\nLD_LIBRARY_PATH=\"$here/al2023/lib:$here\" \
                     FONTCONFIG_PATH=\"$here/fonts\" exec \"$here/chromium\" \"$@\"\n";
        fs::write(aside.join("fonts/fonts.conf"), FONTS).context("telling the browser where its fonts are")?;
        fs::write(aside.join("start"), start)?;
        fs::set_permissions(aside.join("start"), fs::Permissions::from_mode(0o755))?;
        Ok(())
    })?;
    Ok(home.join("start"))
}

/// The packages of the browser SDK's own tests, beside its sources, where Node looks for them.
pub(crate) fn packages_of_browser_sdk() -> Result<()> {
    let sdk = root().join("sdk/js");
    let lock = read(&sdk.join("package-lock.json"))?;
    // What they were made of is noted among them: where that is the same, so are they.
    let mark = sdk.join("node_modules/.made-of");
    if fs::read_to_string(&mark).unwrap_or_default() != lock {
        npm_ci(&sdk).context("fetching the packages of the browser SDK's tests from npm")?;
        fs::write(&mark, lock)?;
    }
    Ok(())
}

/// Exactly what the lock file in `folder` names; no package runs a script of its own.
fn npm_ci(folder: &Path) -> Result<()> {
    let arguments = ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"];
    succeed(Command::new("npm").args(arguments).current_dir(folder))
}

/// Fills `home` through `make`, which works on a directory beside it that is renamed when it is whole.
pub(crate) fn made_once(home: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if home.is_dir() {
        return Ok(());
    }
    let mut name = home.file_name().expect("the cache has named directories").to_os_string();
    name.push(format!(".unfinished-{}", std::process::id()));
    let aside = home.with_file_name(name);
    if aside.exists() {
        fs::remove_dir_all(&aside)?;
    }
    eprintln!("xtask: making {}", home.display());
    if let Err(error) = make(&aside) {
        // What is half made is of no use; that it could not be removed either matters less than why it failed.
        drop(fs::remove_dir_all(&aside));
        return Err(error);
    }
    if let Err(error) = fs::rename(&aside, home) {
        fs::remove_dir_all(&aside)?;
        // Another run may have been faster.
        ensure!(home.is_dir(), "{} could not be put in place: {error}", home.display());
    }
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

fn told_by(command: &mut Command) -> Result<String> {
    let output = command.output()?;
    ensure!(output.status.success(), "it ended with {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// A short name for content. Another Rust may name it otherwise: then it is made once more, no harm done.
fn fingerprint(parts: &[&str]) -> String {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
