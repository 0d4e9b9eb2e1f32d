//! nft, the program that puts rules into the kernel: one transaction each time, all or nothing.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Where distributions put it. Not the `PATH`: it is run as root.
const PLACES: [&str; 3] = ["/usr/sbin/nft", "/sbin/nft", "/usr/local/sbin/nft"];

/// It takes some 10 ms.
const LIMIT: Duration = Duration::from_secs(5);

/// Most of what it complains that is told.
const MAX_WORDS: u64 = 600;

pub fn program() -> Option<&'static Path> {
    PLACES.iter().map(Path::new).find(|path| path.exists())
}

/// Has these commands carried out in the calling thread's network namespace.
pub fn run(commands: &str) -> io::Result<()> {
    let program = program().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "nft is not there any more"))?;
    let mut command = Command::new(program);
    command.args(["-f", "-"]).env_clear().current_dir("/");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    // Its end, or an end of ours before, is seen below.
    let told = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(commands.as_bytes()));
    let limit = Timespec::try_from(LIMIT).map_err(io::Error::other)?;
    let ended = loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&limit)) {
            Err(rustix::io::Errno::INTR) => {}
            ended => break ended? > 0,
        }
    };
    if !ended {
        child.kill()?;
    }
    let status = child.wait()?;
    if !ended {
        return Err(io::Error::new(io::ErrorKind::TimedOut, format!("nft did not end within {LIMIT:?}")));
    }
    if status.success() {
        return told;
    }
    let mut words = String::new();
    if let Some(errors) = child.stderr.take() {
        errors.take(MAX_WORDS).read_to_string(&mut words)?;
    }
    // The first line has the reason; the others are a picture of the place.
    Err(io::Error::other(format!("nft: {}", words.lines().next().unwrap_or("it failed without a word"))))
}
