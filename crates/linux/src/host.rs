//! What of this machine weakens every isolation, in words for people: after Firecracker's recommendations for
//! production hosts. Looks only, and needs no privilege.

use std::fs;
use std::path::Path;

use driver::{Finding, Severity};

/// The first kernel with all that the built-in isolation is made of (`mount_setattr`).
const OLDEST_KERNEL: (u32, u32) = (5, 12);

/// Below this, a deploy or a busy hour of logs fills the disk.
const LITTLE_SPACE: u64 = 1 << 30;

/// Looks at the machine below `root`, which is `/` but in tests, and at the disk that `data` is on.
pub fn findings(root: &Path, data: &Path) -> Vec<Finding> {
    let read = |path: &str| fs::read_to_string(root.join(path)).ok().map(|text| text.trim().to_owned());
    let mut found = vec![kernel(read("proc/sys/kernel/osrelease"))];
    found.push(processor(root));
    found.push(match read("sys/kernel/mm/ksm/run").as_deref() {
        Some("1") => weaker(
            "memory sharing",
            "the kernel merges equal pages of different programs (KSM), which tells one about the other",
            "echo 2 > /sys/kernel/mm/ksm/run",
        ),
        _ => fine("memory sharing", "equal pages of different programs are not merged"),
    });
    found.push(match read("proc/sys/kernel/unprivileged_bpf_disabled").as_deref() {
        Some("0") => weaker(
            "bpf",
            "any user may load programs into the kernel; functions may not, but it is one wall less",
            "sysctl -w kernel.unprivileged_bpf_disabled=2",
        ),
        _ => fine("bpf", "ordinary users may not load programs into the kernel"),
    });
    found.extend(space(data));
    found
}

fn kernel(release: Option<String>) -> Finding {
    let release = release.unwrap_or_default();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < OLDEST_KERNEL => weaker(
            "kernel",
            &format!("Linux {release} is too old for the namespace isolation, and for others' newer walls"),
            &format!("install a kernel from {}.{} on", OLDEST_KERNEL.0, OLDEST_KERNEL.1),
        ),
        (Some(_), Some(_)) => fine("kernel", &format!("Linux {release}")),
        _ => weaker("kernel", "its version cannot be read", "mount /proc"),
    }
}

/// What the kernel says of the processor's known bugs.
fn processor(root: &Path) -> Finding {
    let folder = root.join("sys/devices/system/cpu/vulnerabilities");
    let mut open = Vec::new();
    let mut siblings = false;
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let state = fs::read_to_string(entry.path()).unwrap_or_default();
        siblings |= state.contains("SMT vulnerable");
        if state.starts_with("Vulnerable") {
            open.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    open.sort();
    match (open.is_empty(), siblings) {
        (true, false) => fine("processor", "no known bug of it is open"),
        (true, true) => weaker(
            "processor",
            "two functions on one core's two threads may spy on one another",
            "where functions are not trusted: switch hyper-threading off (boot option nosmt)",
        ),
        (false, _) => weaker(
            "processor",
            &format!(
                "known bugs are open, through which code may read memory that is not its own: {}",
                open.join(", ")
            ),
            "update the machine's microcode and kernel, and do not boot with mitigations=off",
        ),
    }
}

fn space(data: &Path) -> Option<Finding> {
    let disk = rustix::fs::statvfs(data).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let state = format!("{} MB free for functions, logs and images", free >> 20);
    Some(match free < LITTLE_SPACE {
        true => weaker("disk", &state, "make room, or move the data directory"),
        false => fine("disk", &state),
    })
}

fn fine(subject: &str, state: &str) -> Finding {
    Finding { severity: Severity::Ok, subject: subject.into(), state: state.into(), advice: String::new() }
}

fn weaker(subject: &str, state: &str, advice: &str) -> Finding {
    Finding { severity: Severity::Weaker, subject: subject.into(), state: state.into(), advice: advice.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(files: &[(&str, &str)]) -> Vec<Finding> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        findings(root.path(), root.path())
    }

    fn of<'a>(found: &'a [Finding], subject: &str) -> &'a Finding {
        found.iter().find(|one| one.subject == subject).expect("a finding")
    }

    #[test]
    fn a_good_machine_is_fine() {
        let found = machine(&[
            ("proc/sys/kernel/osrelease", "6.1.0-28-amd64\n"),
            ("proc/sys/kernel/unprivileged_bpf_disabled", "2\n"),
            ("sys/devices/system/cpu/vulnerabilities/meltdown", "Not affected\n"),
            ("sys/devices/system/cpu/vulnerabilities/spectre_v2", "Mitigation: Retpolines\n"),
            ("sys/kernel/mm/ksm/run", "0\n"),
        ]);
        let bad: Vec<_> = found.iter().filter(|one| one.severity != Severity::Ok && one.subject != "disk").collect();
        assert!(bad.is_empty(), "{bad:?}");
    }

    #[test]
    fn what_weakens_is_told_with_what_to_do() {
        let found = machine(&[
            ("proc/sys/kernel/osrelease", "5.4.0-generic\n"),
            ("proc/sys/kernel/unprivileged_bpf_disabled", "0\n"),
            ("sys/devices/system/cpu/vulnerabilities/mds", "Vulnerable; SMT vulnerable\n"),
            ("sys/kernel/mm/ksm/run", "1\n"),
        ]);
        for subject in ["kernel", "processor", "memory sharing", "bpf"] {
            let one = of(&found, subject);
            assert!(one.severity == Severity::Weaker && !one.advice.is_empty(), "{one:?}");
        }
        assert!(of(&found, "processor").state.ends_with("mds"));
    }

    #[test]
    fn threads_of_one_core_are_told_of_where_all_else_is_mitigated() {
        let files = [("sys/devices/system/cpu/vulnerabilities/mds", "Mitigation: Clear buffers; SMT vulnerable\n")];
        assert!(of(&machine(&files), "processor").advice.contains("nosmt"));
    }
}
