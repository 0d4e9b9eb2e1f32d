//! The driver by itself, on this machine: what every driver must do, and what is this one's own.

use std::process::ExitCode;

use conformance::{Case, Folders, check};
use driver::{ExitCause, Host};
use gvisor::{Gvisor, Options};

fn make(folders: &Folders) -> std::io::Result<Box<dyn Host>> {
    let options = Options {
        runsc: None,
        name: folders.name.clone(),
        run_dir: folders.run.clone(),
        code_dir: folders.code.clone(),
        data_dir: folders.data.clone(),
        runtime_dir: folders.runtime.clone(),
        allowed_mounts: vec![],
        rootless: folders.rootless,
    };
    Ok(Box::new(Gvisor::new(options)))
}

const OWN: &[Case] = &[
    ("its first process tells nothing of the spawner", |bed| {
        let run = bed.run("tr '\\0' ' ' < /proc/1/cmdline; cat /proc/1/environ | tr '\\0' ' '");
        check(run.output.trim_end() == "/hearth/agent run fd:0 HOME=/tmp", &run)
    }),
    ("nothing else of the host is in sight", |bed| {
        let run = bed.run("ls -a / /root /home /sys /run /var /etc/shadow /boot 2>&1; ls /dev");
        let hidden = ["/root", "/home", "/sys", "/run", "/boot", "/etc/shadow"];
        let gone = hidden.iter().all(|path| run.output.contains(&format!("cannot access '{path}'")));
        check(gone && !run.output.contains("sda") && !run.output.contains("kvm"), &run)
    }),
    ("its kernel is another than the host's", |bed| {
        let host = std::fs::read_to_string("/proc/version").unwrap_or_default();
        let run = bed.run("cat /proc/version");
        check(run.exit.cause == ExitCause::Status(0) && run.output != host, &run)
    }),
];

fn main() -> ExitCode {
    if let Err(error) = namespace::enter() {
        return conformance::skipped(format!("no sandbox can be made here: {error}"));
    }
    // A machine that has runsc is one on which it must work.
    conformance::run(make, OWN, |missing| missing.subject == "runsc")
}
