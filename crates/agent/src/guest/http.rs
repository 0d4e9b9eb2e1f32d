//! As much of HTTP/1.1 as a Runtime API needs: requests with a length or in chunks, answers with a length, connections
//! that stay.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Longest head, bytes. What speaks here is a library of the function's own.
const HEAD: usize = 64 * 1024;

const HEADERS: usize = 64;

/// One connection of the program's.
pub struct Connection {
    pub stream: TcpStream,
    /// Read and not taken yet.
    buffer: Vec<u8>,
}

/// The head of a request.
pub struct Request {
    pub method: String,
    pub path: String,
    headers: Vec<(String, String)>,
    /// HTTP/1.0, which ends with its answer.
    old: bool,
}

/// A body, as far as it was wanted.
pub struct Body {
    pub bytes: Vec<u8>,
    /// It was longer, and its rest is thrown away.
    pub cut: bool,
}

// === impl Request ===

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether the client is done after this one.
    pub fn closes(&self) -> bool {
        let says = |what: &str| self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case(what));
        says("close") || (self.old && !says("keep-alive"))
    }
}

// === impl Connection ===

impl Connection {
    pub fn new(stream: TcpStream) -> Self {
        // Answers are small and come one by one.
        let _ = stream.set_nodelay(true);
        Self { stream, buffer: Vec::new() }
    }

    /// Whether nothing of a request is here: only then is it the kernel that knows whether the client is still there.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next request's head; none when the client closed.
    pub fn request(&mut self) -> io::Result<Option<Request>> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS];
            let mut parsed = httparse::Request::new(&mut headers);
            match parsed.parse(&self.buffer).map_err(|error| bad(&error.to_string()))? {
                httparse::Status::Complete(length) => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    let request = Request {
                        method: parsed.method.unwrap_or_default().to_owned(),
                        path: parsed.path.unwrap_or_default().to_owned(),
                        headers: parsed.headers.iter().map(|one| (one.name.to_owned(), text(one.value))).collect(),
                        old: parsed.version == Some(0),
                    };
                    self.buffer.drain(..length);
                    return Ok(Some(request));
                }
                httparse::Status::Partial if self.buffer.len() > HEAD => return Err(bad("a head that is too long")),
                httparse::Status::Partial => {
                    if self.more()? == 0 {
                        return if self.buffer.is_empty() { Ok(None) } else { Err(bad("half a request")) };
                    }
                }
            }
        }
    }

    /// The body of that request, of which at most `most` bytes are kept.
    pub fn body(&mut self, request: &Request, most: usize) -> io::Result<Body> {
        if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut body = Body { bytes: Vec::new(), cut: false };
        if request.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            loop {
                let size = loop {
                    match httparse::parse_chunk_size(&self.buffer).map_err(|_| bad("a chunk without a size"))? {
                        httparse::Status::Complete((head, size)) => {
                            self.buffer.drain(..head);
                            break size;
                        }
                        httparse::Status::Partial => self.some()?,
                    }
                };
                if size == 0 {
                    self.trailers()?;
                    return Ok(body);
                }
                self.take(size, &mut body, most)?;
                while self.buffer.len() < 2 {
                    self.some()?;
                }
                self.buffer.drain(..2);
            }
        }
        let length = match request.header("content-length") {
            Some(text) => text.trim().parse().map_err(|_| bad("a Content-Length that is no number"))?,
            None => 0,
        };
        body.bytes.reserve_exact(usize::try_from(length).unwrap_or(most).min(most));
        self.take(length, &mut body, most)?;
        Ok(body)
    }

    fn take(&mut self, length: u64, body: &mut Body, most: usize) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() {
                self.some()?;
            }
            let taken = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let kept = taken.min(most.saturating_sub(body.bytes.len()));
            body.bytes.extend_from_slice(&self.buffer[..kept]);
            body.cut |= kept < taken;
            self.buffer.drain(..taken);
            left -= taken as u64;
        }
        Ok(())
    }

    /// Lines up to an empty one.
    fn trailers(&mut self) -> io::Result<()> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                self.buffer.drain(..end + 2);
                if end == 0 {
                    return Ok(());
                }
            } else if self.buffer.len() > HEAD {
                return Err(bad("trailers that are too long"));
            } else {
                self.some()?;
            }
        }
    }

    pub fn answer(&mut self, status: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(512 + body.len());
        let _ = write!(out, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers.iter().filter(|(_, value)| !value.bytes().any(|byte| byte < b' ')) {
            let _ = write!(out, "{name}: {value}\r\n");
        }
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(body);
        self.stream.write_all(&out)
    }

    fn some(&mut self) -> io::Result<()> {
        if self.more()? == 0 { Err(bad("half a request")) } else { Ok(()) }
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut piece = [0; 32 * 1024];
        loop {
            match self.stream.read(&mut piece) {
                Ok(read) => {
                    self.buffer.extend_from_slice(&piece[..read]);
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the program's request is not HTTP: {what}"))
}
