//! When a web function takes requests.
//!
//! The kernel tells nobody that a socket has begun to listen, so it is tried: first after 0.2 ms, then at pauses that
//! grow by a quarter up to 5 ms. A server that is up after T is known to be after 1.25 T at the latest, and sooner than
//! 5 ms after T. The host bounds the whole; when the program ends, so does the agent.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

const FIRST: Duration = Duration::from_micros(200);
const LONGEST: Duration = Duration::from_millis(5);

/// How long one look at the health path may take.
const HEALTH: Duration = Duration::from_secs(2);

/// Where the program listens, once it does. Programs differ in what they take `localhost` for.
pub fn listening(port: u16) -> SocketAddr {
    let places: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let mut pause = FIRST;
    loop {
        for place in places {
            let address = SocketAddr::new(place, port);
            if TcpStream::connect(address).is_ok() {
                return address;
            }
        }
        std::thread::sleep(pause);
        pause = (pause * 5 / 4).min(LONGEST);
    }
}

/// Waits until the path is answered with a status below 400. Says on the log what it is answered with instead, once for
/// each status.
pub fn healthy(address: SocketAddr, path: &str) {
    let mut pause = FIRST;
    let mut last = None;
    loop {
        match ask(address, path) {
            Ok(status @ 200..400) => {
                let _ = status;
                return;
            }
            Ok(status) if last != Some(status) => {
                eprintln!("hearth: {path} answers {status}: waiting for a status below 400");
                last = Some(status);
            }
            _ => {}
        }
        std::thread::sleep(pause);
        pause = (pause * 5 / 4).min(LONGEST * 4);
    }
}

fn ask(address: SocketAddr, path: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(HEALTH))?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: hearth-health\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let (mut head, mut piece) = (Vec::new(), [0; 1024]);
    while head.len() < 12 {
        match stream.read(&mut piece)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => head.extend_from_slice(&piece[..read]),
        }
    }
    status(&head).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// `HTTP/1.1 204 …` → 204
fn status(head: &[u8]) -> Option<u16> {
    let digits = head.strip_prefix(b"HTTP/1.")?.get(2..5)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_off_the_first_line() {
        assert_eq!(status(b"HTTP/1.1 204 No Content\r\n"), Some(204));
        assert_eq!(status(b"HTTP/1.0 503"), Some(503));
        assert_eq!(status(b"SSH-2.0-OpenSSH"), None);
        assert_eq!(status(b"HTTP/1.1 abc"), None);
    }
}
