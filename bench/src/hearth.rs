//! The process under test: a Hearth of the benchmark's own, in a folder of its own, on ports of its own.
//!
//! ```text
//! start ─► ready (GET /readyz) ─► deploy … call … ─► stop (SIGTERM, drained, exit status 0)
//!    └─ not ready in 30 s: killed             dropped on an error: killed, its folder removed
//! ```

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::http::{self, Connection};
use crate::load::{self, Target};
use crate::tree::Tree;
use crate::usage::Meter;

const START: Duration = Duration::from_secs(30);
const DEPLOY: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(30);
/// How long a stem may take to be ready: the slowest isolation's start, on a machine with other work.
const STEM: Duration = Duration::from_secs(20);
const RECORDS: Duration = Duration::from_secs(10);
/// How long a sandbox may take to disappear once it shall.
const GONE: Duration = Duration::from_secs(6);

/// The isolation that every machine has.
pub const NAMESPACE: &str = "namespace";

/// The functions that are measured, as they lie in `functions/`.
const FILES: [(&str, &str); 2] = [
    ("python/app.py", include_str!("../functions/python/app.py")),
    ("node/index.mjs", include_str!("../functions/node/index.mjs")),
];

/// A language to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    Python,
    Node,
}

/// A running Hearth.
#[derive(Debug)]
pub struct Hearth {
    program: PathBuf,
    process: Child,
    folder: Folder,
    control: SocketAddr,
    ingress: SocketAddr,
    /// None where this machine cannot tell what sandboxes use.
    meter: Option<Meter>,
}

/// A temporary folder, removed with this value.
#[derive(Debug)]
pub struct Folder(PathBuf);

// === impl Language ===

impl Language {
    pub const ALL: [Self; 2] = [Self::Python, Self::Node];

    pub fn title(self) -> &'static str {
        match self {
            Self::Python => "Python",
            Self::Node => "Node",
        }
    }

    fn runtime(self) -> &'static str {
        match self {
            Self::Python => "python3.11",
            Self::Node => "nodejs20.x",
        }
    }

    fn folder(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Node => "node",
        }
    }

    fn handler(self) -> &'static str {
        match self {
            Self::Python => "app.handler",
            Self::Node => "index.handler",
        }
    }
}

// === impl Folder ===

impl Folder {
    pub fn make() -> anyhow::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let count = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hearth-bench-{}-{count}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("bench: {} stays: {error}", self.0.display());
        }
    }
}

// === impl Hearth ===

impl Hearth {
    /// Starts it in `folder`, with so many stems at most, and waits until it is ready.
    pub fn start(program: &Path, folder: Folder, stems: u32) -> anyhow::Result<Self> {
        for (name, text) in FILES {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap_or(folder.path()))?;
            fs::write(path, text)?;
        }
        let (control, ingress) = free_addresses()?;
        let log = File::create(folder.path().join("hearth.log"))?;
        let process = Command::new(program)
            .arg("up")
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(["--stems", &stems.to_string()])
            .args(["--listen", &control.to_string(), "--ingress", &ingress.to_string()])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}: build it with `cargo build --release -p hearth`", program.display()))?;
        let mut hearth = Self { program: program.to_owned(), process, folder, control, ingress, meter: None };
        match hearth.until_ready() {
            Ok(()) => Ok(hearth),
            Err(error) => Err(hearth.explain(error)),
        }
    }

    /// Looks where the processor time of sandboxes can be read, by the example of one.
    pub fn find_meter(&mut self) -> anyhow::Result<()> {
        let lasting = self.tree().processes();
        self.deploy(Language::Python, "probe", NAMESPACE, "1s", 1)?;
        let target = self.target("probe");
        load::check(&Connection::open(target.address)?.call(&target.request)?).context("call the probe")?;
        let sandboxed = self.tree().processes().into_iter().find(|pid| !lasting.contains(pid));
        let sandboxed = sandboxed.context("no process of an instance that was just called")?;
        match Meter::of_sandboxes(lasting.clone(), sandboxed) {
            Ok(meter) => self.meter = Some(meter),
            Err(error) => eprintln!("bench: no processor times: {error:#}"),
        }
        self.until_only(lasting.len())
    }

    /// Waits until no more than `count` processes of it live.
    pub fn until_only(&self, count: usize) -> anyhow::Result<()> {
        let until = Instant::now() + GONE;
        while self.tree().processes().len() > count {
            ensure!(Instant::now() < until, "an instance still lives {GONE:?} after its call");
            std::thread::sleep(Duration::from_micros(500));
        }
        Ok(())
    }

    fn until_ready(&mut self) -> anyhow::Result<()> {
        let request = http::get(self.control, "/readyz", "");
        let until = Instant::now() + START;
        loop {
            let ready = Connection::open(self.control).and_then(|mut connection| Ok(connection.call(&request)?.status));
            if matches!(ready, Ok(200)) {
                return Ok(());
            }
            if let Some(status) = self.process.try_wait()? {
                bail!("hearth ended while it was starting, with {status}");
            }
            ensure!(Instant::now() < until, "hearth was not ready within {START:?}; /readyz last gave {ready:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Adds the end of its log to an error.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        anyhow::anyhow!("{error:#}\n{}", self.last_words())
    }

    fn last_words(&self) -> String {
        let log = fs::read(self.folder.path().join("hearth.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        format!("hearth's log ends with:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
    }

    /// Deploys the language's function through the command line, as a person would.
    pub fn deploy(&self, language: Language, name: &str, isolation: &str, idle: &str, max: u32) -> anyhow::Result<()> {
        let output = self.folder.path().join("deploy.log");
        let log = File::create(&output)?;
        let mut child = Command::new(&self.program)
            .arg("deploy")
            .arg(self.folder.path().join(language.folder()))
            .args(["--name", name, "--runtime", language.runtime(), "--handler", language.handler()])
            .args(["--isolation", isolation])
            .args(["--idle", idle, "--max", &max.to_string()])
            .env("HEARTH_ENDPOINT", format!("http://{}", self.control))
            .env("HEARTH_DATA_DIR", self.data_dir())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let status = wait(&mut child, DEPLOY).with_context(|| format!("deploy {name}"))?;
        ensure!(status.success(), "deploying {name} failed: {}", fs::read_to_string(output).unwrap_or_default());
        Ok(())
    }

    /// Where it may be written, besides by Hearth itself.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where a function is called.
    pub fn target(&self, name: &str) -> Target {
        Target::new(self.ingress, &format!("/fn/{name}/"))
    }

    pub fn meter(&self) -> Option<&Meter> {
        self.meter.as_ref()
    }

    /// Its spawner, server and sandboxes.
    pub fn tree(&self) -> Tree {
        Tree::of(self.process.id())
    }

    /// The newest records of a function's calls, at least `count` of them. Records are written behind the calls, so
    /// they are waited for.
    pub fn records(&self, name: &str, count: usize) -> anyhow::Result<Vec<Value>> {
        let until = Instant::now() + RECORDS;
        loop {
            let mut answer = self.api(&format!("functions/{name}/invocations?limit={}", count.clamp(1, 1000)))?;
            let Some(Value::Array(records)) = answer.get_mut("invocations").map(Value::take) else {
                bail!("no list of invocations in {answer}");
            };
            if records.len() >= count.min(1000) {
                return Ok(records);
            }
            ensure!(Instant::now() < until, "{name} was called {count} times and has {} records", records.len());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// How many instances of a function live now.
    pub fn instances(&self, name: &str) -> anyhow::Result<usize> {
        let answer = self.api(&format!("instances?function={name}"))?;
        let list = answer.get("instances").and_then(Value::as_array);
        Ok(list.with_context(|| format!("no list of instances in {answer}"))?.len())
    }

    /// Why an isolation does not work here; none if it does.
    pub fn lacks(&self, isolation: &str) -> anyhow::Result<Option<String>> {
        let answer = self.api("doctor")?;
        let known = answer.get("isolations").and_then(Value::as_array).into_iter().flatten();
        let one = known.into_iter().find(|one| one.get("isolation").and_then(Value::as_str) == Some(isolation));
        let Some(one) = one else { return Ok(Some("it is not built in".into())) };
        if one.get("works").and_then(Value::as_bool) == Some(true) {
            return Ok(None);
        }
        let findings = one.get("findings").and_then(Value::as_array).into_iter().flatten();
        let missing = findings.filter(|found| found.get("severity").and_then(Value::as_str) == Some("missing"));
        let states: Vec<_> = missing.filter_map(|found| found.get("state")?.as_str()).collect();
        Ok(Some(states.join("; ")))
    }

    /// Waits until a stem of that isolation is ready and none is being made.
    pub fn until_stem(&self, isolation: &str) -> anyhow::Result<()> {
        let until = Instant::now() + STEM;
        loop {
            let answer = self.api("instances")?;
            let number = |one: &Value, key: &str| one.get(key).and_then(Value::as_u64).unwrap_or(0);
            let stems = answer.get("stems").and_then(Value::as_array).into_iter().flatten();
            let (mut ready, mut starting) = (0, 0);
            for one in stems {
                starting += number(one, "starting");
                if one.get("isolation").and_then(Value::as_str) == Some(isolation) {
                    ready += number(one, "ready");
                }
            }
            if ready > 0 && starting == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < until, "no stem of {isolation} was ready within {STEM:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until a function has no instance.
    pub fn until_none(&self, name: &str) -> anyhow::Result<()> {
        let until = Instant::now() + GONE;
        while self.instances(name)? > 0 {
            ensure!(Instant::now() < until, "an instance of {name} still lives {GONE:?} after its call");
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn api(&self, path: &str) -> anyhow::Result<Value> {
        let token = fs::read_to_string(self.data_dir().join("admin.token")).context("read the admin token")?;
        let header = format!("authorization: Bearer {}\r\n", token.trim());
        let mut connection = Connection::open(self.control)?;
        let response = connection.call(&http::get(self.control, &format!("/api/v1/{path}"), &header))?;
        let body = String::from_utf8_lossy(response.body);
        ensure!(response.status == 200, "GET /api/v1/{path} gave {}: {body}", response.status);
        serde_json::from_str(&body).with_context(|| format!("GET /api/v1/{path} gave {body}"))
    }

    /// Ends it as a service manager would.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM);
        let status = wait(&mut self.process, STOP).context("stop hearth")?;
        ensure!(status.success(), "hearth ended with {status}; {}", self.last_words());
        Ok(())
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Hearth {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            // First politely: it leaves less behind.
            self.signal(Signal::TERM);
            if wait(&mut self.process, STOP).is_err() {
                eprintln!("bench: hearth did not end within {STOP:?} and was killed");
            }
        }
    }
}

/// Waits for a child, and kills it when that takes too long.
fn wait(child: &mut Child, limit: Duration) -> anyhow::Result<ExitStatus> {
    let until = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= until {
            let _ = child.kill();
            let _ = child.wait();
            bail!("it did not end within {limit:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Two addresses that were free a moment ago.
fn free_addresses() -> anyhow::Result<(SocketAddr, SocketAddr)> {
    let (one, other) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
    Ok((one.local_addr()?, other.local_addr()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_does_not_end_is_ended() {
        let mut child = Command::new("/bin/sleep").arg("60").spawn().unwrap();
        assert!(wait(&mut child, Duration::from_millis(50)).is_err());
        assert!(child.try_wait().unwrap().is_some());
        let mut child = Command::new("/bin/true").spawn().unwrap();
        assert!(wait(&mut child, Duration::from_secs(10)).unwrap().success());
    }

    #[test]
    fn a_program_that_is_no_hearth_is_refused_with_its_words() {
        let error = Hearth::start(Path::new("/bin/echo"), Folder::make().unwrap(), 0).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("while it was starting") && text.contains("up --data-dir"), "{text}");
    }
}
