//! What the kernel takes for a forked start, with nothing around it: a process of a fork server's memory is copied into
//! namespaces of its own, the copy writes as many pages as one does until its first answer, and ends.
//!
//! There is no mount, control group, filter, user, message or interpreter in it, so no fork server on this kernel starts
//! anything in less. It is told beside `cold Python`, and judged by nothing.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::baseline;
use crate::cold::REST;
use crate::report::{Note, Outcome, Unit};
use crate::stats::{mean, percentile};

/// What Python and the modules that its fork server imports have of their own, bytes.
const MEMORY: usize = 16 << 20;
/// How many pages of that a copy writes from its start to the answer of the smallest function: its page faults, by `perf`.
const WRITTEN: usize = 460;
const PAGE: usize = 4096;
const HUGE: usize = 2 << 20;
const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// The same outcome, with what the kernel alone takes.
pub fn beside(outcome: Outcome, starts: usize) -> anyhow::Result<Outcome> {
    let Outcome::Measured(mut arm) = outcome else { return Ok(outcome) };
    let program = std::env::current_exe().context("find this program")?;
    let ran = Command::new(program).args(["floor", &starts.to_string()]).stdin(Stdio::null()).output();
    let ran = ran.context("start this program")?;
    // Where an ordinary user may not make namespaces there is nothing to be told.
    if !ran.status.success() {
        eprintln!("bench: {}", String::from_utf8_lossy(&ran.stderr).trim());
        return Ok(Outcome::Measured(arm));
    }
    let text = String::from_utf8(ran.stdout).context("read what the kernel takes")?;
    let number = |text: &str| text.parse::<f64>().with_context(|| format!("expected nanoseconds, got {text:?}"));
    let mut walls = Vec::with_capacity(starts);
    let mut cpus = Vec::with_capacity(starts);
    for line in text.lines() {
        let (wall, cpu) = line.split_once(' ').with_context(|| format!("expected two numbers, got {line:?}"))?;
        walls.push(number(wall)?);
        cpus.push(number(cpu)?);
    }
    ensure!(walls.len() == starts, "{} starts were told instead of {starts}", walls.len());
    arm.notes.push(Note::new("the kernel alone, p50", Unit::Time, percentile(&mut walls, 50.0)));
    arm.notes.push(Note::new("the kernel alone, CPU", Unit::Time, mean(&mut cpus)));
    Ok(Outcome::Measured(arm))
}

/// What `bench floor STARTS` does: prints wall and processor time of each, in nanoseconds.
pub fn main(mut args: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let starts: usize = args.next().unwrap_or_default().parse().context("expected how many starts")?;
    let mut memory = vec![1_u8; MEMORY + HUGE];
    // As fork servers do: pages of 2 MiB are copied by one entry each. Where that cannot be, it costs more.
    let skip = memory.as_ptr().align_offset(HUGE);
    // SAFETY: it is within what was just allocated, and stays as it is.
    unsafe { libc::madvise(memory.as_mut_ptr().add(skip).cast(), MEMORY, libc::MADV_COLLAPSE) };
    for _ in 0..starts {
        let before = own();
        let begun = Instant::now();
        let theirs = start(&mut memory[skip..skip + MEMORY])?;
        let wall = begun.elapsed();
        println!("{} {}", wall.as_nanos(), (own() - before + theirs).as_nanos());
        std::thread::sleep(REST);
    }
    Ok(())
}

/// One copy, from its beginning to its end. The processor time that it took.
fn start(memory: &mut [u8]) -> anyhow::Result<Duration> {
    // SAFETY: this process has one thread, and the copy calls nothing but `_exit`.
    let pid = unsafe { libc::syscall(libc::SYS_clone, NAMESPACES | libc::SIGCHLD, 0, 0, 0, 0) };
    match pid {
        0 => {
            for page in 0..WRITTEN {
                memory[page * (MEMORY / PAGE) / WRITTEN * PAGE] = 2;
            }
            std::hint::black_box(&memory);
            // SAFETY: it ends here.
            unsafe { libc::_exit(0) }
        }
        -1 => bail!("cannot make namespaces here: {}", std::io::Error::last_os_error()),
        pid => {
            let (status, cpu) = baseline::wait(pid as u32)?;
            ensure!(status.success(), "the copy ended with {status}");
            Ok(cpu)
        }
    }
}

/// This process's own processor time.
fn own() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_spread_over_all_of_the_memory() {
        let pages: Vec<usize> = (0..WRITTEN).map(|page| page * (MEMORY / PAGE) / WRITTEN).collect();
        assert!(pages.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(pages[WRITTEN - 1] < MEMORY / PAGE && pages[WRITTEN - 1] > MEMORY / PAGE * 9 / 10);
    }
}
