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

/// A keys file that is not there, and nothing of the folder the tests run in.
fn layers() -> Layers {
    Layers { keys_file: Some(PathBuf::from("no/such/keys.toml")), without_default_file: true, ..Layers::default() }
}

#[test]
fn the_defaults_stand_and_agree_with_the_crates() {
    let settings = Settings::load(layers()).unwrap();
    assert_eq!(settings.pipeline, PipelineSettings::default());
    assert_eq!(settings.query, QuerySettings::default());
    assert_eq!(settings.postgres, PostgresSettings::default());
    assert_eq!(settings.flight, FlightSettings::default());
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
fn faults_of_every_kind_are_told_in_one_round() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(
        dir.path(),
        "[serve]\nroles = ['ingst']\n[log]\npartition = 3\npartitions = 5000000000\nqueue_bytes_max = 0\n\
         segment_bytes_max = 0\nevents_topic = 'a topic'\nkind = 'kafak'\n[pipeline]\ncommit_interval_ms = 0\n\
         session_gap_ms = 'half an hour'\n[lake]\nurl = 'ftp://host/lake'\nzstd_level = 99\n[query]\nrows_max = 0\n",
    );
    let broken = dir.path().join("keys.toml");
    std::fs::write(&broken, "[ingest\n").unwrap();
    let layers = Layers {
        keys_file: Some(broken.clone()),
        file: Some(file),
        environment: environment(&[("TRIBUTARY__QUERY__TIME_MS_MAX", "soon")]),
        ..Layers::default()
    };
    let error = Settings::load(layers).unwrap_err();
    let text = error.to_string();
    for part in [
        "keys.toml",
        "log.partition: there is no such knob",
        "pipeline.session_gap_ms: expected a whole number",
        "query.time_ms_max: expected a whole number",
        "serve.roles.0",
        "log.kind",
        "log.partitions: ",
        "log.queue_bytes_max is 0",
        "log.segment_bytes_max is 0",
        "log.events_topic is \"a topic\"",
        "pipeline.commit_interval_ms is 0",
        "lake.url is \"ftp://host/lake\"",
        "lake.zstd_level is 99",
        "query.rows_max is 0",
    ] {
        assert_eq!(text.matches(part).count(), 1, "{part}\n---\n{text}");
    }
    assert_eq!(error.faults.len(), 14, "{text}");
}

#[test]
fn a_rule_is_not_told_as_broken_by_a_default() {
    // Ten minutes at most: with the faulty gap replaced by its default, 30 minutes, the rule on both would fail.
    let dir = tempfile::tempdir().unwrap();
    let file = write(
        dir.path(),
        "[pipeline]\nsession_preset = 'custom'\nsession_gap_ms = 'ten minutes'\nsession_duration_ms_max = 600000\n\
         [serve]\nroles = ['ingest']\n[log]\nkind = 'kafak'\n",
    );
    let error = Settings::load(Layers { file: Some(file), ..layers() }).unwrap_err();
    assert_eq!(error.faults.len(), 2, "{error}");
}

/// What the log and the lake would refuse once they are opened is refused here already, and nothing else is.
#[tokio::test]
async fn the_rules_here_are_those_of_log_and_lake() {
    use tributary_eventlog::embedded::EmbeddedLog;
    use tributary_eventlog::{EventLog, TopicSpec};
    let defaults = Settings::load(layers()).unwrap();
    let clock = || std::sync::Arc::new(tributary_schemas::SystemClock);
    let cases: [fn(&mut LogSettings); 9] = [
        |_| {},
        |log| log.queue_bytes_max = 0,
        |log| log.queue_bytes_max = (1 << 31) + 1,
        |log| log.round_bytes_max = 0,
        |log| log.round_bytes_max = 1 << 31,
        |log| log.record_bytes_max = 0,
        |log| log.record_bytes_max = 128 << 20,
        |log| log.record_bytes_max = (128 << 20) + 1,
        |log| log.segment_bytes_max = 0,
    ];
    for (index, change) in cases.iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = LogSettings { dir: dir.path().to_owned(), ..defaults.log.clone() };
        change(&mut log);
        let opened = EmbeddedLog::open(log.embedded(clock()));
        assert_eq!(log.check().is_empty(), opened.is_ok(), "case {index}: {:?}", log.check());
    }
    let dir = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(LogSettings { dir: dir.path().to_owned(), ..defaults.log.clone() }.embedded(clock()));
    let log = log.unwrap();
    let long = "t".repeat(200);
    for topic in ["", "a.b_c-D9", ".a", "a b", "ä", "a/b", "a.unfinished", &long, &format!("{long}t")] {
        let spec = TopicSpec { name: topic.to_owned(), partitions: 1 };
        let checked = LogSettings { events_topic: topic.to_owned(), ..defaults.log.clone() }.check();
        assert_eq!(checked.is_empty(), log.ensure_topic(&spec).await.is_ok(), "{topic:?}: {checked:?}");
    }
    let lake = dir.path().join("a lake");
    let as_url = reqwest::Url::from_directory_path(&lake).unwrap().to_string();
    for url in [lake.to_str().unwrap(), &as_url, "ftp://host/lake", "file://host/lake", "http://x/y"] {
        let settings = LakeSettings { url: url.to_owned(), ..LakeSettings::default() };
        let faults = settings.check();
        assert_eq!(faults.is_empty(), tributary_lake::Lake::open(settings).await.is_ok(), "{url}: {faults:?}");
    }
    assert_eq!(tributary_lake::local_folder(&as_url).unwrap(), Some(lake));
}

#[test]
fn options_of_the_bucket_come_from_settings_and_environment_and_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = "[lake]\nurl = 's3://bucket/lake'\n[lake.object_store]\naws_region = 'eu-west-1'\n";
    let environment = environment(&[
        ("AWS_REGION", "nowhere"),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("TRIBUTARY__LAKE__OBJECT_STORE__AWS_SECRET_ACCESS_KEY", "secret"),
        ("AZURE_CLIENT_ID", "not ours"),
    ]);
    let load = |text: &str| {
        let file = Some(write(dir.path(), text));
        Settings::load(Layers { file, environment: environment.clone(), ..layers() })
    };
    let settings = load(bucket).unwrap();
    let options: Vec<(&str, &str)> =
        settings.lake.object_store.0.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(
        options,
        [("aws_access_key_id", "key"), ("aws_region", "eu-west-1"), ("aws_secret_access_key", "secret")]
    );
    assert!(!format!("{settings:?}").contains("secret\""), "secrets never print");
    let error = load(&format!("{bucket}aws_regoin = 'TYPO'\n")).unwrap_err().to_string();
    assert!(error.contains("lake.object_store.aws_regoin") && !error.contains("TYPO"), "{error}");
}

#[test]
fn kafkas_own_names_can_come_from_the_environment() {
    let environment = environment(&[
        ("TRIBUTARY__LOG__KAFKA_PROPERTIES__SASL__PASSWORD", "secret"),
        ("TRIBUTARY__LOG__KAFKA_TOPIC_CONFIG__RETENTION__MS", "-1"),
    ]);
    let settings = Settings::load(Layers { environment, ..layers() }).unwrap();
    assert_eq!(settings.log.kafka_properties["sasl.password"], "secret");
    assert_eq!(settings.log.kafka_topic_config["retention.ms"], "-1");
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

#[test]
fn a_source_of_the_settings_shuts_out_no_sender_with_a_key_of_the_first_start() {
    let dir = tempfile::tempdir().unwrap();
    let keys_file = dir.path().join("keys.toml");
    let written = "[ingest]\nwrite_keys = [{ source = 'web', key = 'wk_1' }, { source = 'import', key = 'wk_2', \
                   trusted_clock = true }]\n[query]\ntokens = ['sql_0123456789abcdef']\n";
    std::fs::write(&keys_file, written).unwrap();
    let load = |text: &str| {
        let file = Some(write(dir.path(), text));
        let settings =
            Settings::load(Layers { keys_file: Some(keys_file.clone()), file, ..Layers::default() }).unwrap();
        let keys = settings.ingest.write_keys.into_iter();
        keys.map(|key| (key.source, key.key, key.trusted_clock)).collect::<Vec<_>>()
    };
    let key = |source: &str, key: &str, trusted| (source.to_owned(), key.to_owned(), trusted);
    let (web, import) = (key("web", "wk_1", false), key("import", "wk_2", true));
    assert_eq!(load(""), [web.clone(), import.clone()]);
    let more = "[[ingest.write_keys]]\nsource = 'orders-a'\nkey = 'A'\ntrusted_clock = true\n";
    assert_eq!(load(more), [key("orders-a", "A", true), web, import.clone()]);
    // Whoever names a source says which keys are good for it: the written one may be known to the wrong people.
    let other = "[[ingest.write_keys]]\nsource = 'web'\nkey = 'NEW'\n";
    assert_eq!(load(other), [key("web", "NEW", false), import]);
}

#[test]
fn of_two_first_starts_at_once_one_makes_the_keys_and_both_have_them() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data").display().to_string();
    let starts = 8;
    let begin = std::sync::Barrier::new(starts);
    let start = || {
        // All have read their settings before any has made keys.
        let flags = vec![("serve.data_dir", data_dir.clone())];
        let mut settings = Settings::load(Layers { flags, ..Layers::default() }).unwrap();
        begin.wait();
        let made = add_missing_keys(&mut settings, &FIRST_SOURCES).unwrap().is_some();
        let keys: Vec<String> = settings.ingest.write_keys.iter().map(|key| key.key.clone()).collect();
        (made, keys, settings.ingest.ticket_secret, settings.query.tokens)
    };
    let ended: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..starts).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(ended.iter().filter(|(made, ..)| *made).count(), 1);
    let secrets = |(_, keys, secret, tokens): &(_, Vec<String>, String, Vec<String>)| {
        (keys.clone(), secret.clone(), tokens.clone())
    };
    assert!(ended.iter().all(|start| secrets(start) == secrets(&ended[0])), "{ended:?}");
    let left: Vec<_> = std::fs::read_dir(&data_dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["keys.toml"], "nothing half made stays");
}

#[test]
fn an_access_may_have_its_token_in_a_file_and_pseudonyms_their_secret_in_the_keys_file() {
    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("agency");
    std::fs::write(&token_file, "a-token-in-a-file-01\n").unwrap();
    let load = |text: &str| {
        let file = Some(write(dir.path(), text));
        let flags = vec![("serve.data_dir", dir.path().join("data").display().to_string())];
        Settings::load(Layers { file, flags, ..Layers::default() })
    };
    let own = format!(
        "[[query.access]]\nname = 'agency'\ntoken_file = {token_file:?}\npurposes = ['ads']\npersonal = ['user_id']\n"
    );
    let mut first = load(&own).unwrap();
    assert_eq!(first.query.access[0].token, "a-token-in-a-file-01");
    let made = add_missing_keys(&mut first, &FIRST_SOURCES).unwrap().unwrap();
    assert!(made.made.contains(&"a secret for pseudonyms") && first.query.mask_secret.len() == 64);
    let mut second = load(&own).unwrap();
    assert_eq!(add_missing_keys(&mut second, &FIRST_SOURCES).unwrap(), None);
    assert_eq!(second.query.mask_secret, first.query.mask_secret);
    // Nobody sees pseudonyms: there is nothing to make them with.
    let other = tempfile::tempdir().unwrap();
    let flags = vec![("serve.data_dir", other.path().display().to_string())];
    let mut plain = Settings::load(Layers { flags, ..Layers::default() }).unwrap();
    add_missing_keys(&mut plain, &FIRST_SOURCES).unwrap().unwrap();
    assert_eq!(plain.query.mask_secret, "");
    for (text, words) in [
        ("[[query.access]]\nname = 'a'\ntoken_file = '/no/such/file'\n", "token_file /no/such/file cannot be read"),
        ("[[query.access]]\nname = 'a'\ntoken = 'a-token-of-length-16'\npurposes = ['addds']\n", "there are analytics"),
        ("[[query.access]]\nname = 'a'\ntoken = 'a-token-of-length-16'\npurpose = ['ads']\n", "purpose"),
        (
            "[[query.access]]\nname = 'a'\ntoken = 'a-token-of-length-16'\nqueries_max = 99\n",
            "more than query.queries_max",
        ),
    ] {
        let told = load(text).unwrap_err().to_string();
        assert!(told.contains(words) && told.contains("query"), "{told}");
    }
}
