//! Where a lake may stand: a folder, or a bucket.
//!
//! In:      `lake.url`, and options in object_store's own words.
//! Out:     the store, and the URL of the lake in it.
//! Promise: a place, or an option, that cannot be is refused with what to give, before anything is opened; all faults
//!          together. The value of an option is never repeated, whatever is wrong with it.
//! Not here: reading the environment: whoever reads it hands it in as options (`StoreOptions::from_environment`).

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, RetryConfig};
use url::Url;

use crate::durable_store::DurableStore;
use crate::error::LakeError;
use crate::settings::LakeSettings;

/// Options of an object store by object_store's own names (`aws_region`, `azure_storage_account_name` ...).
#[derive(Clone, Default, PartialEq, Eq)]
pub struct StoreOptions(pub BTreeMap<String, String>);

impl fmt::Debug for StoreOptions {
    /// Names only: among the values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl StoreOptions {
    /// Those of these environment variables that the store of `url` knows, such as AWS_REGION for `s3://`.
    pub fn from_environment<'v>(url: &str, variables: impl IntoIterator<Item = (&'v str, &'v str)>) -> Self {
        let Ok(Place::Bucket(kind, _)) = place(url) else { return Self::default() };
        let options = variables.into_iter().filter_map(|(name, value)| {
            let key = name.to_ascii_lowercase();
            let is_ours = kind.variable_prefixes().iter().any(|prefix| key.starts_with(prefix)) && kind.knows(&key);
            is_ours.then(|| (key, value.to_owned()))
        });
        Self(options.collect())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    S3,
    Google,
    Azure,
}

impl Kind {
    fn of_scheme(scheme: &str) -> Option<Self> {
        match scheme {
            "s3" | "s3a" => Some(Self::S3),
            "gs" => Some(Self::Google),
            "az" | "azure" | "abfs" | "abfss" => Some(Self::Azure),
            _ => None,
        }
    }

    fn variable_prefixes(self) -> &'static [&'static str] {
        match self {
            Self::S3 => &["aws_"],
            Self::Google => &["google_", "service_account"],
            Self::Azure => &["azure_"],
        }
    }

    fn knows(self, key: &str) -> bool {
        match self {
            Self::S3 => key.parse::<AmazonS3ConfigKey>().is_ok(),
            Self::Google => key.parse::<GoogleConfigKey>().is_ok(),
            Self::Azure => key.parse::<AzureConfigKey>().is_ok(),
        }
    }
}

enum Place {
    Folder(PathBuf),
    Bucket(Kind, Url),
}

fn fault(url: &str, reason: impl Into<String>) -> LakeError {
    LakeError::Location { url: url.to_owned(), reason: reason.into() }
}

fn place(url: &str) -> Result<Place, LakeError> {
    if url.is_empty() {
        return Err(fault(url, "give a folder, or a URL: file://, s3://, gs:// or az://"));
    }
    if !url.contains("://") {
        return Ok(Place::Folder(PathBuf::from(url)));
    }
    let parsed = Url::parse(url).map_err(|error| fault(url, error.to_string()))?;
    if parsed.scheme() == "file" {
        let folder = parsed.to_file_path();
        let folder = folder.map_err(|()| fault(url, "a file:// URL needs an absolute path: file:///data/lake"))?;
        return Ok(Place::Folder(folder));
    }
    let Some(kind) = Kind::of_scheme(parsed.scheme()) else {
        return Err(fault(url, "give a folder, or a URL that begins with file://, s3://, gs:// or az://"));
    };
    if parsed.host_str().is_none_or(str::is_empty) {
        return Err(fault(url, format!("name a bucket: {}://BUCKET/FOLDER", parsed.scheme())));
    }
    if parsed.password().is_some() || parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(fault(
            &format!("{}://...", parsed.scheme()),
            "a URL of a bucket takes no password, question mark or hash; give options in [lake.object_store]",
        ));
    }
    Ok(Place::Bucket(kind, folder_url(parsed)))
}

/// As joining expects it: with a slash at the end.
pub(crate) fn folder_url(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    url
}

/// The folder a lake lies in, by its `lake.url`; `None` if it lies in a bucket.
pub fn local_folder(url: &str) -> Result<Option<PathBuf>, LakeError> {
    place(url).map(|place| match place {
        Place::Folder(folder) => Some(folder),
        Place::Bucket(..) => None,
    })
}

/// Everything that is wrong with where the lake shall stand, as far as can be seen without going there.
pub(crate) fn check_location(settings: &LakeSettings) -> Vec<String> {
    match place(&settings.url) {
        Ok(Place::Folder(_)) => Vec::new(),
        Ok(Place::Bucket(kind, url)) => match bucket_store(kind, &url, &settings.object_store) {
            Ok(_) => Vec::new(),
            Err(faults) => faults,
        },
        Err(LakeError::Location { url, reason }) => vec![format!("lake.url is {url:?}; {reason}")],
        Err(error) => vec![format!("lake.url: {error}")],
    }
}

/// The store and the lake's URL in it. A folder that is missing is made.
pub(crate) fn open(settings: &LakeSettings) -> Result<(Url, Arc<dyn ObjectStore>), LakeError> {
    match place(&settings.url)? {
        Place::Folder(folder) => open_folder(settings, &folder),
        Place::Bucket(kind, url) => {
            let store = bucket_store(kind, &url, &settings.object_store);
            store.map(|store| (url, store)).map_err(|faults| fault(&settings.url, faults.join("; ")))
        }
    }
}

fn open_folder(settings: &LakeSettings, folder: &FilePath) -> Result<(Url, Arc<dyn ObjectStore>), LakeError> {
    let fault = |reason: String| fault(&settings.url, reason);
    std::fs::create_dir_all(folder).map_err(|error| fault(format!("the folder cannot be made: {error}")))?;
    let folder = folder.canonicalize().map_err(|error| fault(format!("the folder cannot be entered: {error}")))?;
    let url = Url::from_directory_path(&folder).map_err(|()| fault("its path cannot be a URL".to_owned()))?;
    let files = LocalFileSystem::new();
    let store: Arc<dyn ObjectStore> = match settings.fsync {
        true => Arc::new(DurableStore::new(files)),
        false => Arc::new(files),
    };
    Ok((url, store))
}

/// A few tries in the client, each within its own time; whoever calls tries again on top of that (`commit::Tries`), and
/// says so in the log.
fn retries() -> RetryConfig {
    RetryConfig { max_retries: 3, retry_timeout: Duration::from_secs(60), ..RetryConfig::default() }
}

fn bucket_store(kind: Kind, url: &Url, options: &StoreOptions) -> Result<Arc<dyn ObjectStore>, Vec<String>> {
    let mut faults = Vec::new();
    for key in options.0.keys() {
        if !kind.knows(key) {
            faults.push(format!("lake.object_store.{key}: a store of {}:// has no such option", url.scheme()));
        }
    }
    let known = options.0.iter().filter(|(key, _)| kind.knows(key));
    let built: Result<Arc<dyn ObjectStore>, object_store::Error> = match kind {
        Kind::S3 => {
            let mut builder = AmazonS3Builder::new().with_url(url.as_str()).with_retry(retries());
            for (key, value) in known {
                if let Ok(key) = key.parse::<AmazonS3ConfigKey>() {
                    builder = builder.with_config(key, value);
                }
            }
            let commits = builder.get_config_value(&AmazonS3ConfigKey::ConditionalPut);
            if commits.is_some_and(|value| value != S3ConditionalPut::ETagMatch.to_string()) {
                faults.push(
                    "lake.object_store.aws_conditional_put must be etag: a commit is a conditional put".to_owned(),
                );
            }
            builder.build().map(|store| Arc::new(store) as _)
        }
        Kind::Google => {
            let mut builder = GoogleCloudStorageBuilder::new().with_url(url.as_str()).with_retry(retries());
            for (key, value) in known {
                if let Ok(key) = key.parse::<GoogleConfigKey>() {
                    builder = builder.with_config(key, value);
                }
            }
            builder.build().map(|store| Arc::new(store) as _)
        }
        Kind::Azure => {
            let mut builder = MicrosoftAzureBuilder::new().with_url(url.as_str()).with_retry(retries());
            for (key, value) in known {
                if let Ok(key) = key.parse::<AzureConfigKey>() {
                    builder = builder.with_config(key, value);
                }
            }
            builder.build().map(|store| Arc::new(store) as _)
        }
    };
    match built {
        Ok(store) if faults.is_empty() => Ok(store),
        Ok(_) => Err(faults),
        Err(error) => {
            faults.push(format!(
                "lake.url is {:?}; its store cannot be set up: {}",
                url.as_str(),
                without_values(&error, options)
            ));
            Err(faults)
        }
    }
}

/// What the store said, without any value that was given: it may be a secret in the wrong place.
fn without_values(error: &object_store::Error, options: &StoreOptions) -> String {
    let mut text = error.to_string();
    for value in options.0.values().filter(|value| 3 < value.len()) {
        text = text.replace(value.as_str(), "***");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> StoreOptions {
        StoreOptions(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    fn check(url: &str, pairs: &[(&str, &str)]) -> Vec<String> {
        let settings = LakeSettings { url: url.to_owned(), object_store: options(pairs), ..LakeSettings::default() };
        check_location(&settings)
    }

    #[test]
    fn a_folder_and_its_url_are_the_same_place() {
        assert_eq!(local_folder("/data/lake").unwrap(), Some(PathBuf::from("/data/lake")));
        assert_eq!(local_folder("file:///data/a%20lake").unwrap(), Some(PathBuf::from("/data/a lake")));
        assert_eq!(local_folder("s3://bucket/lake").unwrap(), None);
    }

    #[test]
    fn a_place_that_cannot_be_a_lake_is_refused_with_what_to_give() {
        for url in ["", "ftp://host/lake", "file://host/lake", "s3:///lake", "s3://bucket/lake?key=1"] {
            let error = local_folder(url).unwrap_err();
            assert!(matches!(error, LakeError::Location { .. }), "{url}: {error}");
        }
    }

    #[test]
    fn buckets_of_the_three_clouds_can_be_set_up() {
        let s3 = [("aws_access_key_id", "a"), ("aws_secret_access_key", "b"), ("aws_region", "eu-west-1")];
        assert!(check("s3://bucket/lake", &s3).is_empty());
        let azure = [("azure_storage_account_name", "account"), ("azure_storage_account_key", "a2V5")];
        assert_eq!(check("az://container/lake", &azure), [""; 0]);
        assert_eq!(check("gs://bucket/lake", &[("google_skip_signature", "true")]), [""; 0]);
    }

    #[test]
    fn all_faults_are_told_and_no_value_is() {
        let given = [
            ("aws_acess_key_id", "SECRETSECRET"),
            ("google_bucket_nam", "SECRETSECRET"),
            ("aws_conditional_put", "disabled"),
            ("aws_allow_http", "SECRETSECRET"),
        ];
        let faults = check("s3://bucket/lake", &given);
        let text = faults.join("\n");
        for part in ["aws_acess_key_id", "google_bucket_nam", "aws_conditional_put must be etag", "cannot be set up"] {
            assert!(text.contains(part), "{part}\n---\n{text}");
        }
        assert!(!text.contains("SECRETSECRET"), "{text}");
        assert!(!format!("{:?}", options(&given)).contains("SECRETSECRET"));
    }

    #[test]
    fn of_the_environment_only_the_stores_own_variables_are_taken() {
        let variables =
            [("AWS_REGION", "r"), ("AZURE_CLIENT_ID", "c"), ("TIMEOUT", "1"), ("AWS_PAGER", "less"), ("TOKEN", "t")];
        assert_eq!(StoreOptions::from_environment("s3://b/l", variables), options(&[("aws_region", "r")]));
        assert_eq!(StoreOptions::from_environment("./lake", variables), StoreOptions::default());
    }
}
