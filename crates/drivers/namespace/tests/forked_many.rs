//! Many instances of one fork server: no number is drawn twice, and nothing is left behind.
//!
//! Its own program, since the full gate of the speed goals takes minutes: HEARTH_FORK_GATE=10000. Says what a start took,
//! and what it took of the processors; judges neither.

#[path = "forked/bed.rs"]
mod bed;

use std::collections::HashSet;
use std::process::ExitCode;
use std::time::Instant;

use bed::{Bed, CODE, Instance, Result, claim, text};
use driver::Host;

/// What this process and a fork server have had of the processors, in microseconds.
fn processor_us(server: Option<i32>) -> Result<u64> {
    let spent = |pid: String| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).map_err(text)?;
        stat.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).map(|ns| ns / 1000).ok_or("no time".to_owned())
    };
    Ok(spent("thread-self".into())? + server.map_or(Ok(0), |pid| spent(pid.to_string()))?)
}

fn percentile(sorted: &[u64], part: f64) -> u64 {
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

/// The counts of what a sandbox is made of, on this machine.
fn left_over(bed: &Bed) -> Result<Vec<(String, usize)>> {
    let mut found = Vec::new();
    let entries = |path: String| std::fs::read_dir(path).map_or(0, Iterator::count);
    found.push(("descriptors".to_owned(), entries("/proc/self/fd".into())));
    found.push(("files".to_owned(), entries(bed.dir.to_string_lossy().into_owned())));
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").map_err(text)?;
    found.push(("mounts".to_owned(), mounts.lines().count()));
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    found.push(("children".to_owned(), children.split_whitespace().count()));
    let name = format!("hearth-test-forking-{}", std::process::id());
    let trees = std::fs::read_to_string("/proc/self/mountinfo").map_err(text)?;
    let trees = trees.lines().filter(|line| line.contains(" - cgroup"));
    let groups = trees.filter_map(|line| line.split(' ').nth(4)).map(|tree| groups_of(tree.as_ref(), &name, 3)).sum();
    found.push(("control groups".to_owned(), groups));
    Ok(found)
}

/// How many folders there are in the folder of this name, at most so far below a path.
fn groups_of(path: &std::path::Path, name: &str, depth: usize) -> usize {
    let folders = std::fs::read_dir(path).into_iter().flatten().flatten();
    let folders = folders.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    let below = |entry: std::fs::DirEntry| match entry.file_name() == name {
        true => std::fs::read_dir(entry.path()).into_iter().flatten().flatten().filter(|e| e.path().is_dir()).count(),
        false if depth > 0 => groups_of(&entry.path(), name, depth - 1),
        false => 0,
    };
    folders.map(below).sum()
}

fn gate(bed: &mut Bed, count: usize) -> Result<()> {
    bed.fork(CODE)?.once(&mut bed.forking, "chances")?;
    let server = bed.server()?;
    let settled = |bed: &mut Bed| {
        let until = Instant::now() + bed::LIMIT;
        while bed.forking.tidy() && Instant::now() < until {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        left_over(bed)
    };
    let before = settled(bed)?;
    let mut seen: HashSet<String> = HashSet::new();
    for _ in 0..count {
        let drawn = bed.fork(CODE)?.once(&mut bed.forking, "chances")?;
        for (source, value) in drawn.as_object().ok_or("no numbers")? {
            claim(seen.insert(value.to_string()), (source, value))?;
        }
    }
    let after = settled(bed)?;
    claim(before == after, (&before, &after))?;
    claim(bed.server()? == server, "another fork server")?;
    println!("{count} instances, {} numbers, none twice; left behind: nothing of {before:?}", seen.len());
    Ok(())
}

/// One call of a function that answers at once.
fn starts(bed: &mut Bed, count: usize, forked: bool) -> Result<()> {
    let (mut hello, mut answer) = (Vec::new(), Vec::new());
    let server = if forked { bed.serve().and_then(|()| bed.server()).map(Some)? } else { None };
    let begun_us = processor_us(server)?;
    let mut inside_us = 0;
    for _ in 0..count {
        let spec = bed.spec(Some(CODE));
        let driver = if forked { &mut bed.forking } else { &mut bed.running };
        let begun = Instant::now();
        let mut instance = Instance::start(driver, &spec)?;
        hello.push(begun.elapsed().as_micros() as u64);
        instance.init("small.forked")?;
        let told = instance.call()?;
        answer.push(begun.elapsed().as_micros() as u64);
        inside_us += instance.kill(driver).usage.cpu.ok_or("no processor time")?.as_micros() as u64;
        claim(told == forked, told)?;
    }
    let (outside, inside) = ((processor_us(server)? - begun_us) / count as u64, inside_us / count as u64);
    hello.sort_unstable();
    answer.sort_unstable();
    let both = |sorted: &[u64]| (percentile(sorted, 0.5), percentile(sorted, 0.95));
    let how = if forked { "forked" } else { "run" };
    println!(
        "{how}: HELLO after {:?}, answer after {:?} µs (p50, p95); processor {inside} µs inside, {outside} outside",
        both(&hello),
        both(&answer)
    );
    Ok(())
}

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    let count = |name: &str, usual: usize| std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(usual);
    let Some((rootless, python)) = bed::ground() else { return ExitCode::SUCCESS };
    let result = Bed::new(rootless, &python).map_err(text).and_then(|mut bed| {
        let timed = count("HEARTH_FORK_STARTS", 20);
        starts(&mut bed, timed, true)?;
        starts(&mut bed, count("HEARTH_FORK_RUNS", 5), false)?;
        gate(&mut bed, count("HEARTH_FORK_GATE", 300))
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            println!("FAILED  {why}");
            ExitCode::FAILURE
        }
    }
}
