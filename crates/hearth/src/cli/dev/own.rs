//! A Hearth of `hearth dev`'s own, where none answers: the same program and the same defaults, ended with it.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::Asked;
use crate::cli::client::{Client, ConnectArgs};
use crate::cli::out;

/// How long it may take to start.
const START: Duration = Duration::from_secs(60);
/// It lets running calls finish for 30 s, and then has its sandboxes to take away.
const END: Duration = Duration::from_secs(45);

/// A Hearth that runs. Ended when it is dropped.
pub struct Own {
    child: Child,
    pub data_dir: PathBuf,
    /// Made by us: goes with it.
    temporary: bool,
    asked: Asked,
}

// === impl Own ===

impl Own {
    /// Starts one and waits until it answers. `ended` is called when it ends, whoever ended it.
    pub fn start(
        data_dir: Option<&Path>,
        asked: Asked,
        ended: impl FnOnce() + Send + 'static,
    ) -> anyhow::Result<(Self, Client)> {
        let (data_dir, temporary) = match data_dir {
            Some(folder) => (folder.to_owned(), false),
            None => (temporary()?, true),
        };
        let mut command = Command::new("/proc/self/exe");
        command.args(["up", "--until-stdin-closes", "--data-dir"]).arg(&data_dir);
        // Its usual addresses, so that what is tried is where it will be; others where somebody has those.
        for (flag, variable, usual) in
            [("--listen", "HEARTH_LISTEN", "127.0.0.1:7070"), ("--ingress", "HEARTH_INGRESS", "127.0.0.1:8080")]
        {
            if std::env::var_os(variable).is_none() {
                command.args([flag, if TcpListener::bind(usual).is_ok() { usual } else { "127.0.0.1:0" }]);
            }
        }
        if std::env::var_os("HEARTH_LOG").is_none() {
            command.env("HEARTH_LOG", "warn");
        }
        // A group of its own: what Ctrl-C means is decided here. Its input stays open as long as we are there.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("starting a Hearth")?;
        let stdout = child.stdout.take();
        let mut own = Self { child, data_dir, temporary, asked };
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()).map_while(Result::ok) {
                // Nobody listens once it is up; it is read on, so that its output never blocks it.
                let _ = sender.send(line);
            }
            drop(sender);
            ended();
        });
        let until = Instant::now() + START;
        loop {
            match lines.recv_timeout(Duration::from_millis(50)) {
                Ok(line) => {
                    let api = line.trim_start().strip_prefix("API ").and_then(|rest| rest.split_whitespace().next());
                    if let Some(endpoint) = api {
                        let connect =
                            ConnectArgs { data_dir: Some(own.data_dir.clone()), endpoint: None, ca_file: None };
                        let client = Client::with(endpoint.to_owned(), connect.kept_token())?;
                        return Ok((own, client));
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let status = own.child.wait()?;
                    bail!("the Hearth that was started ended with {status}; its message is above");
                }
                Err(mpsc::RecvTimeoutError::Timeout) if own.asked.load(Ordering::Relaxed) > 0 => {
                    bail!("ended before the Hearth that was started had come up")
                }
                Err(mpsc::RecvTimeoutError::Timeout) if Instant::now() < until => {}
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    bail!("the Hearth that was started did not come up within {} s", START.as_secs())
                }
            }
        }
    }

    fn end(&mut self) -> io::Result<()> {
        if self.child.try_wait()?.is_none() {
            kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        }
        let until = Instant::now() + END;
        let mut hurried = false;
        while self.child.try_wait()?.is_none() {
            // Told twice it does not wait for calls that run.
            if !hurried && self.asked.load(Ordering::Relaxed) > 1 {
                kill_process(Pid::from_child(&self.child), Signal::TERM)?;
                hurried = true;
            }
            if Instant::now() > until {
                self.child.kill()?;
                self.child.wait()?;
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let ended = self.end();
        let removed = ended.and_then(|()| if self.temporary { fs::remove_dir_all(&self.data_dir) } else { Ok(()) });
        if let Err(error) = removed {
            out::note(&format!("{} is left: {error}", self.data_dir.display()));
        }
    }
}

/// A folder for nobody else, under a name that nobody could have made before.
fn temporary() -> anyhow::Result<PathBuf> {
    let base = std::env::temp_dir();
    for number in 0..100 {
        let path = base.join(format!("hearth-dev-{}-{number}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("making {}", path.display())),
        }
    }
    bail!("no free name for a folder in {}: give one with --data-dir", base.display())
}
