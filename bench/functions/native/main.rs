//! The least native function: asks the Runtime API for an event, answers it with the same bytes, and asks again. Without
//! a Runtime API it ends at once: then it is its own yardstick. The standard library only, built by `rustc` alone.

use std::io::{Read, Write};
use std::net::TcpStream;

const ANSWER: &str = r#"{"statusCode": 200, "body": "ok"}"#;
const ID: &str = "lambda-runtime-aws-request-id:";

fn main() -> std::io::Result<()> {
    let Ok(api) = std::env::var("AWS_LAMBDA_RUNTIME_API") else { return Ok(()) };
    let mut stream = TcpStream::connect(&api)?;
    let mut heard = Vec::new();
    loop {
        let path = "/2018-06-01/runtime/invocation";
        write!(stream, "GET {path}/next HTTP/1.1\r\nHost: {api}\r\n\r\n")?;
        let head = answer(&mut stream, &mut heard)?;
        let id = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix(ID).map(|id| id.trim().to_owned()));
        let id = id.ok_or_else(|| std::io::Error::other(format!("an event without an id: {head}")))?;
        let length = ANSWER.len();
        let request = format!("POST {path}/{id}/response HTTP/1.1\r\nHost: {api}\r\nContent-Length: {length}\r\n\r\n{ANSWER}");
        stream.write_all(request.as_bytes())?;
        answer(&mut stream, &mut heard)?;
    }
}

/// The head of an answer; its body is read and dropped.
fn answer(stream: &mut TcpStream, heard: &mut Vec<u8>) -> std::io::Result<String> {
    let mut piece = [0; 16 * 1024];
    loop {
        if let Some(at) = heard.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&heard[..at]).into_owned();
            let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
            let end = at + 4 + length.unwrap_or(0usize);
            if heard.len() >= end {
                heard.drain(..end);
                return Ok(head);
            }
        }
        match stream.read(&mut piece)? {
            // Nobody wants more of it.
            0 => std::process::exit(0),
            read => heard.extend_from_slice(&piece[..read]),
        }
    }
}
