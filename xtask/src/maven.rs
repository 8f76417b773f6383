//! Jars from Maven Central.
//!
//! In:      a cache directory, what to fetch; Maven on the path.
//! Out:     a directory with the jars and all they need.
//! Promise: fetched once a name; an interrupted download never passes for a whole one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::sdks::made_once;

/// Group, artifact, version.
pub(crate) type Dependency<'a> = (&'a str, &'a str, &'a str);

/// The directory `name`/jars in the cache, with these and what they need.
///
/// * `name`: holds the versions, so that others make another directory.
/// * `add`: puts what else belongs there beside the jars.
pub(crate) fn jars(
    cache_dir: &Path,
    name: &str,
    dependencies: &[Dependency<'_>],
    add: impl FnOnce(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let home = cache_dir.join(name);
    made_once(&home, |aside| {
        fs::create_dir_all(aside)?;
        fs::write(aside.join("pom.xml"), pom(dependencies))?;
        let output = Command::new("mvn")
            .args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"])
            .arg("-DoutputDirectory=jars")
            .current_dir(aside)
            .output()
            .with_context(|| format!("Maven (mvn) is needed to fetch {name} for the tests"))?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "Maven could not fetch {name}:\n{told}");
        add(&aside.join("jars"))
    })?;
    Ok(home.join("jars"))
}

fn pom(dependencies: &[Dependency<'_>]) -> String {
    let of = |(group, artifact, version): &Dependency<'_>| {
        format!(
            "    <dependency>\n      <groupId>{group}</groupId>\n      <artifactId>{artifact}</artifactId>\n      \
             <version>{version}</version>\n    </dependency>\n"
        )
    };
    let dependencies: String = dependencies.iter().map(of).collect();
    format!(
        r#"<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tributary.tests</groupId>
  <artifactId>jars</artifactId>
  <version>1</version>
  <dependencies>
{dependencies}  </dependencies>
</project>
"#
    )
}
