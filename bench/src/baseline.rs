//! The baseline: the bare interpreter, started to do nothing and waited for. The standard library starts it with
//! posix_spawn, which is the cheapest there is.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

/// What one process cost.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub wall: Duration,
    /// Its own, and that of the children it waited for.
    pub cpu: Duration,
}

/// A program that is started to do nothing.
#[derive(Debug)]
pub struct Baseline {
    /// How a person would write it.
    pub label: String,
    program: PathBuf,
    args: Vec<String>,
}

// === impl Baseline ===

impl Baseline {
    /// `python3 -c pass`.
    pub fn python() -> anyhow::Result<Self> {
        let program = real(&["/usr/bin/python3"])?;
        Ok(Self { label: "python3 -c pass".into(), program, args: vec!["-c".into(), "pass".into()] })
    }

    /// `python3 -c "import …"` with what the import-heavy function imports.
    pub fn imports() -> anyhow::Result<Self> {
        let program = real(&["/usr/bin/python3"])?;
        let source = include_str!("../functions/python-imports/app.py");
        let names: Vec<_> = source.lines().filter_map(|line| line.strip_prefix("import ")).collect();
        let args = vec!["-c".into(), format!("import {}", names.join(", "))];
        Ok(Self { label: "python3 -c import …".into(), program, args })
    }

    /// A tool of Debian's with its arguments.
    pub fn tool(label: &str, program: &Path, args: &[&str]) -> Self {
        let args = args.iter().map(|arg| arg.to_string()).collect();
        Self { label: label.to_owned(), program: program.to_owned(), args }
    }

    /// `node empty.js`, with the empty file made in `dir`.
    pub fn node(dir: &Path) -> anyhow::Result<Self> {
        let program = real(&["/usr/bin/node", "/usr/local/bin/node"])?;
        let script = dir.join("empty.js");
        std::fs::write(&script, "").context("write empty.js")?;
        Ok(Self { label: "node empty.js".into(), program, args: vec![script.display().to_string()] })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // A fixed environment: a virtual environment or an option of the caller's would change what is measured.
        command.args(&self.args).env_clear().env("PATH", "/usr/bin:/bin").env("LANG", "C.UTF-8");
        command.envs(std::env::var_os("DOCKER_HOST").map(|host| ("DOCKER_HOST", host)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// What it says to its errors, if it fails.
    pub fn complaint(&self) -> String {
        let output = self.command().stderr(Stdio::piped()).output();
        output.map(|output| String::from_utf8_lossy(&output.stderr).trim().to_owned()).unwrap_or_default()
    }

    /// Starts it and waits for its end.
    pub fn run(&self) -> anyhow::Result<Cost> {
        let mut command = self.command();
        let start = Instant::now();
        let child = command.spawn().with_context(|| format!("start {}", self.program.display()))?;
        let (status, cpu) = wait(child.id())?;
        let wall = start.elapsed();
        ensure!(status.success(), "{} ended with {status}", self.label);
        Ok(Cost { wall, cpu })
    }
}

/// The first of these that is there, and is a program: a version manager's shim is a script.
pub fn real(candidates: &[&str]) -> anyhow::Result<PathBuf> {
    for candidate in candidates {
        let mut magic = [0; 4];
        let file = std::fs::File::open(candidate);
        if file.is_ok_and(|mut file| std::io::Read::read_exact(&mut file, &mut magic).is_ok()) && magic == *b"\x7fELF" {
            return std::fs::canonicalize(candidate).with_context(|| format!("resolve {candidate}"));
        }
    }
    bail!("no interpreter at {}: install it there, for Hearth's sandboxes see the system's own", candidates.join(", "))
}

/// Waits for a child of ours and returns what it used.
pub fn wait(pid: u32) -> anyhow::Result<(ExitStatus, Duration)> {
    let mut status = 0;
    // SAFETY: rusage is numbers alone, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals that outlive the call, which writes no more than their types hold.
    let got = unsafe { libc::wait4(pid as libc::pid_t, &raw mut status, 0, &raw mut usage) };
    if got != pid as libc::pid_t {
        return Err(std::io::Error::last_os_error()).with_context(|| format!("wait for process {pid}"));
    }
    let time = |value: libc::timeval| Duration::new(value.tv_sec as u64, value.tv_usec as u32 * 1000);
    Ok((ExitStatus::from_raw(status), time(usage.ru_utime) + time(usage.ru_stime)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_processor_time_of_children_too() {
        let script = "for i in 1 2; do /bin/sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'; done";
        let args = vec!["-c".into(), script.into()];
        let cost = Baseline { label: "sh".into(), program: "/bin/sh".into(), args }.run().unwrap();
        assert!(cost.cpu > Duration::from_millis(5), "{cost:?}");
    }

    #[test]
    fn imports_what_the_function_does() {
        let baseline = Baseline::imports().unwrap();
        assert!(
            baseline.args[1].starts_with("import argparse, asyncio, base64") && baseline.args[1].contains("zipfile")
        );
        assert!(baseline.run().unwrap().wall > Baseline::python().unwrap().run().unwrap().wall);
    }

    #[test]
    fn a_failing_baseline_is_no_baseline() {
        let baseline = Baseline { label: "false".into(), program: "/bin/false".into(), args: vec![] };
        assert!(baseline.run().unwrap_err().to_string().contains("exit status: 1"));
    }

    #[test]
    fn a_script_is_not_an_interpreter() {
        assert!(real(&["/etc/passwd", "/nonexistent"]).is_err());
        assert!(real(&["/nonexistent", "/proc/self/exe"]).is_ok());
    }
}
