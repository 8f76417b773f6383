//! An S3-compatible server for the tests: moto, from PyPI.
//!
//! In:       the Python with the pinned packages.
//! Out:      a server on a free loopback port, with nothing in it.
//! Promise:  the process we started ends with this value, and no other does.
//!
//! Tried against it: Adobe S3Mock 4.12.4 (Maven, Java 17). Of 12 `If-None-Match: *` puts of one key at once it let 2 or more
//! succeed in 90 of 150 rounds; behind one lock moto let exactly one succeed in all.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::leash::{self, Leash};
use crate::root;

pub(crate) struct S3 {
    port: u16,
    child: Child,
    _leash: Leash,
}

impl S3 {
    /// Returns once it listens.
    pub(crate) fn start(python: &Path) -> Result<Self> {
        let mut command = Command::new(python);
        command
            .arg(root().join("tests/sdk/python/s3_server.py"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let (mut child, leash) = leash::spawn(&mut command).context("starting the S3 server of the tests")?;
        let told = child.stdout.take().expect("its output was asked for as a pipe");
        let mut line = String::new();
        BufReader::new(told).read_line(&mut line).context("reading the port of the S3 server")?;
        let Ok(port) = line.trim().parse() else {
            child.kill()?;
            let status = child.wait()?;
            bail!("the S3 server of the tests did not start ({status}); it said {line:?}");
        };
        Ok(Self { port, child, _leash: leash })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // Everything in it is in its memory; a gentle end would save nothing.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
