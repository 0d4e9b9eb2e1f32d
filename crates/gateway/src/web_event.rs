//! AWS's Invoke of a web function: the event becomes a request for its server, the answer the result.

use aws::errors::{AwsError, failure_payload};
use aws::http_event::{plain, posted, result};
use bytes::Bytes;
use engine::WebCall;
use http::header::HeaderValue;
use http_body_util::{BodyExt, Full, Limited};
use model::{Blame, Door, Fault, FaultCode, FunctionName, MAX_RESPONSE_BYTES, Qualifier, Timestamp, Version};

use crate::respond::Reference;
use crate::{Gateway, Invoker, trace};

/// What an event came to: the result, or error JSON with what it is.
pub(crate) type Outcome = Result<Bytes, (Bytes, FaultCode)>;

impl<I: Invoker> Gateway<I> {
    pub(crate) async fn invoke_web(
        &self,
        function: FunctionName,
        qualifier: Option<Qualifier>,
        payload: &Bytes,
        received: Timestamp,
        reference: &Reference,
    ) -> Result<(Outcome, Option<Version>), AwsError> {
        let posted = posted(payload).map_err(AwsError::invalid_content)?;
        let mut request = posted.request.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync());
        if let Ok(id) = HeaderValue::try_from(reference.id.to_string()) {
            request.headers_mut().insert("x-amzn-requestid", id);
        }
        trace::tell(request.headers_mut(), &reference.trace);
        let (id, trace) = (reference.id, reference.trace.clone());
        let call = WebCall { id, function, qualifier, door: Door::Invoke, received, trace, request };
        let response = match self.invoker.web(call).await {
            Ok(response) => response,
            Err(fault) if fault.code.blame() == Blame::Function => return Ok((Err(told(&fault)), None)),
            Err(fault) => return Err(AwsError::from(&fault)),
        };
        let (parts, body) = response.into_parts();
        let version = parts.extensions.get::<Version>().copied();
        let body = match Limited::new(body, MAX_RESPONSE_BYTES).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                let text = format!(
                    "Response payload size exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."
                );
                return Ok((Err(told(&Fault::new(FaultCode::ResponseTooLarge, text))), version));
            }
            Err(_) => {
                let fault = Fault::new(FaultCode::Exited, "the function's server ended within its answer");
                return Ok((Err(told(&fault)), version));
            }
        };
        if posted.http {
            return Ok((Ok(result(parts.status, &parts.headers, &body)), version));
        }
        if parts.status.is_client_error() || parts.status.is_server_error() {
            let text = format!("the function's server answers the event with status {}", parts.status.as_u16());
            return Ok((Err(told(&Fault::new(FaultCode::HandlerError, text))), version));
        }
        Ok((Ok(plain(body)), version))
    }
}

fn told(fault: &Fault) -> (Bytes, FaultCode) {
    (failure_payload(fault), fault.code)
}
