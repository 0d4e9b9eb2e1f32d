//! What this machine is, in the words that its kernel has for it.

use std::fs;

use control::Machine;

pub fn machine() -> Machine {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let uname = rustix::system::uname();
    let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    Machine {
        cpu: cpu(&read("/proc/cpuinfo")).unwrap_or_else(|| text(uname.machine())),
        cores: std::thread::available_parallelism().map_or(1, |count| count.get() as u32),
        memory: total_memory(&read("/proc/meminfo")),
        kernel: format!("{} {}", text(uname.sysname()), text(uname.release())),
    }
}

/// x86 has its name in each processor's entry; most ARM boards have at best the board's, at the end.
fn cpu(cpuinfo: &str) -> Option<String> {
    let field = |name: &str| {
        let line = cpuinfo.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))?;
        let words: Vec<_> = line.split_whitespace().collect();
        (!words.is_empty()).then(|| words.join(" "))
    };
    field("model name").or_else(|| field("Model")).or_else(|| field("Hardware"))
}

fn total_memory(meminfo: &str) -> u64 {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<u64> = total.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.unwrap_or(0) * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_named_as_its_kernel_does() {
        let x86 = "processor\t: 0\nmodel\t\t: 190\nmodel name\t: Intel(R)  N100\nprocessor\t: 1\nmodel name\t: other\n";
        assert_eq!(cpu(x86).as_deref(), Some("Intel(R) N100"));
        assert_eq!(cpu("processor\t: 0\nModel\t\t: Raspberry Pi 5\n").as_deref(), Some("Raspberry Pi 5"));
        assert_eq!(cpu("processor : 0\n"), None);
        assert_eq!(total_memory("MemTotal:       16254232 kB\nMemFree: 1 kB\n"), 16_254_232 * 1024);
    }
}
