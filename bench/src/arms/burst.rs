//! Goal 12: one function from no instance to very many, all called at once and each held open, so that no instance can
//! serve two calls. The handler says when it was reached; the rate is all of them over the time from the first request
//! to the last handler reached.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use rustix::event::{Timespec, epoll};
use serde_json::Value;

use crate::hearth::{Deploy, HOLD, Hearth, Setup};
use crate::http;
use crate::load::Target;
use crate::report::{Arm, Note, Outcome, Row, Unit};
use crate::stats::{percentile, range};
use crate::suite::Suite;
use crate::tree;

/// What Hearth charges an instance that it has not measured yet, and some more.
pub const CHARGED_MIB: u64 = 32;
/// What one is assumed to take at most of this machine, until it is measured.
const TAKES: u64 = 8 << 20;

/// How long instances are held open, from the first request on.
const SHORTEST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);

/// What came of one burst.
#[derive(Debug)]
struct Burst {
    rate: f64,
    failed: usize,
    first_failure: Option<String>,
    /// A handler was reached when the others had been let go: it may have had an instance that was free again, so such
    /// a burst says nothing.
    late: bool,
    /// From the first request until each handler was reached, seconds.
    reached: Vec<f64>,
}

pub fn run(suite: &mut Suite) -> anyhow::Result<Outcome> {
    let (wanted, rounds) = suite.pick((1000, 3), (30, 2));
    // Half of what is free: the machine is not ours alone.
    let fits = (tree::available() / 2 / TAKES) as usize;
    let count = wanted.min(fits);
    raise_descriptors()?;
    let memory_mib = Some((count as u64 + 100) * CHARGED_MIB);
    let hearth = suite.own(&Setup { memory_mib, ..Setup::default() })?;
    let measured = measure(&hearth, count, rounds).map_err(|error| hearth.explain(error))?;
    hearth.stop()?;
    let (rates, bursts): (Vec<f64>, Vec<Burst>) = measured.into_iter().map(|burst| (burst.rate, burst)).unzip();
    let failures: usize = bursts.iter().map(|burst| burst.failed).sum();
    for why in bursts.iter().filter_map(|burst| burst.first_failure.as_deref()) {
        eprintln!("bench: burst: a call failed: {why}");
    }
    let mut reached: Vec<f64> = bursts.iter().flat_map(|burst| burst.reached.iter().map(|s| s * 1e9)).collect();
    let mut notes = vec![Note::new("instances", Unit::Count, count as f64)];
    if !reached.is_empty() {
        notes.push(Note::new("handler reached, p50", Unit::Time, percentile(&mut reached, 50.0)));
        notes.push(Note::new("p99", Unit::Time, percentile(&mut reached, 99.0)));
    }
    if count < wanted {
        notes.push(Note::new("wanted, and had no memory for", Unit::Count, wanted as f64));
    }
    Ok(Outcome::Measured(Arm {
        method: format!("{rounds} bursts of {count} clients at once"),
        against: "nothing".into(),
        rows: vec![
            Row::alone("instances/s", Unit::Rate, range(&rates)),
            // None may, in any of them.
            Row::alone("failed", Unit::Count, range(&[failures as f64])),
        ],
        notes,
    }))
}

fn measure(hearth: &Hearth, count: usize, rounds: usize) -> anyhow::Result<Vec<Burst>> {
    let name = "burst";
    hearth.deploy(Deploy::new(name, HOLD).instances(0, count as u32))?;
    // Fills the page cache.
    let trial = burst(hearth, name, count.min(20), SHORTEST)?;
    ensure!(trial.failed == 0, "a burst of 20 failed: {:?}", trial.first_failure);
    until_none(hearth, name)?;
    // A guess: many may come up more slowly than few.
    let mut hold = Duration::from_secs_f64(1.5 * count as f64 / trial.rate).clamp(SHORTEST, LONGEST);
    let mut bursts = Vec::new();
    while bursts.len() < rounds {
        let burst = burst(hearth, name, count, hold)?;
        until_none(hearth, name)?;
        if burst.late {
            ensure!(
                hold < LONGEST,
                "the last of {count} handlers was reached later than {LONGEST:?} after the first call"
            );
            eprintln!(
                "bench: burst: {hold:?} were too short to hold {count} instances open: all again, with twice that"
            );
            hold = (2 * hold).min(LONGEST);
            // Those that were in time as well: to keep the quick ones alone would flatter.
            bursts.clear();
            continue;
        }
        if burst.failed == 0 {
            verify(&hearth.records(name, count)?, count)?;
        }
        bursts.push(burst);
    }
    Ok(bursts)
}

fn until_none(hearth: &Hearth, name: &str) -> anyhow::Result<()> {
    hearth.until_none(name, Duration::from_secs(60))?;
    hearth.until_settled().map(|_| ())
}

/// Every call had an instance of its own.
fn verify(records: &[Value], count: usize) -> anyhow::Result<()> {
    let instances: BTreeSet<_> = records.iter().filter_map(|record| record.get("instance")?.as_str()).collect();
    ensure!(instances.len() == count, "{count} calls at once were served by {} instances", instances.len());
    Ok(())
}

/// One burst: all connected before, all sent at once, each held until `hold` after the first.
fn burst(hearth: &Hearth, name: &str, count: usize, hold: Duration) -> anyhow::Result<Burst> {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs_f64());
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut streams = Vec::with_capacity(count);
    let address = hearth.target(name).address;
    for index in 0..count {
        let stream = TcpStream::connect(address).with_context(|| format!("client {index} connects"))?;
        stream.set_nodelay(true)?;
        epoll::add(&poll, &stream, epoll::EventData::new_u64(index as u64), epoll::EventFlags::IN)?;
        streams.push((stream, Vec::new()));
    }
    let begin = now()?;
    let target = Target::new(address, &format!("/fn/{name}/?until={}", begin + hold.as_secs_f64()));
    for (stream, _) in &mut streams {
        stream.write_all(&target.request)?;
        stream.set_nonblocking(true)?;
    }
    let mut result = Burst { rate: 0.0, failed: 0, first_failure: None, late: false, reached: Vec::new() };
    let (mut waiting, until) = (count, Instant::now() + hold + Duration::from_secs(60));
    let mut events = Vec::with_capacity(256);
    while waiting > 0 {
        ensure!(Instant::now() < until, "{waiting} of {count} calls have no answer");
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), Some(&Timespec { tv_sec: 1, tv_nsec: 0 }))?;
        for event in &events {
            let (stream, buffer) = &mut streams[event.data.u64() as usize];
            let answer = read(stream, buffer);
            let answer = match answer {
                Ok(None) => continue,
                Ok(Some(reached)) => Ok(reached),
                Err(error) => Err(format!("{error:#}")),
            };
            epoll::delete(&poll, &*stream)?;
            waiting -= 1;
            match answer {
                Ok(reached) => result.reached.push(reached - begin),
                Err(why) => {
                    result.failed += 1;
                    result.first_failure.get_or_insert(why);
                }
            }
        }
    }
    let last = result.reached.iter().copied().fold(0.0, f64::max);
    if last > 0.0 {
        result.rate = result.reached.len() as f64 / last;
    }
    result.late = last > hold.as_secs_f64();
    Ok(result)
}

/// When the handler was reached, once the answer is whole.
fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<Option<f64>> {
    let mut chunk = [0; 4096];
    match stream.read(&mut chunk) {
        Ok(0) => bail!("the connection ended: {:?}", String::from_utf8_lossy(buffer)),
        Ok(count) => buffer.extend_from_slice(&chunk[..count]),
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let Some(answer) = http::parse(buffer)? else { return Ok(None) };
    let text = String::from_utf8_lossy(answer.body);
    ensure!(answer.status == 200, "{} with {text:?}", answer.status);
    text.parse().map(Some).with_context(|| format!("expected a time, got {text:?}"))
}

/// As many descriptors as may be had, for us and for the Hearths that we start; how many that is. A thousand clients need
/// a thousand, and thousands of instances some for each.
pub fn raise_descriptors() -> anyhow::Result<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let most = Some(1 << 20);
    if setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most }).is_err() {
        let limit = getrlimit(Resource::Nofile);
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).context("raise the limit of files")?;
    }
    Ok(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX))
}
