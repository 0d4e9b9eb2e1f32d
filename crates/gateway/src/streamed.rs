//! Answers over HTTP of event functions that stream (`invoke-mode = "stream"`): the function's own head, if it says one,
//! then its pieces as it writes them.
//!
//! ```text
//! STREAM application/vnd.awslambda.http-integration-response ─► head as JSON, eight zero bytes, body
//!        any other content type                              ─► 200, that type, body
//! whole: the function does not stream                        ─► as without the mode
//! ```

use std::future::poll_fn;

use aws::http_event;
use bytes::{Bytes, BytesMut};
use engine::{Streamed, Streaming};
use http::header::{CONTENT_TYPE, HeaderValue};
use memchr::memmem;
use model::{Fault, FaultCode, FunctionName, Invocation, Reply};
use tracing::warn;

use crate::pieces::{Form, Pieces};
use crate::respond::Reference;
use crate::{Gateway, Invoker, Response, ingress};

/// Says that a payload begins with a head.
const WITH_HEAD: &str = "application/vnd.awslambda.http-integration-response";

/// What stands between a head and its body.
const END: [u8; 8] = [0; 8];

/// Longest head, bytes.
const MOST: usize = 64 * 1024;

impl<I: Invoker> Gateway<I> {
    pub(crate) async fn stream_event(&self, invocation: Invocation, reference: &Reference) -> Response {
        let function = invocation.function.clone();
        let answer = match self.invoker.stream(invocation).await {
            Ok(Streamed::Stream(answer)) => answer,
            Ok(Streamed::Whole(outcome)) => return ingress::answer(reference, *outcome),
            Err(fault) => return reference.fault(&fault),
        };
        if !answer.content_type().eq_ignore_ascii_case(WITH_HEAD) {
            let kind = HeaderValue::try_from(answer.content_type()).ok().filter(|kind| !kind.is_empty());
            let mut response = Response::new(Pieces::new(Bytes::new(), answer, Form::Plain).into());
            let kind = kind.unwrap_or(HeaderValue::from_static("application/octet-stream"));
            response.headers_mut().insert(CONTENT_TYPE, kind);
            reference.stamp(response.headers_mut());
            return response;
        }
        match with_head(answer).await {
            Ok((head, body)) => {
                let mut response = Response::new(Bytes::new().into());
                *response.status_mut() = head.status;
                *response.headers_mut() = head.headers;
                if !http_event::is_empty(head.status) {
                    *response.body_mut() = body.into();
                }
                reference.stamp(response.headers_mut());
                response
            }
            Err(Bad::Failed(code)) => reference.bad_gateway(code),
            Err(Bad::Head(why)) => not_a_head(reference, &function, &why),
        }
    }
}

/// Why there is no answer.
enum Bad {
    /// The function failed before its head was whole.
    Failed(FaultCode),
    Head(String),
}

async fn with_head(mut answer: Streaming) -> Result<(http_event::HttpReply, Pieces), Bad> {
    let mut read = BytesMut::new();
    loop {
        let within = &read[..read.len().min(MOST + END.len())];
        if let Some(at) = memmem::find(within, &END) {
            let head = http_event::head(&read.split_to(at).freeze()).map_err(|error| Bad::Head(error.to_string()))?;
            let first = read.split_off(END.len()).freeze();
            return Ok((head, Pieces::new(first, answer, Form::Plain)));
        }
        if read.len() >= MOST + END.len() {
            return Err(Bad::Head(format!("its head is longer than {MOST} bytes, or does not end in 8 zero bytes")));
        }
        match poll_fn(|cx| answer.poll_piece(cx)).await {
            Ok(piece) => read.extend_from_slice(&piece),
            Err(over) => {
                return Err(match *over {
                    Ok(outcome) => match outcome.reply {
                        Reply::Success(_) => Bad::Head("its head does not end in 8 zero bytes".into()),
                        Reply::Failure(error) => Bad::Failed(error.fault.code),
                    },
                    Err(Fault { code, .. }) => Bad::Failed(code),
                });
            }
        }
    }
}

fn not_a_head(reference: &Reference, function: &FunctionName, why: &str) -> Response {
    warn!(%function, request_id = %reference.id, why, "the function's stream is no HTTP response");
    let mut response = reference.bad_gateway(FaultCode::HandlerError);
    if let Ok(reason) = HeaderValue::try_from(why.escape_default().to_string()) {
        response.headers_mut().insert("x-hearth-reason", reason);
    }
    response
}
