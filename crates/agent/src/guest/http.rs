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
    headers: Headers,
    /// HTTP/1.0, which ends with its answer.
    old: bool,
}

/// Names and values, as they came.
#[derive(Default)]
pub struct Headers(Vec<(String, String)>);

/// A body, as far as it was wanted.
pub struct Body {
    pub bytes: Vec<u8>,
    /// It was longer, and its rest is thrown away.
    pub cut: bool,
}

// === impl Headers ===

impl Headers {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

// === impl Request ===

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// Of its body, if it says one.
    fn length(&self) -> io::Result<Option<u64>> {
        let read = |text: &str| text.trim().parse().map_err(|_| bad("a Content-Length that is no number"));
        self.header("content-length").map(read).transpose()
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
                        headers: Headers(
                            parsed.headers.iter().map(|one| (one.name.to_owned(), text(one.value))).collect(),
                        ),
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
        let mut body = Body { bytes: Vec::new(), cut: false };
        if let Some(length) = request.length()? {
            body.bytes.reserve_exact(usize::try_from(length).unwrap_or(most).min(most));
        }
        self.pieces(request, |piece| {
            let kept = piece.len().min(most.saturating_sub(body.bytes.len()));
            body.bytes.extend_from_slice(&piece[..kept]);
            body.cut |= kept < piece.len();
            Ok(())
        })?;
        Ok(body)
    }

    /// Gives the body of that request as it comes, and returns what follows it.
    pub fn pieces(&mut self, request: &Request, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Headers> {
        if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        if !request.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked")) {
            self.take(request.length()?.unwrap_or(0), &mut take)?;
            return Ok(Headers::default());
        }
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
                return self.trailers();
            }
            self.take(size, &mut take)?;
            while self.buffer.len() < 2 {
                self.some()?;
            }
            self.buffer.drain(..2);
        }
    }

    fn take(&mut self, length: u64, take: &mut impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut left = length;
        while left > 0 {
            if self.buffer.is_empty() {
                self.some()?;
            }
            let taken = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            take(&self.buffer[..taken])?;
            self.buffer.drain(..taken);
            left -= taken as u64;
        }
        Ok(())
    }

    /// Lines up to an empty one.
    fn trailers(&mut self) -> io::Result<Headers> {
        let (mut found, mut read) = (Headers::default(), 0);
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.buffer.drain(..end + 2);
                read += end;
                if end == 0 {
                    return Ok(found);
                }
                if let Some((name, value)) = line.split_once(':') {
                    found.0.push((name.trim().to_owned(), value.trim().to_owned()));
                }
            } else {
                self.some()?;
            }
            if read.max(self.buffer.len()) > HEAD {
                return Err(bad("trailers that are too long"));
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A connection on which that comes, and then the end.
    fn connection(bytes: &'static [u8]) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        std::thread::spawn(move || {
            // In small pieces, so that every one of them ends somewhere within.
            for piece in bytes.chunks(3) {
                client.write_all(piece).unwrap();
            }
        });
        Connection::new(listener.accept().unwrap().0)
    }

    #[test]
    fn a_body_in_chunks_comes_as_it_is_and_what_follows_it_after_it() {
        let mut connection = connection(
            b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\n\
              Lambda-Runtime-Function-Error-Type: Odd\r\n\r\nGET /b HTTP/1.1\r\n\r\n",
        );
        let request = connection.request().unwrap().unwrap();
        let mut whole = Vec::new();
        let trailers = connection.pieces(&request, |piece| {
            whole.extend_from_slice(piece);
            Ok(())
        });
        assert_eq!(
            (whole.as_slice(), trailers.unwrap().get("lambda-runtime-function-error-type")),
            (&b"hello world"[..], Some("Odd"))
        );
        assert_eq!(connection.request().unwrap().unwrap().path, "/b");
        assert!(connection.request().unwrap().is_none());
    }

    #[test]
    fn a_body_with_a_length_is_kept_as_far_as_wanted() {
        let mut connection = connection(b"POST /a HTTP/1.1\r\nContent-Length: 6\r\n\r\nabcdefGET /b HTTP/1.1\r\n\r\n");
        let request = connection.request().unwrap().unwrap();
        let body = connection.body(&request, 4).unwrap();
        assert_eq!((body.bytes.as_slice(), body.cut), (&b"abcd"[..], true));
        assert_eq!(connection.request().unwrap().unwrap().path, "/b");
    }

    #[test]
    fn what_breaks_off_is_an_error() {
        for broken in [
            &b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"[..],
            b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\r\n",
            b"POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc",
        ] {
            let mut connection = connection(broken);
            let request = connection.request().unwrap().unwrap();
            assert!(connection.body(&request, 100).is_err(), "{}", String::from_utf8_lossy(broken));
        }
    }
}
