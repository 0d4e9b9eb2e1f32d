//! Instances that fork servers make, beside those whose interpreter is run: nobody can tell them apart, and what happens to
//! a fork server happens to nobody else.
//!
//! Not libtest, as `sandbox.rs`. It speaks just enough of the bootstrap's protocol to call a function.

#[path = "forked/bed.rs"]
mod bed;

use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bed::{Bed, CODE, DATA, Instance, Result, SHADOWING, claim, text};
use driver::Host;
use model::CodeHash;
use serde_json::Value;

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
    ("nor do two of 50 instances out of stems, which did much before they were anybody's", |bed| {
        bed.serve()?;
        let mut seen: HashSet<String> = HashSet::new();
        for _ in 0..50 {
            let mut spec = bed.spec(None);
            spec.env.push(("HEARTH_STEM".into(), "1".into()));
            let stem = Instance::start(&mut bed.forking, &spec)?;
            bed.forking.adopt(&spec.id, &CodeHash::from_digest(&CODE)).map_err(text)?;
            let drawn = stem.once(&mut bed.forking, "chances")?;
            for (source, value) in drawn.as_object().ok_or("no numbers")? {
                claim(seen.insert(value.to_string()), (source, value))?;
            }
        }
        Ok(())
    }),
    ("another environment is not forked", |bed| {
        bed.serve()?;
        let mut spec = bed.spec(Some(CODE));
        spec.env.push(("MALLOC_ARENA_MAX".into(), "1".into()));
        let answer = Instance::start(&mut bed.forking, &spec)?.once(&mut bed.forking, "forked")?;
        claim(answer == false, answer)
    }),
    ("a function's own libraries are found, though its fork server had none", |bed| {
        let forked = bed.fork(CODE)?.once(&mut bed.forking, "libraries")?;
        let run = bed.run(CODE)?.once(&mut bed.running, "libraries")?;
        claim(forked == run && forked == serde_json::json!([true, true]), (forked, run))
    }),
    ("a fork server that dies is noticed before anybody asks for a copy", |bed| {
        bed.serve()?;
        let killed = bed.signal(libc::SIGKILL)?;
        std::thread::sleep(Duration::from_millis(20));
        bed.forking.tidy();
        claim(bed.server().is_err(), "still there")?;
        bed.serve()?;
        claim(bed.server()? != killed, "the same")
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
    let Some((rootless, python)) = bed::ground() else {
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
