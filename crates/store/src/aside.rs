//! Long work beside calls that somebody waits for: on a thread of its own, which the scheduler lets run when others do not
//! want to. A thread of a pool would not do: without privilege a priority that was given up does not come back.

use std::io;

use tokio::sync::oneshot;

/// Nineteen steps are the most; at ten a thread has about a tenth of a processor that another wants (sched(7)).
const NICE: i32 = 10;

/// Begins at once, and ends with the work, whether or not somebody still waits for the answer.
pub fn spawn<T, F>(name: &str, work: F) -> io::Result<oneshot::Receiver<T>>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let (done, answer) = oneshot::channel();
    std::thread::Builder::new().name(name.to_owned()).spawn(move || {
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

#[cfg(test)]
mod tests {
    use super::*;

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
