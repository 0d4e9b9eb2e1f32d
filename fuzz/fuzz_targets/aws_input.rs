//! Requests of AWS's APIs, in each of their protocols: read against the services' models.
#![no_main]

use aws::service::{EVENTS, Form, IAM, LAMBDA, LOGS, SCHEDULER, SQS, STS};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some(request) = fuzz::request(data) else { return };
    let fuzz::Request { method, path, query, headers, body } = request;
    for model in [&LAMBDA, &SCHEDULER] {
        if let Some(found) = model.find(&method, &path, &query) {
            let _ = model.input(&found, &query, &headers, &body).map(|input| assert!(input.is_object()));
        }
    }
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let name = target.rsplit('.').next().unwrap_or_default();
    for model in [&SQS, &LOGS, &EVENTS] {
        if let Some(operation) = model.operation(name) {
            let _ = model.json_input(operation, &body).map(|input| assert!(input.is_object()));
        }
    }
    for text in [&body[..], query.as_bytes()] {
        let Ok(form) = Form::parse(text) else { continue };
        for model in [&IAM, &STS, &SQS] {
            if let Some(operation) = form.get("Action").and_then(|name| model.operation(name)) {
                let _ = model.form_input(operation, &form).map(|input| assert!(input.is_object()));
            }
        }
    }
});
