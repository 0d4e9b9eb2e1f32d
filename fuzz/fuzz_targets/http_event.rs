//! A request becomes an event, which is JSON that says the same request; and a function's result becomes an answer, in which
//! nothing is that would break HTTP.
#![no_main]

use aws::http_event::{self, Forwarded, HttpRequest};
use bytes::Bytes;
use http::Version;
use libfuzzer_sys::fuzz_target;
use model::{RequestId, Timestamp};

fuzz_target!(|data: &[u8]| {
    let payload = Bytes::copy_from_slice(data);
    for reply in [http_event::reply(&payload), http_event::head(&payload)].into_iter().flatten() {
        assert!(reply.headers.keys().all(|name| !http_event::is_hop_by_hop(name) && name != "content-length"));
        assert!(
            reply
                .headers
                .get_all("set-cookie")
                .iter()
                .all(|one| one.to_str().is_ok_and(|one| !http_event::is_our_cookie(one)) || one.to_str().is_err())
        );
        let result = http_event::result(reply.status, &reply.headers, &reply.body);
        serde_json::from_slice::<serde_json::Value>(&result).expect("JSON");
    }
    let _ = http_event::posted(&payload);
    let Some(request) = fuzz::request(data) else { return };
    let event = http_event::event(&HttpRequest {
        method: &request.method,
        raw_path: &request.path,
        raw_query: &request.query,
        version: Version::HTTP_11,
        headers: &request.headers,
        body: &request.body,
        source_ip: "192.0.2.1",
        forwarded: Forwarded { client: "192.0.2.1", proto: "http", port: "80" },
        traceparent: None,
        tracestate: None,
        trace_id: "Root=1-5759e988-bd862e3fe1be46a994272793",
        request_id: &RequestId::random(),
        domain_name: "localhost",
        account_id: "anonymous",
        api_id: "f",
        received: Timestamp(1_700_000_000_000_000),
        routed: None,
    });
    serde_json::from_slice::<serde_json::Value>(&event).expect("an event is JSON");
    let posted = http_event::posted(&event).expect("an event is a request");
    assert!(posted.http);
    assert_eq!(posted.request.method(), request.method);
    assert_eq!(posted.request.uri().path(), request.path);
    assert_eq!(posted.request.body(), &request.body);
});
