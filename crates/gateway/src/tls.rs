//! TLS at a listener: the certificate and its key, read anew when their files change; and the handshake.
//!
//! ```text
//! files ─► pair ─► in use ◄──────────────── good ──┐
//!            └ bad at the start: no listener       │
//!    changed, and unchanged for one look more ─► read ──► bad: the old pair stays in use, and the problem is told
//!
//! connection ─► first byte ─┬─ handshake ─► ALPN: h2 or http/1.1
//!                           └─ plain HTTP ─► 400, closed
//! ```
//!
//! A connection keeps the pair that it began with. Files are looked at by their times and numbers, through links, as those
//! who renew certificates replace either.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::validity;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Longest file that is read: a chain has a few kilobytes.
const MOST: u64 = 1 << 20;

/// The first byte of every handshake; no method of HTTP begins with it.
const HANDSHAKE: u8 = 0x16;

/// How long a client that spoke plain HTTP is let read why it was refused.
const PARTING: Duration = Duration::from_secs(1);

const PLAIN: &str = "{\"message\":\"this port speaks HTTPS only: ask again with https:// in front\"}\n";

/// Where the pair is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFiles {
    /// PEM: the certificate first, then those that lead to its root.
    pub cert: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1, without a passphrase.
    pub key: PathBuf,
}

/// Why a pair is of no use.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("read {}: {why}", path.display())]
    Read { path: PathBuf, why: io::Error },
    #[error("{} has more than {MOST} bytes: expected a certificate chain or a key in PEM", path.display())]
    TooLong { path: PathBuf },
    #[error("{} holds no certificate: expected PEM, -----BEGIN CERTIFICATE-----", path.display())]
    NoCertificate { path: PathBuf },
    #[error("{} holds no private key that can be read: expected PEM without a passphrase, -----BEGIN PRIVATE KEY-----", path.display())]
    NoKey { path: PathBuf },
    #[error("the key {} is not the one of the certificate {}", key.display(), cert.display())]
    Mismatch { cert: PathBuf, key: PathBuf },
    #[error("{} and its key cannot be used: {why}", cert.display())]
    Refused { cert: PathBuf, why: rustls::Error },
}

/// What is known of the pair in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsStatus {
    /// DNS names of the certificate.
    pub names: Vec<String>,
    /// Until when it is valid, RFC 3339; none if it does not say so in a way that is understood.
    pub until: Option<String>,
    /// Why the files as they are now are not used.
    pub problem: Option<String>,
}

/// The pair of a listener, and of others. Cloning is cheap.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    pair: RwLock<Arc<Pair>>,
    look: Mutex<Look>,
}

struct Pair {
    config: Arc<ServerConfig>,
    names: Vec<String>,
    until: Option<String>,
}

/// What was seen of the files.
struct Look {
    /// When they were read last.
    read: Option<Stamp>,
    /// At the look before.
    before: Option<Stamp>,
    problem: Option<String>,
}

/// Two files' device, number, length and times; none where one is not there.
type Stamp = [Option<(u64, u64, u64, i64, i64)>; 2];

/// What came of a connection's beginning.
pub(crate) enum Begun {
    Secure(Box<TlsStream<TcpStream>>),
    /// It was told that it is at the wrong door.
    Plain,
}

// === impl TlsFiles ===

impl TlsFiles {
    fn stamp(&self) -> Stamp {
        [&self.cert, &self.key].map(|path| {
            let meta = fs::metadata(path).ok()?;
            // Also when its number was given again at once.
            Some((
                meta.dev(),
                meta.ino(),
                meta.len(),
                meta.mtime_nsec() + 1_000_000_000 * meta.mtime(),
                meta.ctime_nsec(),
            ))
        })
    }

    fn load(&self) -> Result<Pair, TlsError> {
        let (cert, key) = (self.cert.clone(), self.key.clone());
        let text = read(&self.cert)?;
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok).collect();
        let Some(first) = chain.first().cloned() else { return Err(TlsError::NoCertificate { path: cert }) };
        let private = PrivateKeyDer::from_pem_slice(&read(&self.key)?);
        let private = private.map_err(|_| TlsError::NoKey { path: key.clone() })?;
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| config.with_no_client_auth().with_single_cert(chain, private));
        let mut config = config.map_err(|why| match why {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { cert: cert.clone(), key },
            why => TlsError::Refused { cert: cert.clone(), why },
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let parsed = webpki::EndEntityCert::try_from(&first);
        let names = parsed.map(|parsed| parsed.valid_dns_names().map(str::to_owned).collect()).unwrap_or_default();
        Ok(Pair { config: Arc::new(config), names, until: validity::until(&first) })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |why| TlsError::Read { path: path.to_owned(), why };
    let mut text = Vec::new();
    let file = fs::File::open(path).map_err(failed)?;
    io::Read::read_to_end(&mut io::Read::take(file, MOST + 1), &mut text).map_err(failed)?;
    if text.len() as u64 > MOST { Err(TlsError::TooLong { path: path.to_owned() }) } else { Ok(text) }
}

// === impl Tls ===

impl Tls {
    /// Reads the pair. Blocks.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let stamp = files.stamp();
        let pair = RwLock::new(Arc::new(files.load()?));
        let look = Look { read: Some(stamp), before: Some(stamp), problem: None };
        Ok(Self(Arc::new(Inner { files, pair, look: Mutex::new(look) })))
    }

    pub fn status(&self) -> TlsStatus {
        let pair = self.pair();
        let problem = self.0.look.lock().unwrap_or_else(PoisonError::into_inner).problem.clone();
        TlsStatus { names: pair.names.clone(), until: pair.until.clone(), problem }
    }

    /// Follows the files, for ever; `changed` is called with what a new pair says.
    pub async fn follow(self, changed: impl Fn(TlsStatus)) {
        loop {
            tokio::time::sleep(LOOK).await;
            let tls = self.clone();
            // The files may lie on a disk that takes its time.
            if let Ok(true) = tokio::task::spawn_blocking(move || tls.look()).await {
                changed(self.status());
            }
        }
    }

    /// Looks whether there is another pair, and takes it. Files that are being written are not read: they must be the same at
    /// two looks.
    fn look(&self) -> bool {
        let stamp = self.0.files.stamp();
        {
            let mut look = self.0.look.lock().unwrap_or_else(PoisonError::into_inner);
            let settled = look.before.replace(stamp) == Some(stamp);
            if !settled || look.read == Some(stamp) {
                return false;
            }
            look.read = Some(stamp);
        }
        let loaded = self.0.files.load();
        let problem = loaded.as_ref().err().map(ToString::to_string);
        self.0.look.lock().unwrap_or_else(PoisonError::into_inner).problem.clone_from(&problem);
        match loaded {
            Ok(pair) => {
                let names = pair.names.join(", ");
                tracing::info!(names, until = pair.until, "TLS: a new certificate is in use");
                *self.0.pair.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(pair);
                true
            }
            Err(error) => {
                tracing::error!(%error, "TLS: the files changed to what cannot be used: the certificate before stays in use");
                false
            }
        }
    }

    fn pair(&self) -> Arc<Pair> {
        self.0.pair.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shakes hands with a client, within that time.
    pub(crate) async fn begin(&self, stream: TcpStream, within: Duration) -> io::Result<Begun> {
        let begun = async {
            let mut first = [0];
            if stream.peek(&mut first).await? == 1 && first[0] != HANDSHAKE {
                refuse(stream).await?;
                return Ok(Begun::Plain);
            }
            let secure = TlsAcceptor::from(self.pair().config.clone()).accept(stream).await?;
            Ok(Begun::Secure(Box::new(secure)))
        };
        let slow = || io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake takes too long");
        tokio::time::timeout(within, begun).await.map_err(|_| slow())?
    }
}

/// Tells a client in its own words that it is at the wrong door.
async fn refuse(mut stream: TcpStream) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{PLAIN}",
        PLAIN.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // To close with something unread would take the answer back.
    let mut rest = [0; 4096];
    let read = async { while stream.read(&mut rest).await.is_ok_and(|read| read > 0) {} };
    let _ = tokio::time::timeout(PARTING, read).await;
    Ok(())
}

// === impl TlsStatus ===

impl TlsStatus {
    /// Whether the certificate's time is over at that moment, RFC 3339 in UTC.
    pub fn is_over(&self, now: &str) -> bool {
        self.until.as_deref().is_some_and(|until| until < now)
    }
}
