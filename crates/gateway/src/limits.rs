//! What a client may take: sizes, times, connections.

use std::time::Duration;

use crate::parting::Parting;

/// Limits of one listener. The defaults suit both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more wait in the kernel's queue.
    pub connections: usize,
    /// Request line and headers together, bytes. Beyond: 431.
    pub header_bytes: usize,
    /// Headers of one request. Beyond: 431.
    pub headers: usize,
    /// A head that has begun must have ended by then, and a new connection must have sent one.
    pub header_time: Duration,
    /// Longest TLS handshake.
    pub handshake_time: Duration,
    /// A connection without a request is closed after this.
    pub keep_alive: Duration,
    /// Longest pause within a request's body. Beyond: 408.
    pub body_idle: Duration,
    /// Longest time of a whole request body. Beyond: 408.
    pub body_time: Duration,
    /// Longest time in which a client takes nothing of its response.
    pub write_idle: Duration,
    /// Request bodies held in memory at once, all connections together, bytes. Beyond: 503.
    pub buffered_bytes: usize,
    /// Whether HTTP/2 in clear is taken, of clients that begin with it.
    pub http2: bool,
    /// How long open requests may take to finish once the listener is to end.
    pub drain: Duration,
    /// How it is left to a successor.
    pub parting: Parting,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 8192,
            header_bytes: 64 * 1024,
            headers: 100,
            header_time: Duration::from_secs(10),
            handshake_time: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            body_idle: Duration::from_secs(10),
            body_time: Duration::from_secs(120),
            write_idle: Duration::from_secs(30),
            buffered_bytes: 256 * 1024 * 1024,
            http2: false,
            drain: Duration::from_secs(30),
            parting: Parting::default(),
        }
    }
}
