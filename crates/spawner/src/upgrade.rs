//! One server takes over from another while calls run.
//!
//! ```text
//! asked ─► heir started ─► Prepared ─► old: Yield ─► Yielded ─► heir: Open ─► Opened ─► old: Give ─► idle sandboxes ─► Ready
//!            │ fails: all is as it was   │ the heir fails from here on: another one of the program before takes its place
//!            └── refused                 └────────── the old one ends its calls, and goes on giving, until it ends by itself
//! ```
//!
//! Between Yield and Ready nobody accepts: whoever connects waits in the sockets' own queues, which never close, since the
//! spawner has them too. The data has one owner at any time: the old server until Yielded, the heir from Open on.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::door::{Answer, Ask};
use crate::process::Spawner;
use crate::protocol::Event;
use crate::socket;

/// How long a server may take until it could take over.
const PREPARE_LIMIT: Duration = Duration::from_secs(40);
/// How long the old one may take to let go: beyond what it gives events that run.
const YIELD_LIMIT: Duration = Duration::from_secs(60);
/// How long the new one may take to open the data and serve.
const OPEN_LIMIT: Duration = Duration::from_secs(30);

/// What servers are started of.
pub(crate) struct Program {
    /// The arguments, after the program's name.
    arguments: Vec<String>,
    /// The name for the program that this process runs.
    own: String,
    /// Where that lay when it was started.
    path: PathBuf,
    /// Another one, which it was upgraded to.
    binary: Option<File>,
}

pub(crate) struct Upgrade {
    heir: u64,
    at: Heir,
    yielded: Yield,
    by: Instant,
    /// Who is told what came of it.
    asker: Option<OwnedFd>,
    /// The program of the heir; none: the one of before.
    binary: Option<File>,
    /// Why it is not the one that was asked for.
    instead: Option<String>,
    from: String,
    paused: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heir {
    Started,
    Prepared,
    Opening,
}

/// How far the server before is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Yield {
    No,
    Asked,
    Done,
}

// === impl Program ===

impl Program {
    pub fn new(mut command: Vec<String>, path: PathBuf) -> Self {
        let own = if command.is_empty() { String::new() } else { command.remove(0) };
        Self { arguments: command, own, path, binary: None }
    }

    pub fn command(&self) -> Vec<String> {
        self.of(self.binary.as_ref())
    }

    /// By its descriptor: that file and no other, wherever it lies; the server's user need not be able to go there.
    fn of(&self, binary: Option<&File>) -> Vec<String> {
        let program = binary.map_or_else(|| self.own.clone(), |file| format!("/proc/self/fd/{}", file.as_raw_fd()));
        [program].into_iter().chain(self.arguments.iter().cloned()).collect()
    }

    fn open(&self, path: Option<&Path>) -> Result<File, String> {
        let path = path.unwrap_or(&self.path);
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let file = File::open(path).map_err(failed)?;
        // Above the numbers at which children expect their sockets.
        let file = File::from(rustix::io::fcntl_dupfd_cloexec(&file, 16).map_err(|error| failed(error.into()))?);
        let about = file.metadata().map_err(failed)?;
        let runs = about.is_file() && std::os::unix::fs::PermissionsExt::mode(&about.permissions()) & 0o111 != 0;
        if runs { Ok(file) } else { Err(format!("{} is not a program", path.display())) }
    }
}

// === impl Spawner ===

impl Spawner {
    /// Somebody at the door says what they want.
    pub(crate) fn hear(&mut self, caller: OwnedFd) -> io::Result<()> {
        let Ok(Some((Ask::Upgrade { binary }, _))) = socket::receive::<Ask>(&caller, &mut Vec::new()) else {
            answer(&caller, &Answer::Refused { why: "the spawner does not understand what it is asked for".into() });
            return Ok(());
        };
        let refused = match () {
            () if self.drain_by.is_some() => Err("Hearth is ending".to_owned()),
            () if self.upgrade.is_some() => Err("an upgrade is under way: wait until it is over".to_owned()),
            () if self.servers.len() > 1 => {
                Err("the server before the last upgrade still finishes calls: wait until they have ended".to_owned())
            }
            () if !self.server(self.current).is_some_and(|server| server.ready) || self.listeners.len() != 2 => {
                Err("the server is not ready: nothing could be taken over from it".to_owned())
            }
            () => self.program.open(binary.as_deref()),
        };
        match refused {
            Ok(binary) => {
                if let Err(error) = self.begin_upgrade(Some(binary), Some(&caller)) {
                    answer(&caller, &Answer::Refused { why: format!("the new server could not be started: {error}") });
                }
            }
            Err(why) => answer(&caller, &Answer::Refused { why }),
        }
        Ok(())
    }

    /// Starts a server that is to take over.
    fn begin_upgrade(&mut self, binary: Option<File>, asker: Option<&OwnedFd>) -> io::Result<()> {
        let command = match &binary {
            Some(_) => self.program.of(binary.as_ref()),
            None => self.program.command(),
        };
        let (helper, theirs) = self.helper.introduce()?.unzip();
        let heir = match self.launch(&command, helper, true) {
            Ok(heir) => heir,
            Err(error) => {
                self.helper.followed(false);
                return Err(error);
            }
        };
        if let Some(theirs) = theirs {
            self.tell(self.current, &Event::Introduce, vec![theirs]);
        }
        let from = self.server(self.current).map(|server| server.version.clone()).unwrap_or_default();
        let by = Instant::now() + PREPARE_LIMIT;
        let asker = asker.map(OwnedFd::try_clone).transpose()?;
        let (at, yielded, instead, paused) = (Heir::Started, Yield::No, None, None);
        self.upgrade = Some(Upgrade { heir, at, yielded, by, asker, binary, instead, from, paused });
        Ok(())
    }

    pub(crate) fn upgrade_due(&self) -> Option<Instant> {
        self.upgrade.as_ref().map(|upgrade| upgrade.by)
    }

    /// Sees to it that nothing of it takes for ever.
    pub(crate) fn hurry_upgrade(&mut self) -> io::Result<()> {
        let Some(upgrade) = self.upgrade.as_mut().filter(|upgrade| Instant::now() >= upgrade.by) else { return Ok(()) };
        let (at, yielded, heir) = (upgrade.at, upgrade.yielded, upgrade.heir);
        upgrade.by = Instant::now() + YIELD_LIMIT;
        let (number, why) = match (at, yielded) {
            (Heir::Prepared, Yield::Asked) => {
                tracing::warn!("the server did not let go of the data within {YIELD_LIMIT:?}: it is killed");
                (self.current, None)
            }
            (Heir::Started, _) => (heir, Some(format!("the new server was not prepared within {PREPARE_LIMIT:?}"))),
            _ => (heir, Some(format!("the new server did not serve within {OPEN_LIMIT:?}"))),
        };
        // Its end is noticed like any other.
        if let Some(server) = self.server(number) {
            server.why = server.why.take().or(why);
            server.signal(Signal::KILL);
        }
        Ok(())
    }

    /// What comes after a server that gives its sandboxes away.
    pub(crate) fn heir_of(&mut self, number: u64) -> Option<u64> {
        let heir = match &self.upgrade {
            Some(upgrade) if number == self.current && upgrade.at == Heir::Opening => upgrade.heir,
            _ => self.current,
        };
        (heir != number && self.server(heir).is_some()).then_some(heir)
    }

    pub(crate) fn prepared(&mut self, number: u64, version: String) {
        if let Some(server) = self.server(number) {
            server.version = version;
        }
        let Some(upgrade) = self.upgrade.as_mut().filter(|one| one.heir == number && one.at == Heir::Started) else {
            return;
        };
        upgrade.at = Heir::Prepared;
        if upgrade.yielded == Yield::No {
            upgrade.yielded = Yield::Asked;
            upgrade.by = Instant::now() + YIELD_LIMIT;
            return self.tell(self.current, &Event::Yield, vec![]);
        }
        self.open_heir();
    }

    pub(crate) fn yielded(&mut self, number: u64, paused: Duration) {
        if number != self.current {
            return;
        }
        if let Some(upgrade) = self.upgrade.as_mut().filter(|upgrade| upgrade.yielded == Yield::Asked) {
            upgrade.yielded = Yield::Done;
            upgrade.paused = Instant::now().checked_sub(paused);
            self.open_heir();
        }
    }

    /// Gives the data to the heir, once that is prepared and the server before has let go of it.
    fn open_heir(&mut self) {
        let Some(upgrade) = &mut self.upgrade else { return };
        if upgrade.at == Heir::Prepared && upgrade.yielded == Yield::Done {
            upgrade.at = Heir::Opening;
            upgrade.by = Instant::now() + OPEN_LIMIT;
            upgrade.paused.get_or_insert_with(Instant::now);
            let heir = upgrade.heir;
            self.tell(heir, &Event::Open, vec![]);
        }
    }

    pub(crate) fn opened(&mut self, number: u64) {
        if !self.upgrade.as_ref().is_some_and(|upgrade| upgrade.heir == number && upgrade.at == Heir::Opening) {
            return;
        }
        match self.server(self.current).is_some() {
            true => self.tell(self.current, &Event::Give, vec![]),
            false => self.tell(number, &Event::GivenAll, vec![]),
        }
    }

    pub(crate) fn gave_all(&mut self, number: u64) {
        if let Some(heir) = self.heir_of(number) {
            self.tell(heir, &Event::GivenAll, vec![]);
        }
    }

    pub(crate) fn server_ready(&mut self, number: u64) {
        if let Some(server) = self.server(number) {
            server.ready = true;
        }
        let Some(upgrade) = self.upgrade.take_if(|upgrade| upgrade.heir == number) else { return };
        self.current = number;
        self.helper.followed(true);
        let to = self.server(number).map(|server| server.version.clone()).unwrap_or_default();
        let spawner = env!("CARGO_PKG_VERSION").to_owned();
        let paused_ms = upgrade.paused.map_or(0, |paused| paused.elapsed().as_millis() as u64);
        tracing::info!(from = upgrade.from, to, paused_ms, "a new server has taken over");
        if upgrade.binary.is_some() {
            self.program.binary = upgrade.binary;
        }
        let told = match upgrade.instead {
            None => Answer::Upgraded { from: upgrade.from, to, spawner, paused_ms },
            Some(why) => {
                Answer::Refused { why: format!("{why}; version {to} was started again, and has taken the calls") }
            }
        };
        if let Some(asker) = &upgrade.asker {
            answer(asker, &told);
        }
    }

    /// A server is gone, with what it had.
    pub(crate) fn server_ended(&mut self, number: u64, code: Option<i32>, why: Option<String>) -> io::Result<()> {
        let Some(upgrade) = &mut self.upgrade else {
            if number == self.current {
                self.ended = Some(code);
            }
            return Ok(());
        };
        if number == upgrade.heir {
            let ended = match code {
                Some(code) => format!("it ended with status {code}"),
                None => "it was killed".to_owned(),
            };
            let why = why.unwrap_or_else(|| format!("{ended}; what it said is in Hearth's log"));
            let why = format!("the new server could not take over: {why}");
            if upgrade.yielded == Yield::No {
                self.refuse_upgrade(&why);
                return Ok(());
            }
            return self.replace_heir(why);
        }
        if number != self.current {
            return Ok(());
        }
        if upgrade.yielded == Yield::No {
            self.refuse_upgrade("the running server ended meanwhile, and is started again");
            self.ended = Some(code);
            return Ok(());
        }
        // It had let go, or has now.
        let asked = upgrade.at == Heir::Opening;
        upgrade.yielded = Yield::Done;
        let heir = upgrade.heir;
        self.open_heir();
        if asked {
            // It may have been about to give what it had.
            self.tell(heir, &Event::GivenAll, vec![]);
        }
        Ok(())
    }

    /// The heir is gone, and nothing can be given back: another one, of the program that was there before.
    fn replace_heir(&mut self, why: String) -> io::Result<()> {
        let Some(upgrade) = self.upgrade.take() else { return Ok(()) };
        self.helper.followed(false);
        tracing::error!(why, "the server of the version before is started again");
        let again = upgrade.instead.is_some();
        if again || self.begin_upgrade(None, upgrade.asker.as_ref()).is_err() {
            if let Some(asker) = &upgrade.asker {
                answer(asker, &Answer::Refused { why });
            }
            // The one that had let go is of no use to anybody who comes.
            self.ended = Some(None);
            return Ok(());
        }
        if let Some(next) = &mut self.upgrade {
            (next.yielded, next.instead) = (upgrade.yielded, Some(why));
            (next.paused, next.from) = (upgrade.paused, upgrade.from);
        }
        Ok(())
    }

    /// Gives an upgrade up, before anything was given away or because all ends.
    pub(crate) fn refuse_upgrade(&mut self, why: &str) {
        let Some(upgrade) = self.upgrade.take() else { return };
        self.helper.followed(false);
        if let Some(server) = self.server(upgrade.heir) {
            server.signal(Signal::KILL);
        }
        tracing::error!(why, "no upgrade");
        if let Some(asker) = &upgrade.asker {
            answer(asker, &Answer::Refused { why: why.to_owned() });
        }
    }
}

/// Tells who asked, if they are still there.
fn answer(asker: &OwnedFd, answer: &Answer) {
    let sent = socket::encode(answer).and_then(|packet| socket::send(asker.as_fd(), &packet, &[]));
    if let Err(error) = sent {
        tracing::debug!(%error, "nobody waits for the end of the upgrade");
    }
}
