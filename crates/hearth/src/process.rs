//! What the server's own process takes, as its kernel tells.

use std::fs;
use std::sync::LazyLock;

use control::ProcessView;
use model::Timestamp;

/// When it was first asked: at the start.
static STARTED: LazyLock<Timestamp> = LazyLock::new(Timestamp::now);

/// Remembers when the server started.
pub fn begin() {
    LazyLock::force(&STARTED);
}

pub fn view() -> ProcessView {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    ProcessView {
        cpu_seconds: used.tv_sec as f64 + used.tv_nsec as f64 / 1e9,
        resident_bytes: resident(&status).unwrap_or(0),
        open_fds: fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64),
        started_us: STARTED.micros(),
    }
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_descriptors() {
        assert_eq!(resident("VmPeak:\t 9 kB\nVmRSS:\t   120 kB\n"), Some(120 * 1024));
        let view = view();
        assert!(view.resident_bytes > 0 && view.open_fds > 2 && view.cpu_seconds > 0.0);
    }
}
