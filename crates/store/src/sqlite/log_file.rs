//! A database's log, looked at before SQLite opens it. SQLite takes what does not fit for the end of the log, as a power cut
//! leaves it, and forgets all that is behind it: right after a power cut, and a silent loss after damage.
//!
//! Every commit is synced before the next one is written. So only the last commit of a log may be torn; where another one
//! begins behind what does not fit, that was on disk, and answered.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use crate::StoreError;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// SQLite's sums of a log, each going on from the one before.
#[derive(Clone, Copy, PartialEq)]
struct Sums {
    pair: [u32; 2],
    big_endian: bool,
}

/// What the log is, by its first bytes.
struct Header {
    page: usize,
    /// Drawn anew whenever the log begins anew: frames of before have others.
    salt: [u8; 8],
    sums: Sums,
}

/// How far a log is whole.
#[derive(Debug, PartialEq, Eq, Default)]
struct Found {
    /// Bytes up to the end of the last commit that is whole.
    whole: u64,
    /// Where the first frame is that does not fit, but is of this log.
    broken: Option<u64>,
    /// Commits from there on that others were written behind of.
    lost: u64,
}

/// Refuses a log that lost what was committed. One that is not there is whole.
pub(super) fn check(path: &Path) -> Result<(), StoreError> {
    let failed = |error: &std::io::Error| StoreError::io(path.display(), error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(&error)),
    };
    let long = file.metadata().map_err(|error| failed(&error))?.len();
    let found = read(BufReader::with_capacity(1 << 20, file)).map_err(|error| failed(&error))?;
    let file = path.display();
    match found {
        None if long > (HEADER + FRAME_HEADER) as u64 => Err(StoreError::Disk(format!(
            "{file} is damaged at its beginning: restore a backup (docs/backup.md), or go on without the last changes that were \
             made: truncate -s 0 {file}"
        ))),
        Some(Found { whole, broken: Some(at), lost }) if lost > 0 => Err(StoreError::Disk(format!(
            "{file} is damaged at byte {at}, and at least {lost} commits behind it were answered: restore a backup \
             (docs/backup.md), or go on without these: truncate -s {whole} {file}"
        ))),
        Some(Found { broken: Some(at), .. }) => {
            tracing::warn!(
                "{file}: the last commit, at byte {at}, is not whole, as when the power goes: it is left out"
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `None`: it does not begin as a log does.
fn read(mut log: impl Read) -> std::io::Result<Option<Found>> {
    let mut first = [0; HEADER];
    if !filled(&mut log, &mut first)? {
        return Ok(Some(Found::default()));
    }
    let Some(header) = Header::parse(&first) else {
        // Never written, though the file has its length: the power went in time.
        return Ok(first.iter().all(|byte| *byte == 0).then(Found::default));
    };
    let mut found = Found { whole: HEADER as u64, ..Found::default() };
    let (mut sums, mut frame, mut at) = (header.sums, vec![0; FRAME_HEADER + header.page], HEADER as u64);
    // Of what is behind the first frame that does not fit: whether any is of this log, and commits that nothing was seen behind yet.
    let (mut goes_on, mut commits) = (false, 0);
    while filled(&mut log, &mut frame)? {
        let (head, page) = frame.split_at(FRAME_HEADER);
        let ours = head[8..16] == header.salt;
        let commit = head[4..8] != [0; 4];
        sums = sums.add(&head[..8]).add(page);
        if found.broken.is_none() && ours && sums.pair == pair(&head[16..24]) {
            if commit {
                found.whole = at + frame.len() as u64;
            }
        } else if found.broken.is_none() {
            // Damaged, torn, or of an older log that reached farther.
            found.broken = Some(at);
            (goes_on, commits) = (ours, u64::from(ours && commit));
        } else if ours {
            goes_on = true;
            // What was committed before this frame was on disk when it was written.
            found.lost += commits;
            commits = u64::from(commit);
        }
        at += frame.len() as u64;
    }
    if !goes_on {
        found.broken = None;
    }
    Ok(Some(found))
}

/// Whether there was as much as that.
fn filled(from: &mut impl Read, into: &mut [u8]) -> std::io::Result<bool> {
    match from.read_exact(into) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn pair(bytes: &[u8]) -> [u32; 2] {
    [number(&bytes[..4]), number(&bytes[4..8])]
}

// === impl Header ===

impl Header {
    fn parse(bytes: &[u8; HEADER]) -> Option<Self> {
        let magic = number(&bytes[..4]);
        let page = number(&bytes[8..12]);
        let sums = Sums { pair: [0, 0], big_endian: magic & 1 == 1 }.add(&bytes[..24]);
        let fits = magic & !1 == 0x377f_0682 && page.is_power_of_two() && (512..=65536).contains(&page);
        let salt = bytes[16..24].try_into().ok()?;
        (fits && sums.pair == pair(&bytes[24..])).then_some(Self { page: page as usize, salt, sums })
    }
}

// === impl Sums ===

impl Sums {
    /// `bytes` are a multiple of eight.
    fn add(mut self, bytes: &[u8]) -> Self {
        for eight in bytes.chunks_exact(8) {
            let [low, high] = [&eight[..4], &eight[4..]].map(|four| {
                let word = number(four);
                if self.big_endian { word } else { word.swap_bytes() }
            });
            self.pair[0] = self.pair[0].wrapping_add(low).wrapping_add(self.pair[1]);
            self.pair[1] = self.pair[1].wrapping_add(high).wrapping_add(self.pair[0]);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    /// A log of 20 commits as a process that was killed leaves it.
    fn log() -> (tempfile::TempDir, Vec<u8>) {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("x.db");
        let conn = Connection::open(&file).unwrap();
        let settings =
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE t (x); PRAGMA wal_checkpoint(TRUNCATE)";
        conn.execute_batch(settings).unwrap();
        for n in 0..20 {
            conn.execute("INSERT INTO t VALUES (?1)", [n]).unwrap();
        }
        let log = std::fs::read(home.path().join("x.db-wal")).unwrap();
        drop(conn);
        (home, log)
    }

    fn checked(home: &tempfile::TempDir, log: &[u8]) -> Result<(), StoreError> {
        let file = home.path().join("y.db-wal");
        std::fs::write(&file, log).unwrap();
        check(&file)
    }

    #[test]
    fn a_log_that_is_whole_or_torn_at_its_end_is_read() {
        let (home, log) = log();
        let found = read(&log[..]).unwrap().unwrap();
        assert_eq!((found.whole, found.broken, found.lost), (log.len() as u64, None, 0));
        let frame = (log.len() - HEADER) / 20;
        for cut in (0..frame).step_by(61) {
            assert!(checked(&home, &log[..log.len() - cut]).is_ok(), "{cut} bytes short");
            let mut torn = log.clone();
            let end = torn.len();
            torn[end - frame + cut] ^= 1;
            assert!(checked(&home, &torn).is_ok(), "the last commit's byte {cut}");
        }
        assert!(check(&home.path().join("none")).is_ok() && checked(&home, &[]).is_ok());
    }

    #[test]
    fn a_log_of_which_answered_commits_would_be_lost_is_refused() {
        let (home, log) = log();
        let frame = (log.len() - HEADER) / 20;
        for at in (0..log.len() - 2 * frame).step_by(97) {
            let mut bad = log.clone();
            bad[at] ^= 1 << (at % 8);
            let why = checked(&home, &bad).expect_err("a flip was not seen").to_string();
            assert!(why.contains("truncate -s"), "{why}");
        }
    }

    #[test]
    fn what_an_older_log_left_behind_the_end_is_no_damage() {
        let (home, log) = log();
        let frame = (log.len() - HEADER) / 20;
        let mut older = log.clone();
        // Other salts, in each frame behind the tenth.
        for n in 10..20 {
            older[HEADER + n * frame + 8] ^= 0xff;
        }
        assert!(checked(&home, &older).is_ok());
        assert_eq!(read(&older[..]).unwrap().unwrap().whole, (HEADER + 10 * frame) as u64);
    }
}
