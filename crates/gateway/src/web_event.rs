//! AWS's Invoke of a web function: the event becomes a request for its server, the answer the result.

use aws::errors::{AwsError, failure_payload};
use aws::http_event::{plain, posted, result};
use bytes::Bytes;
use engine::WebCall;
use http::header::HeaderValue;
use http_body_util::{BodyExt, Full, Limited};
use model::{Blame, Door, Fault, FaultCode, FunctionName, MAX_RESPONSE_BYTES, Timestamp};

use crate::respond::Reference;
use crate::{Gateway, Invoker};

/// What an event came to: the result, or error JSON with what it is.
pub(crate) type Outcome = Result<Bytes, (Bytes, FaultCode)>;

impl<I: Invoker> Gateway<I> {
    pub(crate) async fn invoke_web(
        &self,
        function: FunctionName,
        payload: &Bytes,
        received: Timestamp,
        reference: &Reference,
    ) -> Result<Outcome, AwsError> {
        let posted = posted(payload).map_err(AwsError::invalid_content)?;
        let mut request = posted.request.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync());
        for (name, value) in
            [("x-amzn-requestid", reference.id.to_string()), ("x-amzn-trace-id", reference.trace.clone())]
        {
            if let Ok(value) = HeaderValue::try_from(value) {
                request.headers_mut().insert(name, value);
            }
        }
        let call = WebCall { id: reference.id, function, door: Door::Invoke, received, request };
        let response = match self.invoker.web(call).await {
            Ok(response) => response,
            Err(fault) if fault.code.blame() == Blame::Function => return Ok(Err(told(&fault))),
            Err(fault) => return Err(AwsError::from(&fault)),
        };
        let (parts, body) = response.into_parts();
        let body = match Limited::new(body, MAX_RESPONSE_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let text = format!(
                    "Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
                );
                return Ok(Err(told(&Fault::new(FaultCode::ResponseTooLarge, text))));
            }
            Err(_) => {
                return Ok(Err(told(&Fault::new(FaultCode::Exited, "the function's server ended within its answer"))));
            }
        };
        if posted.http {
            return Ok(Ok(result(parts.status, &parts.headers, &body)));
        }
        if parts.status.is_client_error() || parts.status.is_server_error() {
            let text = format!("the function's server answers the event with status {}", parts.status.as_u16());
            return Ok(Err(told(&Fault::new(FaultCode::HandlerError, text))));
        }
        Ok(Ok(plain(body)))
    }
}

fn told(fault: &Fault) -> (Bytes, FaultCode) {
    (failure_payload(fault), fault.code)
}
