//! Stands between the socket and the HTTP parser, and lets only requests pass whose end everybody agrees on.
//!
//! The parser is lenient where the RFC allows it: it takes bare line feeds, drops a `Content-Length` beside a
//! `Transfer-Encoding`, and merges equal lengths. Behind another proxy that is how requests are smuggled. So the
//! guard follows the framing of each connection and, at the first doubt, makes the rest of the stream
//! unreadable: the parser then answers 400 and closes.
//!
//! Refused: line ends without CR, folded header lines, two `Content-Length` or `Transfer-Encoding` or `Host`
//! headers or one each of the first two, any coding but `chunked`, HTTP/1.1 without `Host`, chunk sizes that
//! are not plain hexadecimal.
//!
//! ```text
//!   Head ──blank line──► Length(n) ──n bytes──► Head
//!    │         └───────► Size ──► Data(n) ──► DataEnd ──► Size … Size 0 ──► Trailers ──blank line──► Head
//!    └── doubt, anywhere ──► Refused (for good)
//! ```
//!
//! It also ends heads that take too long and responses that nobody takes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::limits::Limits;
use crate::web::Passage;

/// Of a line that came in pieces no more than this is kept: the lines that matter are shorter.
const LINE: usize = 128;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Length(u64),
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Refused,
}

/// Follows the framing of the requests on one connection.
#[derive(Debug)]
pub(crate) struct Framing {
    state: State,
    /// The beginning of a line whose end has not come.
    line: Vec<u8>,
    /// The last byte before that end.
    last: u8,
    head: Head,
}

/// What the head so far says.
#[derive(Debug, Default)]
struct Head {
    /// A byte of it was seen.
    begun: bool,
    /// Its first line was seen.
    request_line: bool,
    needs_host: bool,
    hosts: u32,
    lengths: u32,
    length: u64,
    codings: u32,
}

/// A stream with a guard in front.
pub(crate) struct Guarded<S> {
    stream: S,
    framing: Framing,
    header_time: Duration,
    write_idle: Duration,
    /// Nothing was received yet: the first head is due.
    first: bool,
    reading: Timer,
    writing: Timer,
    /// Whether what follows is no HTTP any more.
    passage: Passage,
}

/// A deadline that costs nothing until something is waited for.
#[derive(Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: bool,
}

// === impl Framing ===

impl Framing {
    pub fn new() -> Self {
        Self { state: State::Head, line: Vec::new(), last: 0, head: Head::default() }
    }

    /// Whether a head has begun and not ended.
    fn in_head(&self) -> bool {
        self.state == State::Head && self.head.begun
    }

    /// Follows what was received; from the first doubt on, bytes are made unreadable.
    pub fn follow(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let taken = match self.state {
                State::Refused => {
                    // NUL is nowhere allowed in a head or in the frame of a chunk.
                    bytes[at..].fill(0);
                    return;
                }
                State::Length(left) | State::Data(left) => {
                    let taken = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    let left = left - taken as u64;
                    self.state = match self.state {
                        State::Length(_) if left == 0 => State::Head,
                        State::Length(_) => State::Length(left),
                        _ if left == 0 => State::DataEnd,
                        _ => State::Data(left),
                    };
                    taken
                }
                State::Head | State::Size | State::DataEnd | State::Trailers => self.line(rest),
            };
            // A line that raised a doubt is itself made unreadable.
            at += if self.state == State::Refused { 0 } else { taken };
        }
    }

    /// Takes one line, or the part of it that is there.
    fn line(&mut self, rest: &[u8]) -> usize {
        self.head.begun |= self.state == State::Head;
        let Some(end) = memchr(b'\n', rest) else {
            let keep = rest.len().min(LINE - self.line.len());
            self.line.extend_from_slice(&rest[..keep]);
            self.last = rest[rest.len() - 1];
            return rest.len();
        };
        let mut line = std::mem::take(&mut self.line);
        let last = if end > 0 { rest[end - 1] } else { self.last };
        let whole = if line.is_empty() {
            &rest[..end]
        } else {
            let keep = end.min(LINE - line.len());
            line.extend_from_slice(&rest[..keep]);
            &line[..]
        };
        self.state = if last == b'\r' {
            let whole = whole.strip_suffix(b"\r").unwrap_or(whole);
            self.line_ended(whole).unwrap_or(State::Refused)
        } else {
            State::Refused
        };
        self.last = 0;
        line.clear();
        self.line = line;
        end + 1
    }

    /// The state after a line; None at a doubt.
    fn line_ended(&mut self, line: &[u8]) -> Option<State> {
        match self.state {
            State::Head => self.head.line(line),
            State::Size => match chunk_size(line)? {
                0 => Some(State::Trailers),
                size => Some(State::Data(size)),
            },
            State::DataEnd => line.is_empty().then_some(State::Size),
            State::Trailers if line.is_empty() => Some(State::Head),
            State::Trailers => not_folded(line).then_some(State::Trailers),
            State::Length(_) | State::Data(_) | State::Refused => None,
        }
    }
}

fn not_folded(line: &[u8]) -> bool {
    !matches!(line.first(), Some(b' ' | b'\t'))
}

/// `1a`, or `1a;extension`.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|b| *b == b';').next()?;
    if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

// === impl Head ===

impl Head {
    fn line(&mut self, line: &[u8]) -> Option<State> {
        if line.is_empty() && !self.request_line {
            // Blank lines before a request are nothing.
            self.begun = false;
            return Some(State::Head);
        }
        if line.is_empty() {
            return self.ended();
        }
        if !not_folded(line) {
            return None;
        }
        if !self.request_line {
            self.request_line = true;
            self.needs_host = !line.ends_with(b"HTTP/1.0");
            return Some(State::Head);
        }
        let colon = memchr(b':', line)?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            let digits = (1..=18).contains(&value.len()) && value.iter().all(u8::is_ascii_digit);
            self.length = std::str::from_utf8(value).ok().filter(|_| digits)?.parse().ok()?;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.codings += 1;
            value.eq_ignore_ascii_case(b"chunked").then_some(())?;
        } else if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        }
        (self.lengths + self.codings <= 1 && self.hosts <= 1).then_some(State::Head)
    }

    /// The blank line came: what follows is decided.
    fn ended(&mut self) -> Option<State> {
        let head = std::mem::take(self);
        if head.needs_host && head.hosts == 0 {
            return None;
        }
        Some(match head {
            Head { codings: 1, .. } => State::Size,
            Head { length: 0, .. } => State::Head,
            Head { length, .. } => State::Length(length),
        })
    }
}

// === impl Timer ===

impl Timer {
    /// Ready once `after` has passed since it was first asked; [`Timer::reset`] forgets when that was.
    fn poll(&mut self, cx: &mut Context<'_>, after: Duration) -> Poll<()> {
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(after)));
        if !self.armed {
            sleep.as_mut().reset(Instant::now() + after);
            self.armed = true;
        }
        sleep.as_mut().poll(cx)
    }

    fn reset(&mut self) {
        self.armed = false;
    }
}

// === impl Guarded ===

impl<S> Guarded<S> {
    pub fn new(stream: S, limits: &Limits, passage: Passage) -> Self {
        Self {
            stream,
            framing: Framing::new(),
            header_time: limits.header_time,
            write_idle: limits.write_idle,
            first: true,
            reading: Timer::default(),
            writing: Timer::default(),
            passage,
        }
    }

    /// What a write came to, or an end to waiting for a client that takes nothing.
    fn written<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.writing.reset();
            return poll;
        }
        ready!(self.writing.poll(cx, self.write_idle));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its response")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.passage.is_open() {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let before = buf.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buf) {
            read?;
            this.framing.follow(&mut buf.filled_mut()[before..]);
            if buf.filled().len() > before && !this.framing.in_head() {
                this.first = false;
                this.reading.reset();
            }
            return Poll::Ready(Ok(()));
        }
        if this.first || this.framing.in_head() {
            ready!(this.reading.poll(cx, this.header_time));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request's head takes too long")));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.written(cx, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.written(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a stream passes, given in pieces of `step` bytes.
    fn passes(stream: &str, step: usize) -> bool {
        let mut framing = Framing::new();
        let mut bytes = stream.as_bytes().to_vec();
        for piece in bytes.chunks_mut(step) {
            framing.follow(piece);
        }
        let untouched = bytes == stream.as_bytes();
        assert_eq!(untouched, framing.state != State::Refused, "{stream:?}");
        untouched
    }

    const GOOD: &[&str] = &[
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET / HTTP/1.1\r\nhost:a\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n\na\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\n\na\n\r\n0\r\nT: 1\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    ];

    const BAD: &[&str] = &[
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nT: 1\r\n 2\r\n\r\n",
    ];

    #[test]
    fn framing_is_judged_alike_in_pieces_of_any_size() {
        for step in 1..80 {
            for stream in GOOD {
                assert!(passes(stream, step), "{step} {stream:?}");
            }
            for stream in BAD {
                assert!(!passes(stream, step), "{step} {stream:?}");
            }
        }
    }

    #[test]
    fn a_length_hidden_in_a_long_line_is_no_length() {
        let long = "x".repeat(1000);
        let stream = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\nGET / HTTP/1.0\r\n\r\n");
        let padded = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}3\r\n\r\nabc", " ".repeat(1000));
        for step in [1, 7, 1000, 5000] {
            assert!(passes(&stream, step));
        }
        // Refused in pieces, read whole: what matters is that it is never read as another length.
        assert!(passes(&padded, 5000) && !passes(&padded, 7));
    }

    proptest::proptest! {
        #[test]
        fn no_stream_makes_it_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300), step in 1usize..40) {
            let mut framing = Framing::new();
            let mut bytes = bytes;
            for piece in bytes.chunks_mut(step) {
                framing.follow(piece);
            }
        }
    }
}
