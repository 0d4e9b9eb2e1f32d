//! Log lines: a page of them, or all that come from now on.
//!
//! Following is one long answer of NDJSON lines. An empty line every few seconds shows that both ends are still
//! there. It ends when the client goes, or when the server drains. The last line of what was read at once
//! carries a `cursor`, with which a client that was cut off goes on without a gap.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header;
use model::{Fault, FaultCode, FunctionName, InstanceId, LogLevel, LogLine, RequestId, Timestamp};
use serde::{Deserialize, Serialize};
use store::{LogPage, LogQuery};
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::{IntoParams, ToSchema};

use crate::Api;
use crate::actor::Actor;
use crate::error::{ApiError, ErrorBody};
use crate::extract::{Params, Segment};

const DEFAULT: usize = 100;
const MOST: usize = 10_000;
/// Lines read from the store at once while following.
const BATCH: usize = 500;
const HEARTBEAT: Duration = Duration::from_secs(5);

/// One line that a function, or the platform about it, wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogLineView {
    /// RFC 3339.
    #[schema(format = DateTime)]
    pub time: String,
    pub function: String,
    /// None for what was written outside an invocation.
    pub request_id: Option<String>,
    pub instance: String,
    /// `trace` to `fatal`; none where the line does not say.
    pub level: Option<String>,
    /// As the function wrote it: escape it before it reaches a terminal.
    pub message: String,
    /// While following, with some lines: to go on behind this one, ask with `after`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cursor: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogPageView {
    /// Oldest first.
    pub lines: Vec<LogLineView>,
    /// To go on behind these, ask with `after`.
    pub cursor: u64,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// Only lines from then on: RFC 3339, or a time back from now like `10m`.
    since: Option<String>,
    /// Only lines until then.
    until: Option<String>,
    /// Only this function's; where the path has none.
    #[param(value_type = Option<String>)]
    function: Option<FunctionName>,
    /// Only this instance's.
    #[param(value_type = Option<String>)]
    instance: Option<InstanceId>,
    /// `trace` to `fatal`: only lines of this severity or a higher one.
    #[param(value_type = Option<String>)]
    level: Option<LogLevel>,
    /// Only lines that are a JSON object with this value at this path: `user.id=42`.
    field: Option<String>,
    /// Only lines whose message holds this text, in any case.
    grep: Option<String>,
    /// Only lines of this invocation.
    #[param(value_type = Option<String>)]
    request_id: Option<RequestId>,
    /// Only lines behind this cursor, oldest first. Without it: the newest `limit` lines.
    after: Option<u64>,
    /// 1 to 10000, default 100. Following begins with this many.
    limit: Option<usize>,
    /// Answer with a line of JSON for each, and keep answering until the client goes.
    #[serde(default)]
    follow: bool,
}

/// A function's log lines
///
/// With `follow=true` the answer is `application/x-ndjson`, one `LogLineView` a line, without end.
#[utoipa::path(get, path = "/api/v1/functions/{name}/logs", operation_id = "logs", tag = "logs",
    params(("name" = String, Path), Asked),
    responses((status = 200, body = LogPageView), (status = 404, body = ErrorBody),
        (status = 429, description = "too many clients follow", body = ErrorBody)))]
pub(crate) async fn of_function(
    State(api): State<Api>,
    actor: Actor,
    Segment(name): Segment<FunctionName>,
    Params(asked): Params<Asked>,
) -> Result<Response, ApiError> {
    if asked.function.is_some() {
        return Err(ApiError::invalid("function: the path names it"));
    }
    answer(api, &actor, Asked { function: Some(name), ..asked }, false).await
}

/// Log lines of all functions
///
/// With `follow=true` the answer is `application/x-ndjson`, one `LogLineView` a line, without end. A line `{"dropped": 12}`
/// says how many lines and records were lost since the server's start, whenever that has changed.
#[utoipa::path(get, path = "/api/v1/logs", operation_id = "all_logs", tag = "logs", params(Asked),
    responses((status = 200, body = LogPageView), (status = 404, body = ErrorBody),
        (status = 429, description = "too many clients follow", body = ErrorBody)))]
pub(crate) async fn of_all(
    State(api): State<Api>,
    actor: Actor,
    Params(asked): Params<Asked>,
) -> Result<Response, ApiError> {
    answer(api, &actor, asked, true).await
}

async fn answer(api: Api, actor: &Actor, asked: Asked, tell_drops: bool) -> Result<Response, ApiError> {
    let limit = asked.limit.unwrap_or(DEFAULT);
    // Nothing to begin with is a way to follow: only what comes.
    if limit > MOST || (limit == 0 && !asked.follow) {
        return Err(ApiError::invalid(format!("limit: expected 1 to {MOST}, got {limit}")));
    }
    if asked.grep.as_ref().is_some_and(|text| text.len() > 1024) {
        return Err(ApiError::invalid("grep: expected at most 1024 bytes"));
    }
    let field = |text: String| match text.split_once('=') {
        Some((path, value)) if !path.is_empty() => Ok((path.to_owned(), value.to_owned())),
        _ => Err(ApiError::invalid("field: expected PATH=VALUE, like user.id=42")),
    };
    let name = asked.function;
    let query = LogQuery {
        function: name.clone(),
        request_id: asked.request_id,
        since: asked.since.as_deref().map(|text| moment("since", text)).transpose()?,
        until: asked.until.as_deref().map(|text| moment("until", text)).transpose()?,
        instance: asked.instance,
        level: asked.level,
        field: asked.field.map(field).transpose()?,
        grep: asked.grep.filter(|text| !text.is_empty()),
        after: asked.after,
        limit,
    };
    if asked.follow {
        // Before the first read, so that nothing is written unseen between the two.
        let logged = api.telemetry.logged();
        let too_many = |whose| {
            let message = format!("too many clients{whose} follow logs already: end one, or ask without follow");
            Fault::new(FaultCode::TooManyRequests, message).with_retry_after(Duration::from_secs(10))
        };
        let own = actor.1.follow().ok_or_else(|| too_many(" of this token"))?;
        let permit = api.followers.clone().try_acquire_owned().map_err(|_| too_many(""))?;
        let first = api.telemetry.logs(query.clone()).await?;
        require_known(&api, name.as_ref(), &first).await?;
        let closing = api.closing.clone();
        let dropped = tell_drops.then_some(0);
        let follow = Follow { api, query, logged, closing, first: Some(first), dropped, _permits: [own, permit] };
        return Ok(follow.into_response());
    }
    let page = api.telemetry.logs(query).await?;
    require_known(&api, name.as_ref(), &page).await?;
    let lines = page.lines.into_iter().map(LogLineView::from).collect();
    Ok(Json(LogPageView { lines, cursor: page.cursor }).into_response())
}

/// Logs outlive their function; only a name that never was is an error.
async fn require_known(api: &Api, name: Option<&FunctionName>, page: &LogPage) -> Result<(), ApiError> {
    if let (Some(name), true) = (name, page.lines.is_empty()) {
        api.functions.get(name).await?;
    }
    Ok(())
}

/// RFC 3339, or a time back from now.
pub(crate) fn moment(key: &str, text: &str) -> Result<Timestamp, ApiError> {
    if let Ok(back) = model::parse_duration(text) {
        return Ok(Timestamp::now() - back);
    }
    let time = text.parse::<jiff::Timestamp>().map_err(|_| {
        let given: String = text.chars().take(40).collect();
        ApiError::invalid(format!(
            "{key}: expected a time like 2026-11-22T10:00:00Z, or back from now like 10m, got {given:?}"
        ))
    })?;
    Ok(Timestamp(time.as_microsecond()))
}

/// A client that follows. Dropped when it goes.
struct Follow {
    api: Api,
    query: LogQuery,
    logged: watch::Receiver<u64>,
    closing: watch::Receiver<bool>,
    /// What was read before the answer began.
    first: Option<LogPage>,
    /// The last count of lost lines that was told, where it is told.
    dropped: Option<u64>,
    _permits: [OwnedSemaphorePermit; 2],
}

// === impl Follow ===

impl Follow {
    fn into_response(self) -> Response {
        let lines = unfold(self, |mut follow| async move {
            let piece = follow.next().await?;
            Some((Ok::<_, std::convert::Infallible>(piece), follow))
        });
        ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
    }

    /// The next piece of the answer: lines, or a heartbeat. None at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let dropped = self.api.telemetry.dropped();
            if self.dropped.is_some_and(|told| told != dropped) {
                self.dropped = Some(dropped);
                return Some(Bytes::from(format!("{{\"dropped\":{dropped}}}\n")));
            }
            let page = match self.first.take() {
                Some(page) => page,
                None => {
                    if *self.closing.borrow() {
                        return None;
                    }
                    self.logged.borrow_and_update();
                    // The store is gone or failing: the client asks again, and is then told.
                    self.api.telemetry.logs(self.query.clone()).await.ok()?
                }
            };
            self.query.after = Some(page.cursor);
            self.query.limit = BATCH;
            // What is behind the cursor is new enough.
            self.query.since = None;
            if !page.lines.is_empty() {
                return Some(ndjson(page));
            }
            tokio::select! {
                changed = self.logged.changed() => changed.ok()?,
                () = closed(&mut self.closing) => return None,
                () = tokio::time::sleep(HEARTBEAT) => return Some(Bytes::from_static(b"\n")),
            }
        }
    }
}

async fn closed(closing: &mut watch::Receiver<bool>) {
    if closing.wait_for(|closing| *closing).await.is_err() {
        // Nobody is left who could say so.
        std::future::pending().await
    }
}

fn ndjson(page: LogPage) -> Bytes {
    let mut text = Vec::new();
    let count = page.lines.len();
    for (index, line) in page.lines.into_iter().enumerate() {
        let mut view = LogLineView::from(line);
        view.cursor = (index + 1 == count).then_some(page.cursor);
        // Strings and numbers: it cannot fail to serialise.
        if serde_json::to_writer(&mut text, &view).is_ok() {
            text.push(b'\n');
        }
    }
    text.into()
}

impl From<LogLine> for LogLineView {
    fn from(line: LogLine) -> Self {
        Self {
            time: line.time.rfc3339(),
            function: line.function.into(),
            request_id: line.request_id.map(|id| id.to_string()),
            instance: line.instance.into(),
            level: line.level.map(|level| level.as_str().to_owned()),
            message: line.message,
            cursor: None,
        }
    }
}
