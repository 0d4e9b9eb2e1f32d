//! The driver by itself, with the Docker Engine of this machine: shell commands as functions. Once with the host's kernel,
//! and again with gVisor's where the engine has a runtime for it.
//!
//! Not libtest: where there is no engine, that must be seen, and one case starts this program again, to kill it. Each
//! case is a claim; the closing line counts them. `-- figures` measures instead.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::query_parameters::ListContainersOptions;
use docker::{Docker, GvisorRuntime, Options};
use driver::{BoxFuture, Driver, ExitCause, Limits, Sandbox, SandboxSpec, Severity, StartError};
use model::{CodeHash, Cpu, InstanceId, Isolation, Memory};

const LIMIT: Duration = Duration::from_secs(20);

/// Long enough that something that runs would have been seen to.
const STILL: Duration = Duration::from_millis(300);

/// Obeys what it reads from its control stream, and tells how each order ended.
const SHELL: &str = r#"while read -r order <&3; do eval "$order"; echo "=$?"; done 2>&1"#;

/// A driver on folders of its own.
struct Bed {
    docker: Docker,
    /// Of the isolation that is looked at.
    driver: Arc<dyn Driver>,
    dir: PathBuf,
}

/// A shell in a sandbox.
struct Shell {
    sandbox: Sandbox,
    control: UnixStream,
    /// Read, but not yet asked for.
    output: Vec<u8>,
}

type Outcome = Result<(), String>;
type Case = (&'static str, for<'a> fn(&'a Bed) -> BoxFuture<'a, Outcome>);

fn code(name: u8) -> CodeHash {
    CodeHash::from_digest(&[name; 32])
}

fn say(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn claim(true_or_not: bool, otherwise: impl std::fmt::Debug) -> Outcome {
    if true_or_not { Ok(()) } else { Err(format!("{otherwise:?}")) }
}

/// What of the mount table is below a folder.
fn mounts_below(folder: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let folder = folder.to_string_lossy().into_owned();
    table.lines().filter(|line| line.contains(&folder)).map(str::to_owned).collect()
}

fn options(dir: &Path, rootless: bool) -> Options {
    Options {
        socket: socket().into(),
        name: format!("hearth-test-{}", dir.file_name().unwrap_or_default().to_string_lossy()),
        run_dir: dir.join("run"),
        code_dir: dir.join("code"),
        data_dir: dir.to_owned(),
        runtime_dir: dir.join("runtime"),
        allowed_mounts: vec![],
        rootless,
        // No container of these tests asks for one.
        network: linux::net::Options {
            name: "hearth-test-docker".into(),
            range: linux::net::Range::default(),
            state: dir.join("network"),
            rootless: true,
        },
        gvisor: Some(GvisorRuntime::Found),
    }
}

/// As Docker's own tools find it.
fn socket() -> String {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    host.strip_prefix("unix://").unwrap_or(docker::SOCKET).to_owned()
}

// === impl Bed ===

impl Bed {
    /// A folder with three packages: 1 and 2 are good, 3 is a link to the second.
    fn folder() -> io::Result<PathBuf> {
        let dir = std::env::temp_dir().join(InstanceId::random().as_str());
        for (name, text) in [(1, "one"), (2, "two")] {
            let package = dir.join("code").join(code(name).as_str());
            fs::create_dir_all(&package)?;
            fs::write(package.join("hello.txt"), text)?;
            // Whoever may not write to it here is hindered by the mount alone.
            fs::set_permissions(package.join("hello.txt"), fs::Permissions::from_mode(0o666))?;
        }
        std::os::unix::fs::symlink(code(2).as_str(), dir.join("code").join(code(3).as_str()))?;
        fs::create_dir_all(dir.join("runtime"))?;
        fs::write(dir.join("runtime/bootstrap.py"), "bootstrap")?;
        Ok(dir)
    }

    async fn open(dir: &Path, isolation: Isolation, rootless: bool) -> Self {
        let docker = Docker::open(options(dir, rootless)).await;
        let drivers = docker.drivers();
        let driver = drivers.iter().find(|one| one.isolation() == isolation).expect("both were asked for").clone();
        Self { docker, driver, dir: dir.to_owned() }
    }

    fn isolation(&self) -> Isolation {
        self.driver.isolation()
    }

    async fn shell(&self, code: Option<CodeHash>) -> Result<Shell, String> {
        Shell::start(self.driver.as_ref(), code).await.map_err(say)
    }

    /// Containers of this bed's installation, running or not.
    async fn containers(dir: &Path) -> Result<usize, String> {
        let api = bollard::Docker::connect_with_unix(&socket(), 20, bollard::API_DEFAULT_VERSION).map_err(say)?;
        let label = format!("hearth.installation={}", options(dir, false).name);
        let filters = Some([("label".to_owned(), vec![label])].into());
        let options = ListContainersOptions { all: true, filters, ..ListContainersOptions::default() };
        Ok(api.list_containers(Some(options)).await.map_err(say)?.len())
    }

    /// Closes the driver, and looks at what is left on the host.
    async fn close(self) -> Outcome {
        self.docker.close().await;
        let (containers, mounts) = (Self::containers(&self.dir).await?, mounts_below(&self.dir));
        let run = self.dir.join("run").exists();
        claim(containers == 0 && mounts.is_empty() && !run, (containers, mounts, run))
    }
}

// === impl Shell ===

impl Shell {
    async fn start(driver: &dyn Driver, code: Option<CodeHash>) -> Result<Self, StartError> {
        let spec = SandboxSpec {
            root: driver::RootFs::Host,
            work_dir: "/var/task".into(),
            user: driver::User::SANDBOX,
            id: InstanceId::random(),
            command: ["/bin/sh", "-c", SHELL].map(String::from).to_vec(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            code,
            limits: Limits {
                memory: Memory::mib(64),
                cpu_cap: Cpu::millis(1000),
                cpu_share: Cpu::millis(72),
                pids: 32,
                tmp: Memory::mib(4),
            },
            layers: None,
            secret_files: false,
            mounts: vec![],
            invoke_streams: 1,
            egress: model::Egress::None,
        };
        let sandbox = driver.start(spec).await?;
        let control = UnixStream::from(sandbox.streams.control.try_clone().expect("a descriptor"));
        Ok(Self { sandbox, control, output: vec![] })
    }

    fn order(&mut self, order: &str) -> Outcome {
        self.control.write_all(format!("{order}\n").as_bytes()).map_err(say)
    }

    /// What came out of the last order; none if it is not done in time.
    fn answer(&mut self, limit: Duration) -> Option<String> {
        let until = Instant::now() + limit;
        loop {
            let text = String::from_utf8_lossy(&self.output).into_owned();
            if let Some((answer, _status)) = text.strip_suffix('\n').and_then(|text| text.rsplit_once('=')) {
                self.output.clear();
                return Some(answer.trim().to_owned());
            }
            self.read(until.saturating_duration_since(Instant::now()))?;
        }
    }

    fn read(&mut self, limit: Duration) -> Option<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let log = self.sandbox.streams.log.as_fd();
        let limit = Timespec::try_from(limit).expect("a time");
        let ready = poll(&mut [PollFd::new(&log, PollFlags::IN)], Some(&limit)).expect("poll");
        let mut part = [0; 4096];
        let len = if ready > 0 { rustix::io::read(log, &mut part).expect("a pipe") } else { 0 };
        self.output.extend_from_slice(&part[..len]);
        (len > 0).then_some(())
    }

    fn ask(&mut self, order: &str) -> Result<String, String> {
        self.order(order)?;
        self.answer(LIMIT).ok_or_else(|| format!("no answer to {order}"))
    }

    async fn adopt(&self, code: CodeHash) -> Result<(), StartError> {
        self.sandbox.handle.adopt(code).await
    }

    /// Kills it, and waits for its end.
    async fn end(self) -> Result<ExitCause, String> {
        self.sandbox.handle.kill();
        let exit = tokio::time::timeout(LIMIT, self.sandbox.handle.exited()).await;
        exit.map(|exit| exit.cause).map_err(|_| "it does not die".into())
    }
}

const CASES: &[Case] = &[
    ("code that is known at the start is there, read-only", |bed| {
        Box::pin(async {
            let mut shell = bed.shell(Some(code(1))).await?;
            let told = shell.ask("cat hello.txt /var/runtime/bootstrap.py; touch hello.txt")?;
            claim(told.starts_with("onebootstrap") && told.contains("Read-only"), told)?;
            let refused = shell.adopt(code(2)).await;
            claim(matches!(refused, Err(StartError::Spec(_))), refused)
        })
    }),
    ("a stem has no code until it is claimed, and then all of it at once, read-only", |bed| {
        Box::pin(async {
            let mut shell = bed.shell(None).await?;
            let before = shell.ask("echo /var/task/* /var/*; cat /var/runtime/bootstrap.py")?;
            // A place for native libraries: see `linux::root`.
            claim(before == "/var/task/lib /var/lang /var/runtime /var/task\nbootstrap", before)?;
            shell.adopt(code(1)).await.map_err(say)?;
            let after = shell.ask("cat /var/task/hello.txt; cd /var/task && echo *; touch hello.txt /var/new")?;
            let of_gvisor = bed.isolation() == Isolation::Gvisor;
            // It looks at the folder's owner first.
            let refusals = if of_gvisor { ["Read-only", "Permission denied"] } else { ["Read-only"; 2] };
            let (code, var) = after.split_once("/var/new").unwrap_or_default();
            let refused = code.contains(refusals[0]) && var.contains(refusals[1]);
            claim(after.starts_with("onehello.txt") && refused, after.clone())?;
            if of_gvisor {
                // Its mount table has one entry for all of `/var`.
                return Ok(());
            }
            let mount = shell.ask("grep ' /var/task ' /proc/self/mountinfo")?;
            claim(["ro,", "nosuid", "nodev"].iter().all(|flag| mount.contains(flag)), mount)
        })
    }),
    ("a stem is claimed once", |bed| {
        Box::pin(async {
            let mut shell = bed.shell(None).await?;
            shell.adopt(code(1)).await.map_err(say)?;
            let again = shell.adopt(code(2)).await;
            claim(matches!(again, Err(StartError::Spec(_))), again)?;
            let told = shell.ask("cat /var/task/hello.txt")?;
            claim(told == "one", told)
        })
    }),
    ("no link is followed to a stem's code, and what is not there is not claimed", |bed| {
        Box::pin(async {
            for name in [3, 4] {
                let mut shell = bed.shell(None).await?;
                let refused = shell.adopt(code(name)).await;
                claim(matches!(refused, Err(StartError::System(_))), refused)?;
                let told = shell.ask("cd /var/task && echo *")?;
                claim(told == "lib", told)?;
            }
            Ok(())
        })
    }),
    ("two stems see their own code only", |bed| {
        Box::pin(async {
            let (mut one, mut two) = (bed.shell(None).await?, bed.shell(None).await?);
            one.adopt(code(1)).await.map_err(say)?;
            let untouched = two.ask("cd /var/task && echo *")?;
            claim(untouched == "lib", untouched)?;
            two.adopt(code(2)).await.map_err(say)?;
            let told = (one.ask("cat /var/task/hello.txt")?, two.ask("cat /var/task/hello.txt")?);
            claim(told == ("one".into(), "two".into()), told)
        })
    }),
    ("a claimed stem leaves nothing in the place of slots", |bed| {
        Box::pin(async {
            let mut shell = bed.shell(None).await?;
            let slot = bed.dir.join("run/slots").join(shell.sandbox.id.as_str());
            shell.adopt(code(1)).await.map_err(say)?;
            claim(mounts_below(&slot).len() == 1, mounts_below(&slot))?;
            let asked = shell.ask("true")?;
            claim(asked.is_empty(), asked)?;
            let ended = shell.end().await?;
            claim(ended == ExitCause::Killed, ended)?;
            let until = Instant::now() + LIMIT;
            while slot.exists() && Instant::now() < until {
                tokio::task::yield_now().await;
            }
            claim(!slot.exists() && mounts_below(&slot).is_empty(), mounts_below(&slot))
        })
    }),
    ("the frozen stand still, go on, and die frozen", |bed| {
        Box::pin(async {
            let mut shell = bed.shell(Some(code(1))).await?;
            claim(shell.sandbox.handle.freeze(true), "nothing freezes here")?;
            shell.order("echo awake")?;
            let frozen = shell.answer(STILL);
            claim(frozen.is_none(), frozen)?;
            claim(shell.sandbox.handle.files().freeze(false), "its files do not thaw it")?;
            let thawed = shell.answer(LIMIT);
            claim(thawed.as_deref() == Some("awake"), thawed)?;
            shell.sandbox.handle.freeze(true);
            let ended = shell.end().await?;
            claim(ended == ExitCause::Killed, ended)
        })
    }),
    ("a frozen stem can be claimed", |bed| {
        Box::pin(async {
            let mut shell = bed.shell(None).await?;
            shell.sandbox.handle.freeze(true);
            shell.adopt(code(2)).await.map_err(say)?;
            shell.sandbox.handle.freeze(false);
            let told = shell.ask("cat /var/task/hello.txt")?;
            claim(told == "two", told)
        })
    }),
    ("without the privilege to mount, stems are refused with the reason", |bed| {
        Box::pin(async {
            let dir = Bed::folder().map_err(say)?;
            let other = Bed::open(&dir, bed.isolation(), true).await;
            let found = other.driver.capability().findings.into_iter().find(|one| one.subject == "stems");
            claim(found.as_ref().is_some_and(|one| one.severity == Severity::Weaker), &found)?;
            let refused = Shell::start(other.driver.as_ref(), None).await.map(|_| ());
            claim(matches!(&refused, Err(StartError::Unavailable { reason, .. }) if reason.contains("user")), refused)?;
            let whole = bed.driver.capability().findings.into_iter().find(|one| one.subject == "stems");
            claim(whole.as_ref().is_some_and(|one| one.severity == Severity::Ok), &whole)?;
            other.close().await?;
            fs::remove_dir_all(dir).map_err(say)
        })
    }),
    ("what a killed process left, frozen and claimed, the next one takes away", |bed| {
        Box::pin(async {
            let dir = Bed::folder().map_err(say)?;
            let mut child = Command::new(std::env::current_exe().map_err(say)?);
            let mut child = child
                .arg("live")
                .arg(&dir)
                .arg(bed.isolation().as_str())
                .stdout(Stdio::piped())
                .spawn()
                .map_err(say)?;
            let mut told = String::new();
            let out = child.stdout.take().ok_or("no output")?;
            io::BufRead::read_line(&mut io::BufReader::new(out), &mut told).map_err(say)?;
            child.kill().map_err(say)?;
            child.wait().map_err(say)?;
            claim(told == "ready\n", told)?;
            let left = (Bed::containers(&dir).await?, mounts_below(&dir).len());
            claim(left == (2, 2), ("containers, mounts that were left", left))?;

            let began = Instant::now();
            Bed::open(&dir, bed.isolation(), false).await.close().await?;
            // Not Docker's ten seconds of waiting for what cannot die.
            claim(began.elapsed() < Duration::from_secs(6), began.elapsed())?;
            let kept = fs::read_to_string(dir.join("code").join(code(1).as_str()).join("hello.txt"));
            claim(kept.as_deref().is_ok_and(|text| text == "one"), kept)?;
            fs::remove_dir_all(dir).map_err(say)
        })
    }),
];

/// The process that is to be killed: one frozen, claimed stem and one that runs.
async fn live(dir: &Path, isolation: Isolation) -> Outcome {
    let bed = Bed::open(dir, isolation, false).await;
    let (stem, _running) = (bed.shell(None).await?, bed.shell(Some(code(1))).await?);
    stem.adopt(code(1)).await.map_err(say)?;
    claim(stem.sandbox.handle.freeze(true), "nothing freezes here")?;
    writeln!(io::stdout(), "ready").map_err(say)?;
    std::future::pending().await
}

/// How long things take, each the least, the median and the most of its runs.
async fn figures(bed: &Bed) -> Outcome {
    fn tell(what: &str, mut times: Vec<Duration>) {
        times.sort();
        let (least, median, most) = (times[0], times[times.len() / 2], times[times.len() - 1]);
        println!("{what}: least {least:.1?}, median {median:.1?}, most {most:.1?}, of {}", times.len());
    }
    fn time<T>(times: &mut Vec<Duration>, began: Instant, value: T) -> T {
        times.push(began.elapsed());
        value
    }
    let (mut known, mut stem, mut adopt, mut seen, mut freeze, mut thaw) =
        (vec![], vec![], vec![], vec![], vec![], vec![]);
    for _ in 0..20 {
        let began = Instant::now();
        let mut shell = time(&mut known, began, bed.shell(Some(code(1))).await?);
        shell.ask("true")?;
        shell.end().await?;

        let began = Instant::now();
        let mut shell = time(&mut stem, began, bed.shell(None).await?);
        shell.ask("true")?;
        let began = Instant::now();
        time(&mut adopt, began, shell.adopt(code(1)).await).map_err(say)?;
        time(&mut seen, began, shell.ask("read -r x </var/task/hello.txt; echo $x")?);
        for _ in 0..10 {
            let began = Instant::now();
            time(&mut freeze, began, shell.sandbox.handle.freeze(true));
            let began = Instant::now();
            shell.sandbox.handle.freeze(false);
            time(&mut thaw, began, shell.ask("true")?);
        }
        shell.end().await?;
    }
    tell("start with code known", known);
    tell("start of a stem", stem);
    tell("claim of a stem: adopt", adopt);
    tell("claim of a stem: until a process inside has read and told", seen);
    tell("freeze: the write", freeze);
    tell("thaw: until a process inside has answered", thaw);
    Ok(())
}

/// How many cases passed, failed, were skipped.
type Counts = [usize; 3];

fn count(counts: &mut Counts, claim: &str, outcome: Outcome) {
    match outcome {
        Ok(()) => {
            println!("ok      {claim}");
            counts[0] += 1;
        }
        Err(why) => {
            println!("FAILED  {claim}\n{why}");
            counts[1] += 1;
        }
    }
}

async fn run(args: &[String], isolation: Isolation, counts: &mut Counts) -> io::Result<()> {
    let dir = Bed::folder()?;
    let bed = Bed::open(&dir, isolation, false).await;
    let capability = bed.driver.capability();
    println!("{isolation}");
    for finding in &capability.findings {
        println!("{:?} {}: {} {}", finding.severity, finding.subject, finding.state, finding.advice);
    }
    let able = rustix::process::geteuid().is_root();
    if !capability.works || !able {
        println!("SKIPPED: needs root and a Docker Engine on this machine: what is missing is above");
        counts[2] += CASES.len();
    } else if args.iter().any(|arg| arg == "figures") {
        count(counts, "figures", figures(&bed).await);
    } else {
        let filter = args.iter().find(|arg| !arg.starts_with('-'));
        for (claim, case) in CASES.iter().filter(|(claim, _)| filter.is_none_or(|part| claim.contains(part.as_str()))) {
            count(counts, claim, case(&bed).await);
        }
    }
    if capability.works && able {
        count(counts, "nothing is left on the host", bed.close().await);
    } else {
        bed.docker.close().await;
    }
    let _ = fs::remove_dir_all(&dir);
    Ok(())
}

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    if args.iter().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    // More than one thread: cases wait for what sandboxes print without giving way.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let [command, dir, isolation] = &args[..]
        && command == "live"
    {
        let told = runtime.block_on(live(Path::new(dir), isolation.parse().expect("an isolation")));
        println!("{told:?}");
        return ExitCode::FAILURE;
    }
    let mut counts = Counts::default();
    for isolation in [Isolation::Docker, Isolation::Gvisor] {
        if let Err(error) = runtime.block_on(run(&args, isolation, &mut counts)) {
            count(&mut counts, "folders are made", Err(say(error)));
        }
    }
    let [passed, failed, skipped] = counts;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
