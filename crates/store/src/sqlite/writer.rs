//! The one thread that writes the catalogue. Jobs that wait together are committed together: one sync to disk for
//! all of them.
//!
//! A job's answer is sent after the commit, so what was answered is on disk. A job that fails undoes only itself;
//! a commit that fails, fails every job in it.

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
/// Runs in the transaction, or is told why there is none. Gives what to do once it is known whether it holds.
type Job = Box<dyn FnOnce(Result<&mut Transaction<'_>, StoreError>) -> Finish + Send>;

pub(super) struct Writer {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

// === impl Writer ===

impl Writer {
    pub fn start(conn: Connection) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new().name("store-catalogue".into()).spawn(move || run(conn, queue));
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
            Box::new(move |committed| {
                let result = result.and_then(|value| committed.map(|()| value));
                if result.is_ok() {
                    then();
                }
                let _ = reply.send(result);
            })
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
    while let Some(job) = queue.blocking_recv() {
        let mut finishes = Vec::new();
        let outcome = group(&mut conn, job, &mut queue, &mut finishes);
        if let Err(error) = &outcome {
            tracing::error!(%error, "the store could not write");
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
            finishes.push(first(Err(error.clone())));
            return Err(error);
        }
    };
    let mut next = Some(first);
    while let Some(job) = next {
        finishes.push(job(Ok(&mut tx)));
        // A full disk makes SQLite undo the whole transaction. What ran after that would commit by itself.
        if tx.is_autocommit() {
            return Err(StoreError::DiskFull);
        }
        next = if finishes.len() < GROUP { queue.try_recv().ok() } else { None };
    }
    Ok(tx.commit()?)
}
