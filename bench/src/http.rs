//! As much HTTP/1.1 as a measurement needs: small requests, answers with a Content-Length, nothing else. A chunked
//! answer is refused by name, so that a server which starts to send them is not measured wrongly.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

/// Longest answer that is read.
const MOST: usize = 16 << 20;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// An answer, within the buffer it was read into.
#[derive(Debug, PartialEq, Eq)]
pub struct Response<'a> {
    pub status: u16,
    pub body: &'a [u8],
    /// Bytes of head and body together.
    pub len: usize,
}

/// A blocking connection that can be used again and again.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The bytes of a GET request; each of `headers` ends with CR LF.
pub fn get(host: SocketAddr, path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n").into_bytes()
}

/// The bytes of a request with a body of JSON, unless that is empty.
pub fn request(method: &str, host: SocketAddr, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let about = match body.len() {
        0 => String::new(),
        length => format!("content-type: application/json\r\ncontent-length: {length}\r\n"),
    };
    format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{headers}{about}\r\n{body}").into_bytes()
}

/// Reads one answer at the front of `bytes`; None while it is not complete.
pub fn parse(bytes: &[u8]) -> anyhow::Result<Option<Response<'_>>> {
    let Some(end) = find(bytes, b"\r\n\r\n") else { return Ok(None) };
    let shown = || String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = bytes[..end].split(|byte| *byte == b'\n');
    let status = lines.next().and_then(|line| line.strip_prefix(b"HTTP/1.1 ")).and_then(|rest| number(rest.get(..3)?));
    let status = status.with_context(|| format!("expected an HTTP/1.1 answer, got {:?}", shown()))?;
    // Has no body, and need not say so.
    let empty = (status == 204).then_some(Some(0));
    let length = empty.or_else(|| {
        lines.find_map(|line| {
            let (name, value) = line.split_at_checked(b"content-length:".len())?;
            name.eq_ignore_ascii_case(b"content-length:").then(|| number(value.trim_ascii()))
        })
    });
    let length = length.flatten().with_context(|| format!("an answer without Content-Length: {:?}", shown()))?;
    ensure!(length <= MOST, "an answer of {length} bytes");
    let start = end + 4;
    let body = bytes.get(start..start + length);
    Ok(body.map(|body| Response { status: status as u16, body, len: start + length }))
}

pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

// === impl Connection ===

impl Connection {
    pub fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, buffer: Vec::with_capacity(64 * 1024) })
    }

    /// Sends `request` and waits for its whole answer.
    pub fn call(&mut self, request: &[u8]) -> anyhow::Result<Response<'_>> {
        self.stream.write_all(request).context("send a request")?;
        self.buffer.clear();
        let mut chunk = [0; 16 * 1024];
        loop {
            let count = self.stream.read(&mut chunk).context("wait for an answer")?;
            if count == 0 {
                bail!("the connection ended within an answer: {:?}", String::from_utf8_lossy(&self.buffer));
            }
            self.buffer.extend_from_slice(&chunk[..count]);
            if parse(&self.buffer)?.is_some() {
                break;
            }
        }
        // Once more, for the borrow: the loop may not return what it still writes to.
        parse(&self.buffer)?.context("an answer that was there")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_with_its_last_byte() {
        let bytes = b"HTTP/1.1 200 OK\r\nDate: x\r\nContent-LENGTH: 2\r\n\r\nokHTTP/1.1 ";
        let whole = Response { status: 200, body: b"ok", len: 49 };
        assert_eq!(parse(bytes).unwrap(), Some(whole));
        (0..49).for_each(|cut| assert_eq!(parse(&bytes[..cut]).unwrap(), None));
    }

    #[test]
    fn refuses_what_it_cannot_measure() {
        let chunked = parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok").unwrap_err();
        assert!(chunked.to_string().contains("without Content-Length"), "{chunked}");
        assert!(parse(b"SSH-2.0-x\r\n\r\n").is_err());
    }
}
