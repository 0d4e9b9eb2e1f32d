//! The function's program: found, started, and followed to its end.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use bytes::Bytes;
use wire::{Init, Run};

use super::host::error_json;

/// The program with its arguments, in the task root, with the function's environment; or the error JSON that says why it
/// cannot run.
pub fn command(init: &Init, run: &Run) -> Result<Command, Bytes> {
    let refuse = |message: String| error_json("Runtime.InvalidEntrypoint", &message);
    let (program, arguments) = run.command.split_first().ok_or_else(|| refuse("there is no program to run".into()))?;
    let own = std::env::var_os("PATH");
    let path = init.env.get("PATH").map(OsString::from).or(own).unwrap_or_default();
    let found = find(program, Path::new(&init.task_root), &path);
    let found = found.ok_or_else(|| refuse(not_found(program, &init.task_root)))?;
    let meta = std::fs::metadata(&found).map_err(|error| refuse(format!("{}: {error}", found.display())))?;
    if !meta.is_file() {
        return Err(refuse(format!("{} is no file", found.display())));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(refuse(format!("{} is not executable: chmod +x it, and deploy again", found.display())));
    }
    let mut command = Command::new(found);
    command.args(arguments).envs(&init.env).env_remove("HEARTH_STEM").env_remove("HEARTH_INVOKE_STREAMS");
    Ok(command)
}

fn find(program: &str, task_root: &Path, path: &OsStr) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(task_root.join(program)).filter(|path| path.exists());
    }
    let folders = path.as_bytes().split(|byte| *byte == b':').map(|folder| Path::new(OsStr::from_bytes(folder)));
    let mut all = [task_root].into_iter().chain(folders.filter(|folder| folder.is_absolute()));
    all.find_map(|folder| Some(folder.join(program)).filter(|path| path.is_file()))
}

fn not_found(program: &str, task_root: &str) -> String {
    if program.contains('/') {
        format!("{program} is not there: expected it in the package, whose files are in {task_root}")
    } else {
        format!("there is no program {program}, neither in the package nor in PATH")
    }
}

/// Why a program that is there could not be started.
pub fn not_started(command: &Command, error: &io::Error) -> Bytes {
    let program = Path::new(command.get_program()).display().to_string();
    let why = match error.raw_os_error() {
        Some(libc::ENOENT) => "the interpreter or loader that it names is not in the sandbox".to_owned(),
        Some(libc::ENOEXEC) => "it is no program for this machine: expected an executable of its architecture, or a \
                                script that begins with #!"
            .to_owned(),
        _ => error.to_string(),
    };
    error_json("Runtime.InvalidEntrypoint", &format!("{program} cannot be run: {why}"))
}

/// Ends as the program did.
pub fn end_like(status: ExitStatus) -> ! {
    if let Some(signal) = status.signal() {
        // SAFETY: sets the default, and sends this process a signal: nothing of ours runs in between.
        unsafe {
            // Its own core, if any, was the program's to leave.
            libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0);
            libc::signal(signal, libc::SIG_DFL);
            libc::raise(signal);
        }
        super::end(128 + signal);
    }
    super::end(status.code().unwrap_or(1))
}
