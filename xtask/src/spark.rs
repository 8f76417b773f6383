//! Apache Spark with Delta's own library, to read what we wrote: from Maven Central, run by `java` alone.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::maven;

/// The newest pair that fits together at the time of writing; Spark 4 runs on Java 17.
const SPARK_VERSION: &str = "4.1.0";
const DELTA_VERSION: &str = "4.3.0";

/// The directory with the jars.
pub(crate) fn fetch(cache_dir: &Path) -> Result<PathBuf> {
    let dependencies =
        [("org.apache.spark", "spark-sql_2.13", SPARK_VERSION), ("io.delta", "delta-spark_2.13", DELTA_VERSION)];
    maven::jars(cache_dir, &format!("spark-{SPARK_VERSION}-delta-{DELTA_VERSION}"), &dependencies, |_| Ok(()))
}
