//! A real registry, and a front before it that asks for credentials, breaks connections and changes bytes.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// `docker-registry` on a free port, with its data in a folder of its own. Ends when dropped.
pub struct Registry {
    child: Child,
    pub host: String,
    _folder: tempfile::TempDir,
}

/// What the front does to requests that pass.
#[derive(Default)]
pub struct Rules {
    /// Basic credentials, as the header has them: `Basic …`.
    pub basic: Option<String>,
    /// A long-lived token that `/token` exchanges for a short-lived one.
    pub identity: Option<String>,
    /// Breaks the first answers to layers of more than this many bytes after so many of them.
    pub cut: Mutex<Option<usize>>,
    /// Changes one byte of every layer.
    pub tamper: bool,
    /// Answers layers with nothing at all.
    pub stall: bool,
    /// Times that layers were asked for.
    pub blobs: AtomicUsize,
    /// The ranges that were asked for.
    pub ranges: Mutex<Vec<String>>,
}

pub struct Front {
    pub host: String,
    pub rules: Arc<Rules>,
}

// === impl Registry ===

impl Registry {
    /// None if the program is not installed.
    pub fn start() -> Option<Self> {
        if !crate::has("docker-registry") {
            return None;
        }
        // Another process may take the port in between: then the next one.
        for _ in 0..5 {
            let folder = tempfile::tempdir().expect("a folder");
            let port = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port").port();
            let host = format!("127.0.0.1:{port}");
            let data = folder.path().join("data");
            let config = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: '{host}'}}\n",
                data.display()
            );
            let file = folder.path().join("config.yml");
            fs::write(&file, config).expect("written");
            let mut command = Command::new("docker-registry");
            let child = command.arg("serve").arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let mut registry = Self { child: child.expect("a process"), host, _folder: folder };
            if registry.ready() {
                return Some(registry);
            }
        }
        panic!("docker-registry does not start");
    }

    fn ready(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline && self.child.try_wait().expect("a child").is_none() {
            if TcpStream::connect(&self.host).is_ok() {
                return true;
            }
            std::thread::yield_now();
        }
        false
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// === impl Front ===

impl Front {
    pub fn start(registry: &Registry, rules: Rules) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let host = listener.local_addr().expect("an address").to_string();
        let (rules, upstream, own) = (Arc::new(rules), registry.host.clone(), host.clone());
        let shared = rules.clone();
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (rules, upstream, own) = (shared.clone(), upstream.clone(), own.clone());
                std::thread::spawn(move || serve(stream, &upstream, &own, &rules));
            }
        });
        Self { host, rules }
    }
}

fn serve(mut client: TcpStream, upstream: &str, own: &str, rules: &Rules) {
    let Some(head) = read_head(&mut client) else { return };
    let field = |name: &str| {
        head.lines()
            .find(|line| line.to_ascii_lowercase().starts_with(name))
            .map(|line| line[name.len()..].trim().to_owned())
    };
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let answer = |mut client: TcpStream, status: &str, header: &str, body: &str| {
        let length = body.len();
        let text = format!("HTTP/1.1 {status}\r\n{header}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
        let _ = client.write_all(text.as_bytes());
        let _ = client.shutdown(Shutdown::Write);
        let _ = client.read_to_end(&mut Vec::new());
    };
    let sent = field("authorization:");
    if let Some(identity) = &rules.identity {
        if path == "/token" {
            let mut body = vec![0; field("content-length:").and_then(|text| text.parse().ok()).unwrap_or(0)];
            client.read_exact(&mut body).expect("a form");
            let body = String::from_utf8_lossy(&body).into_owned();
            let right =
                body.contains(&format!("refresh_token={identity}")) && body.contains("grant_type=refresh_token");
            return match right {
                true => answer(client, "200 OK", "", r#"{"access_token": "short"}"#),
                false => answer(client, "401 Unauthorized", "", "{}"),
            };
        }
        if sent.as_deref() != Some("Bearer short") {
            let header = format!("WWW-Authenticate: Bearer realm=\"http://{own}/token\",service=\"test\"\r\n");
            return answer(client, "401 Unauthorized", &header, "{}");
        }
    }
    if rules.basic.is_some() && sent != rules.basic {
        return answer(client, "401 Unauthorized", "WWW-Authenticate: Basic realm=\"test\"\r\n", "{}");
    }
    let blob = path.contains("/blobs/");
    if blob {
        rules.blobs.fetch_add(1, Ordering::SeqCst);
        rules.ranges.lock().expect("a lock").extend(field("range:"));
    }
    if blob && rules.stall {
        let _ = client.read_to_end(&mut Vec::new());
        return;
    }
    let Ok(mut server) = TcpStream::connect(upstream) else { return };
    let head: String = head
        .lines()
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"))
        .map(|line| format!("{line}\r\n"))
        .collect();
    let head = format!("{}\r\nConnection: close\r\n\r\n", head.trim_end());
    let mut answer = Vec::new();
    if server.write_all(head.as_bytes()).and_then(|()| server.read_to_end(&mut answer).map(drop)).is_err() {
        return;
    }
    let body = answer.windows(4).position(|four| four == b"\r\n\r\n").map_or(0, |at| at + 4);
    let large = answer.len() - body > 4_096;
    if blob && large && rules.tamper {
        answer[body + 2_000] ^= 1;
    }
    if blob
        && large
        && let Some(cut) = rules.cut.lock().expect("a lock").take()
    {
        answer.truncate(body + cut);
    }
    let _ = client.write_all(&answer);
    let _ = client.shutdown(Shutdown::Write);
    let _ = client.read_to_end(&mut Vec::new());
}

fn read_head(client: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match client.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    String::from_utf8(head).ok()
}
