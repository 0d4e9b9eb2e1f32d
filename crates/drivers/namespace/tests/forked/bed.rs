//! A bed for tests of fork servers: two drivers, and instances that speak just enough of the bootstrap's protocol to call
//! a function.

#![allow(dead_code)] // not every test uses all of it

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use driver::{Exit, GuestStreams, Host, Limits, RootFs, SandboxSpec, Started, User};
use model::{CodeHash, Cpu, InstanceId, Memory};
use namespace::{ForkKind, Namespace, Options};
use serde_json::{Value, json};

pub const LIMIT: Duration = Duration::from_secs(20);
pub const CODE: [u8; 32] = [7; 32];
pub const SHADOWING: [u8; 32] = [8; 32];
pub const DATA: [u8; 32] = [9; 32];

pub type Result<T> = std::result::Result<T, String>;

/// Two drivers on the same folders: one that forks, one that does not.
pub struct Bed {
    pub forking: Namespace,
    pub running: Namespace,
    pub kind: ForkKind,
    pub dir: PathBuf,
}

/// A sandbox whose runtime is up.
pub struct Instance {
    pub id: InstanceId,
    pub started: Started,
    pub control: UnixStream,
    pub invoke: UnixStream,
    pub log: std::io::PipeReader,
}

pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

// === impl Bed ===

impl Bed {
    pub fn new(rootless: bool, python: &str) -> std::io::Result<Self> {
        let dir = std::env::temp_dir().join(format!("hearth-forks-test-{}", InstanceId::random()));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..").join("runtimes/python");
        copy(&source, &dir.join("runtime/python"))?;
        std::fs::write(dir.join("runtime/python/_hearth/hearth_fork.so"), fork_image::BYTES)?;
        let init = dir.join("runtime/python/_hearth/hearth_init");
        std::fs::write(&init, fork_image::INIT)?;
        std::fs::set_permissions(&init, std::fs::Permissions::from_mode(0o111))?;
        let app = include_bytes!("app.py");
        for code in [CODE, SHADOWING, DATA] {
            let folder = dir.join("code").join(CodeHash::from_digest(&code).as_str());
            std::fs::create_dir_all(&folder)?;
            std::fs::write(folder.join("app.py"), app)?;
            let small = "import sys\ndef forked(event, context):\n    return 'ctypes' in sys.modules\n";
            std::fs::write(folder.join("small.py"), small)?;
            if code == CODE {
                std::fs::create_dir_all(folder.join("lib"))?;
                std::fs::write(folder.join("libhearth_one.so"), fork_image::BYTES)?;
                std::fs::write(folder.join("lib/libhearth_two.so"), fork_image::BYTES)?;
            }
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
            ("LD_LIBRARY_PATH", "/var/task:/var/task/lib:/opt/lib"),
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
            allowed_mounts: vec![],
            fork_servers,
        };
        let forking = Namespace::new(&options("forking", vec![kind.clone()]), rootless)?;
        let running = Namespace::new(&options("running", vec![]), rootless)?;
        Ok(Self { forking, running, kind, dir })
    }

    pub fn spec(&self, code: Option<[u8; 32]>) -> SandboxSpec {
        SandboxSpec {
            id: InstanceId::random(),
            root: RootFs::Host,
            command: self.kind.command.clone(),
            env: self.kind.env.clone(),
            work_dir: "/var/task".into(),
            user: User::SANDBOX,
            code: code.map(|code| CodeHash::from_digest(&code)),
            layers: None,
            limits: Limits {
                memory: Memory::mib(128),
                cpu_cap: Cpu::millis(1000),
                cpu_share: Cpu::millis(100),
                pids: 32,
                tmp: Memory::mib(4),
            },
            secret_files: false,
            egress: model::Egress::None,
            mounts: vec![],
            invoke_streams: 1,
        }
    }

    /// An instance with the fork server known to serve.
    pub fn fork(&mut self, code: [u8; 32]) -> Result<Instance> {
        self.serve()?;
        let spec = self.spec(Some(code));
        Instance::start(&mut self.forking, &spec)
    }

    pub fn run(&mut self, code: [u8; 32]) -> Result<Instance> {
        let spec = self.spec(Some(code));
        Instance::start(&mut self.running, &spec)
    }

    pub fn serve(&mut self) -> Result<()> {
        let until = Instant::now() + LIMIT;
        while !self.forking.settle_fork_servers(Duration::from_millis(100)) {
            if Instant::now() > until {
                return Err(format!("no fork server: {:?}", self.forking.capability().findings));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub fn server(&self) -> Result<i32> {
        self.forking.fork_servers().first().copied().ok_or_else(|| "no fork server".into())
    }

    pub fn signal(&self, signal: i32) -> Result<i32> {
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

pub fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
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
    pub fn start(driver: &mut Namespace, spec: &SandboxSpec) -> Result<Self> {
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
    pub fn init(&mut self, handler: &str) -> Result<()> {
        let handler = if handler.contains('.') { handler.to_owned() } else { format!("app.{handler}") };
        let init = json!({"handler": handler, "task_root": "/var/task",
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

    pub fn control_frame(&mut self) -> Result<(u8, Vec<u8>)> {
        read_frame(&mut self.control)
    }

    pub fn call(&mut self) -> Result<Value> {
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
    pub fn once(mut self, driver: &mut Namespace, handler: &str) -> Result<Value> {
        let answer = self.init(handler).and_then(|()| self.call());
        let exit = self.end(driver);
        answer.map_err(|error| format!("{error} {exit}"))
    }

    /// Ends it, and tells what it used.
    pub fn kill(&self, driver: &mut Namespace) -> Exit {
        driver.kill(&self.id);
        wait(&self.started, LIMIT);
        driver.reap(&self.id, self.started.pidfd.as_fd())
    }

    pub fn end(mut self, driver: &mut Namespace) -> String {
        let exit = self.kill(driver);
        let mut said = String::new();
        let _ = self.log.read_to_string(&mut said);
        format!("{exit:?} {said}")
    }
}

pub fn frame(stream: &mut UnixStream, kind: u8, body: &[u8]) -> Result<()> {
    let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
    bytes.push(kind);
    bytes.extend(body);
    stream.write_all(&bytes).map_err(text)
}

pub fn read_frame(stream: &mut UnixStream) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    stream.read_exact(&mut head).map_err(text)?;
    let mut body = vec![0; u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize];
    stream.read_exact(&mut body).map_err(text)?;
    Ok((head[4], body))
}

pub fn wait(started: &Started, limit: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec::try_from(limit).expect("a time");
    poll(&mut [PollFd::new(&started.pidfd, PollFlags::IN)], Some(&limit)).expect("poll") > 0
}

pub fn claim(ok: bool, what: impl std::fmt::Debug) -> Result<()> {
    if ok { Ok(()) } else { Err(format!("{what:?}")) }
}

/// The Python that the tests are made with, and whether sandboxes are an ordinary user's; `None`: none can be made here,
/// for the reason that was printed.
pub fn ground() -> Option<(bool, String)> {
    let rootless = !rustix::process::geteuid().is_root();
    if let Err(error) = namespace::enter() {
        println!("SKIPPED: no sandbox can be made here: {error}");
        return None;
    }
    let pythons = (9..=14).rev().map(|minor| format!("/usr/bin/python3.{minor}"));
    let python = pythons.into_iter().find(|path| Path::new(path).exists());
    if python.is_none() {
        println!("SKIPPED: no Python below /usr/bin");
    }
    python.map(|python| (rootless, python))
}
