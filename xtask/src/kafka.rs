//! Apache Kafka for the tests: real, from Maven Central, without a container.
//!
//! In:       a cache directory, a data directory, Java 17 and Maven on the path.
//! Out:      one broker (KRaft, broker and controller in one process) on free loopback ports.
//! Promise:  the jars are fetched once a version; the process we started ends with this value, and no other does.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::leash::{self, Leash};
use crate::maven;

/// The newest release that Maven Central serves at the time of writing; its broker runs on Java 17.
pub(crate) const KAFKA_VERSION: &str = "4.4.0";
/// What `kafka_2.13` of that version itself pulls in of log4j; its slf4j binding is left to the distribution.
const LOG4J_VERSION: &str = "2.25.5";
const CLUSTER_ID: &str = "dHJpYnV0YXJ5LXRlc3RzMQ";

const READY_TRIES_MAX: u32 = 600;
const STOP_TRIES_MAX: u32 = 150;
const TRY_EVERY: Duration = Duration::from_millis(100);
/// A port found free may be taken by another before the broker binds it.
const START_TRIES_MAX: u32 = 3;

pub(crate) struct Kafka {
    jars: PathBuf,
    data_dir: PathBuf,
    broker: SocketAddr,
    child: Option<(Child, Leash)>,
}

impl Kafka {
    /// The directory with the jars, fetched by Maven if it is not there yet.
    pub(crate) fn fetch(cache_dir: &Path) -> Result<PathBuf> {
        let dependencies = [
            ("org.apache.kafka", "kafka_2.13", KAFKA_VERSION),
            ("org.apache.logging.log4j", "log4j-slf4j-impl", LOG4J_VERSION),
        ];
        maven::jars(cache_dir, &format!("kafka-{KAFKA_VERSION}"), &dependencies, |jars| {
            Ok(fs::write(jars.join("log4j2.properties"), LOG4J_CONFIG)?)
        })
    }

    /// Formats `data_dir`, which must be empty or absent, and runs a broker on it. Returns once it answers.
    pub(crate) fn start(jars: &Path, data_dir: &Path) -> Result<Self> {
        for attempt in 1.. {
            let attempt_dir = data_dir.join(format!("attempt-{attempt}"));
            match Self::start_once(jars, &attempt_dir) {
                Ok(kafka) => return Ok(kafka),
                Err(error) if attempt == START_TRIES_MAX => return Err(error),
                Err(_) => {}
            }
        }
        bail!("no attempt was made")
    }

    /// `host:port` for clients.
    pub(crate) fn bootstrap(&self) -> String {
        self.broker.to_string()
    }

    /// Ends the broker at once, as a crash would (SIGKILL).
    pub(crate) fn kill_hard(&mut self) -> Result<()> {
        if let Some((mut child, _leash)) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Asks the broker to end (SIGTERM), and ends it by force if it takes too long.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn start_once(jars: &Path, data_dir: &Path) -> Result<Self> {
        fs::create_dir_all(data_dir)?;
        let (broker, controller) = two_free_addresses()?;
        let config = data_dir.join("server.properties");
        fs::write(&config, server_properties(broker, controller, &data_dir.join("data")))?;
        let mut kafka = Self { jars: jars.to_path_buf(), data_dir: data_dir.to_path_buf(), broker, child: None };
        let output = kafka
            .java("kafka.tools.StorageTool")
            .args(["format", "--standalone", "-t", CLUSTER_ID, "-c"])
            .arg(&config)
            .output()
            .context("Java 17 (java) is needed to run Apache Kafka for the tests")?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "formatting Kafka's storage:\n{told}");
        kafka.run()?;
        Ok(kafka)
    }

    fn java(&self, main_class: &str) -> Command {
        let mut command = Command::new("java");
        command
            .args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"])
            .arg(format!("-Dlog4j2.configurationFile={}", self.jars.join("log4j2.properties").display()))
            .arg("-cp")
            .arg(self.jars.join("*"))
            .arg(main_class)
            .stdin(Stdio::null());
        command
    }

    /// Stops it where it stands (`-STOP`), or lets it go on (`-CONT`).
    pub(crate) fn signal(&self, name: &str) -> Result<()> {
        let (child, _) = self.child.as_ref().context("the broker does not run")?;
        let status = Command::new("kill").args([name, &child.id().to_string()]).status().context("kill")?;
        ensure!(status.success(), "kill {name} {}: {status}", child.id());
        Ok(())
    }

    /// Runs the broker on its data. Returns once it answers.
    pub(crate) fn run(&mut self) -> Result<()> {
        let told = self.data_dir.join("kafka.log");
        let out = fs::OpenOptions::new().create(true).append(true).open(&told)?;
        let mut command = self.java("kafka.Kafka");
        command.arg(self.data_dir.join("server.properties")).stdout(out.try_clone()?).stderr(out);
        let started = leash::spawn(&mut command);
        self.child = Some(started.context("Java 17 (java) is needed to run Apache Kafka for the tests")?);
        for _ in 0..READY_TRIES_MAX {
            if let Some(status) = self.child.as_mut().map(|(child, _)| child.try_wait()).transpose()?.flatten() {
                bail!("Kafka ended at once ({status}); it said:\n{}", last_lines(&told));
            }
            if answers(self.broker) {
                return Ok(());
            }
            std::thread::sleep(TRY_EVERY);
        }
        bail!("Kafka did not answer in time; it said:\n{}", last_lines(&told))
    }

    fn end(&mut self) -> Result<()> {
        let Some((mut child, _leash)) = self.child.take() else { return Ok(()) };
        // std can only kill hard; the gentle signal goes through the tool of that name, to our child's id alone.
        let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        let tries = if asked.is_ok_and(|status| status.success()) { STOP_TRIES_MAX } else { 0 };
        for _ in 0..tries {
            if child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(TRY_EVERY);
        }
        child.kill()?;
        child.wait()?;
        Ok(())
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        // Nothing of the tests' data is worth a gentle stop, and Drop can not tell of a failure.
        drop(self.kill_hard());
    }
}

fn two_free_addresses() -> Result<(SocketAddr, SocketAddr)> {
    // Both held at once, so that they differ.
    let one = TcpListener::bind("127.0.0.1:0")?;
    let two = TcpListener::bind("127.0.0.1:0")?;
    Ok((one.local_addr()?, two.local_addr()?))
}

/// Asks ApiVersions (version 0), the one request every broker answers as soon as it serves clients.
fn answers(broker: SocketAddr) -> bool {
    const CORRELATION: [u8; 4] = [0, 0, 0, 7];
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&broker, Duration::from_secs(1))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let mut request = vec![0, 0, 0, 10, 0, 18, 0, 0];
        request.extend(CORRELATION);
        request.extend([0xff, 0xff]);
        stream.write_all(&request)?;
        let mut answer = [0; 10];
        stream.read_exact(&mut answer)?;
        Ok(answer[4..8] == CORRELATION && answer[8..10] == [0, 0])
    };
    ask().unwrap_or(false)
}

fn last_lines(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

const LOG4J_CONFIG: &str = "\
status = error
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c{1} %m%n
rootLogger.level = warn
rootLogger.appenderRef.out.ref = out
";

fn server_properties(broker: SocketAddr, controller: SocketAddr, logs: &Path) -> String {
    format!(
        "process.roles=broker,controller
node.id=1
listeners=PLAINTEXT://{broker},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{broker}
controller.listener.names=CONTROLLER
controller.quorum.bootstrap.servers={controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
num.network.threads=1
num.io.threads=2
background.threads=2
log.cleaner.dedupe.buffer.size=2097152
",
        logs.display()
    )
}
