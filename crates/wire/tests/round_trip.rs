//! What is encoded is decoded, in whatever pieces it comes; what is not the protocol is refused, never a panic.

use bytes::{Bytes, BytesMut};
use model::{LogLevel, Timestamp};
use proptest::prelude::*;
use wire::{Decoder, Frame, Invoke, Kind, Log, MAX_BODY, MAX_LOG, SetUp, Side, Stream, Trace, WireError};

fn place(kind: Kind) -> (Stream, Side) {
    let places = [
        (Stream::Control, Side::Guest),
        (Stream::Control, Side::Host),
        (Stream::Invoke, Side::Host),
        (Stream::Invoke, Side::Guest),
    ];
    places.into_iter().find(|(stream, from)| kind.belongs(*stream, *from)).unwrap()
}

fn payload() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..5000).prop_map(Bytes::from)
}

fn json() -> impl Strategy<Value = Bytes> {
    ".{0,40}".prop_map(|text| Bytes::from(serde_json::json!({ "errorMessage": text }).to_string()))
}

fn frame() -> impl Strategy<Value = Frame> {
    let level = prop::option::of(1u8..=6).prop_map(|n| n.and_then(LogLevel::from_u8));
    let texts = ("[ -~]{0,60}", ".{0,40}", ".{0,80}", ".{0,80}", ".{0,80}");
    prop_oneof![
        (any::<u16>(), ".{0,30}").prop_map(|(version, runtime)| Frame::Hello { version, runtime }),
        json().prop_map(Frame::Init),
        Just(Frame::Ready),
        Just(Frame::Image),
        prop::option::of(".{1,60}").prop_map(Frame::Snapshot),
        json().prop_map(Frame::InitError),
        (0..i64::MAX, level, ".{0,40}", ".{0,400}").prop_map(|(time, level, request_id, message)| {
            Frame::Log(Log { time: Timestamp(time), level, request_id, message })
        }),
        (any::<u64>(), prop::collection::vec((prop::sample::select(SetUp::ALL), any::<u32>()), 0..=Trace::MOST))
            .prop_map(|(begun_us, steps)| Frame::Trace(Trace { begun_us, steps })),
        (any::<u64>(), texts, any::<bool>(), payload()).prop_map(|(deadline_ms, texts, last, payload)| {
            let (request_id, trace_id, function_arn, client_context, cognito_identity) = texts;
            let ids = (request_id, trace_id, function_arn);
            let (request_id, trace_id, function_arn) = ids;
            Frame::Invoke(Invoke {
                deadline_ms,
                request_id,
                trace_id,
                function_arn,
                client_context,
                cognito_identity,
                last,
                payload,
            })
        }),
        payload().prop_map(Frame::Data),
        Just(Frame::End),
        (any::<bool>(), payload()).prop_map(|(last, payload)| Frame::Response { last, payload }),
        json().prop_map(Frame::Error),
        Just(Frame::Connect),
    ]
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(frame in frame(), cut in 1usize..64) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes).unwrap();
        let (stream, from) = place(frame.kind());
        let mut decoder = Decoder::new(stream, from);
        let mut found = Vec::new();
        for piece in bytes.chunks(cut) {
            decoder.push(piece);
            found.extend(decoder.next_frame().unwrap());
        }
        prop_assert_eq!(found, vec![frame]);
        prop_assert!(decoder.is_empty());
    }

    #[test]
    fn head_and_payload_apart_are_the_whole_frame(frame in frame()) {
        let (mut whole, mut apart) = (BytesMut::new(), BytesMut::new());
        frame.encode(&mut whole).unwrap();
        let payload = frame.encode_head(&mut apart).unwrap();
        apart.extend_from_slice(payload);
        prop_assert_eq!(whole, apart);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), host in any::<bool>(), control in any::<bool>()) {
        let from = if host { Side::Host } else { Side::Guest };
        let mut decoder = Decoder::new(if control { Stream::Control } else { Stream::Invoke }, from);
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next_frame() {}
    }

    #[test]
    fn a_damaged_frame_never_panics(frame in frame(), at in any::<prop::sample::Index>(), bits in 1u8..) {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        let (stream, from) = place(frame.kind());
        let mut decoder = Decoder::new(stream, from);
        decoder.push(&bytes);
        while let Ok(Some(_)) = decoder.next_frame() {}
    }
}

#[test]
fn a_length_over_the_limit_is_refused_before_its_body_is_there() {
    let mut decoder = Decoder::new(Stream::Invoke, Side::Guest);
    decoder.push(&(MAX_BODY as u32 + 1).to_le_bytes());
    assert_eq!(decoder.next_frame(), Ok(None));
    decoder.push(&[Kind::Data as u8]);
    assert_eq!(decoder.next_frame(), Err(WireError::TooLong(MAX_BODY + 1)));
}

#[test]
fn a_log_and_a_hello_have_limits_of_their_own() {
    // What a guest has begun to send waits in the host's memory, which no sandbox pays for.
    for (kind, longest) in
        [(Kind::Log, MAX_LOG), (Kind::Hello, 4096), (Kind::Snapshot, 4096), (Kind::Trace, 169), (Kind::Ready, 0)]
    {
        let head = |len: usize| [(len as u32).to_le_bytes().as_slice(), &[kind as u8]].concat();
        let mut decoder = Decoder::new(Stream::Control, Side::Guest);
        decoder.push(&head(longest + 1));
        assert_eq!(decoder.next_frame(), Err(WireError::TooLong(longest + 1)), "{kind:?}");
        let mut decoder = Decoder::new(Stream::Control, Side::Guest);
        decoder.push(&head(longest));
        assert_ne!(decoder.next_frame(), Err(WireError::TooLong(longest)), "{kind:?}");
    }
}

#[test]
fn a_frame_in_the_wrong_place_is_refused_before_its_body_is_there() {
    let mut decoder = Decoder::new(Stream::Control, Side::Guest);
    decoder.push(&[200, 0, 0, 0, Kind::Response as u8]);
    assert!(matches!(decoder.next_frame(), Err(WireError::Misplaced { .. })));
}

#[test]
fn a_text_that_does_not_fit_is_refused_and_nothing_is_written() {
    let mut bytes = BytesMut::new();
    let frame = Frame::Hello { version: 1, runtime: "x".repeat(70_000) };
    assert_eq!(frame.encode(&mut bytes), Err(WireError::TextTooLong(70_000)));
    assert!(bytes.is_empty());
    let frame = Frame::Data(Bytes::from(vec![0; MAX_BODY + 1]));
    assert_eq!(frame.encode(&mut bytes), Err(WireError::TooLong(MAX_BODY + 1)));
    assert!(bytes.is_empty());
}
