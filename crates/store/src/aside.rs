//! Long work beside calls that somebody waits for: on a thread of its own, which the scheduler lets run when others do not
//! want to. A thread of a pool would not do: without privilege a priority that was given up does not come back.

use std::io::{self, Read};
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;

/// Nineteen steps are the most; at ten a thread has about a tenth of a processor that another wants (sched(7)).
const NICE: i32 = 10;

/// How much of a processor paced work takes: one part of so many.
const PARTS: u32 = 8;

/// How long it works at once: rests no shorter than what a timer can do, and no piece so long that a call waits for it.
const PIECE: Duration = Duration::from_micros(200);

/// Keeps the work of one thread to an eighth of a processor. Less priority alone does not let others run at once: whoever
/// has a processor keeps it for some milliseconds (the slice of EEVDF), which is longer than a call takes.
#[derive(Debug)]
pub struct Pace {
    /// The processor time of the thread when it last rested.
    rested: Duration,
}

/// Reads at a pace.
#[derive(Debug)]
pub struct Paced<'a, R> {
    pub from: R,
    pub pace: &'a mut Pace,
}

/// Begins at once, and ends with the work, whether or not somebody still waits for the answer.
pub fn spawn<T, F>(name: &str, work: F) -> io::Result<oneshot::Receiver<T>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (done, answer) = oneshot::channel();
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Where it is refused the work is done all the same.
        if let Err(error) = give_way() {
            tracing::debug!(%error, "a thread keeps its priority");
        }
        let _ = done.send(work());
    })?;
    Ok(answer)
}

/// As [`spawn`], and waits.
pub async fn run<T, F>(name: &str, work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    spawn(name, work)?.await.map_err(|_| io::Error::other(format!("{name} ended in the middle of it")))
}

/// Has the calling thread let others run first, from now on.
pub fn give_way() -> io::Result<()> {
    let thread = Some(rustix::thread::gettid());
    let now = rustix::process::getpriority_process(thread)?;
    Ok(rustix::process::setpriority_process(thread, now.max(NICE))?)
}

/// What the calling thread has had of processors.
fn worked() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

// === impl Pace ===

impl Pace {
    /// For the calling thread, and to be used on it alone.
    pub fn begin() -> Self {
        Self { rested: worked() }
    }

    /// Sleeps when it is time to. To be called often.
    pub fn rest(&mut self) {
        let worked_on = worked().saturating_sub(self.rested);
        if worked_on >= PIECE {
            thread::sleep(worked_on * (PARTS - 1));
            self.rested = worked();
        }
    }
}

// === impl Paced ===

impl<R: Read> Read for Paced<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.pace.rest();
        self.from.read(into)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn paced_work_takes_eight_times_as_long_as_it_has_a_processor() {
        let (begun, before) = (Instant::now(), worked());
        let mut pace = Pace::begin();
        while worked() - before < Duration::from_millis(20) {
            pace.rest();
        }
        // The last piece may end without a rest.
        assert!(begun.elapsed() >= Duration::from_millis(8 * 19 - 1), "{:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn it_gives_way_and_nobody_else_does() {
        let own = || rustix::process::getpriority_process(Some(rustix::thread::gettid())).unwrap();
        let before = own();
        assert_eq!(run("aside", own).await.unwrap(), before.max(NICE));
        assert_eq!(own(), before);
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error() {
        let error = run("aside", || panic!("on purpose")).await.unwrap_err();
        assert!(error.to_string().contains("aside"), "{error}");
    }
}
