use std::ffi::OsString;
use std::path::Path;

use super::*;

fn write(dir: &Path, text: &str) -> PathBuf {
    let file = dir.join("tributary.toml");
    std::fs::write(&file, text).unwrap();
    file
}

fn environment(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    pairs.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

/// A keys file that is not there, so that the tests do not look at the working directory's data.
fn layers() -> Layers {
    Layers { keys_file: Some(PathBuf::from("no/such/keys.toml")), ..Layers::default() }
}

#[test]
fn the_defaults_stand_and_agree_with_the_crates() {
    let settings = Settings::load(layers()).unwrap();
    assert_eq!(settings.pipeline, PipelineSettings::default());
    assert_eq!(settings.query, QuerySettings::default());
    let lake = LakeSettings { url: settings.lake.url.clone(), ..LakeSettings::default() };
    assert_eq!(settings.lake, lake);
    assert_eq!(format!("{:?}", settings.ingest), format!("{:?}", IngestSettings::default()));
    assert_eq!(settings.log.dir, Path::new("./tributary-data/log"));
}

#[test]
fn later_layers_win() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "[log]\npartitions = 8\n[serve]\nlisten = '127.0.0.1:1'\ndrain_ms_max = 5\n");
    let settings = Settings::load(Layers {
        file: Some(file),
        environment: environment(&[
            ("TRIBUTARY__LOG__PARTITIONS", "16"),
            ("TRIBUTARY__SERVE__LISTEN", "127.0.0.1:2"),
            ("TRIBUTARY__INGEST__WRITE_KEYS", "web=K1,imports=K2=trusted"),
            ("PATH", "/bin"),
        ]),
        flags: vec![("serve.listen", "127.0.0.1:3".to_owned()), ("serve.roles", "query".to_owned())],
        ..layers()
    })
    .unwrap();
    assert_eq!((settings.log.partitions, settings.serve.drain_ms_max), (16, 5));
    assert_eq!(settings.serve.listen, "127.0.0.1:3");
    assert_eq!(settings.serve.roles, [Role::Query]);
    let keys: Vec<_> = settings
        .ingest
        .write_keys
        .iter()
        .map(|key| (key.source.as_str(), key.key.as_str(), key.trusted_clock))
        .collect();
    assert_eq!(keys, [("web", "K1", false), ("imports", "K2", true)]);
}

#[test]
fn all_faults_are_told_together_with_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let text =
        "[log]\npartition = 8\n[pipeline]\ncommit_interval_ms = 'soon'\n[lake]\nzstd_level = -1\n[wrong]\na = 1\n";
    let file = write(dir.path(), text);
    let error = Settings::load(Layers {
        file: Some(file.clone()),
        environment: environment(&[("TRIBUTARY__QUERY__ROWS_MAX", "many")]),
        ..layers()
    })
    .unwrap_err();
    let text = error.to_string();
    assert_eq!(error.faults.len(), 5, "{text}");
    for part in [
        "log.partition: there is no such knob; did you mean partitions?",
        "pipeline.commit_interval_ms: expected a whole number",
        "lake.zstd_level: expected a whole number, 0 or more",
        "wrong: there is no such knob",
        "query.rows_max: expected a whole number, found \"many\" (set by TRIBUTARY__QUERY__ROWS_MAX)",
        &format!("(set in {})", file.display()),
    ] {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
}

#[test]
fn faults_of_meaning_are_told_together_too() {
    let flags = vec![
        ("serve.listen", "8080".to_owned()),
        ("log.kind", "kafka".to_owned()),
        ("pipeline.commit_interval_ms", "0".to_owned()),
        ("query.queries_max", "0".to_owned()),
        ("ingest.batch_events_max", "0".to_owned()),
    ];
    let text = Settings::load(Layers { flags, ..layers() }).unwrap_err().to_string();
    for part in ["serve.listen", "log.kafka_bootstrap_servers", "commit_interval_ms", "queries_max", "batch_events_max"]
    {
        assert!(text.contains(part), "{part}\n---\n{text}");
    }
}

#[test]
fn a_settings_file_that_is_not_there_is_a_fault() {
    let error = Settings::load(Layers { file: Some("no/such.toml".into()), ..layers() }).unwrap_err();
    assert!(error.to_string().contains("no/such.toml"));
}

#[test]
fn missing_keys_are_made_once_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    let load = || {
        let data_dir = dir.path().display().to_string();
        Settings::load(Layers { flags: vec![("serve.data_dir", data_dir)], ..Layers::default() }).unwrap()
    };
    let mut first = load();
    let made = add_missing_keys(&mut first, &FIRST_SOURCES).unwrap().unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(made.file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    let mut second = load();
    assert_eq!(add_missing_keys(&mut second, &FIRST_SOURCES).unwrap(), None);
    assert_eq!(second.ingest.ticket_secret, first.ingest.ticket_secret);
    assert_eq!(second.query.tokens, first.query.tokens);
    assert_eq!(second.ingest.write_keys[0].key, first.ingest.write_keys[0].key);
    // A secret that goes missing is made anew; the others stay.
    let text = std::fs::read_to_string(&made.file).unwrap();
    let without: String =
        text.lines().filter(|line| !line.contains("ticket_secret =")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&made.file, without).unwrap();
    let mut third = load();
    assert!(add_missing_keys(&mut third, &FIRST_SOURCES).unwrap().is_some());
    assert_eq!(third.query.tokens, first.query.tokens);
    assert_ne!(third.ingest.ticket_secret, first.ingest.ticket_secret);
}
