//! The least function that there can be behind Hearth: a program that speaks the protocol by two blocking system calls
//! for each call, as plain C would, and answers every event with the same bytes. With it, what a call costs is Hearth's.
//!
//! It is `bench guest`, this program itself in a package. There need not be a runtime for native functions: Python's
//! starts, and `functions/wire/app.py` becomes this as it is loaded, with the invoke stream in place of stdin and control
//! in place of stdout.

use std::fs;
use std::io::{stdin, stdout};

use anyhow::{Context, ensure};
use bytes::BytesMut;
use wire::{Decoder, Frame, Side, Stream};

use crate::hearth::{Code, Hearth, PYTHON};

/// The function that becomes it; [`pack`] completes the package.
pub const WIRE: Code = Code { folder: "wire", ..PYTHON };

const ANSWER: &[u8] = br#"{"statusCode": 200, "body": "ok"}"#;

/// Puts this program into the package.
pub fn pack(hearth: &Hearth) -> anyhow::Result<()> {
    let program = std::env::current_exe().context("find this program")?;
    // Not a link, which may lead to another file system.
    fs::copy(program, hearth.folder().join(WIRE.folder).join("bench")).context("copy this program")?;
    Ok(())
}

/// What `bench guest` does: says that it is ready, then answers until nobody is there.
pub fn main() -> anyhow::Result<()> {
    let bytes = |frame: Frame| -> anyhow::Result<BytesMut> {
        let mut bytes = BytesMut::new();
        frame.encode(&mut bytes)?;
        Ok(bytes)
    };
    let answer = bytes(Frame::Response { last: true, payload: ANSWER.into() })?;
    let ready = bytes(Frame::Ready)?;
    ensure!(rustix::io::write(stdout(), &ready)? == ready.len(), "READY was cut");
    let mut decoder = Decoder::new(Stream::Invoke, Side::Host);
    let mut chunk = [0; 16 * 1024];
    loop {
        match rustix::io::read(stdin(), &mut chunk).context("wait for an event")? {
            0 => return Ok(()),
            count => decoder.push(&chunk[..count]),
        }
        while let Some(frame) = decoder.next_frame()? {
            ensure!(matches!(frame, Frame::Invoke(_)), "expected INVOKE, got {:?}", frame.kind());
            ensure!(rustix::io::write(stdin(), &answer)? == answer.len(), "an answer was cut");
        }
    }
}
