//! The driver by itself, on this machine, as the spawner uses it: one thread, shell commands as functions.
//!
//! Not libtest: its threads would be copied into sandboxes. Each case is a claim; the closing line counts them.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use driver::{Exit, ExitCause, GuestStreams, Host, Limits, RootFs, SandboxSpec, Started, User};
use model::{CodeHash, Cpu, ImageDigest, InstanceId, Memory};
use namespace::{Namespace, Options};

/// A driver on folders of its own.
struct Bed {
    driver: Namespace,
    dir: PathBuf,
}

/// What a finished sandbox printed, and how it ended.
struct Run {
    output: String,
    exit: Exit,
}

const CODE: [u8; 32] = [7; 32];

fn limits() -> Limits {
    Limits {
        memory: Memory::mib(64),
        cpu_cap: Cpu::millis(1000),
        cpu_share: Cpu::millis(100),
        pids: 32,
        tmp: Memory::mib(4),
    }
}

// === impl Bed ===

impl Bed {
    fn new(rootless: bool) -> std::io::Result<Self> {
        let dir = std::env::temp_dir().join(format!("hearth-sandbox-test-{}", InstanceId::random()));
        let code = dir.join("code").join(CodeHash::from_digest(&CODE).as_str());
        std::fs::create_dir_all(&code)?;
        std::fs::write(code.join("hello.txt"), "hello from the package\n")?;
        std::fs::create_dir_all(dir.join("runtime/python"))?;
        std::fs::write(dir.join("runtime/python/bootstrap.py"), "print('bootstrap')\n")?;
        let options = Options {
            name: format!("hearth-test-{}", std::process::id()),
            run_dir: dir.join("run"),
            code_dir: dir.join("code"),
            data_dir: dir.clone(),
            runtime_dir: dir.join("runtime"),
            allowed_mounts: vec![],
            fork_servers: vec![],
        };
        Ok(Self { driver: Namespace::new(&options, rootless)?, dir })
    }

    fn start(&mut self, id: &InstanceId, command: &[&str], limits: Limits) -> (Started, std::io::PipeReader) {
        self.start_with(id, command, limits, Some(CodeHash::from_digest(&CODE)))
    }

    fn start_with(
        &mut self,
        id: &InstanceId,
        command: &[&str],
        limits: Limits,
        code: Option<CodeHash>,
    ) -> (Started, std::io::PipeReader) {
        let spec = SandboxSpec {
            root: driver::RootFs::Host,
            work_dir: "/var/task".into(),
            user: driver::User::SANDBOX,
            id: id.clone(),
            command: command.iter().map(|&arg| arg.to_owned()).collect(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            code,
            limits,
            layers: None,
            secret_files: false,
            mounts: vec![],
            invoke_streams: 1,
            egress: model::Egress::None,
        };
        self.try_start(&spec).expect("a sandbox")
    }

    fn try_start(&mut self, spec: &SandboxSpec) -> Result<(Started, std::io::PipeReader), driver::StartError> {
        let (control, _) = UnixStream::pair().expect("a socket pair");
        let (invoke, _) = UnixStream::pair().expect("a socket pair");
        let (log, guest_log) = std::io::pipe().expect("a pipe");
        let streams = GuestStreams { control: control.into(), invoke: vec![invoke.into()], log: guest_log.into() };
        Ok((self.driver.start(spec, streams)?, log))
    }

    /// An image with a shell and little else, made of the host's files.
    fn image(&self, digit: &str) -> (ImageDigest, PathBuf) {
        let digest: ImageDigest = digit.repeat(64).parse().expect("a digest");
        let root = self.dir.join("images/roots").join(digest.as_str());
        for program in ["/bin/sh", "/bin/ls", "/bin/cat", "/usr/bin/id"] {
            copy_program(program, &root).expect("a program in the image");
        }
        std::fs::create_dir_all(root.join("app")).expect("a folder");
        std::fs::write(root.join("app/name"), format!("image {digit}\n")).expect("a file");
        (digest, root)
    }

    fn run_in_image(&mut self, image: &ImageDigest, user: User, script: &str) -> Run {
        let id = InstanceId::random();
        let spec = SandboxSpec {
            id: id.clone(),
            root: RootFs::Image(image.clone()),
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            work_dir: "/app".into(),
            user,
            code: Some(CodeHash::from_digest(&CODE)),
            limits: limits(),
            layers: None,
            secret_files: false,
            mounts: vec![],
            invoke_streams: 1,
            egress: model::Egress::None,
        };
        let (started, mut log) = self.try_start(&spec).expect("a sandbox");
        if !wait(&started, Duration::from_secs(20)) {
            self.driver.kill(&id);
        }
        let exit = self.driver.reap(&id, started.pidfd.as_fd());
        let mut output = String::new();
        log.read_to_string(&mut output).expect("text from the sandbox");
        Run { output, exit }
    }

    fn run_limited(&mut self, script: &str, limits: Limits) -> Run {
        let id = InstanceId::random();
        let (started, mut log) = self.start(&id, &["/bin/sh", "-c", script], limits);
        let ended = wait(&started, Duration::from_secs(20));
        if !ended {
            match &started.oom {
                Some(oom) if readable(oom, Duration::ZERO) => self.driver.out_of_memory(&id),
                _ => self.driver.kill(&id),
            }
        }
        let exit = self.driver.reap(&id, started.pidfd.as_fd());
        let mut output = String::new();
        log.read_to_string(&mut output).expect("text from the sandbox");
        Run { output, exit }
    }

    fn run(&mut self, script: &str) -> Run {
        self.run_limited(script, limits())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        self.driver.close();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Copies a program with the libraries that it needs, to the same paths.
fn copy_program(program: &str, root: &Path) -> std::io::Result<()> {
    let output = std::process::Command::new("ldd").arg(program).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain([program]) {
        let to = root.join(file.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().expect("a folder"))?;
        std::fs::copy(file, to)?;
    }
    Ok(())
}

/// Whether the sandbox's end, or its running out of memory, came in time.
fn wait(started: &Started, limit: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = vec![PollFd::new(&started.pidfd, PollFlags::IN)];
    if let Some(oom) = &started.oom {
        fds.push(PollFd::new(oom, PollFlags::IN));
    }
    let limit = Timespec::try_from(limit).expect("a time");
    poll(&mut fds, Some(&limit)).expect("poll") > 0 && !fds[0].revents().is_empty()
}

fn readable(fd: impl AsFd, limit: Duration) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let limit = Timespec::try_from(limit).expect("a time");
    poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&limit)).expect("poll") > 0
}

fn check(ok: bool, run: &Run) -> Result<(), String> {
    if ok { Ok(()) } else { Err(format!("{:?}\n{}", run.exit, run.output)) }
}

type Case = (&'static str, fn(&mut Bed) -> Result<(), String>);

const CASES: &[Case] = &[
    ("the package is at /var/task and read-only", |bed| {
        let run = bed.run("pwd; cat hello.txt; touch x 2>&1");
        check(run.output.starts_with("/var/task\nhello from the package\n") && run.output.contains("Read-only"), &run)
    }),
    ("the bootstraps are at /var/runtime and read-only", |bed| {
        let run = bed.run("cat /var/runtime/python/bootstrap.py; touch /var/runtime/x 2>&1");
        check(run.output.starts_with("print('bootstrap')\n") && run.output.contains("Read-only"), &run)
    }),
    ("an exit status is reported", |bed| {
        let run = bed.run("exit 7");
        check(run.exit.cause == ExitCause::Status(7), &run)
    }),
    ("a signal is reported, also one that it sends itself", |bed| {
        let run = bed.run("kill -SEGV $$");
        check(run.exit.cause == ExitCause::Signal(libc::SIGSEGV), &run)
    }),
    ("a program that is not there is a set-up error that names the step", |bed| {
        let id = InstanceId::random();
        let (started, _log) = bed.start(&id, &["/no/such/program"], limits());
        wait(&started, Duration::from_secs(10));
        let exit = bed.driver.reap(&id, started.pidfd.as_fd());
        match &exit.cause {
            ExitCause::Setup(why) if why.contains("program") => Ok(()),
            cause => Err(format!("{cause:?}")),
        }
    }),
    ("the function is not root and has no capability", |bed| {
        let run = bed.run("id -u; grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status");
        let quiet = run.output.lines().filter(|l| l.starts_with("Cap")).all(|l| l.ends_with("0000000000000000"));
        let rest = run.output.contains("NoNewPrivs:\t1") && run.output.contains("Seccomp:\t2");
        check(run.output.starts_with("993\n") && quiet && rest, &run)
    }),
    ("it sees its own processes only", |bed| {
        let run = bed.run("ls -d /proc/[0-9]* | wc -l");
        check(run.output.trim().parse::<u32>().is_ok_and(|count| count <= 5), &run)
    }),
    ("its first process tells nothing of the spawner", |bed| {
        let run = bed.run("tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/environ /proc/1/maps 2>&1");
        check(run.output.trim_start().starts_with("init") && run.output.matches("denied").count() == 2, &run)
    }),
    ("nothing else of the host is in sight", |bed| {
        let run =
            bed.run("ls -a / /root /home /sys /var /etc/shadow /boot 2>&1; ls /dev; echo /run: $(ls -A /run /mnt)");
        let hidden = ["/root", "/home", "/sys", "/boot", "/etc/shadow"];
        let gone = hidden.iter().all(|path| run.output.contains(&format!("cannot access '{path}'")));
        let own = run.output.ends_with("/run: /mnt: /run: secrets\n");
        check(gone && own && !run.output.contains("sda") && !run.output.contains("kvm"), &run)
    }),
    ("it has a loopback interface and no other", |bed| {
        let run = bed.run("cat /proc/net/dev | tail -n +3 | cut -d: -f1; cat /proc/net/if_inet6");
        check(run.output.split_whitespace().next() == Some("lo") && run.output.contains("00000001 01"), &run)
    }),
    ("inotify and pending signals, which the kernel counts for each user, are limited", |bed| {
        let run = bed.run("cat /proc/sys/user/max_inotify_instances; grep 'pending signals' /proc/self/limits");
        check(run.output.split_whitespace().eq("32 Max pending signals 4096 4096 signals".split(' ')), &run)
    }),
    ("mounts and namespaces are refused", |bed| {
        let run = bed.run("unshare -U true 2>&1; mount -t tmpfs x /tmp 2>&1; echo done");
        check(run.output.contains("Operation not permitted") && run.output.ends_with("done\n"), &run)
    }),
    ("/tmp holds its size and no more", |bed| {
        let run = bed.run("head -c 8000000 /dev/zero > /tmp/x; stat -c %s /tmp/x");
        check(run.output.contains("No space left") && run.output.trim_end().ends_with("4194304"), &run)
    }),
    ("devices work", |bed| {
        let run = bed.run("echo x > /dev/null && head -c 4 /dev/urandom | wc -c && head -c 2 /dev/zero | wc -c");
        check(run.output.split_whitespace().eq(["4", "2"]), &run)
    }),
    ("a fork bomb stays within its processes", |bed| {
        let run = bed.run("i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done 2>&1; echo end");
        check(run.output.contains("fork") || run.output.contains("Cannot"), &run)
    }),
    ("too much memory kills the sandbox and says so", |bed| {
        if !bed
            .driver
            .capability()
            .findings
            .iter()
            .any(|f| f.state.contains("memory") && f.severity == driver::Severity::Ok)
        {
            return Err("skip: no memory controller here".into());
        }
        let run = bed.run("head -c 200000000 /dev/zero | tail -c 190000000 | wc -c; sleep 30");
        check(run.exit.cause == ExitCause::OutOfMemory, &run)
    }),
    ("a kill takes everything in it", |bed| {
        let id = InstanceId::random();
        let (started, mut log) =
            bed.start(&id, &["/bin/sh", "-c", "setsid sleep 1000 & echo up; sleep 1000"], limits());
        let mut up = [0; 3];
        log.read_exact(&mut up).map_err(|e| e.to_string())?;
        bed.driver.kill(&id);
        let ended = wait(&started, Duration::from_secs(5));
        let exit = bed.driver.reap(&id, started.pidfd.as_fd());
        // The pipe ends when the last process that holds it is gone.
        let mut rest = String::new();
        log.read_to_string(&mut rest).map_err(|e| e.to_string())?;
        if ended && exit.cause == ExitCause::Killed { Ok(()) } else { Err(format!("{ended} {exit:?}")) }
    }),
    ("what it used is known", |bed| {
        let run = bed.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
        let measured = bed.driver.capability().findings.iter().all(|f| f.severity == driver::Severity::Ok);
        let known = run.exit.usage.cpu.is_some_and(|cpu| cpu > Duration::from_micros(100));
        check(known || !measured, &run)
    }),
    ("a code hash that is not there is refused", |bed| {
        let spec_code = CodeHash::from_digest(&[9; 32]);
        let (control, _) = UnixStream::pair().map_err(|e| e.to_string())?;
        let (invoke, _) = UnixStream::pair().map_err(|e| e.to_string())?;
        let (_log, guest_log) = std::io::pipe().map_err(|e| e.to_string())?;
        let spec = SandboxSpec {
            root: driver::RootFs::Host,
            work_dir: "/var/task".into(),
            user: driver::User::SANDBOX,
            id: InstanceId::random(),
            command: vec!["/bin/true".into()],
            env: vec![],
            code: Some(spec_code),
            limits: limits(),
            layers: None,
            secret_files: false,
            mounts: vec![],
            invoke_streams: 1,
            egress: model::Egress::None,
        };
        let streams = GuestStreams { control: control.into(), invoke: vec![invoke.into()], log: guest_log.into() };
        match bed.driver.start(&spec, streams) {
            Err(error) if error.to_string().contains("open the code") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }),
    ("a stem sees its code once it has been given it, and never another", |bed| {
        let id = InstanceId::random();
        let script = "[ -e hello.txt ] || echo up; until [ -e /var/task/hello.txt ]; do :; done; cd /var/task; cat hello.txt; touch x";
        let (started, mut log) = bed.start_with(&id, &["/bin/sh", "-c", script], limits(), None);
        // It runs: only then may it be given its code.
        let mut up = [0; 3];
        log.read_exact(&mut up).map_err(|error| error.to_string())?;
        let code = CodeHash::from_digest(&CODE);
        bed.driver.adopt(&id, &code).map_err(|error| error.to_string())?;
        let again = bed.driver.adopt(&id, &code);
        if !wait(&started, Duration::from_secs(20)) {
            bed.driver.kill(&id);
        }
        let exit = bed.driver.reap(&id, started.pidfd.as_fd());
        let mut output = String::new();
        log.read_to_string(&mut output).map_err(|error| error.to_string())?;
        let run = Run { output, exit };
        check(run.output.starts_with("hello from the package\n") && run.output.contains("Read-only"), &run)?;
        if again.is_ok() {
            return Err("a stem was given code twice".into());
        }
        Ok(())
    }),
    ("an instance that has its code is given no other", |bed| {
        let id = InstanceId::random();
        let (started, _log) = bed.start(&id, &["/bin/sleep", "20"], limits());
        let adopted = bed.driver.adopt(&id, &CodeHash::from_digest(&CODE));
        bed.driver.kill(&id);
        wait(&started, Duration::from_secs(20));
        bed.driver.reap(&id, started.pidfd.as_fd());
        if adopted.is_ok() { Err("it was".into()) } else { Ok(()) }
    }),
    ("a frozen sandbox stands still, goes on when thawed, and dies frozen", |bed| {
        let id = InstanceId::random();
        let script = "while :; do echo tick; done";
        let (started, log) = bed.start(&id, &["/bin/sh", "-c", script], limits());
        if started.files.freezer.is_none() {
            bed.driver.kill(&id);
            wait(&started, Duration::from_secs(20));
            bed.driver.reap(&id, started.pidfd.as_fd());
            return Err("skip: nothing freezes here".into());
        }
        let ticks = |limit: Duration| {
            let more = readable(&log, limit);
            if more {
                let _ = rustix::io::read(&log, &mut [0u8; 1 << 16]);
            }
            more
        };
        let second = Duration::from_secs(1);
        let began = ticks(20 * second);
        started.files.freeze(true);
        // What was written before is in the pipe; after that, nothing comes.
        while ticks(second / 10) {}
        let still = !ticks(second / 5);
        started.files.freeze(false);
        let goes_on = ticks(20 * second);
        started.files.freeze(true);
        bed.driver.kill(&id);
        let died = wait(&started, 20 * second);
        bed.driver.reap(&id, started.pidfd.as_fd());
        match (began, still, goes_on, died) {
            (true, true, true, true) => Ok(()),
            other => Err(format!("began, still, goes on, died: {other:?}")),
        }
    }),
    ("an image is all that a sandbox of it sees", |bed| {
        let (image, root) = bed.image("a");
        std::fs::create_dir_all(root.join("etc/conf.d")).map_err(|error| error.to_string())?;
        std::fs::write(root.join("etc/conf.d/mine"), "mine\n").map_err(|error| error.to_string())?;
        let script = "pwd; cat name /var/task/hello.txt /var/runtime/python/bootstrap.py /etc/conf.d/mine; id -u; id -g; \
                      echo /*; echo /usr/bin/*; echo x > /app/x; echo x > /x; echo x > /tmp/x && echo written";
        let run = bed.run_in_image(&image, User { uid: 1234, gid: 4321 }, script);
        let began = "/app\nimage a\nhello from the package\nprint('bootstrap')\nmine\n1234\n4321\n";
        let host = ["/usr/bin/python", "/usr/bin/env", "/home", "/root", "/sys", "/boot"];
        let hidden = host.iter().all(|path| !run.output.contains(path));
        let closed = run.output.matches("Read-only file system").count() == 2 && run.output.contains("written");
        check(run.output.starts_with(began) && hidden && closed, &run)
    }),
    ("links in an image lead nowhere but into it, and no mount follows one", |bed| {
        let (image, root) = bed.image("b");
        let bait = bed.dir.join("bait");
        std::fs::create_dir_all(bait.join("task")).map_err(|error| error.to_string())?;
        std::fs::write(bait.join("secret"), "secret of the host").map_err(|error| error.to_string())?;
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, root.join(name)).map_err(|error| format!("{name}: {error}"))
        };
        let bait_path = bait.to_str().unwrap_or_default().to_owned();
        link("/etc", "etc")?;
        link("/", "var")?;
        link(&bait_path, "tmp")?;
        link(&bait_path, "dev")?;
        link(&bait_path, "hearth")?;
        link(&format!("../../../../../..{bait_path}"), "out")?;
        std::fs::write(root.join("proc"), "").map_err(|error| error.to_string())?;
        let script = "cat /proc/self/status | while read a b; do [ $a = Pid: ] && echo proc; done; echo x > /tmp/x; \
                      cat /tmp/x /var/task/hello.txt; cat /etc/passwd; echo x > /dev/null && echo null; cat /out/secret; \
                      cat /tmp/secret; echo end";
        let run = bed.run_in_image(&image, User::SANDBOX, script);
        let told = ["proc\n", "x\nhello from the package\n", "sbx_user1051", "null\n", "end\n"];
        let works = told.iter().all(|text| run.output.contains(text));
        let untouched = std::fs::read_dir(&bait).map_err(|error| error.to_string())?.count() == 2;
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let of_host = passwd.lines().any(|line| line.contains("/root:") && run.output.contains(line));
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounted = table.lines().any(|line| line.contains(&bait_path));
        check(works && untouched && !of_host && !mounted && !run.output.contains("secret of"), &run)
    }),
    ("an image that went is named, and one that came again is another", |bed| {
        let (image, root) = bed.image("c");
        let first = bed.run_in_image(&image, User::SANDBOX, "cat name");
        check(first.output == "image c\n", &first)?;
        std::fs::rename(&root, bed.dir.join("removed")).map_err(|error| error.to_string())?;
        let spec = SandboxSpec {
            id: InstanceId::random(),
            root: RootFs::Image(image.clone()),
            command: vec!["/bin/sh".into()],
            env: vec![],
            work_dir: "/".into(),
            user: User::SANDBOX,
            code: None,
            limits: limits(),
            layers: None,
            secret_files: false,
            mounts: vec![],
            invoke_streams: 1,
            egress: model::Egress::None,
        };
        match bed.try_start(&spec) {
            Err(driver::StartError::NoImage(named)) if named == image => {}
            other => return Err(format!("{:?}", other.map(|_| "a sandbox"))),
        }
        bed.image("c");
        std::fs::write(root.join("app/name"), "new\n").map_err(|error| error.to_string())?;
        let again = bed.run_in_image(&image, User::SANDBOX, "cat name");
        check(again.output == "new\n", &again)
    }),
    ("an image's folder that is a link is refused", |bed| {
        let digest: ImageDigest = "d".repeat(64).parse().map_err(|error| format!("{error}"))?;
        let root = bed.dir.join("images/roots").join(digest.as_str());
        std::fs::create_dir_all(root.parent().expect("a folder")).map_err(|error| error.to_string())?;
        std::os::unix::fs::symlink("/", &root).map_err(|error| error.to_string())?;
        let spec = SandboxSpec {
            id: InstanceId::random(),
            root: RootFs::Image(digest),
            command: vec!["/bin/sh".into()],
            env: vec![],
            work_dir: "/".into(),
            user: User::SANDBOX,
            code: None,
            limits: limits(),
            layers: None,
            secret_files: false,
            mounts: vec![],
            invoke_streams: 1,
            egress: model::Egress::None,
        };
        match bed.try_start(&spec) {
            Err(driver::StartError::System(_)) => Ok(()),
            other => Err(format!("{:?}", other.map(|_| "a sandbox"))),
        }
    }),
    ("nothing is left on the host", |bed| {
        for _ in 0..20 {
            bed.run("true");
        }
        let until = std::time::Instant::now() + Duration::from_secs(2);
        while bed.driver.tidy() && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        let mounts = std::fs::read_to_string("/proc/1/mountinfo").unwrap_or_default();
        let ours = format!("hearth-test-{}", std::process::id());
        if bed.driver.tidy() || mounts.contains(bed.dir.to_str().unwrap_or("?")) || mounts.contains(&ours) {
            return Err("cgroups or mounts are left".into());
        }
        Ok(())
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
    if !Path::new("/bin/sh").exists() {
        println!("SKIPPED: no /bin/sh");
        return ExitCode::SUCCESS;
    }
    let mut bed = match Bed::new(rootless) {
        Ok(bed) => bed,
        Err(error) => {
            println!("FAILED: prepare the driver: {error}");
            return ExitCode::FAILURE;
        }
    };
    for finding in &bed.driver.capability().findings {
        println!("{:?} {}: {} {}", finding.severity, finding.subject, finding.state, finding.advice);
    }
    if !bed.driver.capability().works {
        println!("FAILED: the driver does not work on this machine");
        return ExitCode::FAILURE;
    }
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (claim, case) in CASES.iter().filter(|(claim, _)| filter.as_ref().is_none_or(|f| claim.contains(f.as_str()))) {
        match case(&mut bed) {
            Ok(()) => {
                println!("ok      {claim}");
                passed += 1;
            }
            Err(why) if why.starts_with("skip: ") => {
                println!("SKIPPED {claim}: {why}");
                skipped += 1;
            }
            Err(why) => {
                println!("FAILED  {claim}\n{why}");
                failed += 1;
            }
        }
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
