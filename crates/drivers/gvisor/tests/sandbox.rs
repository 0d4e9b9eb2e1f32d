//! The driver by itself, on this machine, as the spawner uses it: one thread, shell commands as functions.
//!
//! Not libtest: its threads would be copied into sandboxes. Each case is a claim; the closing line counts them.

use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use driver::{Exit, ExitCause, GuestStreams, Host, Limits, SandboxSpec, Started};
use gvisor::{Gvisor, Options};
use model::{CodeHash, Cpu, InstanceId, Memory};

/// A driver on folders of its own.
struct Bed {
    driver: Gvisor,
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
        // Anybody might write to them, were they not mounted read-only.
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(&code, open.clone())?;
        std::fs::create_dir_all(dir.join("runtime/python"))?;
        std::fs::write(dir.join("runtime/python/bootstrap.py"), "print('bootstrap')\n")?;
        std::fs::set_permissions(dir.join("runtime"), open)?;
        let options = Options {
            runsc: None,
            name: format!("hearth-test-{}", std::process::id()),
            run_dir: dir.join("run"),
            code_dir: dir.join("code"),
            data_dir: dir.clone(),
            runtime_dir: dir.join("runtime"),
            allowed_mounts: vec![],
            rootless,
        };
        Ok(Self { driver: Gvisor::new(options), dir })
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
        self.start_streams(id, command, limits, code, 1)
    }

    fn start_streams(
        &mut self,
        id: &InstanceId,
        command: &[&str],
        limits: Limits,
        code: Option<CodeHash>,
        invoke_streams: u16,
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
            invoke_streams,
            egress: model::Egress::None,
        };
        let (control, _) = UnixStream::pair().expect("a socket pair");
        let invoke = (0..invoke_streams).map(|_| UnixStream::pair().expect("a socket pair").0.into()).collect();
        let (log, guest_log) = std::io::pipe().expect("a pipe");
        let streams = GuestStreams { control: control.into(), invoke, log: guest_log.into() };
        let started = self.driver.start(&spec, streams).expect("a sandbox");
        (started, log)
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
        // gVisor does not say NoNewPrivs there: it has no way to more privileges.
        let run = bed.run("id -u; grep -E 'Cap|Seccomp:' /proc/self/status");
        let quiet = run.output.lines().filter(|l| l.starts_with("Cap")).all(|l| l.ends_with("0000000000000000"));
        check(run.output.starts_with("993\n") && quiet && run.output.contains("Seccomp:\t2"), &run)
    }),
    ("it sees its own processes only", |bed| {
        let run = bed.run("echo /proc/[0-9]* | wc -w");
        check(run.output.trim().parse::<u32>().is_ok_and(|count| count <= 5), &run)
    }),
    ("its first process tells nothing of the spawner", |bed| {
        let run = bed.run("tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/environ | tr '\\0' ' '");
        check(run.output.trim_end() == "/hearth/agent run fd:0 HOME=/tmp", &run)
    }),
    ("nothing else of the host is in sight", |bed| {
        let run = bed.run("ls -a / /root /home /sys /run /var /etc/shadow /boot 2>&1; ls /dev");
        let hidden = ["/root", "/home", "/sys", "/run", "/boot", "/etc/shadow"];
        let gone = hidden.iter().all(|path| run.output.contains(&format!("cannot access '{path}'")));
        check(gone && !run.output.contains("sda") && !run.output.contains("kvm"), &run)
    }),
    ("it has a loopback interface and no other", |bed| {
        let run = bed.run("cat /proc/net/dev | tail -n +3 | cut -d: -f1; cat /proc/net/if_inet6");
        check(run.output.split_whitespace().next() == Some("lo") && run.output.contains("00000001 01"), &run)
    }),
    ("its kernel is another than the host's", |bed| {
        let host = std::fs::read_to_string("/proc/version").unwrap_or_default();
        let run = bed.run("cat /proc/version");
        check(run.exit.cause == ExitCause::Status(0) && run.output != host, &run)
    }),
    ("the environment is what was asked for, and no other", |bed| {
        let run = bed.run("tr '\\0' ' ' < /proc/$$/environ");
        check(run.output == "PATH=/usr/bin:/bin ", &run)
    }),
    ("the longest command and the most streams arrive", |bed| {
        let id = InstanceId::random();
        let long = "x".repeat(60 * 1024);
        let command = ["/bin/sh", "-c", "echo ${#1}; cd /proc/self/fd; echo *", "sh", &long];
        let code = Some(CodeHash::from_digest(&CODE));
        let (started, mut log) = bed.start_streams(&id, &command, limits(), code, 64);
        if !wait(&started, Duration::from_secs(20)) {
            bed.driver.kill(&id);
        }
        let exit = bed.driver.reap(&id, started.pidfd.as_fd());
        let mut output = String::new();
        log.read_to_string(&mut output).map_err(|error| error.to_string())?;
        let mut lines = output.lines();
        let length = lines.next() == Some("61440");
        // Input, output twice, control, 64 streams; the shell may have the folder open too.
        let streams = lines.next().is_some_and(|line| (68..=69).contains(&line.split(' ').count()));
        check(length && streams, &Run { output: output.clone(), exit })
    }),
    ("a start does not wait for the sandbox", |bed| {
        let id = InstanceId::random();
        let begun = std::time::Instant::now();
        let (started, _log) = bed.start(&id, &["/bin/sleep", "20"], limits());
        let took = begun.elapsed();
        println!("        a start held its caller for {took:?}");
        bed.driver.kill(&id);
        wait(&started, Duration::from_secs(20));
        bed.driver.reap(&id, started.pidfd.as_fd());
        // A tenth of what runsc needs, on a busy machine.
        if took < Duration::from_millis(50) { Ok(()) } else { Err(format!("it took {took:?}")) }
    }),
    ("mounts and namespaces are refused", |bed| {
        let run = bed.run("unshare -U true 2>&1; mount -t tmpfs x /tmp 2>&1; echo done");
        check(run.output.contains("Operation not permitted") && run.output.ends_with("done\n"), &run)
    }),
    ("/tmp holds its size and no more", |bed| {
        let run = bed.run("head -c 8000000 /dev/zero > /tmp/x; wc -c < /tmp/x");
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
    ("processor time is bounded, the kernel's own included", |bed| {
        if !bed
            .driver
            .capability()
            .findings
            .iter()
            .any(|f| f.state.contains("cpu") && f.severity == driver::Severity::Ok)
        {
            return Err("skip: no cpu controller here".into());
        }
        let begun = std::time::Instant::now();
        let script = "timeout 2 sh -c 'while :; do :; done'";
        let run = bed.run_limited(script, Limits { cpu_cap: Cpu::millis(250), ..limits() });
        let used = run.exit.usage.cpu.unwrap_or_default();
        // A period's quota may be used at once at either end.
        check(used < begun.elapsed() * 3 / 10 && used > Duration::from_millis(200), &run)
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
    ("many start at once", |bed| {
        let ids: Vec<_> = (0..6).map(|_| InstanceId::random()).collect();
        let started: Vec<_> = ids.iter().map(|id| bed.start(id, &["/bin/sh", "-c", "exit 5"], limits())).collect();
        for (id, (started, _log)) in ids.iter().zip(&started) {
            if !wait(started, Duration::from_secs(20)) {
                bed.driver.kill(id);
            }
            let exit = bed.driver.reap(id, started.pidfd.as_fd());
            if exit.cause != ExitCause::Status(5) {
                return Err(format!("{exit:?}"));
            }
        }
        Ok(())
    }),
    ("nothing is left on the host", |bed| {
        for _ in 0..4 {
            bed.run("true");
        }
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while bed.driver.tidy() && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        let ours = format!("hearth-test-{}", std::process::id());
        let dir = bed.dir.to_str().unwrap_or("?");
        let mut left: Vec<String> = Vec::new();
        let mounts = std::fs::read_to_string("/proc/1/mountinfo").unwrap_or_default();
        left.extend(mounts.lines().filter(|line| line.contains(dir) || line.contains(&ours)).map(String::from));
        // In this mount namespace there are the root, the slots' parent, and nothing of any sandbox.
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        left.extend(mounts.lines().filter(|line| line.contains("/slots/")).map(String::from));
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let command = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
            if command.contains("runsc") && command.contains(dir) {
                left.push(command.replace('\0', " "));
            }
        }
        for folder in ["sandboxes", "slots"] {
            let entries = std::fs::read_dir(bed.dir.join("run").join(folder)).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path().display().to_string()));
        }
        if bed.driver.tidy() {
            left.push("a control group".into());
        }
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    }),
    ("a driver that closes leaves no folder and no mount", |bed| {
        bed.driver.close();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let run = bed.dir.join("run");
        match (run.exists(), mounts.contains(run.to_str().unwrap_or("?"))) {
            (false, false) => Ok(()),
            other => Err(format!("folder, mount: {other:?}")),
        }
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
        let missing = bed.driver.capability().findings.into_iter().find(|f| f.severity == driver::Severity::Missing);
        // A machine that has runsc is one on which it must work.
        let excused = missing.as_ref().is_some_and(|f| f.subject == "runsc");
        println!("{}: the driver does not work here: {missing:?}", if excused { "SKIPPED" } else { "FAILED" });
        return if excused { ExitCode::SUCCESS } else { ExitCode::FAILURE };
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
