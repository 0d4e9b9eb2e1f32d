//! The function's own process without Hearth: the same interpreter with the same command line, the same bootstrap, the
//! same handler and the same protocol, started by posix_spawn with no namespace, control group or filter.
//!
//! It is what isolation is compared with (the whole of a start and a call), and the upstream behind the proxy that
//! warm latency is compared with.

use std::ffi::CString;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use wire::{Decoder, Frame, Init, InitFunction, Invoke, Side, Stream};

use crate::baseline::{self, Cost};

/// How long it may take over anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// An event as a function URL's door makes it, of about the size of Hearth's.
pub const EVENT: &[u8] = include_bytes!("../functions/event.json");

/// What a process is made of.
#[derive(Debug, Clone)]
pub struct Kit {
    program: PathBuf,
    /// The folder with the bootstrap, compiled as Hearth compiles it.
    pub runtime: PathBuf,
    pub task: PathBuf,
    pub handler: String,
}

/// One such process, past READY.
#[derive(Debug)]
pub struct Bare {
    pid: u32,
    ended: bool,
    control: UnixStream,
    invoke: UnixStream,
    decoder: Decoder,
}

// === impl Kit ===

impl Kit {
    /// Copies the bootstrap of this repository below `folder` and compiles it there.
    pub fn python(folder: &Path, task: &Path, handler: &str) -> anyhow::Result<Self> {
        let program = baseline::real(&["/usr/bin/python3"])?;
        let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../runtimes/python"));
        let runtime = folder.join("bare-runtime");
        if !runtime.exists() {
            copy(source, &runtime)?;
            let mut compile = Command::new(&program);
            compile.args(["-I", "-S", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]);
            let status = compile.arg(&runtime).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
            ensure!(status.success(), "compiling the bootstrap in {} ended with {status}", runtime.display());
        }
        Ok(Self { program, runtime, task: task.to_owned(), handler: handler.to_owned() })
    }

    /// As command-line arguments of the proxy, which starts such a process itself.
    pub fn args(&self) -> [String; 3] {
        [self.runtime.display().to_string(), self.task.display().to_string(), self.handler.clone()]
    }

    /// The inverse of [`Kit::args`].
    pub fn from_args(mut args: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut next = |what: &str| args.next().with_context(|| format!("expected {what}"));
        let (runtime, task) = (next("the bootstrap's folder")?.into(), next("the function's folder")?.into());
        Ok(Self { program: baseline::real(&["/usr/bin/python3"])?, runtime, task, handler: next("a handler")? })
    }
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("read {}", from.display()))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == "__pycache__" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&source, &target)?;
        } else {
            fs::copy(&source, &target).with_context(|| format!("copy {}", source.display()))?;
        }
    }
    Ok(())
}

// === impl Bare ===

impl Bare {
    /// Starts it and leads it to READY.
    pub fn start(kit: &Kit) -> anyhow::Result<Self> {
        let (control, their_control) = UnixStream::pair()?;
        let (invoke, their_invoke) = UnixStream::pair()?;
        let pid = spawn(kit, &their_control, &their_invoke)?;
        drop((their_control, their_invoke));
        for stream in [&control, &invoke] {
            stream.set_read_timeout(Some(PATIENCE))?;
        }
        let decoder = Decoder::new(Stream::Invoke, Side::Guest);
        let mut bare = Self { pid, ended: false, control, invoke, decoder };
        bare.shake_hands(kit).context("the function's own process")?;
        Ok(bare)
    }

    fn shake_hands(&mut self, kit: &Kit) -> anyhow::Result<()> {
        let control = &mut self.control;
        let mut decoder = Decoder::new(Stream::Control, Side::Guest);
        match read_frame(control, &mut decoder)? {
            Frame::Hello { .. } => {}
            other => bail!("expected HELLO, got {:?}", other.kind()),
        }
        let init = Init {
            handler: kit.handler.clone(),
            task_root: kit.task.display().to_string(),
            env: [("AWS_LAMBDA_FUNCTION_NAME", "bare"), ("AWS_REGION", "us-east-1")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            function: InitFunction {
                name: "bare".into(),
                version: "$LATEST".into(),
                arn: "arn:aws:lambda:us-east-1:000000000000:function:bare".into(),
                memory_mb: 128,
                timeout_ms: 3000,
                log_group: "/aws/lambda/bare".into(),
                log_stream: "bare".into(),
            },
            files: Vec::new(),
            run: None,
        };
        let mut out = BytesMut::new();
        Frame::Init(serde_json::to_vec(&init)?.into()).encode(&mut out)?;
        control.write_all(&out)?;
        loop {
            match read_frame(control, &mut decoder)? {
                Frame::Ready => return Ok(()),
                Frame::Log(_) => {}
                Frame::InitError(error) => bail!("{}", String::from_utf8_lossy(&error)),
                other => bail!("expected READY, got {:?}", other.kind()),
            }
        }
    }

    /// One call; its answer as the handler gave it.
    pub fn call(&mut self, request: &[u8]) -> anyhow::Result<bytes::Bytes> {
        self.invoke.write_all(request).context("send an event")?;
        response(read_frame(&mut self.invoke, &mut self.decoder)?)
    }

    /// The stream of calls, for an event loop of somebody else's.
    pub fn stream(&self) -> anyhow::Result<OwnedFd> {
        self.invoke.set_nonblocking(true)?;
        Ok(self.invoke.as_fd().try_clone_to_owned()?)
    }

    /// Lets it end, and returns what it used in its life.
    pub fn end(mut self) -> anyhow::Result<Cost> {
        self.ended = true;
        self.control.shutdown(std::net::Shutdown::Both)?;
        self.invoke.shutdown(std::net::Shutdown::Both)?;
        let (status, cpu) = baseline::wait(self.pid)?;
        ensure!(status.success(), "the function's own process ended with {status}");
        Ok(Cost { wall: Duration::ZERO, cpu })
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        if !self.ended
            && let Some(pid) = rustix::process::Pid::from_raw(self.pid as i32)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            let _ = baseline::wait(self.pid);
        }
    }
}

/// The bytes of INVOKE with [`EVENT`].
pub fn invoke_frame() -> anyhow::Result<Vec<u8>> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let invoke = Invoke {
        deadline_ms: (now + Duration::from_secs(3600)).as_millis() as u64,
        request_id: "6f1c2d8e-5a0b-4c3d-9e7f-0123456789ab".into(),
        trace_id: "Root=1-67891233-abcdef012345678912345678;Sampled=0".into(),
        function_arn: "arn:aws:lambda:us-east-1:000000000000:function:bare".into(),
        client_context: String::new(),
        cognito_identity: String::new(),
        last: true,
        payload: EVENT.into(),
    };
    let mut out = BytesMut::new();
    Frame::Invoke(invoke).encode(&mut out)?;
    Ok(out.to_vec())
}

/// The payload of a whole answer.
pub fn response(frame: Frame) -> anyhow::Result<bytes::Bytes> {
    match frame {
        Frame::Response { last: true, payload } => Ok(payload),
        Frame::Error(error) => bail!("the handler failed: {}", String::from_utf8_lossy(&error)),
        other => bail!("expected a whole RESPONSE, got {:?}", other.kind()),
    }
}

fn read_frame(stream: &mut UnixStream, decoder: &mut Decoder) -> anyhow::Result<Frame> {
    let mut chunk = [0; 16 * 1024];
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok(frame);
        }
        match stream.read(&mut chunk) {
            Ok(0) => bail!("it ended its stream"),
            Ok(count) => decoder.push(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("wait for a frame"),
        }
    }
}

/// posix_spawn with descriptors 3 and 4. The standard library would fork for that.
fn spawn(kit: &Kit, control: &UnixStream, invoke: &UnixStream) -> anyhow::Result<u32> {
    let c = |text: &str| CString::new(text).context("a NUL byte in a command line");
    let program = c(&kit.program.to_string_lossy())?;
    let bootstrap = c(&kit.runtime.join("bootstrap.py").to_string_lossy())?;
    let argv = [program.clone(), c("-I")?, c("-S")?, bootstrap];
    let task = kit.task.display();
    // What Hearth starts a Python sandbox with.
    let env = [
        "LANG=C.UTF-8".to_owned(),
        "TZ=:UTC".to_owned(),
        "HOME=/tmp".to_owned(),
        "PATH=/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin".to_owned(),
        "LD_LIBRARY_PATH=/var/task:/var/task/lib:/opt/lib".to_owned(),
        format!("LAMBDA_TASK_ROOT={task}"),
        format!("LAMBDA_RUNTIME_DIR={}", kit.runtime.display()),
    ];
    let env = env.iter().map(|one| c(one)).collect::<anyhow::Result<Vec<_>>>()?;
    let pointers = |list: &[CString]| {
        let ends = std::iter::once(std::ptr::null_mut());
        list.iter().map(|one| one.as_ptr().cast_mut()).chain(ends).collect::<Vec<_>>()
    };
    let (argv_pointers, env_pointers) = (pointers(&argv), pointers(&env));
    let null = fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    // Above the numbers they get in the child: one must not be overwritten before it is copied.
    let high = |fd: &dyn AsFd| rustix::io::fcntl_dupfd_cloexec(fd, 16);
    let sources = [high(&null)?, high(control)?, high(invoke)?];
    let mut pid = 0;
    // SAFETY: `actions` is initialised before its use and destroyed after; all pointers are to values that live past
    // the call; argv and envp end with null.
    let failed = unsafe {
        let mut actions: libc::posix_spawn_file_actions_t = std::mem::zeroed();
        libc::posix_spawn_file_actions_init(&raw mut actions);
        let mut failed = 0;
        for (target, source) in [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2)] {
            failed |= libc::posix_spawn_file_actions_adddup2(&raw mut actions, sources[source].as_raw_fd(), target);
        }
        if failed == 0 {
            failed = libc::posix_spawn(
                &raw mut pid,
                program.as_ptr(),
                &raw const actions,
                std::ptr::null(),
                argv_pointers.as_ptr(),
                env_pointers.as_ptr(),
            );
        }
        libc::posix_spawn_file_actions_destroy(&raw mut actions);
        failed
    };
    if failed != 0 {
        let error = std::io::Error::from_raw_os_error(failed);
        return Err(error).with_context(|| format!("start {}", kit.program.display()));
    }
    Ok(pid as u32)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A folder with a handler that answers as the measured ones do.
    pub fn task(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("hearth-bench-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("app.py"), include_str!("../functions/python/app.py")).unwrap();
        folder
    }

    #[test]
    fn the_bare_process_answers_calls_and_ends() {
        let folder = task("bare");
        let kit = Kit::python(&folder, &folder, "app.handler").unwrap();
        let mut bare = Bare::start(&kit).unwrap();
        let request = invoke_frame().unwrap();
        for _ in 0..3 {
            let answer: serde_json::Value = serde_json::from_slice(&bare.call(&request).unwrap()).unwrap();
            assert_eq!(answer, serde_json::json!({"statusCode": 200, "body": "ok"}));
        }
        assert!(bare.end().unwrap().cpu > Duration::ZERO);
        let wrong = Kit { handler: "nothing.handler".into(), ..kit };
        let error = format!("{:#}", Bare::start(&wrong).unwrap_err());
        assert!(error.contains("nothing"), "{error}");
        fs::remove_dir_all(folder).unwrap();
    }
}
