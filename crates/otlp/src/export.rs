//! The task that sends: a batch at a time, tried again for a while, then given up. Nobody waits for it but the end of the
//! server, for as long as that says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use model::trace::Spans;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::encode::{self, refused};
use crate::queue::Queue;
use crate::{Config, spans};

/// Before a batch is tried again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// What is read of an answer.
const MOST_ANSWER: usize = 64 * 1024;

/// Sends what its queue is given, until [`Exporter::finish`].
pub struct Exporter {
    queue: Arc<Queue>,
    sums: Arc<Sums>,
    /// When all is to be over.
    stop: watch::Sender<Option<Instant>>,
    task: JoinHandle<()>,
}

/// How many spans fared so, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub exported: u64,
    /// They came faster than they could be sent.
    pub overflowed: u64,
    /// The collector could not be reached, or was not able to take them, for too long.
    pub failed: u64,
    /// The collector did not want them.
    pub refused: u64,
    pub waiting: u64,
}

#[derive(Default)]
struct Sums {
    exported: AtomicU64,
    failed: AtomicU64,
    refused: AtomicU64,
}

struct Task {
    config: Config,
    client: Client,
    queue: Arc<Queue>,
    sums: Arc<Sums>,
    stop: watch::Receiver<Option<Instant>>,
    /// Whether the log was told that it does not work.
    told: bool,
}

/// What came of one attempt.
enum Sent {
    Yes(Option<(u64, String)>),
    Refused(String),
    Again { why: String, after: Option<Duration> },
}

// === impl Exporter ===

impl Exporter {
    /// Begins. Whether anybody answers at the address shows with the first batch.
    pub fn start(config: Config) -> Result<Self, reqwest::Error> {
        let agent = concat!("hearth/", env!("CARGO_PKG_VERSION"));
        // Headers are secrets: they do not go where another party says.
        let client = Client::builder().user_agent(agent).timeout(config.timeout);
        let client = client.redirect(reqwest::redirect::Policy::none()).build()?;
        let queue = Arc::new(Queue::new(config.queue, config.batch));
        let sums = Arc::new(Sums::default());
        let (stop, stopped) = watch::channel(None);
        let task = Task { config, client, queue: queue.clone(), sums: sums.clone(), stop: stopped, told: false };
        Ok(Self { queue, sums, stop, task: tokio::spawn(task.run()) })
    }

    /// Where calls' spans go.
    pub fn spans(&self) -> Arc<dyn Spans> {
        self.queue.clone()
    }

    /// A reading of the counts, for as long as anybody wants it.
    pub fn counts(&self) -> impl Fn() -> Counts + Send + Sync + 'static {
        let (queue, sums) = (self.queue.clone(), self.sums.clone());
        move || Counts {
            exported: sums.exported.load(Ordering::Relaxed),
            overflowed: queue.dropped(),
            failed: sums.failed.load(Ordering::Relaxed),
            refused: sums.refused.load(Ordering::Relaxed),
            waiting: queue.spans() as u64,
        }
    }

    /// Sends what there is, as far as that can be done within the limit.
    pub async fn finish(self, limit: Duration) {
        self.stop.send_replace(Some(Instant::now() + limit));
        let mut task = self.task;
        // It keeps to the limit itself; what it does not notice, ends here.
        if timeout(limit + Duration::from_secs(1), &mut task).await.is_err() {
            task.abort();
        }
        let left = self.queue.spans();
        if left > 0 {
            tracing::warn!(spans = left, "spans could not be exported before the end");
        }
    }
}

// === impl Task ===

impl Task {
    async fn run(mut self) {
        loop {
            let mut stop = self.stop.clone();
            if !self.queue.has_batch() {
                tokio::select! {
                    () = sleep(self.config.delay) => {}
                    () = self.queue.full.notified() => {}
                    // Also when whoever could say so is gone.
                    _ = stop.wait_for(Option::is_some) => {}
                }
            }
            let end = *self.stop.borrow();
            loop {
                let calls = self.queue.take();
                if calls.is_empty() {
                    break;
                }
                self.batch(calls.into_iter().flat_map(spans::of).collect()).await;
            }
            if end.is_some() || self.stop.has_changed().is_err() {
                return;
            }
        }
    }

    /// Sends one batch, or gives it up.
    async fn batch(&mut self, spans: Vec<encode::Span>) {
        let body = encode::request(&self.config.resource, env!("CARGO_PKG_VERSION"), &spans);
        let body = if self.config.gzip { gzip(&body) } else { body };
        let count = spans.len() as u64;
        drop(spans);
        let patience = Instant::now() + self.config.patience;
        let mut pause = FIRST_PAUSE;
        let mut stop = self.stop.clone();
        let (sum, why) = loop {
            // The end of the server may come nearer meanwhile.
            let limit = |end: Option<Instant>| end.map_or(patience, |end| end.min(patience));
            let sent = tokio::select! {
                sent = timeout_at(limit(*stop.borrow()), self.send(body.clone())) => sent.ok(),
                () = ended(stop.clone()) => None,
            };
            let (why, after) = match sent {
                Some(Sent::Yes(refused)) => {
                    let not = refused.as_ref().map_or(0, |(not, _)| (*not).min(count));
                    self.sums.exported.fetch_add(count - not, Ordering::Relaxed);
                    match refused {
                        None => return self.works(),
                        Some((_, why)) => break (Some((&self.sums.refused, not)), why),
                    }
                }
                Some(Sent::Refused(why)) => break (Some((&self.sums.refused, count)), why),
                Some(Sent::Again { why, after }) => (why, after),
                None => break (Some((&self.sums.failed, count)), "it did not answer in time".to_owned()),
            };
            let next = Instant::now() + after.unwrap_or(pause);
            if next >= limit(*stop.borrow()) {
                break (Some((&self.sums.failed, count)), why);
            }
            // So that it is known long before the batch is given up.
            self.told = tell(self.told, &self.config.url, &why);
            let stopping = stop.borrow().is_some();
            tokio::select! {
                () = tokio::time::sleep_until(next) => {}
                // One more attempt, at once.
                _ = stop.wait_for(Option::is_some), if !stopping => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        };
        if let Some((sum, count)) = sum {
            sum.fetch_add(count, Ordering::Relaxed);
        }
        self.told = tell(self.told, &self.config.url, &why);
    }

    fn works(&mut self) {
        if std::mem::take(&mut self.told) {
            tracing::info!(url = shown(&self.config.url), "traces are exported again");
        }
    }

    async fn send(&self, body: Vec<u8>) -> Sent {
        let mut request = self.client.post(&self.config.url).header(CONTENT_TYPE, "application/x-protobuf");
        if self.config.gzip {
            request = request.header(CONTENT_ENCODING, "gzip");
        }
        for (name, value) in &self.config.headers {
            request = request.header(name, value);
        }
        let response = match request.body(body).send().await {
            Ok(response) => response,
            Err(error) => return Sent::Again { why: causes(&error.without_url()), after: None },
        };
        let status = response.status();
        if status.is_success() {
            return Sent::Yes(read(response).await.as_deref().and_then(refused));
        }
        let why = format!("it answers {status}");
        let again = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::BAD_GATEWAY,
            StatusCode::SERVICE_UNAVAILABLE,
            StatusCode::GATEWAY_TIMEOUT,
        ];
        if !again.contains(&status) {
            return Sent::Refused(why);
        }
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Sent::Again { why, after: after.map(Duration::from_secs) }
    }
}

/// A moment after it was said when all is to be over.
async fn ended(mut stop: watch::Receiver<Option<Instant>>) {
    let end = stop.wait_for(Option::is_some).await.map(|end| *end);
    // Otherwise nobody is there any more who would wait.
    if let Ok(Some(end)) = end {
        tokio::time::sleep_until(end).await;
    }
}

/// Into the log, once until it works again.
fn tell(told: bool, url: &str, why: &str) -> bool {
    if !told {
        let url = shown(url);
        tracing::warn!(
            url,
            why,
            "traces cannot be exported: calls go on, and hearth_trace_spans_dropped_total counts what is lost"
        );
    }
    true
}

/// Without what may be a password, or a key.
fn shown(url: &str) -> String {
    let Ok(mut url) = url.parse::<reqwest::Url>() else { return String::new() };
    let _ = (url.set_username(""), url.set_password(None));
    url.set_query(None);
    url.to_string()
}

async fn read(mut response: Response) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.ok()? {
        body.extend_from_slice(&piece);
        if body.len() > MOST_ANSWER {
            return None;
        }
    }
    Some(body)
}

fn gzip(body: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    // Into memory: it cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

/// The last of the causes says it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = error.to_string();
        cause = error.source();
    }
    text
}
