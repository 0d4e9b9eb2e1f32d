//! The claims. Those of [`END`] come last: the last of them closes the driver.

use std::io::Read;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use driver::{ExitCause, Limits};
use model::{CodeHash, Cpu, InstanceId};

use crate::bed::{CODE, limits, readable, spec, wait};
use crate::{Case, check, text};

const SECOND: Duration = Duration::from_secs(1);

pub(crate) const BEGINNING: &[Case] = &[
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
        let run = bed.run_spec(&spec(&["/no/such/program"]));
        check(matches!(&run.exit.cause, ExitCause::Setup(why) if why.contains("program")), &run)
    }),
    ("the function is not root and has no capability", |bed| {
        let run = bed.run("id -u; grep -E 'Cap|Seccomp:' /proc/self/status");
        let quiet = run.output.lines().filter(|l| l.starts_with("Cap")).all(|l| l.ends_with("0000000000000000"));
        check(run.output.starts_with("993\n") && quiet && run.output.contains("Seccomp:\t2"), &run)
    }),
    ("it sees its own processes only", |bed| {
        let run = bed.run("echo /proc/[0-9]* | wc -w");
        check(run.output.trim().parse::<u32>().is_ok_and(|count| count <= 5), &run)
    }),
    ("it has a loopback interface and no other", |bed| {
        let run = bed.run("cat /proc/net/dev | tail -n +3 | cut -d: -f1; cat /proc/net/if_inet6");
        check(run.output.split_whitespace().next() == Some("lo") && run.output.contains("00000001 01"), &run)
    }),
    ("the environment is what was asked for, and no other", |bed| {
        let run = bed.run("tr '\\0' ' ' < /proc/$$/environ");
        check(run.output == "PATH=/usr/bin:/bin ", &run)
    }),
    ("the longest command and the most streams arrive", |bed| {
        let long = "x".repeat(60 * 1024);
        let mut all = spec(&["/bin/sh", "-c", "echo ${#1}; cd /proc/self/fd; echo *", "sh", &long]);
        all.invoke_streams = 64;
        let run = bed.run_spec(&all);
        let mut lines = run.output.lines();
        let length = lines.next() == Some("61440");
        // Input, output twice, control, 64 streams; the shell may have the folder open too.
        let streams = lines.next().is_some_and(|line| (68..=69).contains(&line.split(' ').count()));
        check(length && streams, &run)
    }),
    ("a start does not wait for the sandbox", |bed| {
        let long = spec(&["/bin/sleep", "20"]);
        let begun = Instant::now();
        let (started, log) = bed.start(&long).map_err(text)?;
        let took = begun.elapsed();
        println!("        a start held its caller for {took:?}");
        bed.driver.kill(&long.id);
        bed.end(&long.id, &started, log);
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
    ("processor time is bounded, with all that the sandbox needs for itself", |bed| {
        if !bed.enforces("cpu") {
            return Err("skip: no cpu controller here".into());
        }
        let mut slow = spec(&["/bin/sh", "-c", "timeout 2 sh -c 'while :; do :; done'"]);
        slow.limits = Limits { cpu_cap: Cpu::millis(250), ..limits() };
        let begun = Instant::now();
        let run = bed.run_spec(&slow);
        let used = run.exit.usage.cpu.unwrap_or_default();
        // A period's quota may be used at once at either end.
        check(used < begun.elapsed() * 3 / 10 && used > Duration::from_millis(200), &run)
    }),
    ("too much memory kills the sandbox and says so", |bed| {
        if !bed.enforces("memory") {
            return Err("skip: no memory controller here".into());
        }
        let run = bed.run("head -c 200000000 /dev/zero | tail -c 190000000 | wc -c; sleep 30");
        check(run.exit.cause == ExitCause::OutOfMemory, &run)
    }),
    ("a kill takes everything in it", |bed| {
        let two = spec(&["/bin/sh", "-c", "setsid sleep 1000 & echo up; sleep 1000"]);
        let (started, mut log) = bed.start(&two).map_err(text)?;
        log.read_exact(&mut [0; 3]).map_err(text)?;
        bed.driver.kill(&two.id);
        let ended = wait(&started, 5 * SECOND);
        // Its log ends, too.
        let run = bed.end(&two.id, &started, log);
        check(ended && run.exit.cause == ExitCause::Killed, &run)
    }),
    ("what it used is known", |bed| {
        let run = bed.run("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done");
        let measured = bed.driver.capability().findings.iter().all(|one| one.severity == driver::Severity::Ok);
        let known = run.exit.usage.cpu.is_some_and(|cpu| cpu > Duration::from_micros(100));
        check(known || !measured, &run)
    }),
    ("a code hash that is not there is refused", |bed| {
        let mut without = spec(&["/bin/true"]);
        without.code = Some(CodeHash::from_digest(&[9; 32]));
        match bed.start(&without) {
            Err(error) if error.to_string().contains("open the code") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }),
    ("a stem sees its code once it has been given it, and never another", |bed| {
        let script = "[ -e hello.txt ] || echo up; until [ -e /var/task/hello.txt ]; do :; done; cd /var/task; cat hello.txt; touch x";
        let mut stem = spec(&["/bin/sh", "-c", script]);
        stem.code = None;
        let (started, mut log) = bed.start(&stem).map_err(text)?;
        // It runs: only then may it be given its code.
        log.read_exact(&mut [0; 3]).map_err(text)?;
        let code = CodeHash::from_digest(&CODE);
        bed.driver.adopt(&stem.id, &code).map_err(text)?;
        let again = bed.driver.adopt(&stem.id, &code);
        let run = bed.end(&stem.id, &started, log);
        check(run.output.starts_with("hello from the package\n") && run.output.contains("Read-only"), &run)?;
        if again.is_ok() {
            return Err("a stem was given code twice".into());
        }
        Ok(())
    }),
    ("an instance that has its code is given no other", |bed| {
        let whole = spec(&["/bin/sleep", "20"]);
        let (started, log) = bed.start(&whole).map_err(text)?;
        let adopted = bed.driver.adopt(&whole.id, &CodeHash::from_digest(&CODE));
        bed.driver.kill(&whole.id);
        bed.end(&whole.id, &started, log);
        if adopted.is_ok() { Err("it was".into()) } else { Ok(()) }
    }),
    ("a frozen sandbox stands still, goes on when thawed, and dies frozen", |bed| {
        let busy = spec(&["/bin/sh", "-c", "while :; do echo tick; done"]);
        let (started, log) = bed.start(&busy).map_err(text)?;
        if started.files.freezer.is_none() {
            bed.driver.kill(&busy.id);
            bed.end(&busy.id, &started, log);
            return Err("skip: nothing freezes here".into());
        }
        let ticks = |limit: Duration| {
            let more = readable(&log, limit);
            if more {
                let _ = rustix::io::read(&log, &mut [0u8; 1 << 16]);
            }
            more
        };
        let began = ticks(20 * SECOND);
        started.files.freeze(true);
        // What was written before is in the pipe; after that, nothing comes.
        while ticks(SECOND / 10) {}
        let still = !ticks(SECOND / 5);
        started.files.freeze(false);
        let goes_on = ticks(20 * SECOND);
        started.files.freeze(true);
        bed.driver.kill(&busy.id);
        let died = wait(&started, 20 * SECOND);
        bed.driver.reap(&busy.id, started.pidfd.as_fd());
        match (began, still, goes_on, died) {
            (true, true, true, true) => Ok(()),
            other => Err(format!("began, still, goes on, died: {other:?}")),
        }
    }),
    ("many start at once", |bed| {
        let specs: Vec<_> = (0..6).map(|_| spec(&["/bin/sh", "-c", "exit 5"])).collect();
        let started: Vec<_> = specs.iter().map(|one| bed.start(one)).collect::<Result<_, _>>().map_err(text)?;
        let ids: Vec<InstanceId> = specs.into_iter().map(|one| one.id).collect();
        for (id, (started, log)) in ids.iter().zip(started) {
            let run = bed.end(id, &started, log);
            check(run.exit.cause == ExitCause::Status(5), &run)?;
        }
        Ok(())
    }),
];

pub(crate) const END: &[Case] = &[
    ("nothing is left on the host", |bed| {
        for _ in 0..6 {
            bed.run("true");
        }
        let until = Instant::now() + 5 * SECOND;
        while bed.driver.tidy() && Instant::now() < until {
            std::thread::yield_now();
        }
        let ours = bed.folders.name.clone();
        let dir = bed.folders.data.to_str().unwrap_or("?");
        let mounts = |of: &str| std::fs::read_to_string(format!("/proc/{of}/mountinfo")).unwrap_or_default();
        let mut left: Vec<String> = Vec::new();
        left.extend(mounts("1").lines().filter(|line| line.contains(dir) || line.contains(&ours)).map(String::from));
        // In this mount namespace there may be what the driver holds for all, and nothing of any sandbox.
        left.extend(mounts("self").lines().filter(|line| line.contains("/slots/")).map(String::from));
        for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
            let command = std::fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
            if command.contains("runsc") && command.contains(dir) {
                left.push(command.replace('\0', " "));
            }
        }
        for folder in ["sandboxes", "slots"] {
            let entries = std::fs::read_dir(bed.folders.run.join(folder)).into_iter().flatten().flatten();
            left.extend(entries.map(|entry| entry.path().display().to_string()));
        }
        if bed.driver.tidy() {
            left.push("a control group".into());
        }
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    }),
    ("a driver that closes leaves nothing in its folder and no mount", |bed| {
        bed.driver.close();
        let run = bed.folders.run.to_str().unwrap_or("?").to_owned();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(text)?;
        // The folder itself may be the caller's.
        let mut left: Vec<String> = mounts.lines().filter(|line| line.contains(&run)).map(String::from).collect();
        let entries = std::fs::read_dir(&bed.folders.run).into_iter().flatten().flatten();
        left.extend(entries.map(|entry| entry.path().display().to_string()));
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    }),
];
