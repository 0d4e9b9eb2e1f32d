//! A process and all its descendants, as `/proc` shows them, and what one of them has used and holds.

use std::fs;
use std::time::Duration;

/// The unit of `/proc`'s times, fixed by the kernel's ABI at a hundredth of a second.
const TICK: Duration = Duration::from_millis(10);

/// The processes below, and including, one.
#[derive(Debug, Clone, Copy)]
pub struct Tree {
    root: u32,
}

// === impl Tree ===

impl Tree {
    pub fn of(root: u32) -> Self {
        Self { root }
    }

    /// Every live process in it. The root itself is in, alive or not.
    pub fn processes(&self) -> Vec<u32> {
        let mut found = vec![self.root];
        let mut next = 0;
        while let Some(pid) = found.get(next).copied() {
            next += 1;
            for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                found.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            }
        }
        found
    }
}

/// Processor time that this process itself has used, its threads' and not its children's. Exact to a tick.
pub fn own_cpu(pid: u32) -> Duration {
    let ticks = fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| ticks(&stat));
    TICK * ticks.unwrap_or(0)
}

/// The memory a process has in its pages: `VmRSS` of its status, bytes. None if it is gone.
pub fn rss(pid: u32) -> Option<u64> {
    kib(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
}

/// A process's share of the pages that it has: what is shared counts once for all who share it. Bytes.
pub fn pss(pid: u32) -> Option<u64> {
    kib(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss:")
}

/// What the kernel could give to new processes without swapping, bytes.
pub fn available() -> u64 {
    kib(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemAvailable:").unwrap_or(0)
}

/// A line of the kernel's, in kB as it says, as bytes.
fn kib(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// utime and stime: the 14th and 15th field. The second may hold spaces and parentheses.
fn ticks(stat: &str) -> Option<u32> {
    let fields: Vec<_> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
    fields.get(11..13)?.iter().map(|field| field.parse::<u32>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 100 20 3000 400 20 0 1 0 9";
        assert_eq!(ticks(stat), Some(120));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn memory_is_told_in_bytes() {
        let own = std::process::id();
        let (rss, pss) = (rss(own).unwrap(), pss(own).unwrap());
        assert!(pss > 0 && pss <= rss && rss < available(), "{pss} {rss}");
        assert_eq!(kib("Name:\tx\nVmRSS:\t   12 kB\n", "VmRSS:"), Some(12 << 10));
    }

    #[test]
    fn sees_grandchildren() {
        let mut child = Command::new("/bin/sh").args(["-c", "/bin/sh -c 'sleep 30 & wait' & wait"]).spawn().unwrap();
        let tree = Tree::of(child.id());
        let deep = (0..1000).find(|_| {
            std::thread::sleep(Duration::from_millis(10));
            tree.processes().len() == 3
        });
        for pid in tree.processes() {
            let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        child.wait().unwrap();
        assert!(deep.is_some());
        assert_eq!(Tree::of(child.id()).processes().len(), 1);
    }

    #[test]
    fn a_busy_process_uses_processor_time() {
        let start = std::time::Instant::now();
        while start.elapsed() < 5 * TICK {
            std::hint::black_box(start.elapsed());
        }
        assert!(own_cpu(std::process::id()) >= TICK);
        assert_eq!(own_cpu(u32::MAX), Duration::ZERO);
    }
}
