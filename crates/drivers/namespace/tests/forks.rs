//! Instances that fork servers make, beside those whose interpreter is run: nobody can tell them apart, and what happens to
//! a fork server happens to nobody else.
//!
//! Not libtest, as `sandbox.rs`. It speaks just enough of the bootstrap's protocol to call a function.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use driver::{GuestStreams, Host, Limits, RootFs, SandboxSpec, Started, User};
use model::{CodeHash, Cpu, InstanceId, Memory};
use namespace::{ForkKind, Namespace, Options};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(20);
const CODE: [u8; 32] = [7; 32];
const SHADOWING: [u8; 32] = [8; 32];
const DATA: [u8; 32] = [9; 32];

type Result<T> = std::result::Result<T, String>;

/// Two drivers on the same folders: one that forks, one that does not.
struct Bed {
    forking: Namespace,
    running: Namespace,
    kind: ForkKind,
    dir: PathBuf,
}

/// A sandbox whose runtime is up.
struct Instance {
    id: InstanceId,
    started: Started,
    control: UnixStream,
    invoke: UnixStream,
    log: std::io::PipeReader,
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

// === impl Bed ===

impl Bed {
    fn new(rootless: bool, python: &str) -> std::io::Result<Self> {
        let dir = std::env::temp_dir().join(format!("hearth-forks-test-{}", InstanceId::random()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join("runtimes/python");
        copy(&source, &dir.join("runtime/python"))?;
        std::fs::write(dir.join("runtime/python/_hearth/hearth_fork.so"), fork_image::BYTES)?;
        let app = include_bytes!("forked/app.py");
        for code in [CODE, SHADOWING, DATA] {
            let folder = dir.join("code").join(CodeHash::from_digest(&code).as_str());
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join("app.py"), app)?;
            if code == DATA {
                std::fs::write(folder.join("secrets.json"), "{}")?;
                std::fs::create_dir_all(folder.join("html"))?;
            }
            if code == SHADOWING {
                std::fs::create_dir_all(folder.join("email"))?;
                let names = ["random.py", "colorsys.py", "email/__init__.py", "email/parser.py", "email/message.py"];
                names.iter().try_for_each(|name| std::fs::write(folder.join(name), "class Message: pass\n"))?;
            }
        }
        let command = [python, "-I", "-S", "/var/runtime/python/bootstrap.py"].map(str::to_owned).to_vec();
        let env = [
            ("HOME", "/tmp"),
            ("LANG", "C.UTF-8"),
            ("LD_LIBRARY_PATH", "/var/task:/opt/lib"),
            ("PATH", "/usr/bin:/bin"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let kind = ForkKind { command, env };
        let options = |name: &str, fork_servers| Options {
            name: format!("hearth-test-{name}-{}", std::process::id()),
            run_dir: dir.join(name),
            code_dir: dir.join("code"),
            data_dir: dir.clone(),
            runtime_dir: dir.join("runtime"),
            fork_servers,
        };
        let forking = Namespace::new(&options("forking", vec![kind.clone()]), rootless)?;
        let running = Namespace::new(&options("running", vec![]), rootless)?;
        Ok(Self { forking, running, kind, dir })
    }

    fn spec(&self, code: Option<[u8; 32]>) -> SandboxSpec {
        SandboxSpec {
            id: InstanceId::random(),
            root: RootFs::Host,
            command: self.kind.command.clone(),
            env: self.kind.env.clone(),
            work_dir: "/var/task".into(),
            user: User::SANDBOX,
            code: code.map(|code| CodeHash::from_digest(&code)),
            limits: Limits {
                memory: Memory::mib(128),
                cpu_cap: Cpu::millis(1000),
                cpu_share: Cpu::millis(100),
                pids: 32,
                tmp: Memory::mib(4),
            },
            invoke_streams: 1,
            egress: model::Egress::None,
        }
    }

    /// An instance with the fork server known to serve.
    fn fork(&mut self, code: [u8; 32]) -> Result<Instance> {
        self.serve()?;
        let spec = self.spec(Some(code));
        Instance::start(&mut self.forking, &spec)
    }

    fn run(&mut self, code: [u8; 32]) -> Result<Instance> {
        let spec = self.spec(Some(code));
        Instance::start(&mut self.running, &spec)
    }

    fn serve(&mut self) -> Result<()> {
        let until = Instant::now() + LIMIT;
        while !self.forking.settle_fork_servers(Duration::from_millis(100)) {
            if Instant::now() > until {
                return Err(format!("no fork server: {:?}", self.forking.capability().findings));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn server(&self) -> Result<i32> {
        self.forking.fork_servers().first().copied().ok_or_else(|| "no fork server".into())
    }

    fn signal(&self, signal: i32) -> Result<i32> {
        let server = self.server()?;
        // SAFETY: plain numbers; it is this process's child, and not reaped.
        unsafe { libc::kill(server, signal) };
        Ok(server)
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.forking.close();
        self.running.close();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)?.flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to)?;
        } else {
            std::fs::copy(path, to)?;
        }
    }
    Ok(())
}

// === impl Instance ===

impl Instance {
    fn start(driver: &mut Namespace, spec: &SandboxSpec) -> Result<Self> {
        let (control, guest_control) = UnixStream::pair().map_err(text)?;
        let (invoke, guest_invoke) = UnixStream::pair().map_err(text)?;
        let (log, guest_log) = std::io::pipe().map_err(text)?;
        for stream in [&control, &invoke] {
            stream.set_read_timeout(Some(LIMIT)).map_err(text)?;
        }
        let streams =
            GuestStreams { control: guest_control.into(), invoke: vec![guest_invoke.into()], log: guest_log.into() };
        let started = driver.start(spec, streams).map_err(text)?;
        let mut instance = Self { id: spec.id.clone(), started, control, invoke, log };
        let hello = match instance.control_frame() {
            Ok((6, _)) => instance.control_frame(),
            Ok((kind, _)) => Err(format!("not TRACE first: {kind}")),
            Err(error) => Err(error),
        };
        match hello {
            Ok((1, _)) => Ok(instance),
            other => {
                let exit = instance.end(driver);
                Err(format!("no HELLO: {other:?}, {exit:?}"))
            }
        }
    }

    /// Makes it a function.
    fn init(&mut self, handler: &str) -> Result<()> {
        let init = json!({"handler": format!("app.{handler}"), "task_root": "/var/task",
            "env": {"TZ": ":UTC", "OWN": "1"},
            "function": {"name": "f", "version": "$LATEST", "arn": "arn", "memory_mb": 128, "timeout_ms": 3000,
                         "log_group": "g", "log_stream": "s"}});
        let body = init.to_string();
        frame(&mut self.control, 2, body.as_bytes())?;
        match self.control_frame()? {
            (3, _) => Ok(()),
            (kind, body) => Err(format!("not READY: {kind} {}", String::from_utf8_lossy(&body))),
        }
    }

    fn control_frame(&mut self) -> Result<(u8, Vec<u8>)> {
        read_frame(&mut self.control)
    }

    fn call(&mut self) -> Result<Value> {
        let mut body = vec![0; 8];
        body.extend([1, 0, b'r', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        body.extend(b"null");
        frame(&mut self.invoke, 0x10, &body)?;
        let (kind, body) = read_frame(&mut self.invoke)?;
        match kind {
            0x13 => serde_json::from_slice(&body[1..]).map_err(text),
            _ => Err(String::from_utf8_lossy(&body).into_owned()),
        }
    }

    /// Has it do one thing, and ends it.
    fn once(mut self, driver: &mut Namespace, handler: &str) -> Result<Value> {
        let answer = self.init(handler).and_then(|()| self.call());
        let exit = self.end(driver);
        answer.map_err(|error| format!("{error} {exit}"))
    }

    fn end(mut self, driver: &mut Namespace) -> String {
        driver.kill(&self.id);
        wait(&self.started, LIMIT);
        let exit = driver.reap(&self.id, self.started.pidfd.as_fd());
        let mut said = String::new();
        let _ = self.log.read_to_string(&mut said);
        format!("{exit:?} {said}")
    }
}

fn frame(stream: &mut UnixStream, kind: u8, body: &[u8]) -> Result<()> {
    let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
    bytes.push(kind);
    bytes.extend(body);
    stream.write_all(&bytes).map_err(text)
}

fn read_frame(stream: &mut UnixStream) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).map_err(text)?;
    let mut body = vec![0; u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize];
    stream.read_exact(&mut body).map_err(text)?;
    Ok((head[4], body))
}

fn wait(started: &Started, limit: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec::try_from(limit).expect("a time");
    poll(&mut [PollFd::new(&started.pidfd, PollFlags::IN)], Some(&limit)).expect("poll") > 0
}

fn claim(ok: bool, what: impl std::fmt::Debug) -> Result<()> {
    if ok { Ok(()) } else { Err(format!("{what:?}")) }
}

/// Facts without the host's id of the sandbox, which no two have.
fn outside_hidden(facts: &Value) -> Result<Value> {
    let map = facts["maps"][0].as_str().ok_or("no map")?;
    let outside = map.split_whitespace().nth(1).ok_or("no id")?.to_owned();
    if outside == "0" {
        return Ok(facts.clone()); // an ordinary user's sandboxes all have the same
    }
    serde_json::from_str(&facts.to_string().replace(&format!("{outside:>10}"), "outside").replace(&outside, "outside"))
        .map_err(text)
}

/// Differences of two values, by path.
fn differences(path: &str, one: &Value, other: &Value, found: &mut Vec<String>) {
    match (one, other) {
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            a.iter().for_each(|(key, value)| differences(&format!("{path}/{key}"), value, &b[key], found));
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(n, (a, b))| differences(&format!("{path}/{n}"), a, b, found));
        }
        (one, other) if one == other => {}
        (one, other) => found.push(format!("{path}: {one} ≠ {other}")),
    }
}

type Case = (&'static str, fn(&mut Bed) -> Result<()>);

const CASES: &[Case] = &[
    ("an instance of a running fork server is forked, and one without is not", |bed| {
        let forked = bed.fork(CODE)?.once(&mut bed.forking, "forked")?;
        let run = bed.run(CODE)?.once(&mut bed.running, "forked")?;
        claim(forked == true && run == false, (forked, run))
    }),
    ("nothing that a function can read tells a forked instance from one that was run", |bed| {
        let forked = bed.fork(CODE)?.once(&mut bed.forking, "facts")?;
        let run = bed.run(CODE)?.once(&mut bed.running, "facts")?;
        let mut found = Vec::new();
        differences("", &outside_hidden(&run)?, &outside_hidden(&forked)?, &mut found);
        claim(found.is_empty(), found)?;
        let held = forked["status"]["CapEff"] == "\t0000000000000000" && forked["status"]["Seccomp"] == "\t2";
        claim(held && forked["status"]["NoNewPrivs"] == "\t1", &forked["status"])
    }),
    ("no two instances share a namespace, nor one with its fork server", |bed| {
        let mut seen: HashSet<String> = HashSet::new();
        let mut own = vec![bed.server().or_else(|_| bed.serve().and_then(|()| bed.server()))?];
        own.push(std::process::id() as i32);
        for pid in own {
            for name in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
                let link = std::fs::read_link(format!("/proc/{pid}/ns/{name}")).map_err(text)?;
                seen.insert(link.to_string_lossy().into_owned());
            }
        }
        // Both live at once: numbers come back.
        let mut instances = [bed.fork(CODE)?, bed.fork(CODE)?];
        for instance in &mut instances {
            instance.init("namespaces")?;
        }
        let names = instances.each_mut().map(Instance::call);
        for instance in instances {
            instance.end(&mut bed.forking);
        }
        for names in names {
            let names = names?;
            for (name, link) in names.as_object().ok_or("no names")? {
                let fresh = seen.insert(link.as_str().unwrap_or_default().to_owned());
                // The last of them is of children to come, and of no namespace but those; time is not separate.
                claim(fresh || name.contains("for_children") || name == "time", (name, link))?;
            }
        }
        Ok(())
    }),
    ("a fork server has no privilege, no descriptor and nothing of the host but its programs", |bed| {
        bed.serve()?;
        let server = bed.server()?;
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{server}/{name}")).map_err(text);
        let status = read("status")?;
        let quiet =
            status.lines().filter(|line| line.starts_with("Cap")).all(|line| line.ends_with("0000000000000000"));
        claim(quiet && status.contains("NoNewPrivs:\t1") && status.contains("Threads:\t1"), &status)?;
        let fds = std::fs::read_dir(format!("/proc/{server}/fd")).map_err(text)?.count();
        claim(fds == 4, format!("{fds} descriptors"))?;
        let inside = |path: &str| Path::new(&format!("/proc/{server}/root{path}")).exists();
        claim(inside("/usr/bin") && !inside("/root") && !inside("/home") && !inside("/sys"), "its root")
    }),
    ("no two of 250 instances draw the same numbers", |bed| {
        let mut seen: HashSet<String> = HashSet::new();
        for _ in 0..250 {
            let drawn = bed.fork(CODE)?.once(&mut bed.forking, "chances")?;
            for (source, value) in drawn.as_object().ok_or("no numbers")? {
                claim(seen.insert(value.to_string()), (source, value))?;
            }
        }
        Ok(())
    }),
    ("a function's own modules come before the standard library's, as when its interpreter is run", |bed| {
        let forked = bed.fork(SHADOWING)?.once(&mut bed.forking, "own");
        let run = bed.run(SHADOWING)?.once(&mut bed.running, "own");
        let told = |result: &Result<Value>| match result {
            Ok(value) => value.to_string(),
            Err(error) => error.split("stackTrace").next().unwrap_or_default().to_owned(),
        };
        claim(told(&forked) == told(&run) && told(&run).contains("/var/task/"), (&forked, &run))
    }),
    ("data that is named like a module of the standard library makes none forgotten", |bed| {
        let answer = bed.fork(DATA)?.once(&mut bed.forking, "cancelled")?;
        claim(answer == serde_json::json!(["TimeoutError", "html/__init__.py", "secrets.py"]), answer)
    }),
    ("a stem is forked too, and gets its code later", |bed| {
        bed.serve()?;
        let mut spec = bed.spec(None);
        spec.env.push(("HEARTH_STEM".into(), "1".into()));
        let stem = Instance::start(&mut bed.forking, &spec)?;
        bed.forking.adopt(&spec.id, &CodeHash::from_digest(&CODE)).map_err(text)?;
        claim(stem.once(&mut bed.forking, "forked")? == true, "not forked")
    }),
    ("another environment is not forked", |bed| {
        bed.serve()?;
        let mut spec = bed.spec(Some(CODE));
        spec.env.push(("MALLOC_ARENA_MAX".into(), "1".into()));
        let answer = Instance::start(&mut bed.forking, &spec)?.once(&mut bed.forking, "forked")?;
        claim(answer == false, answer)
    }),
    ("a killed fork server takes nobody along, is done without, and is replaced", |bed| {
        let mut before = bed.fork(CODE)?;
        before.init("forked")?;
        let killed = bed.signal(libc::SIGKILL)?;
        std::thread::sleep(Duration::from_millis(20));
        let spec = bed.spec(Some(CODE));
        let meanwhile = Instance::start(&mut bed.forking, &spec)?.once(&mut bed.forking, "forked")?;
        claim(meanwhile == false, &meanwhile)?;
        claim(before.call()? == true, "the one from before")?;
        before.end(&mut bed.forking);
        let again = bed.fork(CODE)?.once(&mut bed.forking, "forked")?;
        claim(again == true && bed.server()? != killed, again)
    }),
    ("a fork server that does not answer holds nobody up for long", |bed| {
        bed.serve()?;
        let stopped = bed.signal(libc::SIGSTOP)?;
        let begun = Instant::now();
        let spec = bed.spec(Some(CODE));
        let answer = Instance::start(&mut bed.forking, &spec)?.once(&mut bed.forking, "forked")?;
        let took = begun.elapsed();
        claim(answer == false && took < Duration::from_secs(4), (answer, took))?;
        let again = bed.fork(CODE)?.once(&mut bed.forking, "forked")?;
        claim(again == true && bed.server()? != stopped, again)
    }),
    ("nothing is left behind", |bed| {
        let count = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        bed.fork(CODE)?.once(&mut bed.forking, "forked")?;
        let before = count();
        for _ in 0..20 {
            bed.fork(CODE)?.once(&mut bed.forking, "forked")?;
        }
        claim(count() == before, (before, count()))?;
        bed.forking.close();
        let until = Instant::now() + Duration::from_secs(3);
        while bed.forking.tidy() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        // SAFETY: plain numbers.
        let child = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
        claim(child == -1 && !bed.forking.tidy(), child)?;
        let mounts = std::fs::read_to_string("/proc/1/mountinfo").unwrap_or_default();
        claim(!mounts.contains("hearth-forks-test-"), mounts)
    }),
];

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if std::env::args().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    let rootless = !rustix::process::geteuid().is_root();
    if let Err(error) = namespace::enter() {
        println!("SKIPPED: no sandbox can be made here: {error}");
        println!("0 passed, 0 failed, {} skipped", CASES.len());
        return ExitCode::SUCCESS;
    }
    let pythons = (9..=14).rev().map(|minor| format!("/usr/bin/python3.{minor}"));
    let Some(python) = pythons.into_iter().find(|path| Path::new(path).exists()) else {
        println!("SKIPPED: no Python below /usr/bin");
        println!("0 passed, 0 failed, {} skipped", CASES.len());
        return ExitCode::SUCCESS;
    };
    let mut bed = match Bed::new(rootless, &python) {
        Ok(bed) => bed,
        Err(error) => {
            println!("FAILED: prepare the drivers: {error}");
            return ExitCode::FAILURE;
        }
    };
    let (mut passed, mut failed) = (0, 0);
    for (name, case) in CASES.iter().filter(|(name, _)| filter.as_ref().is_none_or(|f| name.contains(f.as_str()))) {
        match case(&mut bed) {
            Ok(()) => {
                println!("ok      {name}");
                passed += 1;
            }
            Err(why) => {
                println!("FAILED  {name}\n{why}");
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
