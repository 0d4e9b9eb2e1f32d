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

use crate::http::{self, Connection};
use crate::load::{self, Target};
use crate::tree::Tree;
use crate::usage::Meter;

const START: Duration = Duration::from_secs(30);
const DEPLOY: Duration = Duration::from_secs(60);
/// Thousands of sandboxes take their time.
const STOP: Duration = Duration::from_secs(60);
/// How long a sandbox may take to disappear once it shall.
pub const GONE: Duration = Duration::from_secs(6);

/// The isolation that every machine has.
pub const NAMESPACE: &str = "namespace";

/// The functions that are measured, as they lie in `functions/`.
const FILES: [(&str, &str); 5] = [
    ("python/app.py", include_str!("../functions/python/app.py")),
    ("python-imports/app.py", include_str!("../functions/python-imports/app.py")),
    ("python-hold/app.py", include_str!("../functions/python-hold/app.py")),
    ("wire/app.py", include_str!("../functions/wire/app.py")),
    ("node/index.mjs", include_str!("../functions/node/index.mjs")),
];

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    pub folder: &'static str,
    pub runtime: &'static str,
    pub handler: &'static str,
}

pub const PYTHON: Code = Code { folder: "python", runtime: "python3.11", handler: "app.handler" };
pub const IMPORTS: Code = Code { folder: "python-imports", ..PYTHON };
pub const HOLD: Code = Code { folder: "python-hold", ..PYTHON };
pub const NODE: Code = Code { folder: "node", runtime: "nodejs20.x", handler: "index.handler" };

/// How a Hearth is started.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Sandboxes kept ready at most.
    pub stems: u32,
    /// What instances may use together, where it is not left to Hearth.
    pub memory_mib: Option<u64>,
    /// More of `hearth up`'s arguments.
    pub more: Vec<String>,
}

/// A function to be deployed.
#[derive(Debug, Clone, Copy)]
pub struct Deploy<'a> {
    pub name: &'a str,
    pub code: Code,
    pub isolation: &'a str,
    pub idle: &'a str,
    pub min: u32,
    pub max: u32,
}

/// A running Hearth.
#[derive(Debug)]
pub struct Hearth {
    program: PathBuf,
    setup: Setup,
    /// None once it has ended.
    process: Option<Child>,
    folder: Folder,
    control: SocketAddr,
    ingress: SocketAddr,
    /// None where this machine cannot tell what sandboxes use.
    meter: Option<Meter>,
}

/// A temporary folder, removed with this value.
#[derive(Debug)]
pub struct Folder(PathBuf);

// === impl Deploy ===

impl<'a> Deploy<'a> {
    /// On the namespace isolation, with instances that do not outlive their call.
    pub fn new(name: &'a str, code: Code) -> Self {
        Self { name, code, isolation: NAMESPACE, idle: "0s", min: 0, max: 4 }
    }

    pub fn isolation(self, isolation: &'a str) -> Self {
        Self { isolation, ..self }
    }

    pub fn idle(self, idle: &'a str) -> Self {
        Self { idle, ..self }
    }

    pub fn instances(self, min: u32, max: u32) -> Self {
        Self { min, max, ..self }
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
    /// Starts it in `folder` and waits until it is ready.
    pub fn start(program: &Path, folder: Folder, setup: &Setup) -> anyhow::Result<Self> {
        for (name, text) in FILES {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap_or(folder.path()))?;
            fs::write(path, text)?;
        }
        let (control, ingress) = free_addresses()?;
        let mut hearth = Self {
            program: program.to_owned(),
            setup: setup.clone(),
            process: None,
            folder,
            control,
            ingress,
            meter: None,
        };
        hearth.run()?;
        Ok(hearth)
    }

    /// Starts the process, and returns how long it took until it was ready.
    fn run(&mut self) -> anyhow::Result<Duration> {
        let log = File::create(self.folder.path().join("hearth.log"))?;
        let mut command = Command::new(&self.program);
        command.arg("up").arg("--data-dir").arg(self.data_dir()).args(["--stems", &self.setup.stems.to_string()]);
        if let Some(memory) = self.setup.memory_mib {
            command.args(["--memory", &format!("{memory}MB")]);
        }
        command.args(&self.setup.more);
        command.args(["--listen", &self.control.to_string(), "--ingress", &self.ingress.to_string()]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let since = Instant::now();
        self.process = Some(command.spawn().with_context(|| {
            format!("start {}: build it with `cargo build --release -p hearth`", self.program.display())
        })?);
        match self.until_ready() {
            Ok(()) => Ok(since.elapsed()),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Ends it and starts it again on the same data; how long the start took until it was ready.
    pub fn restart(&mut self) -> anyhow::Result<Duration> {
        self.end()?;
        self.meter = None;
        self.run()
    }

    /// Looks where the processor time of sandboxes can be read, by the example of one.
    pub fn find_meter(&mut self) -> anyhow::Result<()> {
        self.deploy(Deploy::new("probe", PYTHON).idle("1s").instances(0, 1))?;
        let target = self.target("probe");
        let call = || load::check(&Connection::open(target.address)?.call(&target.request)?).context("call the probe");
        // What the first sandbox of its kind leaves running, like a server that forks others, is no sandbox.
        call()?;
        self.until_none("probe", GONE)?;
        self.until_settled()?;
        let lasting = self.tree().processes();
        call()?;
        let sandboxed = self.tree().processes().into_iter().find(|pid| !lasting.contains(pid));
        let sandboxed = sandboxed.context("no process of an instance that was just called")?;
        match Meter::of_sandboxes(&lasting, sandboxed) {
            Ok(meter) => self.meter = Some(meter),
            Err(error) => eprintln!("bench: no processor times: {error:#}"),
        }
        self.until_only(lasting.len())
    }

    /// Waits until its processes have been the same for a while, and returns how many there are.
    pub fn until_settled(&self) -> anyhow::Result<usize> {
        let until = Instant::now() + GONE;
        let (mut last, mut same) = (self.tree().processes(), 0);
        while same < 20 {
            ensure!(Instant::now() < until, "processes come and go for {GONE:?}, although nothing is called");
            std::thread::sleep(Duration::from_millis(10));
            let now = self.tree().processes();
            same = if now == last { same + 1 } else { 0 };
            last = now;
        }
        Ok(last.len())
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
            if let Some(status) = self.process.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("hearth ended while it was starting, with {status}");
            }
            ensure!(Instant::now() < until, "hearth was not ready within {START:?}; /readyz last gave {ready:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Adds the end of its log to an error.
    pub fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        anyhow::anyhow!("{error:#}\n{}", self.last_words())
    }

    pub fn last_words(&self) -> String {
        let log = fs::read(self.folder.path().join("hearth.log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<_> = log.lines().collect();
        format!("hearth's log ends with:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"))
    }

    /// Deploys a function through the command line, as a person would.
    pub fn deploy(&self, what: Deploy<'_>) -> anyhow::Result<()> {
        let Deploy { name, code, isolation, idle, min, max } = what;
        let output = self.folder.path().join("deploy.log");
        let log = File::create(&output)?;
        let mut child = Command::new(&self.program)
            .arg("deploy")
            .arg(self.folder.path().join(code.folder))
            .args(["--name", name, "--runtime", code.runtime, "--handler", code.handler])
            .args(["--isolation", isolation, "--timeout", "2m"])
            .args(["--idle", idle, "--min", &min.to_string(), "--max", &max.to_string()])
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

    pub fn data_dir(&self) -> PathBuf {
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
        Tree::of(self.process.as_ref().map_or(u32::MAX, Child::id))
    }

    pub fn program(&self) -> &Path {
        &self.program
    }

    pub fn control(&self) -> SocketAddr {
        self.control
    }

    pub fn token(&self) -> anyhow::Result<String> {
        let token = fs::read_to_string(self.data_dir().join("admin.token")).context("read the admin token")?;
        Ok(token.trim().to_owned())
    }

    /// Ends it as a service manager would.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        terminate(&process);
        let status = wait(&mut process, STOP).context("stop hearth")?;
        ensure!(status.success(), "hearth ended with {status}; {}", self.last_words());
        Ok(())
    }
}

impl Drop for Hearth {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take()
            && matches!(process.try_wait(), Ok(None))
        {
            // First politely: it leaves less behind.
            terminate(&process);
            if wait(&mut process, STOP).is_err() {
                eprintln!("bench: hearth did not end within {STOP:?} and was killed");
            }
        }
    }
}

/// Asks a process of ours to end.
pub fn terminate(process: &Child) {
    if let Some(pid) = i32::try_from(process.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Waits for a child, and kills it when that takes too long.
pub fn wait(child: &mut Child, limit: Duration) -> anyhow::Result<ExitStatus> {
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
        let error = Hearth::start(Path::new("/bin/echo"), Folder::make().unwrap(), &Setup::default()).unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("while it was starting") && text.contains("up --data-dir"), "{text}");
    }
}
