//! The one thread that writes a database. Jobs that wait together are committed together: one sync to disk for
//! all of them.
//!
//! A job's answer is sent after the commit, so what was answered is on disk. A job that fails undoes only itself;
//! a commit that fails, fails every job in it.
//!
//! After a failure of the disk nothing is written any more: what the kernel could not write it takes for written from
//! then on, so that the next sync would say that all is well when it is not. What can be read goes on being read.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;

/// Jobs that may wait; more make their callers wait.
const QUEUE: usize = 256;
/// Jobs in one transaction at most, so that the first does not wait for ever.
const GROUP: usize = 128;

type Finish = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
/// Runs in the transaction, or is told why there is none. Gives what to do once it is known whether it holds, and
/// how it failed, if it did.
type Job = Box<dyn FnOnce(Result<&mut Transaction<'_>, StoreError>) -> (Finish, Option<StoreError>) + Send>;

pub(super) struct Writer {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

// === impl Writer ===

impl Writer {
    pub fn start(name: &str, conn: Connection) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || run(conn, queue));
        let thread = thread.map_err(|error| StoreError::io("starting the store's writer", &error))?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    /// Runs `work` and commits it. `then` runs right after the commit, before anybody is answered, also if the
    /// caller has gone. Once this has been polled to the first answer, dropping it does not undo the work.
    pub async fn write<T, W, A>(&self, work: W, then: A) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
        A: FnOnce() + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |tx| {
            let result = tx.and_then(|tx| alone(tx, work));
            let error = result.as_ref().err().cloned();
            let finish = Box::new(move |committed: Result<(), StoreError>| {
                let result = result.and_then(|value| committed.map(|()| value));
                if result.is_ok() {
                    then();
                }
                let _ = reply.send(result);
            });
            (finish, error)
        });
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(StoreError::Closed)?;
        jobs.send(job).await.map_err(|_| StoreError::Closed)?;
        drop(jobs);
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Finishes what waits, and ends the thread. Blocks.
    pub fn close(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the store's writer panicked");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.close();
    }
}

/// Runs `work` so that its failure undoes nothing but itself.
fn alone<T>(
    tx: &mut Transaction<'_>,
    work: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let savepoint = tx.savepoint()?;
    let value = work(&savepoint)?;
    savepoint.commit()?;
    Ok(value)
}

fn run(mut conn: Connection, mut queue: mpsc::Receiver<Job>) {
    let mut broken = None;
    while let Some(job) = queue.blocking_recv() {
        let mut finishes = Vec::new();
        let outcome = match &broken {
            None => group(&mut conn, job, &mut queue, &mut finishes),
            Some(error) => {
                finishes.push(job(Err(StoreError::clone(error))).0);
                Err(StoreError::clone(error))
            }
        };
        match &outcome {
            Err(StoreError::Disk(why)) if broken.is_none() => {
                tracing::error!(%why, "the disk failed: nothing is written any more until Hearth starts again");
                let why = format!("{why}; nothing is written any more until Hearth starts again");
                broken = Some(StoreError::Disk(why));
            }
            Err(error) if broken.is_none() => tracing::error!(%error, "the store could not write"),
            _ => {}
        }
        for finish in finishes {
            finish(outcome.clone());
        }
    }
}

fn group(
    conn: &mut Connection,
    first: Job,
    queue: &mut mpsc::Receiver<Job>,
    finishes: &mut Vec<Finish>,
) -> Result<(), StoreError> {
    let mut tx = match conn.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(tx) => tx,
        Err(error) => {
            let error = StoreError::from(error);
            finishes.push(first(Err(error.clone())).0);
            return Err(error);
        }
    };
    let mut next = Some(first);
    while let Some(job) = next {
        let (finish, error) = job(Ok(&mut tx));
        finishes.push(finish);
        // It may have written a part of what the others did.
        if let Some(error @ StoreError::Disk(_)) = error {
            return Err(error);
        }
        // A full or failing disk can make SQLite undo the whole transaction. What ran after that would be
        // committed by itself, and what ran before is lost.
        if tx.is_autocommit() {
            return Err(error.unwrap_or_else(|| StoreError::Failed("the transaction was undone".into())));
        }
        next = if finishes.len() < GROUP { queue.try_recv().ok() } else { None };
    }
    Ok(tx.commit()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Writer {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE t (x INTEGER NOT NULL, y BLOB)").unwrap();
        Writer::start("store-test", conn).unwrap()
    }

    async fn insert(writer: &Writer, x: i64, bytes: usize) -> Result<(), StoreError> {
        let insert = move |conn: &Connection| {
            conn.execute("INSERT INTO t VALUES (?1, zeroblob(?2))", [x, bytes as i64])?;
            if x < 0 { Err(StoreError::Failed("negative".into())) } else { Ok(()) }
        };
        writer.write(insert, || {}).await
    }

    async fn sum(writer: &Writer) -> i64 {
        let sum = |conn: &Connection| Ok(conn.query_row("SELECT total(x) FROM t", [], |row| row.get::<_, f64>(0))?);
        writer.write(sum, || {}).await.unwrap() as i64
    }

    #[tokio::test]
    async fn a_job_that_fails_undoes_only_itself() {
        let writer = table();
        let (one, bad, two) = tokio::join!(insert(&writer, 1, 0), insert(&writer, -10, 0), insert(&writer, 2, 0));
        assert!(one.is_ok() && two.is_ok());
        assert!(matches!(bad, Err(StoreError::Failed(why)) if why == "negative"));
        assert_eq!(sum(&writer).await, 3);
    }

    #[tokio::test]
    async fn a_full_disk_is_said_and_what_was_answered_stays() {
        let writer = table();
        let limit = |pages: i64| move |conn: &Connection| Ok(conn.pragma_update(None, "max_page_count", pages)?);
        insert(&writer, 1, 0).await.unwrap();
        writer.write(limit(20), || {}).await.unwrap();
        let (small, large, other) =
            tokio::join!(insert(&writer, 2, 0), insert(&writer, 10, 1 << 20), insert(&writer, 4, 0));
        assert!(matches!(large, Err(StoreError::DiskFull)), "{large:?}");
        let answered = 1 + 2 * i64::from(small.is_ok()) + 4 * i64::from(other.is_ok());
        assert_eq!(sum(&writer).await, answered);
        writer.write(limit(100_000), || {}).await.unwrap();
        insert(&writer, 10, 1 << 20).await.unwrap();
        assert_eq!(sum(&writer).await, answered + 10);
    }

    #[tokio::test]
    async fn after_a_failure_of_the_disk_nothing_is_written_any_more() {
        let writer = table();
        insert(&writer, 1, 0).await.unwrap();
        let fails = |conn: &Connection| {
            conn.execute("INSERT INTO t VALUES (2, NULL)", [])?;
            Err::<(), _>(StoreError::Disk("disk I/O error".into()))
        };
        assert!(matches!(writer.write(fails, || {}).await, Err(StoreError::Disk(_))));
        for _ in 0..3 {
            let refused = insert(&writer, 4, 0).await.unwrap_err();
            assert!(
                matches!(&refused, StoreError::Disk(why) if why.contains("until Hearth starts again")),
                "{refused}"
            );
        }
    }

    #[tokio::test]
    async fn work_goes_on_when_its_caller_has_gone() {
        let writer = table();
        let (done, mut was_done) = oneshot::channel();
        {
            let insert = |conn: &Connection| Ok(conn.execute("INSERT INTO t VALUES (5, NULL)", [])?);
            let mut write = std::pin::pin!(writer.write(insert, move || done.send(()).unwrap()));
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(write.as_mut().poll(cx))).await.is_pending());
        }
        writer.close();
        assert!(was_done.try_recv().is_ok());
    }
}
