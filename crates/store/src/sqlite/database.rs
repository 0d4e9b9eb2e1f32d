//! Opening a database file: its settings, its schema's migrations, and connections that read it.
//!
//! Linux tells of a write that did not reach the disk once, at the next sync, and from then on takes the lost page for
//! written. So no sync may fail unseen, and none that failed may be tried again: SQLite's own checkpoints do both, and
//! are therefore done here.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::Semaphore;

use super::log_file;
use crate::{StoreError, aside};

/// Pages of the log from which on it is written to the database: SQLite's own default.
const CHECKPOINT: i32 = 1000;

/// A database file and how it came to its present form.
pub(super) struct Schema {
    pub file: &'static str,
    /// Marks the file as ours, and as this one.
    pub application_id: i32,
    /// Each brings the schema from the version of its index to the next one. Never changed once released.
    pub migrations: &'static [&'static str],
    /// Settings of the connection that writes.
    pub settings: &'static str,
}

/// Connections that read, a few at most; the rest wait. A read sees what was committed when it began.
pub(super) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    slots: Arc<Semaphore>,
    /// Those of them that may look through everything.
    searches: Arc<Semaphore>,
}

/// Opens the one connection that writes, and brings the file up to date.
pub(super) fn open(dir: &Path, schema: &Schema) -> Result<Connection, StoreError> {
    let path = dir.join(schema.file);
    // Not for SQLite to make: it holds environments and logs, and belongs to this user only. Its WAL gets the
    // same mode.
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    match made {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(StoreError::io(path.display(), &error)),
        _ => {}
    }
    let opened = || -> rusqlite::Result<Connection> {
        let conn =
            Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        conn.busy_timeout(Duration::from_secs(5))?;
        Ok(conn)
    };
    let mut conn = opened().map_err(|error| in_file(schema, &error))?;
    migrate(&mut conn, schema)?;
    Ok(conn)
}

/// As [`open`], for a database whose commits are answered: none is lost, and no failure of the disk is passed over.
pub(super) fn open_durable(dir: &Path, schema: &Schema) -> Result<Connection, StoreError> {
    log_file::check(&dir.join(format!("{}-wal", schema.file)))?;
    let mut conn = open(dir, schema)?;
    let failed = |error: rusqlite::Error| in_file(schema, &error);
    // What an earlier process left in the log may be in the kernel's memory only, and taken for written: it is written
    // again, to the database itself, before anything is added to it.
    match conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(failed) {
        // Calls have to go on where there is no room; nothing is taken without room either.
        Err(StoreError::DiskFull) => tracing::warn!("{}: no room to write its log to the database", schema.file),
        written => written?,
    }
    // SQLite's own would leave out whether it went well. An error here becomes that of the commit.
    conn.wal_hook(Some(|wal: &mut Wal, pages: i32| if pages < CHECKPOINT { Ok(()) } else { checkpoint(wal) }))
        .map_err(failed)?;
    Ok(conn)
}

/// Writes the log to the database. Where there is no room, or somebody reads, that is left to the next time: what was
/// committed is in the log.
fn checkpoint(wal: &mut Wal) -> rusqlite::Result<()> {
    wal.checkpoint().or_else(|error| match sql(&error) {
        StoreError::Disk(_) => Err(error),
        _ => Ok(()),
    })
}

/// Whether the databases in a data directory have the form that this version gives them, so that a server of the version
/// before may be there at the same time; if not, why. Changes nothing.
pub fn is_current(dir: &Path) -> Result<(), StoreError> {
    for schema in [&super::functions::SCHEMA, &super::queue::SCHEMA, &super::telemetry::SCHEMA] {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let version = || -> rusqlite::Result<i64> {
            let conn = Connection::open_with_flags(dir.join(schema.file), flags)?;
            conn.busy_timeout(Duration::from_secs(5))?;
            conn.pragma_query_value(None, "user_version", |row| row.get(0))
        };
        let (version, newest) = (version().map_err(|error| in_file(schema, &error))?, schema.migrations.len() as i64);
        if version != newest {
            return Err(StoreError::Failed(format!(
                "{}: its form is {version}, this version's is {newest}",
                schema.file
            )));
        }
    }
    Ok(())
}

fn migrate(conn: &mut Connection, schema: &Schema) -> Result<(), StoreError> {
    let failed = |error: rusqlite::Error| in_file(schema, &error);
    let number = |conn: &Connection, name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let version = number(conn, "user_version").map_err(failed)?;
    let application = number(conn, "application_id").map_err(failed)?;
    let newest = schema.migrations.len() as i64;
    let file = schema.file;
    if application != i64::from(schema.application_id) && (application, version) != (0, 0) {
        return Err(StoreError::Failed(format!(
            "{file} is another program's database: move it away, or choose another data directory"
        )));
    }
    if version > newest {
        return Err(StoreError::Failed(format!(
            "{file} was written by a newer Hearth (its schema is {version}, this one knows up to {newest}): \
             install that version again, or restore a backup made before the upgrade"
        )));
    }
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(failed)?;
    if mode != "wal" {
        return Err(StoreError::Failed(format!(
            "{file} cannot have a write-ahead log (got {mode:?}): is the data directory on a network file system?"
        )));
    }
    conn.execute_batch(schema.settings).map_err(failed)?;
    for (done, migration) in schema.migrations.iter().enumerate().skip(version as usize) {
        let mut run = || -> rusqlite::Result<()> {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute_batch(migration)?;
            tx.pragma_update(None, "application_id", schema.application_id)?;
            tx.pragma_update(None, "user_version", done as i64 + 1)?;
            tx.commit()
        };
        run().map_err(failed)?;
    }
    Ok(())
}

fn in_file(schema: &Schema, error: &rusqlite::Error) -> StoreError {
    match sql(error) {
        StoreError::Failed(why) => StoreError::Failed(format!("{}: {why}", schema.file)),
        StoreError::Disk(why) => StoreError::Disk(format!("{}: {why}", schema.file)),
        other => other,
    }
}

pub(super) fn sql(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => StoreError::DiskFull,
        Some(
            rusqlite::ErrorCode::SystemIoFailure
            | rusqlite::ErrorCode::DatabaseCorrupt
            | rusqlite::ErrorCode::NotADatabase,
        ) => StoreError::Disk(error.to_string()),
        _ => StoreError::Failed(error.to_string()),
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        sql(&error)
    }
}

// === impl Readers ===

impl Readers {
    pub fn new(dir: &Path, schema: &Schema, count: usize) -> Arc<Self> {
        let path = dir.join(schema.file);
        let [slots, searches] = [count, count.div_ceil(2)].map(|most| Arc::new(Semaphore::new(most)));
        Arc::new(Self { path, idle: Mutex::default(), slots, searches })
    }

    /// As [`Readers::read`], for what may look through all that there is: half of the connections do that at most, so that
    /// whoever searches holds up searches only.
    pub async fn search<T, F>(self: &Arc<Self>, search: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let turn = self.searches.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        // It is given back when the search is over, not when who asked is gone.
        self.read(move |conn| {
            let _turn = turn;
            search(conn)
        })
        .await
    }

    /// Runs `read` on a connection of its own, on a thread that may block.
    pub async fn read<T, F>(self: &Arc<Self>, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let slot = self.slots.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let readers = self.clone();
        blocking(move || {
            let _slot = slot;
            readers.with_one(|conn| read(conn))
        })
        .await
    }

    /// As [`Readers::read`], for what takes long and has time.
    pub async fn read_aside<T, F>(self: &Arc<Self>, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    {
        let slot = self.slots.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let readers = self.clone();
        let work = move || {
            let _slot = slot;
            readers.with_one(read)
        };
        aside::run("read", work).await.map_err(|error| StoreError::Failed(error.to_string()))?
    }

    fn with_one<T>(&self, read: impl FnOnce(&mut Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut conn = self.take()?;
        let answer = read(&mut conn);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
        answer
    }

    fn take(&self) -> Result<Connection, StoreError> {
        if let Some(conn) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(conn);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let conn = Connection::open_with_flags(&self.path, flags)?;
        conn.busy_timeout(Duration::from_secs(5))?;
        Ok(conn)
    }

    /// Refuses reads from now on; those that run come to their end.
    pub fn close(&self) {
        self.slots.close();
        self.searches.close();
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Runs what blocks outside the async threads.
pub(super) async fn blocking<T, F>(work: F) -> Result<T, StoreError>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, StoreError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) if error.is_cancelled() => Err(StoreError::Closed),
        Err(error) => Err(StoreError::Failed(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const SCHEMA: Schema = Schema { file: "t.db", ..super::super::telemetry::SCHEMA };

    #[tokio::test]
    async fn searches_leave_connections_to_others() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path(), &SCHEMA).unwrap());
        let readers = Readers::new(dir.path(), &SCHEMA, 4);
        let (end, ends) = mpsc::channel::<()>();
        let ends = Arc::new(Mutex::new(ends));
        let mut searches = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (readers, ends) = (readers.clone(), ends.clone());
            searches.spawn(async move { readers.search(move |_| Ok(ends.lock().unwrap().recv().is_ok())).await });
        }
        let one = |conn: &Connection| Ok(conn.query_row("SELECT 1", [], |row| row.get::<_, i64>(0))?);
        for _ in 0..20 {
            let read = tokio::time::timeout(Duration::from_secs(20), readers.read(one));
            assert_eq!(read.await.expect("a read goes on beside searches").unwrap(), 1);
        }
        for _ in 0..8 {
            end.send(()).unwrap();
        }
        while let Some(search) = searches.join_next().await {
            assert!(search.unwrap().unwrap());
        }
    }
}
