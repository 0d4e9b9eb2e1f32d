//! The golden vectors, both ways. `vectors/README.md` says how they are written.

use std::path::Path;

use bytes::{Bytes, BytesMut};
use model::{LogLevel, Timestamp};
use serde_json::Value;
use wire::{Decoder, Frame, Invoke, Log, SetUp, Side, Stream, Trace, WireError};

fn read(file: &Path) -> Vec<Value> {
    let text = std::fs::read(file).unwrap();
    serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn vectors() -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    let files = files.filter(|file| file.extension().is_some_and(|e| e == "json") && !file.ends_with("invalid.json"));
    files.flat_map(|file| read(&file)).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_else(|| panic!("{key} in {value}"))
}

fn bytes(value: &Value, key: &str) -> Bytes {
    let hex = text(value, key);
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn frame(vector: &Value) -> Frame {
    let fields = &vector["fields"];
    let owned = |key| text(fields, key).to_owned();
    let json = || Bytes::from(owned("json"));
    let payload = || bytes(fields, "payload_hex");
    let last = || fields["last"].as_bool().unwrap();
    match text(vector, "kind") {
        "HELLO" => Frame::Hello { version: fields["version"].as_u64().unwrap() as u16, runtime: owned("runtime") },
        "INIT" => Frame::Init(json()),
        "READY" => Frame::Ready,
        "INIT_ERROR" => Frame::InitError(json()),
        "LOG" => Frame::Log(Log {
            time: Timestamp(fields["time_us"].as_i64().unwrap()),
            level: LogLevel::from_u8(fields["level"].as_u64().unwrap() as u8),
            request_id: owned("request_id"),
            message: owned("message"),
        }),
        "TRACE" => Frame::Trace(Trace {
            begun_us: fields["begun_us"].as_u64().unwrap(),
            steps: fields["steps"].as_array().unwrap().iter().map(step).collect(),
        }),
        "IMAGE" => Frame::Image,
        "SNAPSHOT" => Frame::Snapshot(Some(owned("why")).filter(|why| !why.is_empty())),
        "INVOKE" => Frame::Invoke(Invoke {
            deadline_ms: fields["deadline_ms"].as_u64().unwrap(),
            request_id: owned("request_id"),
            trace_id: owned("trace_id"),
            function_arn: owned("function_arn"),
            client_context: owned("client_context"),
            cognito_identity: owned("cognito_identity"),
            last: last(),
            payload: payload(),
        }),
        "DATA" => Frame::Data(payload()),
        "END" => Frame::End,
        "RESPONSE" => Frame::Response { last: last(), payload: payload() },
        "STREAM" => Frame::Stream { content_type: owned("content_type"), payload: payload() },
        "ERROR" => Frame::Error(json()),
        "CONNECT" => Frame::Connect,
        other => panic!("unknown kind {other}"),
    }
}

fn step(value: &Value) -> (SetUp, u32) {
    let number = |at: usize| value[at].as_u64().unwrap();
    (SetUp::from_u8(number(0) as u8).unwrap(), number(1) as u32)
}

fn decoders(vector: &Value) -> Vec<Decoder> {
    let stream = match text(vector, "stream") {
        "control" => Stream::Control,
        "invoke" => Stream::Invoke,
        other => panic!("unknown stream {other}"),
    };
    let sides: &[Side] = match text(vector, "direction") {
        "guest_to_host" => &[Side::Guest],
        "host_to_guest" => &[Side::Host],
        "both" => &[Side::Host, Side::Guest],
        other => panic!("unknown direction {other}"),
    };
    sides.iter().map(|from| Decoder::new(stream, *from)).collect()
}

#[test]
fn every_vector_is_encoded_and_decoded_exactly() {
    let vectors = vectors();
    assert!(vectors.len() >= 10, "{} vectors", vectors.len());
    for vector in &vectors {
        let (name, frame, hex) = (text(vector, "name"), frame(vector), bytes(vector, "hex"));
        let mut encoded = BytesMut::new();
        frame.encode(&mut encoded).unwrap();
        assert_eq!(encoded, hex, "{name}");
        for mut decoder in decoders(vector) {
            decoder.push(&hex);
            assert_eq!(decoder.next_frame().unwrap().as_ref(), Some(&frame), "{name}");
            assert!(decoder.is_empty(), "{name}");
        }
    }
}

#[test]
fn every_invalid_frame_is_refused() {
    let vectors = read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/invalid.json"));
    for vector in vectors {
        let name = text(&vector, "name");
        for mut decoder in decoders(&vector) {
            decoder.push(&bytes(&vector, "hex"));
            let refused = loop {
                match decoder.next_frame() {
                    Ok(Some(_)) => {}
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            };
            match text(&vector, "level") {
                "frame" => assert!(refused, "{name} is not refused"),
                // What comes before or after decides, or what the frame says: for those who act on it.
                "sequence" => {}
                "content" => assert!(!refused || name.starts_with("init"), "{name} is refused too early"),
                other => panic!("unknown level {other}"),
            }
        }
    }
}

#[test]
fn an_init_that_lacks_something_is_refused_by_who_reads_it() {
    let all = vectors();
    let init = all.iter().find(|vector| text(vector, "kind") == "INIT").unwrap();
    let json = text(&init["fields"], "json");
    let init: wire::Init = serde_json::from_str(json).unwrap();
    assert!(!init.handler.is_empty());
    for vector in read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/invalid.json")) {
        if text(&vector, "level") == "content" && text(&vector, "name").starts_with("init") {
            let hex = bytes(&vector, "hex");
            assert!(serde_json::from_slice::<wire::Init>(&hex[wire::HEADER..]).is_err(), "{}", vector["name"]);
        }
    }
}

#[test]
fn an_error_names_what_was_wrong() {
    let error = WireError::UnknownKind(0x42);
    assert_eq!(error.to_string(), "a frame of unknown kind 0x42");
}
