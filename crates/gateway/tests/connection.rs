//! Bytes on a socket: smuggling, slow and greedy clients, an end with requests open.

mod support;

use std::time::{Duration, Instant};

use gateway::{Limits, Parting};
use support::{Server, read_all};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn short() -> Limits {
    Limits {
        header_time: Duration::from_millis(200),
        keep_alive: Duration::from_millis(400),
        body_idle: Duration::from_millis(200),
        body_time: Duration::from_millis(600),
        write_idle: Duration::from_millis(300),
        drain: Duration::from_millis(800),
        ..Limits::default()
    }
}

const SECOND: &str = "GET /fn/echo/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn an_ambiguous_request_is_a_400_and_the_end() {
    let server = Server::start(Limits::default()).await;
    let head = "POST /fn/echo HTTP/1.1\r\nHost: a\r\n";
    for request in [
        format!("{head}Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SECOND}"),
        format!("{head}Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n{SECOND}"),
        format!("{head}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{SECOND}"),
        format!("{head}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{SECOND}"),
        format!("{head}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{SECOND}"),
        format!("{head}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{SECOND}"),
        format!("{head}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc{SECOND}"),
        format!("{head}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc{SECOND}"),
        format!("{head}Content-Length: 3, 3\r\n\r\nabc{SECOND}"),
        format!("{head}Content-Length: -1\r\n\r\nabc{SECOND}"),
        format!("{head}Content-Length: 0x3\r\n\r\nabc{SECOND}"),
        format!("{head}X: 1\r\n Content-Length: 3\r\n\r\nabc{SECOND}"),
        format!("{head}X: 1\r\n\tfolded\r\n\r\n{SECOND}"),
        format!("{head}X: 1\nContent-Length: 3\r\n\r\nabc{SECOND}"),
        format!("{head}X: 1\r\r\nY: 2\r\n\r\n{SECOND}"),
        format!("{head}X: a\0b\r\n\r\n{SECOND}"),
        format!("{head}Host: b\r\n\r\n{SECOND}"),
        format!("POST /fn/echo HTTP/1.1\r\n\r\n{SECOND}"),
        format!("POST /fn/echo HTTP/1.1\nHost: a\n\n{SECOND}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n{SECOND}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n{SECOND}"),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n{SECOND}"),
    ] {
        let answer = server.exchange(request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{request:?}: {answer:?}");
    }
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn plain_requests_share_a_connection() {
    let server = Server::start(Limits::default()).await;
    let requests = "POST /fn/page HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\n\r\nx\
         POST /fn/page HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\n\
         GET /fn/page HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    // In one piece, and byte by byte.
    let answer = server.exchange(requests.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 201 Created").count(), 3, "{answer}");
    let mut stream = server.connect().await;
    stream.set_nodelay(true).unwrap();
    for byte in requests.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = read_all(&mut stream).await;
    assert_eq!(answer.matches("HTTP/1.1 201 Created").count(), 3, "{answer}");
    assert_eq!(server.calls(), 6);
}

#[tokio::test]
async fn too_much_of_a_head_is_a_431() {
    let server = Server::start(Limits::default()).await;
    let many = "X: 1\r\n".repeat(200);
    let long = format!("X: {}\r\n", "x".repeat(70_000));
    let endless = format!("X: {}", "x".repeat(1 << 20));
    for headers in [many, long, endless] {
        let mut stream = server.connect().await;
        // The server may close while this is still being sent.
        let _ = stream.write_all(format!("GET /fn/echo HTTP/1.1\r\nHost: a\r\n{headers}\r\n").as_bytes()).await;
        let mut answer = [0; 12];
        if stream.read_exact(&mut answer).await.is_ok() {
            assert_eq!(&answer, b"HTTP/1.1 431");
        }
    }
    assert_eq!(server.calls(), 0);
    let fits = format!("GET /fn/page HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX: {}\r\n\r\n", "x".repeat(60_000));
    assert!(server.exchange(fits.as_bytes()).await.starts_with("HTTP/1.1 201"));
}

#[tokio::test]
async fn a_slow_head_is_closed_in_time() {
    let server = Server::start(short()).await;
    for begin in ["", "G", "GET /fn/echo HTTP/1.1\r\nHost: a\r\n"] {
        let (mut stream, began) = (server.connect().await, Instant::now());
        stream.write_all(begin.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        // A byte now and then must not help.
        let dripping = async {
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                if begin.len() > 1 && writer.write_all(b"X").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut out = Vec::new();
        tokio::select! {
            _ = reader.read_to_end(&mut out) => {}
            () = dripping => {}
            () = tokio::time::sleep(Duration::from_secs(3)) => panic!("{begin:?} was not closed"),
        }
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(190) && took < Duration::from_secs(2), "{begin:?}: {took:?}");
    }
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_waiting_one_is_not() {
    let server = Server::start(Limits { keep_alive: Duration::from_millis(150), ..short() }).await;
    let mut stream = server.connect().await;
    let began = Instant::now();
    // Answered after 300 ms: longer than idle connections and slow heads may take.
    stream.write_all(b"GET /fn/slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    assert!(began.elapsed() >= Duration::from_millis(400), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_slow_body_is_a_408() {
    let server = Server::start(short()).await;
    for drip in [false, true] {
        let mut stream = server.connect().await;
        let head = "POST /fn/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc";
        stream.write_all(head.as_bytes()).await.unwrap();
        for _ in 0..6 {
            tokio::time::sleep(Duration::from_millis(120)).await;
            if drip && stream.write_all(b"x").await.is_err() {
                break;
            }
        }
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 408");
    }
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn an_endless_body_is_a_413_however_it_is_framed() {
    let server = Server::start(Limits::default()).await;
    for framing in ["Content-Length: 99999999999", "Transfer-Encoding: chunked"] {
        let mut stream = server.connect().await;
        stream.write_all(format!("POST /fn/echo HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n").as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        let sending = async { while writer.write_all(chunk.as_bytes()).await.is_ok() {} };
        let mut answer = [0; 12];
        let reading = async { reader.read_exact(&mut answer).await.map(drop) };
        let (_, read) = tokio::join!(sending, reading);
        // The rest that was still on its way may have reset the connection before its answer was read.
        if read.is_ok() {
            assert_eq!(&answer, b"HTTP/1.1 413");
        }
    }
    assert_eq!(server.calls(), 0);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_told_so() {
    let server = Server::start(Limits::default()).await;
    let size = 20_000_000;
    let head = format!("POST /fn/echo HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n");
    // Sent whole before anything is read, as most clients do.
    let answer = server.exchange((head + &"x".repeat(size)).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("6291456"), "{answer}");
}

#[tokio::test]
async fn bodies_share_a_budget() {
    let server = Server::start(Limits { buffered_bytes: 100_000, ..Limits::default() }).await;
    let request = |size: usize| {
        let head = format!("POST /fn/slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n");
        head + &"x".repeat(size)
    };
    // As events, in base64, they are a third longer.
    let (large, small) = (request(60_000), request(30_000));
    let first = server.exchange(large.as_bytes());
    let second = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.exchange(small.as_bytes()).await
    };
    let (first, second) = tokio::join!(first, second);
    assert!(first.starts_with("HTTP/1.1 200"), "{first}");
    assert!(second.starts_with("HTTP/1.1 503"), "{second}");
    assert!(server.exchange(small.as_bytes()).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_let_go() {
    let server = Server::start(short()).await;
    let mut stream = server.connect().await;
    let body = "x".repeat(5_000_000);
    let head = format!(
        "POST /fn/echo HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let mut out = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut out)).await;
    let _ = read.expect("the server must have closed");
    assert!(out.len() < 5_000_000, "{}", out.len());
}

#[tokio::test]
async fn over_the_limit_connections_wait_their_turn() {
    let server = Server::start(Limits { connections: 1, ..Limits::default() }).await;
    let request = b"GET /fn/slow HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let (one, two) = tokio::join!(server.exchange(request), server.exchange(request));
    assert!(one.starts_with("HTTP/1.1 200") && two.starts_with("HTTP/1.1 200"), "{one} {two}");
}

#[tokio::test]
async fn an_end_lets_open_requests_finish() {
    let server = Server::start(short()).await;
    let (mut open, mut idle) = (server.connect().await, server.connect().await);
    idle.write_all(b"GET /fn/page HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    idle.read_exact(&mut [0; 12]).await.unwrap();
    open.write_all(b"GET /fn/slow HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (address, ended, began) = (server.address, server.stop(), Instant::now());
    assert!(read_all(&mut open).await.ends_with("done"));
    read_all(&mut idle).await;
    ended.await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(700), "{:?}", began.elapsed());
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn an_end_does_not_wait_for_ever() {
    let server =
        Server::start(Limits { body_time: Duration::from_secs(60), body_idle: Duration::from_secs(60), ..short() })
            .await;
    let mut open = server.connect().await;
    open.write_all(b"POST /fn/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let began = Instant::now();
    server.stop().await.unwrap();
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(700) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(read_all(&mut open).await, "");
}

#[tokio::test]
async fn who_hands_over_answers_what_is_on_the_way_and_ends_connections_with_an_answer() {
    let parting = Parting::default();
    let server = Server::start(Limits { parting: parting.clone(), ..Limits::default() }).await;
    let request = b"GET /fn/page HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut kept = server.connect().await;
    kept.write_all(request).await.unwrap();
    let mut answer = [0; 4096];
    let length = kept.read(&mut answer).await.unwrap();
    let first = String::from_utf8_lossy(&answer[..length]).to_lowercase();
    assert!(first.starts_with("http/1.1 201 ") && !first.contains("connection: close"), "{first}");

    parting.bid_farewell();
    kept.write_all(request).await.unwrap();
    let last = read_all(&mut kept).await.to_lowercase();
    assert!(last.starts_with("http/1.1 201 ") && last.contains("connection: close"), "{last}");

    // Accepted, since a later one is answered; and nothing was sent when the end comes.
    let mut fresh = server.connect().await;
    assert!(server.exchange(request).await.starts_with("HTTP/1.1 201 "));
    let ended = server.stop();
    fresh.write_all(request).await.unwrap();
    let only = read_all(&mut fresh).await.to_lowercase();
    assert!(only.starts_with("http/1.1 201 ") && only.contains("connection: close"), "{only}");
    ended.await.unwrap();
    assert_eq!(parting.unanswered(), 0);
}
