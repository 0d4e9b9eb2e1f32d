//! What a program asks the agent's Runtime API: requests one after the other, with a length or in chunks.
#![no_main]
#![allow(dead_code, reason = "the agent's own file, of which this uses what reads")]

#[path = "../../crates/agent/src/guest/base64.rs"]
mod base64;
#[path = "../../crates/agent/src/guest/http.rs"]
mod http;

use std::net::TcpStream;
use std::os::fd::OwnedFd;

use libfuzzer_sys::fuzz_target;
use rustix::net::{AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType};

const MOST: usize = 1000;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = base64::decode(text);
    }
    // More than a socket takes at once would wait for a reader.
    if data.len() > 60_000 {
        return;
    }
    // All of it is there when it is read; an answer that finds no room ends the target, not its time.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let Ok((ours, theirs)) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None) else {
        return;
    };
    rustix::net::send(&ours, data, SendFlags::NOSIGNAL).expect("there is room");
    rustix::net::shutdown(&ours, Shutdown::Write).expect("it is a socket");
    let mut connection = http::Connection::new(TcpStream::from(OwnedFd::from(theirs)));
    while let Ok(Some(request)) = connection.request() {
        let Ok(body) = connection.body(&request, MOST) else { return };
        assert!(body.bytes.len() <= MOST && body.bytes.capacity() <= 2 * MOST);
        if connection.answer("200 OK", &[("X", request.header("x").unwrap_or_default())], b"").is_err()
            || request.closes()
        {
            return;
        }
    }
});
