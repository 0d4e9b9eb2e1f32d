//! Frames out of a sandbox and into it: in pieces as in one, and written as they were read. And the JSON within them.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use wire::{Decoder, Frame, Side, Stream, WireError};

fn read(decoder: &mut Decoder, into: &mut Vec<Frame>) -> Option<WireError> {
    loop {
        match decoder.next_frame() {
            Ok(Some(frame)) => into.push(frame),
            Ok(None) => return None,
            Err(error) => return Some(error),
        }
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    let stream = if kind & 1 == 0 { Stream::Control } else { Stream::Invoke };
    let from = if kind & 2 == 0 { Side::Guest } else { Side::Host };
    let (mut whole, mut frames) = (Decoder::new(stream, from), Vec::new());
    whole.push(bytes);
    let end = read(&mut whole, &mut frames);
    let (mut pieces, mut others) = (Decoder::new(stream, from), Vec::new());
    let size = usize::from(kind >> 2).max(1);
    let other = bytes.chunks(size).find_map(|piece| {
        pieces.push(piece);
        read(&mut pieces, &mut others)
    });
    assert_eq!((&frames, &end), (&others, &other), "in pieces of {size}");
    for frame in frames {
        let mut out = BytesMut::new();
        frame.encode(&mut out).expect("what was read can be written");
        let mut decoder = Decoder::new(stream, from);
        decoder.push(&out);
        assert_eq!(decoder.next_frame().expect("as written"), Some(frame.clone()));
        if let Frame::Init(json) = frame {
            let _ = serde_json::from_slice::<wire::Init>(&json);
        }
    }
});
