//! What invocations were given and answered, of functions that ask for it (`[records] payloads`); and the same event
//! once more.
//!
//! Both are told of one invocation, by its id, and what it takes is asked for its function: `access` looks that up.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use model::trace::{Cause, Trace};
use model::{
    Door, Fault, FaultCode, Invocation, KeepPayloads, Kept, MAX_REQUEST_BYTES, Outcome, Payloads, Qualifier, Record,
    RecordOutcome, Reply, RequestId, Timestamp,
};
use serde::{Deserialize, Serialize};
use store::RecordQuery;
use utoipa::{IntoParams, ToSchema};

use crate::error::{ApiError, ErrorBody};
use crate::extract::{Params, Segment};
use crate::invocations::{OutcomeStatus, OutcomeView};
use crate::{Api, Shared};

/// Events that are replayed at once. Each holds a request open for as long as its call takes.
pub(crate) const REPLAYS: usize = 32;

/// What an invocation was given and what it answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PayloadsView {
    pub request_id: String,
    pub function: String,
    /// The event.
    pub input: PayloadView,
    /// The answer, or the function's error; null where there was none, and of answers that were passed on as they came.
    pub output: Option<PayloadView>,
}

/// One payload: as a text, or, where its bytes are none, in base64.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PayloadView {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub base64: Option<String>,
    /// How long it was.
    pub bytes: u64,
    /// Whether only its beginning is here, 256 KiB.
    pub truncated: bool,
}

/// What came of an event that was run once more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReplayView {
    /// Of the new invocation.
    pub request_id: String,
    /// The one whose event it had.
    pub replay_of: String,
    pub function: String,
    /// The version that ran: `$LATEST`, or the number of a published one.
    #[schema(example = "$LATEST")]
    pub version: String,
    pub outcome: OutcomeView,
    /// What went wrong, in a line.
    pub error: Option<String>,
    /// The answer, or the function's error, whole.
    pub output: PayloadView,
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(crate) struct Which {
    /// A version or an alias of the function; default: what the invocation had asked for.
    #[param(value_type = Option<String>)]
    qualifier: Option<Qualifier>,
}

/// What an invocation was given and answered
///
/// Kept of functions that ask for it, up to 256 KiB each. Wants `logs:FUNCTION`, and is in the audit log.
#[utoipa::path(get, path = "/api/v1/invocations/{request_id}/payloads", operation_id = "get_payloads",
    tag = "invocations", params(("request_id" = String, Path)),
    responses((status = 200, body = PayloadsView), (status = 404, description = "they are not kept", body = ErrorBody)))]
pub(crate) async fn get(
    State(api): State<Api>,
    Segment(id): Segment<RequestId>,
) -> Result<Json<PayloadsView>, ApiError> {
    let (record, payloads) = kept(&api, id).await?;
    Ok(Json(PayloadsView {
        request_id: id.to_string(),
        function: record.function.to_string(),
        input: PayloadView::of(&payloads.input, record.request_bytes),
        output: payloads.output.map(|output| PayloadView::of(&output, record.response_bytes)),
    }))
}

/// Call the function once more with an invocation's event
///
/// Wants `invoke:FUNCTION`. Answers when the call is over.
#[utoipa::path(post, path = "/api/v1/invocations/{request_id}/replay", operation_id = "replay", tag = "invocations",
    params(("request_id" = String, Path), Which),
    responses((status = 200, body = ReplayView),
        (status = 404, description = "its event is not kept", body = ErrorBody),
        (status = 409, description = "only the beginning of its event is kept", body = ErrorBody)))]
pub(crate) async fn replay(
    State(api): State<Api>,
    Segment(id): Segment<RequestId>,
    Params(Which { qualifier }): Params<Which>,
) -> Result<Json<ReplayView>, ApiError> {
    let (record, payloads) = kept(&api, id).await?;
    let (whole, here) = (record.request_bytes, payloads.input.len());
    if here as u64 != whole {
        let text = if whole > MAX_REQUEST_BYTES as u64 {
            format!("the event of invocation {id} was refused: it was {whole} bytes long")
        } else {
            format!(
                "only the first {here} of the {whole} bytes of the event of invocation {id} are kept: it cannot be run \
                 again; `hearth invoke {}` takes an event from a file",
                record.function
            )
        };
        return Err(ApiError::new(StatusCode::CONFLICT, Fault::new(FaultCode::InvalidRequest, text)));
    }
    let Ok(_place) = api.replays.try_acquire() else {
        let text = format!("{REPLAYS} events are being replayed already: wait for one to end");
        return Err(Fault::new(FaultCode::TooManyRequests, text).with_retry_after(Duration::from_secs(1)).into());
    };
    let invocation = invocation(&record, qualifier, payloads.input);
    let new = invocation.id;
    let Outcome { reply, record: ran, .. } = api.platform.invoke(invocation).await?;
    let output = match reply {
        Reply::Success(payload) => payload,
        Reply::Failure(error) => error.payload,
    };
    Ok(Json(ReplayView {
        request_id: new.to_string(),
        replay_of: id.to_string(),
        function: ran.function.to_string(),
        version: ran.version.to_string(),
        outcome: ran.outcome.into(),
        error: ran.error,
        output: PayloadView::of(&output, output.len() as u64),
    }))
}

fn invocation(record: &Record, qualifier: Option<Qualifier>, payload: Bytes) -> Invocation {
    let received = Timestamp::now();
    Invocation {
        id: RequestId::at(received),
        function: record.function.clone(),
        qualifier: qualifier.or_else(|| record.qualifier.clone()),
        payload,
        door: Door::Invoke,
        received,
        trace: Trace::begin(None, Cause::Call, received),
        client_context: String::new(),
        tail: false,
        probe: None,
        replay_of: Some(record.request_id),
    }
}

/// The newest record of that id.
pub(crate) async fn record_of(api: &Shared, id: RequestId) -> Result<Option<Record>, ApiError> {
    let query = RecordQuery { request_id: Some(id), limit: 1, ..RecordQuery::default() };
    Ok(api.telemetry.records(query).await?.into_iter().next())
}

pub(crate) fn no_record(id: &RequestId) -> ApiError {
    ApiError::not_found(format!("no record of an invocation {id}"))
}

/// What is kept of an invocation, or why nothing is.
async fn kept(api: &Shared, id: RequestId) -> Result<(Record, Payloads), ApiError> {
    let record = record_of(api, id).await?.ok_or_else(|| no_record(&id))?;
    let why = match record.payloads {
        Kept::Yes => match api.telemetry.payloads(id).await? {
            Some(payloads) => return Ok((record, payloads)),
            None => "they are no longer kept: newer ones took their room".to_owned(),
        },
        Kept::Dropped => "they came faster than they could be written".to_owned(),
        Kept::No => {
            let name = &record.function;
            let now = api.functions.get(name).await.ok().map(|function| function.spec.records.payloads);
            match now {
                Some(KeepPayloads::None) | None => format!(
                    "function {name} kept none: from now on, `hearth config {name} records.payloads=errors` keeps those of \
                     calls that fail, and records.payloads=all those of all calls"
                ),
                Some(KeepPayloads::Errors) => {
                    format!("function {name} keeps those of calls that fail, and this one did not")
                }
                Some(KeepPayloads::All) => format!("function {name} kept none when this was called"),
            }
        }
    };
    Err(ApiError::not_found(format!("event and answer of invocation {id} are not there: {why}")))
}

// === impl PayloadView ===

impl PayloadView {
    /// `bytes`: how long it was.
    fn of(kept: &Bytes, bytes: u64) -> Self {
        let truncated = (kept.len() as u64) < bytes;
        let text = match std::str::from_utf8(kept) {
            Ok(text) => Some(text),
            // Cut off within a character.
            Err(error) if truncated && error.error_len().is_none() => {
                kept.get(..error.valid_up_to()).and_then(|text| std::str::from_utf8(text).ok())
            }
            Err(_) => None,
        };
        let base64 = text.is_none().then(|| STANDARD.encode(kept));
        Self { text: text.map(str::to_owned), base64, bytes, truncated }
    }
}

impl From<RecordOutcome> for OutcomeView {
    fn from(outcome: RecordOutcome) -> Self {
        match outcome {
            RecordOutcome::Ok => Self { status: OutcomeStatus::Ok, code: None },
            RecordOutcome::Fault(code) => Self { status: OutcomeStatus::Fault, code: Some(code) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_a_text_where_it_can_be_one() {
        let whole = PayloadView::of(&Bytes::from_static("ä".as_bytes()), 2);
        assert_eq!((whole.text.as_deref(), whole.truncated), (Some("ä"), false));
        let cut = PayloadView::of(&Bytes::from_static(b"a\xc3"), 9);
        assert_eq!((cut.text.as_deref(), cut.bytes, cut.truncated), (Some("a"), 9, true));
        let odd = PayloadView::of(&Bytes::from_static(b"\xff\x00"), 2);
        assert_eq!((odd.text, odd.base64.as_deref()), (None, Some("/wA=")));
    }
}
