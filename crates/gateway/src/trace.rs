//! Which trace a request belongs to, by its headers: W3C's where they are valid, else X-Ray's, else a new one.

use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use model::Trace;
use model::trace::{Context, Http};

pub(crate) const TRACE_ID: HeaderName = HeaderName::from_static("x-amzn-trace-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// What the caller says.
pub(crate) fn said(headers: &HeaderMap) -> Option<Context> {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    let parent = parents.next().filter(|_| parents.next().is_none());
    if let Some(context) = parent.and_then(|value| Context::w3c(value.to_str().ok()?)) {
        // One value that is no text spoils all of it.
        let state: Result<Vec<_>, _> = headers.get_all(TRACESTATE).iter().map(HeaderValue::to_str).collect();
        return Some(context.with_state(state.unwrap_or_default()));
    }
    headers.get(TRACE_ID).and_then(|value| Context::xray(value.to_str().ok()?))
}

/// Tells the function, in the place of what the caller said.
pub(crate) fn tell(headers: &mut HeaderMap, trace: &Trace) {
    let told = trace.told();
    if let Ok(xray) = HeaderValue::from_str(told.to_xray().as_str()) {
        headers.insert(TRACE_ID, xray);
    }
    match told.traceparent().map(HeaderValue::try_from) {
        Some(Ok(parent)) => headers.insert(TRACEPARENT, parent),
        _ => headers.remove(TRACEPARENT),
    };
    match told.state.as_deref().map(HeaderValue::from_str) {
        Some(Ok(state)) => headers.insert(TRACESTATE, state),
        _ => headers.remove(TRACESTATE),
    };
}

/// Says of the call's span, where there is one, which request it is.
pub(crate) fn is_http(trace: &Trace, parts: &Parts, path: &str, route: impl FnOnce() -> String, scheme: &'static str) {
    if let Some(call) = trace.call() {
        let path = path.chars().take(1024).collect();
        call.is_http(Http { method: parts.method.as_str().to_owned(), route: route(), path, scheme });
    }
}

#[cfg(test)]
mod tests {
    use model::Timestamp;
    use model::trace::Cause;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const XRAY: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn w3c_goes_before_x_ray() {
        let both = headers(&[(TRACE_ID, XRAY), (TRACEPARENT, PARENT), (TRACESTATE, "a=1"), (TRACESTATE, "b=2")]);
        let context = said(&both).unwrap();
        assert_eq!((context.traceparent().as_deref(), context.state.as_deref()), (Some(PARENT), Some("a=1,b=2")));
        let trace = |said| Trace::begin(said, Cause::Call, Timestamp(0));
        let mut told = headers(&[(TRACEPARENT, "x"), (TRACESTATE, "y")]);
        tell(&mut told, &trace(Some(context)));
        assert!(told[TRACEPARENT] == PARENT && told[TRACESTATE] == "a=1,b=2");
        assert_eq!(told[TRACE_ID], "Root=1-4bf92f35-77b34da6a3ce929d0e0e4736;Parent=00f067aa0ba902b7;Sampled=1");
    }

    #[test]
    fn what_is_not_valid_is_as_good_as_absent() {
        let twice = headers(&[(TRACEPARENT, PARENT), (TRACEPARENT, PARENT), (TRACE_ID, XRAY)]);
        assert_eq!(said(&twice), Context::xray(XRAY));
        assert_eq!(said(&headers(&[(TRACEPARENT, "00-x"), (TRACESTATE, "a=1"), (TRACE_ID, "Root=1-a")])), None);
        // And is not passed on.
        let mut told = headers(&[(TRACEPARENT, "00-x"), (TRACESTATE, "a=1")]);
        tell(&mut told, &Trace::begin(None, Cause::Call, Timestamp(0)));
        assert_eq!(told.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-amzn-trace-id"]);
    }
}
