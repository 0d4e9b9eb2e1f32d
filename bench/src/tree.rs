//! A process and all its descendants, as `/proc` shows them: how many there are, and what they have used.

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

    /// Processor time of all that live, and of all that were waited for. Exact to a tick per process; a process
    /// that is dead but not waited for is still counted as itself.
    pub fn cpu(&self) -> Duration {
        let used = |pid| fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| ticks(&stat));
        TICK * self.processes().into_iter().filter_map(used).sum()
    }
}

/// utime, stime, cutime and cstime: the 14th to 17th field. The second may hold spaces and parentheses.
fn ticks(stat: &str) -> Option<u32> {
    let fields: Vec<_> = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().collect();
    fields.get(11..15)?.iter().map(|field| field.parse::<u32>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a) b (c)) S 1 7 7 0 -1 4194560 1 2 3 4 100 20 3000 400 20 0 1 0 9";
        assert_eq!(ticks(stat), Some(3520));
        assert_eq!(ticks("7 (a) S 1"), None);
    }

    #[test]
    fn sees_grandchildren_and_what_the_dead_have_used() {
        let burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done";
        let script = format!("/bin/sh -c '{burn}'; /bin/sh -c 'sleep 30 & wait' & wait");
        let mut child = Command::new("/bin/sh").args(["-c", &script]).spawn().unwrap();
        let tree = Tree::of(child.id());
        // The first grandchild is done when the second has its own child.
        let deep = (0..1000).find(|_| {
            std::thread::sleep(Duration::from_millis(10));
            tree.processes().len() == 3
        });
        let cpu = tree.cpu();
        for pid in tree.processes() {
            let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        child.wait().unwrap();
        assert!(deep.is_some());
        assert!(cpu >= Duration::from_millis(10), "{cpu:?}");
        assert_eq!(Tree::of(child.id()).processes().len(), 1);
    }
}
