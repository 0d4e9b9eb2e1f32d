//! Copies of what the store keeps, of one moment each, while it goes on working.
//!
//! ```text
//! queue.db ─► catalogue.db ─► telemetry.db      VACUUM INTO: what was committed when it began, nobody waits for it
//!                  └─ packages and objects that it refers to: links, made on the writer's thread, where no package goes
//! ```
//!
//! The queue comes first: what its events name is in the catalogue that follows.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::CodeHash;
use rusqlite::{Connection, OpenFlags};

use super::database::Readers;
use super::{SqliteQueue, SqliteStore};
use super::{companions, functions};
use crate::StoreError;
use crate::aside::Pace;

/// How often packages or objects may have gone between the copy of the catalogue and the links.
const TRIES: u32 = 3;

/// Operations of SQLite's machine between two looks at the clock: less than a tenth of a millisecond.
const OPERATIONS: i32 = 100;

impl SqliteStore {
    /// Copies all that there is of the store into an empty folder on the same file system; logs and records only if asked for.
    /// Names the key that secrets are sealed with.
    pub async fn copy_into(&self, folder: &Path, telemetry: bool) -> Result<String, StoreError> {
        let key = self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner).current().to_owned();
        let packages = folder.join("packages");
        let objects = folder.join("objects");
        make(&packages)?;
        make(&objects)?;
        let copy = folder.join("catalogue.db");
        for tries in 1.. {
            copy_database(&self.readers, &copy).await?;
            let (of, own, into) = (copy.clone(), self.packages.clone(), packages.clone());
            let (kept, beside) = (self.objects.clone(), objects.clone());
            let link = move |_: &Connection| {
                let copy = Connection::open_with_flags(&of, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
                let used = functions::used(&copy)?;
                let missing = used.iter().filter(|hash| !own.has(hash)).count();
                if missing > 0 {
                    return Ok(missing);
                }
                link_all(&used, |hash| own.zip_path(hash), &into)?;
                kept.link(&companions::referred(&copy)?, &beside)
            };
            match self.writer.write(link, || {}).await? {
                0 => break,
                missing if tries >= TRIES => {
                    return Err(StoreError::Failed(format!(
                        "{missing} packages of functions or objects of buckets are not there"
                    )));
                }
                _ => fs::remove_file(&copy).map_err(|error| StoreError::io(copy.display(), &error))?,
            }
        }
        if telemetry {
            copy_database(self.telemetry.readers(), &folder.join("telemetry.db")).await?;
        }
        Ok(key)
    }

    /// How many objects of buckets are not there.
    pub async fn missing_objects(&self) -> Result<usize, StoreError> {
        let objects = self.objects.clone();
        self.readers.read(move |catalogue| Ok(objects.missing(&companions::referred(catalogue)?))).await
    }

    /// How many secrets are sealed with a key that is not here, and that key's name, for each such key.
    pub async fn locked_secrets(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let ring = self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone();
        let list = move |catalogue: &Connection| {
            let mut query = catalogue.prepare("SELECT key, count(*) FROM secrets GROUP BY key ORDER BY key")?;
            let rows = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)? as u64)))?;
            let all = rows.collect::<Result<Vec<_>, _>>()?;
            Ok(all.into_iter().filter(|(key, _)| !ring.has(key)).collect())
        };
        self.readers.read(list).await
    }
}

impl SqliteQueue {
    /// Copies the events, schedules' ticks and messages into that file, which must not be there.
    pub async fn copy_into(&self, file: &Path) -> Result<(), StoreError> {
        copy_database(self.readers(), file).await
    }
}

/// Looks whether a database's file is whole.
pub fn check_database(file: &Path) -> Result<(), StoreError> {
    let checked = || -> rusqlite::Result<String> {
        let conn =
            Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))
    };
    let failed = |why: String| StoreError::Failed(format!("{} is damaged: {why}", file.display()));
    match checked() {
        Ok(answer) if answer == "ok" => Ok(()),
        Ok(answer) => Err(failed(answer)),
        Err(error) => Err(failed(error.to_string())),
    }
}

/// What was committed when it begins. SQLite's own backup begins anew with every write of another connection, or holds
/// them up; this reads one snapshot, and the file comes out without holes.
async fn copy_database(readers: &Arc<Readers>, file: &Path) -> Result<(), StoreError> {
    let file = file.to_owned();
    readers
        .read_aside(move |conn| {
            let path =
                file.to_str().ok_or_else(|| StoreError::Failed("the data directory's path is no text".into()))?;
            let mut pace = Pace::begin();
            conn.progress_handler(
                OPERATIONS,
                Some(move || {
                    pace.rest();
                    false
                }),
            )?;
            let copied = conn.execute("VACUUM INTO ?1", [path]);
            conn.progress_handler(0, None::<fn() -> bool>)?;
            copied?;
            // What it is of: a vacuumed file has both, and it costs nothing to be sure.
            let mark = |conn: &Connection| conn.pragma_query_value(None, "application_id", |row| row.get::<_, i64>(0));
            let copy = Connection::open_with_flags(&file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
            if mark(conn)? != mark(&copy)? {
                return Err(StoreError::Failed(format!("{} did not come out as what it is of", file.display())));
            }
            Ok(())
        })
        .await
}

fn link_all(hashes: &HashSet<CodeHash>, from: impl Fn(&CodeHash) -> PathBuf, into: &Path) -> Result<(), StoreError> {
    for hash in hashes {
        let link = into.join(format!("{hash}.zip"));
        match fs::hard_link(from(hash), &link) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StoreError::io(link.display(), &error)),
        }
    }
    Ok(())
}

fn make(folder: &Path) -> Result<(), StoreError> {
    fs::create_dir_all(folder).map_err(|error| StoreError::io(folder.display(), &error))
}
