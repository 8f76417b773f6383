//! PostgreSQL's JDBC driver, to ask us by PostgreSQL's protocol: from Maven Central, run by `java` alone.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::maven;

const DRIVER_VERSION: &str = "42.7.8";

/// The directory with the jars.
pub(crate) fn fetch(cache_dir: &Path) -> Result<PathBuf> {
    let dependencies = [("org.postgresql", "postgresql", DRIVER_VERSION)];
    maven::jars(cache_dir, &format!("jdbc-postgresql-{DRIVER_VERSION}"), &dependencies, |_| Ok(()))
}
