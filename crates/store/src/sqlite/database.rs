//! Opening a database file: its settings, its schema's migrations, and connections that read it.

use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::Semaphore;

use crate::StoreError;

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
        other => other,
    }
}

pub(super) fn sql(error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => StoreError::DiskFull,
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
        Arc::new(Self { path, idle: Mutex::default(), slots: Arc::new(Semaphore::new(count)) })
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
            let conn = readers.take()?;
            let answer = read(&conn);
            readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            answer
        })
        .await
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
