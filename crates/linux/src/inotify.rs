//! inotify's limits for a user, raised while Hearth runs: the kernel counts what sandboxes have for their user namespaces'
//! owner too, and forked ones all have the same.
//!
//! ```text
//! raise ─► state file locked, shared ─► what was before, noted in it by the first ─► raised, never lowered
//! drop  ─► does another Hearth hold it? ─no─► put back what is as it was set; file removed
//! ```
//!
//! The file lies where files do not outlive the machine's run, as the limits do not. A killed Hearth leaves it, and its
//! lock goes: the next one finds what was before.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// What each sandbox may have (see the namespace driver), times as many sandboxes as a machine can be asked for. What they
/// take is counted as their memory.
const WANTED: [(&str, u64); 2] = [("max_user_instances", 32 * 8192), ("max_user_watches", 8192 * 8192)];

/// Where Linux has them, and where the state lies.
const SYSCTLS: &str = "/proc/sys/fs/inotify";
const STATE: &str = "/run/hearth-inotify";

/// Put back when dropped, by the last Hearth of the machine.
#[derive(Debug)]
pub struct Raised {
    sysctls: PathBuf,
    state: PathBuf,
    file: File,
}

/// Raises what is too low.
pub fn raise() -> io::Result<Raised> {
    raise_in(Path::new(SYSCTLS), Path::new(STATE))
}

fn raise_in(sysctls: &Path, state: &Path) -> io::Result<Raised> {
    let mut file = lock(state)?;
    let mut noted = String::new();
    file.read_to_string(&mut noted)?;
    if parse(&noted).is_none() {
        // One write: two Hearths that start at once note the same, or the second finds it.
        let before = WANTED.map(|(name, _)| read(sysctls, name));
        let [instances, watches] = before;
        file.write_all(format!("{} {}\n", instances?, watches?).as_bytes())?;
    }
    let raised = Raised { sysctls: sysctls.to_owned(), state: state.to_owned(), file };
    for (name, wanted) in WANTED {
        if read(sysctls, name)? < wanted {
            write(sysctls, name, wanted)?;
        }
    }
    Ok(raised)
}

/// The state file, open and locked by its path: the last Hearth may be removing it.
fn lock(state: &Path) -> io::Result<File> {
    for _ in 0..100 {
        let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let file = File::options().read(true).append(true).create(true).mode(0o600).custom_flags(flags).open(state)?;
        // Whoever holds it alone holds it for a moment.
        flock(&file, FlockOperation::LockShared)?;
        if file.metadata()?.nlink() > 0 {
            return Ok(file);
        }
    }
    Err(io::Error::new(io::ErrorKind::ResourceBusy, format!("{} is removed again and again", state.display())))
}

fn parse(noted: &str) -> Option<[u64; 2]> {
    let mut numbers = noted.lines().next()?.split(' ').map(str::parse);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?])
}

fn read(sysctls: &Path, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(sysctls.join(name))?;
    text.trim().parse().map_err(|_| io::Error::new(io::ErrorKind::InvalidData, format!("{name} is {text:?}")))
}

fn write(sysctls: &Path, name: &str, value: u64) -> io::Result<()> {
    fs::write(sysctls.join(name), value.to_string())
        .map_err(|error| io::Error::new(error.kind(), format!("set fs.inotify.{name} to {value}: {error}")))
}

// === impl Raised ===

impl Drop for Raised {
    fn drop(&mut self) {
        if flock(&self.file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return;
        }
        let before = fs::read_to_string(&self.state).ok().as_deref().and_then(parse);
        for ((name, wanted), before) in WANTED.iter().zip(before.into_iter().flatten()) {
            // What somebody set meanwhile is theirs.
            if before < *wanted
                && read(&self.sysctls, name).is_ok_and(|now| now == *wanted)
                && let Err(error) = write(&self.sysctls, name, before)
            {
                tracing::warn!(%error, "inotify's limits stay as they were raised");
            }
        }
        let _ = fs::remove_file(&self.state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(instances: u64, watches: u64) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), WANTED[0].0, instances).unwrap();
        write(dir.path(), WANTED[1].0, watches).unwrap();
        dir
    }

    fn now(dir: &tempfile::TempDir) -> [u64; 2] {
        WANTED.map(|(name, _)| read(dir.path(), name).unwrap())
    }

    #[test]
    fn raises_what_is_too_low_and_the_last_puts_it_back() {
        let dir = machine(128, u64::from(u32::MAX));
        let state = dir.path().join("state");
        let one = raise_in(dir.path(), &state).unwrap();
        let other = raise_in(dir.path(), &state).unwrap();
        assert_eq!(now(&dir), [WANTED[0].1, u64::from(u32::MAX)]);
        drop(one);
        assert_eq!(now(&dir)[0], WANTED[0].1);
        drop(other);
        assert_eq!(now(&dir), [128, u64::from(u32::MAX)]);
        assert!(!state.exists());
    }

    #[test]
    fn what_a_killed_one_left_is_put_back_by_the_next() {
        let dir = machine(WANTED[0].1, WANTED[1].1);
        let state = dir.path().join("state");
        fs::write(&state, "128 65536\n").unwrap();
        drop(raise_in(dir.path(), &state).unwrap());
        assert_eq!(now(&dir), [128, 65536]);
    }

    #[test]
    fn what_somebody_set_meanwhile_stays() {
        let dir = machine(128, 65536);
        let raised = raise_in(dir.path(), &dir.path().join("state")).unwrap();
        write(dir.path(), WANTED[0].0, 4242).unwrap();
        drop(raised);
        assert_eq!(now(&dir), [4242, 65536]);
    }

    #[test]
    fn what_cannot_be_set_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        assert!(raise_in(dir.path(), &dir.path().join("state")).is_err());
    }
}
