//! Requests to a server that speaks HTTP/2 in clear: one connection to each instance, which carries all of its calls.
//!
//! It is kept while the instance is in use, as those of HTTP/1.1 are. Its windows bound what either side may be ahead of
//! the other.

use std::error::Error;

use http::header::{CONNECTION, HOST, HeaderValue, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Response, Uri, Version};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioExecutor;
use model::{Fault, FaultCode};

use crate::web::connection::{self, Failed};
use crate::web::flight::Flight;
use crate::web::seats::Open;
use crate::web::{WebBody, repeat};

/// Bytes that the function may send ahead of who reads them: of one answer, and of one connection.
const WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Of one answer's head.
const HEAD: u32 = 64 * 1024;

/// What can send requests, any number at once.
pub type Sender = SendRequest<WebBody>;

/// Sends a request, and waits for the head of the answer.
pub async fn ask(open: &Open, request: Request<WebBody>, flight: &mut Flight) -> Result<Response<Incoming>, Failed> {
    let mut request = addressed(request).map_err(Failed::Refused)?;
    let mut again = false;
    if let Some(mut sender) = open.shared()
        && sender.ready().await.is_ok()
    {
        let copy = repeat::copy(&request);
        match sender.try_send_request(request).await {
            Ok(response) => {
                flight.keep_shared(sender);
                return Ok(response);
            }
            Err(mut error) => match error.take_message() {
                Some(unsent) => request = unsent,
                None => match (failed(error.into_error()), copy) {
                    (Failed::Closed, Some(copy)) => (request, again) = (copy, true),
                    (failed, _) => return Err(failed),
                },
            },
        }
    }
    let mut sender = match connect(open).await.map_err(Failed::Refused)? {
        Some(sender) => sender,
        // It may have been this request that ended it.
        None if again => return Err(Failed::Closed),
        None => return Err(Failed::Unmade(request)),
    };
    open.share(sender.clone());
    let response = sender.try_send_request(request).await.map_err(|error| failed(error.into_error()))?;
    flight.keep_shared(sender);
    Ok(response)
}

async fn connect(open: &Open) -> Result<Option<Sender>, Fault> {
    let Some(stream) = connection::stream(open).await? else { return Ok(None) };
    let made = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(WINDOW as usize)
        .max_header_list_size(HEAD)
        .handshake(stream)
        .await;
    let Ok((sender, connection)) = made else { return Ok(None) };
    // Ends when nobody can send over it any more, and its answers are over.
    tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(Some(sender))
}

/// The request with its host where HTTP/2 has it. A change of the protocol is HTTP/1.1's.
fn addressed(mut request: Request<WebBody>) -> Result<Request<WebBody>, Fault> {
    let headers = request.headers_mut();
    let host = headers.remove(HOST);
    headers.remove(UPGRADE);
    headers.remove(CONNECTION);
    let host = host.as_ref().map_or(&b"localhost"[..], HeaderValue::as_bytes);
    let authority = Authority::try_from(host)
        .map_err(|error| Fault::new(FaultCode::InvalidRequest, format!("the request's host is not valid: {error}")))?;
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(authority);
    parts.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts).map_err(|error| {
        Fault::new(FaultCode::InvalidRequest, format!("the request's target is not valid: {error}"))
    })?;
    *request.version_mut() = Version::HTTP_2;
    Ok(request)
}

fn failed(error: hyper::Error) -> Failed {
    if error.is_user() {
        return Failed::Refused(connection::broken_body());
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(one) = cause {
        let reason = one.downcast_ref::<h2::Error>().and_then(h2::Error::reason);
        if let Some(h2::Reason::PROTOCOL_ERROR | h2::Reason::FRAME_SIZE_ERROR | h2::Reason::COMPRESSION_ERROR) = reason
        {
            let text = "the function's server does not answer in HTTP/2, as protocol = \"h2c\" says that it does";
            return Failed::Refused(Fault::new(FaultCode::Protocol, text).with_detail(error));
        }
        cause = one.source();
    }
    Failed::Closed
}

#[cfg(test)]
mod tests {
    use http_body_util::{BodyExt, Empty};

    use super::*;

    #[test]
    fn the_host_goes_where_http_2_has_it() {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let request = Request::builder().uri("/a%20b?x=1").header("host", "words.fn.localhost:8080");
        let request = request.header("connection", "upgrade").header("upgrade", "websocket").header("te", "trailers");
        let request = addressed(request.body(body).unwrap()).ok().unwrap();
        assert_eq!(request.uri(), "http://words.fn.localhost:8080/a%20b?x=1");
        assert_eq!(request.headers().keys().collect::<Vec<_>>(), ["te"]);
        assert_eq!(request.version(), Version::HTTP_2);
    }
}
