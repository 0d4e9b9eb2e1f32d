//! The request again, where its connection ended without an answer.
//!
//! A server may close a connection that waits for the next request just when that is on its way: then nobody knows
//! whether it was seen. What may be asked twice (RFC 9110, 9.2.2) is, once, on a new connection of the same server. A
//! server that has ended takes none: its end is told of, and nothing is repeated.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::body::Body;

use crate::web::WebBody;

/// A copy of what may be sent again: idempotent by its method, and without a body.
pub fn copy(request: &Request<WebBody>) -> Option<Request<WebBody>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut again = Request::new(Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync());
    again.method_mut().clone_from(request.method());
    again.uri_mut().clone_from(request.uri());
    *again.version_mut() = request.version();
    again.headers_mut().clone_from(request.headers());
    Some(again)
}

#[cfg(test)]
mod tests {
    use http::Method;
    use http_body_util::Full;

    use super::*;

    fn request(method: Method, body: &'static str) -> Request<WebBody> {
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {}).boxed_unsync();
        Request::builder().method(method).uri("/a?b=1").header("x-mine", "1").body(body).unwrap()
    }

    #[test]
    fn what_may_be_asked_twice_is_copied() {
        let again = copy(&request(Method::GET, "")).unwrap();
        assert_eq!((again.method(), again.uri().to_string()), (&Method::GET, "/a?b=1".to_owned()));
        assert_eq!(again.headers()["x-mine"], "1");
        assert!(copy(&request(Method::DELETE, "")).is_some());
        assert!(copy(&request(Method::POST, "")).is_none());
        assert!(copy(&request(Method::PUT, "data")).is_none());
    }
}
