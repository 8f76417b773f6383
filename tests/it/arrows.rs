//! The walls: who may name whom, read from the manifests.
//!
//! In:       every `Cargo.toml` of the workspace.
//! Out:      a failure for each dependency the design does not draw, and each version outside the one table.
//! Promise:  a new arrow, a new crate or a private version cannot come in without a change here.
//! Not here: what is inside the crates; visibility and clippy guard that.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

/// Crate (by folder), and the rooms below that its code may use. Downwards only; a room not named is not known.
const ARROWS: &[(&str, &[&str])] = &[
    ("schemas", &[]),
    ("eventlog", &[]),
    ("analytics", &["schemas"]),
    ("lake", &["schemas"]),
    ("ingest", &["eventlog", "schemas"]),
    ("pipeline", &["analytics", "eventlog", "lake", "schemas"]),
    ("query", &["analytics", "lake", "schemas"]),
    ("protocols", &["query"]),
    ("testkit", &["schemas"]),
    // xtask stays quick to build: what it needs of `schemas` it runs as an example.
    ("xtask", &[]),
    // The binary names everything, testkit for the worlds of `demo` and `bench`.
    ("", &["analytics", "eventlog", "ingest", "lake", "pipeline", "protocols", "query", "schemas", "testkit"]),
];

/// Arrows of tests only, besides the one to `testkit` that every crate above it has.
const TEST_ARROWS: &[(&str, &str)] = &[("protocols", "lake")];

/// What a floor promises not to know. The arrows above keep our own crates apart; this keeps their subjects apart.
const ABSENT: &[(&str, &[&str])] = &[
    ("schemas", &["tokio", "axum", "rdkafka", "deltalake-core", "datafusion"]),
    ("eventlog", &["arrow", "axum", "deltalake-core", "datafusion"]),
    ("analytics", &["tokio", "futures", "axum", "rdkafka", "arrow", "deltalake-core", "datafusion"]),
    ("lake", &["rdkafka", "axum", "datafusion"]),
    ("ingest", &["deltalake-core", "datafusion", "rdkafka", "parquet"]),
    ("pipeline", &["axum", "datafusion", "deltalake-core", "rdkafka"]),
    ("query", &["rdkafka", "deltalake-core"]),
    ("protocols", &["rdkafka", "deltalake-core", "parquet", "object_store", "axum"]),
    ("testkit", &["tokio", "axum", "datafusion", "deltalake-core", "rdkafka"]),
];

struct Manifest {
    /// Folder under `crates/`, `xtask`, or empty for the root.
    folder: String,
    path: PathBuf,
    toml: Table,
}

impl Manifest {
    fn dependencies(&self, kind: &str) -> BTreeMap<String, Value> {
        let table = self.toml.get(kind).and_then(Value::as_table);
        table.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// Folders of our own crates among its dependencies of this kind.
    fn ours(&self, kind: &str) -> BTreeSet<String> {
        // No dependency goes by another name than its own: a test below sees to it.
        let names = self.dependencies(kind).into_keys();
        names.filter_map(|name| name.strip_prefix("tributary-").map(str::to_owned)).collect()
    }

    fn name(&self) -> &str {
        if self.folder.is_empty() { "the binary" } else { &self.folder }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manifests() -> Vec<Manifest> {
    let mut found =
        vec![(String::new(), root().join("Cargo.toml")), ("xtask".to_owned(), root().join("xtask/Cargo.toml"))];
    for entry in std::fs::read_dir(root().join("crates")).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path().join("Cargo.toml");
        if path.exists() {
            found.push((entry.file_name().into_string().unwrap(), path));
        }
    }
    let read = |path: &Path| std::fs::read_to_string(path).unwrap().parse::<Table>().unwrap();
    found.into_iter().map(|(folder, path)| Manifest { toml: read(&path), folder, path }).collect()
}

#[test]
fn every_arrow_between_our_crates_is_one_the_design_draws() {
    let mut faults = Vec::new();
    for manifest in manifests() {
        let Some((_, allowed)) = ARROWS.iter().find(|(folder, _)| *folder == manifest.folder) else {
            faults.push(format!("crates/{} is on no floor: draw it in ARCHITECTURE.md and in ARROWS", manifest.folder));
            continue;
        };
        for kind in ["dependencies", "build-dependencies"] {
            for target in manifest.ours(kind) {
                if !allowed.contains(&target.as_str()) {
                    faults.push(format!("{} must not use {target} ({kind})", manifest.name()));
                }
            }
        }
        for target in manifest.ours("dev-dependencies") {
            // Below the schemas there is no world to test with.
            let drawn = (target == "testkit" && !["schemas", "eventlog"].contains(&manifest.folder.as_str()))
                || allowed.contains(&target.as_str())
                || TEST_ARROWS.contains(&(manifest.folder.as_str(), target.as_str()));
            if !drawn {
                faults.push(format!("the tests of {} must not use {target}", manifest.name()));
            }
        }
        // Dependencies of one platform would be a way round every rule here.
        if manifest.toml.contains_key("target") {
            faults.push(format!("{}: [target.*] tables are not read here: leave them out", manifest.path.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn arrows_point_down_only() {
    // If the table itself had a loop, no order of the crates would put all arrows downwards.
    let mut settled: BTreeSet<&str> = BTreeSet::new();
    while settled.len() < ARROWS.len() {
        let before = settled.len();
        for (folder, below) in ARROWS {
            if below.iter().all(|target| settled.contains(target)) {
                settled.insert(folder);
            }
        }
        let open: Vec<_> =
            ARROWS.iter().map(|(folder, _)| folder).filter(|folder| !settled.contains(**folder)).collect();
        assert!(before < settled.len(), "these crates name one another in a circle: {open:?}");
    }
}

#[test]
fn every_version_comes_from_the_one_table() {
    let mut faults = Vec::new();
    for manifest in manifests() {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (name, value) in manifest.dependencies(kind) {
                let from_table = value.get("workspace").and_then(Value::as_bool) == Some(true);
                let own_words = ["version", "path", "git", "registry", "package"];
                let private =
                    value.as_table().is_some_and(|table| own_words.iter().any(|word| table.contains_key(*word)));
                if !from_table || private {
                    faults.push(format!(
                        "{}: {name} must say `workspace = true` and no version",
                        manifest.path.display()
                    ));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_dependency_goes_by_another_name() {
    // With `lk = { package = "tributary-lake" }` in the table, the arrows above would be blind to it.
    let root = std::fs::read_to_string(root().join("Cargo.toml")).unwrap().parse::<Table>().unwrap();
    let table = root["workspace"]["dependencies"].as_table().unwrap();
    let renamed: Vec<_> =
        table.iter().filter(|(_, value)| value.get("package").is_some()).map(|(name, _)| name).collect();
    assert!(renamed.is_empty(), "these of [workspace.dependencies] hide which package they are: {renamed:?}");
    for (name, value) in table {
        let Some(path) = value.get("path").and_then(Value::as_str) else { continue };
        assert_eq!(
            Some(name.as_str()),
            path.strip_prefix("crates/").map(|folder| format!("tributary-{folder}")).as_deref()
        );
    }
}

#[test]
fn nothing_in_the_version_table_is_unused() {
    let manifests = manifests();
    let used: BTreeSet<String> = manifests
        .iter()
        .flat_map(|manifest| {
            ["dependencies", "dev-dependencies", "build-dependencies"]
                .map(|kind| manifest.dependencies(kind).into_keys())
        })
        .flatten()
        .collect();
    let root = manifests.iter().find(|manifest| manifest.folder.is_empty()).unwrap();
    let table = root.toml["workspace"]["dependencies"].as_table().unwrap();
    let unused: Vec<_> = table.keys().filter(|name| !used.contains(*name)).collect();
    assert!(unused.is_empty(), "nobody uses these of [workspace.dependencies]: {unused:?}");
}

#[test]
fn crates_carry_the_prefix_and_folders_do_not() {
    for manifest in manifests() {
        let expected = match manifest.folder.as_str() {
            "" => "tributary".to_owned(),
            "xtask" => "xtask".to_owned(),
            folder => format!("tributary-{folder}"),
        };
        let package = manifest.toml["package"].as_table().unwrap();
        assert_eq!(package["name"].as_str(), Some(expected.as_str()), "{}", manifest.path.display());
        for word in ["version", "edition", "license", "rust-version", "publish"] {
            let inherited = package[word].get("workspace").and_then(Value::as_bool);
            assert_eq!(inherited, Some(true), "{}: {word}.workspace = true", manifest.path.display());
        }
        let lints = manifest.toml["lints"]["workspace"].as_bool();
        assert_eq!(lints, Some(true), "{}: [lints] workspace = true", manifest.path.display());
    }
}

#[test]
fn what_a_floor_must_not_know_is_absent_from_its_manifest() {
    let manifests = manifests();
    let mut faults = Vec::new();
    for (folder, absent) in ABSENT {
        let manifest = manifests.iter().find(|manifest| manifest.folder == *folder).unwrap();
        for name in manifest.dependencies("dependencies").keys().filter(|name| absent.contains(&name.as_str())) {
            faults.push(format!("{folder} must not know {name}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn each_crate_has_one_integration_test_binary() {
    for manifest in manifests() {
        let Ok(entries) = std::fs::read_dir(manifest.path.with_file_name("tests")) else { continue };
        let binaries: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").exists())
            .collect();
        let only_it = binaries.iter().all(|path| path.ends_with("tests/it"));
        assert!(
            only_it,
            "{}: every test binary links everything once more: use tests/it only, not {binaries:?}",
            manifest.name()
        );
    }
}
