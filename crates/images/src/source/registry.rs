//! Registries: manifests, configurations and layers over HTTP, each held against the digest that it was asked for by.
//!
//! Plain HTTP goes to registries on this machine and those that the options list; all others are HTTPS, held against the
//! machine's own certificate authorities. A layer whose connection breaks is resumed where it broke.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use oci_client::RegistryOperation;
use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol};
use oci_client::errors::{DigestError, OciDistributionError as OciError, OciErrorCode};
use oci_client::secrets::RegistryAuth;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;

use super::{Plan, Wanted, check_document, hold_document};
use crate::error::show;
use crate::manifest::{ACCEPTED, Descriptor, Document, MAX_CONFIG, MAX_MANIFEST, choose};
use crate::{Credentials, Digest, ImageError, Reference};

/// For one small document, however slowly it drips.
const DOCUMENT: Duration = Duration::from_secs(120);

/// Times that a layer's connection may break without a byte in between.
const RETRIES: u32 = 4;

const AGENT: &str = concat!("hearth/", env!("CARGO_PKG_VERSION"));

/// How registries are reached.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub insecure: Vec<String>,
    pub connect: Duration,
    pub idle: Duration,
}

/// One image in its registry, for one pull.
pub(crate) struct Registry {
    reference: Reference,
    credentials: Credentials,
    access: Access,
    client: oci_client::Client,
}

/// What the writer of a layer is told.
enum Piece {
    Bytes(bytes::Bytes),
    /// Forget what came so far.
    Restart,
}

/// Why an attempt ended.
struct Failure {
    error: ImageError,
    /// Another attempt may end otherwise.
    passing: bool,
}

// === impl Registry ===

impl Registry {
    /// Authenticates where the registry asks for it.
    pub async fn open(reference: Reference, credentials: Credentials, access: Access) -> Result<Self, ImageError> {
        let client = connect(&reference, &credentials, &access).await?;
        Ok(Self { reference, credentials, access, client })
    }

    /// Finds out what the image is.
    pub async fn plan(&self, wanted: &Wanted<'_>) -> Result<Plan, ImageError> {
        let what = self.reference.to_string();
        let bytes = self.manifest(self.reference.oci()).await?;
        let mut digest = Digest::of(&bytes);
        if let Some(expected) = self.reference.digest().filter(|expected| *expected != digest) {
            return Err(ImageError::DigestMismatch { what, expected, got: digest });
        }
        let mut document = Document::parse(&bytes, &what)?;
        if let Document::Index(platforms) = &document {
            let chosen = choose(platforms, wanted.architecture, &what)?;
            let name = format!("manifest {} of {what}", chosen.digest);
            check_document(chosen, MAX_MANIFEST, &name)?;
            let bytes = self.manifest(&self.reference.oci().clone_with_digest(chosen.digest.to_string())).await?;
            hold_document(chosen, &name, &bytes)?;
            (digest, document) = (chosen.digest.clone(), Document::parse(&bytes, &what)?);
        }
        let Document::Manifest(manifest) = document else {
            return Err(ImageError::NotAnImage { what, why: "its index leads to another index".into() });
        };
        let config = self.config(&manifest.config).await?;
        let references = vec![what.clone()];
        Ok(Plan { references, ..Plan::new(&what, digest, manifest, &config, wanted)? })
    }

    async fn manifest(&self, reference: &oci_client::Reference) -> Result<Vec<u8>, ImageError> {
        let auth = RegistryAuth::Anonymous; // The client keeps the one that it was opened with.
        let pulled = self.client.pull_manifest_raw(reference, &auth, ACCEPTED);
        let (bytes, _) = self.bounded(pulled).await?.map_err(|error| self.failure(error).error)?;
        match bytes.len() as u64 > MAX_MANIFEST {
            true => Err(ImageError::NotAnImage {
                what: reference.to_string(),
                why: format!("its manifest has more than {MAX_MANIFEST} bytes"),
            }),
            false => Ok(bytes.into()),
        }
    }

    async fn config(&self, blob: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let what = format!("the configuration of {}", self.reference);
        check_document(blob, MAX_CONFIG, &what)?;
        let read = async {
            let digest = blob.digest.to_string();
            let stream = self.client.pull_blob_stream(self.reference.oci(), digest.as_str()).await;
            let mut stream = stream.map_err(|error| self.failure(error).error)?.stream;
            let mut bytes = Vec::new();
            while let Some(piece) = stream.next().await {
                match piece {
                    Ok(piece) => bytes.extend_from_slice(&piece),
                    // Which digest came is said by `hold_document`.
                    Err(error) if is_digest(&error) => break,
                    Err(error) => return Err(self.broken(error)),
                }
                if bytes.len() as u64 > blob.size {
                    break;
                }
            }
            Ok(bytes)
        };
        let bytes = self.bounded(read).await??;
        hold_document(blob, &what, &bytes)?;
        Ok(bytes)
    }

    /// Fetches a layer into the new file `to`. `progress` is told of bytes that came, and (below zero) of those that
    /// have to come again. Cancel-safe: what is left is the file.
    pub async fn fetch(&self, blob: &Descriptor, to: &Path, progress: &(dyn Fn(i64) + Sync)) -> Result<(), ImageError> {
        let (pieces, received) = mpsc::channel(16);
        let path = to.to_owned();
        let writer = tokio::task::spawn_blocking(move || write(&path, received));
        let downloaded = self.download(blob, &pieces, progress).await;
        drop(pieces);
        let written = writer.await.map_err(|error| ImageError::Failed(format!("writing a layer: {error}")))?;
        // If the writer failed, the download has failed only because of it.
        let (got, size) = written?;
        downloaded?;
        let what = format!("layer {} of {}", blob.digest, self.reference);
        if size != blob.size {
            return Err(ImageError::SizeMismatch { what, expected: blob.size, got: size.to_string() });
        }
        match got == blob.digest {
            true => Ok(()),
            false => Err(ImageError::DigestMismatch { what, expected: blob.digest.clone(), got }),
        }
    }

    async fn download(
        &self,
        blob: &Descriptor,
        to: &mpsc::Sender<Piece>,
        progress: &(dyn Fn(i64) + Sync),
    ) -> Result<(), ImageError> {
        let mut client = self.client.clone();
        if matches!(self.credentials, Credentials::Identity(_)) {
            // Short-lived tokens do not outlive a few layers, and the client cannot renew these.
            client = connect(&self.reference, &self.credentials, &self.access).await?;
        }
        let (mut have, mut retries) = (0, 0);
        loop {
            let before = have;
            match self.attempt(&client, blob, &mut have, to, progress).await {
                Ok(()) => return Ok(()),
                Err(failure) if failure.passing => {
                    retries = if have > before { 1 } else { retries + 1 };
                    if retries > RETRIES {
                        return Err(failure.error);
                    }
                    tracing::info!(image = %self.reference, layer = %blob.digest, error = %failure.error, "resuming a layer");
                    tokio::time::sleep(Duration::from_millis(100 << (2 * retries))).await;
                }
                Err(failure) => return Err(failure.error),
            }
        }
    }

    async fn attempt(
        &self,
        client: &oci_client::Client,
        blob: &Descriptor,
        have: &mut u64,
        to: &mpsc::Sender<Piece>,
        progress: &(dyn Fn(i64) + Sync),
    ) -> Result<(), Failure> {
        let firm = |error| Failure { error, passing: false };
        let gone = |_| firm(ImageError::Cancelled);
        let (reference, digest) = (self.reference.oci(), blob.digest.to_string());
        let mut stream = if *have == 0 {
            client.pull_blob_stream(reference, digest.as_str()).await.map_err(|error| self.failure(error))?
        } else {
            let resumed = client.pull_blob_stream_partial(reference, digest.as_str(), *have, None).await;
            match resumed.map_err(|error| self.failure(error))? {
                BlobResponse::Partial(stream) => stream,
                BlobResponse::Full(stream) => {
                    progress(-(i64::try_from(*have).unwrap_or(i64::MAX)));
                    *have = 0;
                    to.send(Piece::Restart).await.map_err(gone)?;
                    stream
                }
            }
        };
        while let Some(piece) = stream.stream.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                // Which digest came is said by whoever wrote it.
                Err(error) if is_digest(&error) => break,
                Err(error) => return Err(Failure { error: self.broken(error), passing: true }),
            };
            *have += piece.len() as u64;
            if *have > blob.size {
                let what = format!("layer {} of {}", blob.digest, self.reference);
                return Err(firm(ImageError::SizeMismatch { what, expected: blob.size, got: "more".into() }));
            }
            progress(i64::try_from(piece.len()).unwrap_or(i64::MAX));
            to.send(Piece::Bytes(piece)).await.map_err(gone)?;
        }
        Ok(())
    }

    async fn bounded<T>(&self, work: impl Future<Output = T>) -> Result<T, ImageError> {
        tokio::time::timeout(DOCUMENT, work).await.map_err(|_| ImageError::Unreachable {
            registry: self.reference.registry().to_owned(),
            why: format!("no whole answer within {} s", DOCUMENT.as_secs()),
        })
    }

    fn failure(&self, error: OciError) -> Failure {
        failure(&self.reference, &self.credentials, error)
    }

    fn broken(&self, error: std::io::Error) -> ImageError {
        let why = match error.into_inner().map(|inner| inner.downcast::<reqwest::Error>()) {
            Some(Ok(error)) => causes(*error),
            Some(Err(other)) => show(other.to_string().as_bytes()),
            None => "the connection broke".into(),
        };
        ImageError::Unreachable { registry: self.reference.registry().to_owned(), why }
    }
}

/// A client that has authenticated, if the registry asks for it.
async fn connect(
    reference: &Reference,
    credentials: &Credentials,
    access: &Access,
) -> Result<oci_client::Client, ImageError> {
    let plain = is_plain(reference, access);
    let host = reference.oci().resolve_registry();
    let config = ClientConfig {
        protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
        // Where there is no TLS there are no certificates to hold it against: a machine may then have none.
        accept_invalid_certificates: plain,
        connect_timeout: Some(access.connect),
        read_timeout: Some(access.idle),
        user_agent: AGENT,
        ..ClientConfig::default()
    };
    let unreachable = |why| ImageError::Unreachable { registry: host.to_owned(), why };
    // Reads the machine's certificate authorities, and panics inside the library where there are none.
    let made = tokio::task::spawn_blocking(move || oci_client::Client::try_from(config)).await;
    let made = made.map_err(|_| {
        unreachable("TLS cannot be set up here: are the certificate authorities (ca-certificates) installed?".into())
    })?;
    let client = made.map_err(|error| failure(reference, credentials, error).error)?;
    let work = async {
        let auth = match credentials {
            Credentials::Anonymous => RegistryAuth::Anonymous,
            Credentials::Basic { user, password } => RegistryAuth::Basic(user.clone(), password.clone()),
            Credentials::Bearer(token) => RegistryAuth::Bearer(token.clone()),
            Credentials::Identity(token) => RegistryAuth::Bearer(exchange(reference, token, plain, access).await?),
        };
        let done = client.auth(reference.oci(), &auth, RegistryOperation::Pull).await;
        done.map_err(|error| failure(reference, credentials, error).error)
    };
    let late = |_| unreachable(format!("no whole answer within {} s", DOCUMENT.as_secs()));
    tokio::time::timeout(DOCUMENT, work).await.map_err(late)??;
    Ok(client)
}

/// Whether the registry is spoken to without TLS.
fn is_plain(reference: &Reference, access: &Access) -> bool {
    let registry = reference.registry();
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    loopback || access.insecure.iter().any(|listed| listed == registry || listed == host)
}

/// Exchanges a long-lived token for one of some minutes, as Docker does with an `identitytoken`.
async fn exchange(reference: &Reference, token: &str, plain: bool, access: &Access) -> Result<String, ImageError> {
    #[derive(serde::Deserialize)]
    struct Answer {
        #[serde(alias = "token")]
        access_token: String,
    }
    let registry = reference.oci().resolve_registry();
    let reached = |error| ImageError::Unreachable { registry: registry.to_owned(), why: causes(error) };
    let protocol = |why: &str| ImageError::Protocol { registry: registry.to_owned(), why: why.to_owned() };
    let client = reqwest::Client::builder()
        .danger_accept_invalid_certs(plain)
        .connect_timeout(access.connect)
        .read_timeout(access.idle)
        .user_agent(AGENT)
        // A token that is given away does not go where another party says.
        .redirect(reqwest::redirect::Policy::none());
    let client = client.build().map_err(reached)?;
    let scheme = if plain { "http" } else { "https" };
    let asked = client.get(format!("{scheme}://{registry}/v2/")).send().await.map_err(reached)?;
    let header = asked.headers().get("www-authenticate").and_then(|header| header.to_str().ok());
    let header = header.ok_or_else(|| protocol("it asks for no token where one was given"))?;
    let challenges = http_auth::parse_challenges(header).map_err(|_| protocol("its WWW-Authenticate is damaged"))?;
    let bearer = challenges.iter().find(|one| one.scheme.eq_ignore_ascii_case("bearer"));
    let bearer = bearer.ok_or_else(|| protocol("it takes no tokens: give user and password"))?;
    let param = |name: &str| {
        let found = bearer.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_unescaped()).unwrap_or_default()
    };
    let realm = param("realm");
    if !plain && !realm.starts_with("https://") {
        return Err(protocol("it sends tokens to an address without TLS"));
    }
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", "hearth"),
        ("service", &param("service")),
        ("scope", &format!("repository:{}:pull", reference.repository())),
        ("refresh_token", token),
    ];
    let mut answer = client.post(realm).form(&form).send().await.map_err(reached)?;
    if !answer.status().is_success() {
        return Err(ImageError::Unauthorized {
            registry: registry.to_owned(),
            image: reference.to_string(),
            who: "the bearer of this token".into(),
            status: answer.status().as_u16().to_string(),
            said: String::new(),
        });
    }
    let mut text = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(reached)? {
        text.extend_from_slice(&piece);
        if text.len() > 1 << 20 {
            return Err(protocol("its token has more than a megabyte"));
        }
    }
    let answer: Answer = serde_json::from_slice(&text).map_err(|_| protocol("its token service gives no token"))?;
    Ok(answer.access_token)
}

/// Writes the pieces of a layer; gives back the digest and size of what it has written.
fn write(path: &Path, mut pieces: mpsc::Receiver<Piece>) -> Result<(Digest, u64), ImageError> {
    let failed = |error| ImageError::io(path.display(), &error);
    let mut file = File::create_new(path).map_err(failed)?;
    let (mut hash, mut size) = (Sha256::new(), 0);
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Bytes(bytes) => {
                file.write_all(&bytes).map_err(failed)?;
                hash.update(&bytes);
                size += bytes.len() as u64;
            }
            Piece::Restart => {
                std::io::Seek::rewind(&mut file).and_then(|()| file.set_len(0)).map_err(failed)?;
                (hash, size) = (Sha256::new(), 0);
            }
        }
    }
    Ok((Digest::from_hash(hash), size))
}

fn is_digest(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<DigestError>())
}

/// Says what the client says in our words.
fn failure(reference: &Reference, credentials: &Credentials, error: OciError) -> Failure {
    let registry = reference.registry().to_owned();
    let image = reference.to_string();
    let firm = |error| Failure { error, passing: false };
    let said = |text: &str| {
        let text = show(text.trim().as_bytes());
        if text.is_empty() { text } else { format!("; it says: {text}") }
    };
    let denied = |status: &str, text: &str| {
        let (registry, image) = (registry.clone(), image.clone());
        firm(ImageError::Unauthorized {
            registry,
            image,
            who: credentials.who(),
            status: status.into(),
            said: said(text),
        })
    };
    match error {
        OciError::UnauthorizedError { .. } => denied("401", ""),
        OciError::AuthenticationFailure(text) => denied("its token service refuses", &text),
        OciError::ServerError { code, message, .. } => match code {
            401 | 403 => denied(&code.to_string(), &message),
            404 => firm(ImageError::NotFound { registry, image }),
            429 => firm(ImageError::TooManyRequests { registry }),
            code => {
                let error = ImageError::Registry { registry, image, status: code.to_string(), said: said(&message) };
                Failure { error, passing: code >= 500 }
            }
        },
        OciError::RegistryError { envelope, .. } => {
            let text = envelope.errors.first().map(|error| error.message.clone()).unwrap_or_default();
            let code = envelope.errors.into_iter().next().map(|error| error.code);
            match code {
                Some(OciErrorCode::Unauthorized) => denied("401", &text),
                Some(OciErrorCode::Denied) => denied("403", &text),
                Some(
                    OciErrorCode::ManifestUnknown
                    | OciErrorCode::NameUnknown
                    | OciErrorCode::NotFound
                    | OciErrorCode::BlobUnknown
                    | OciErrorCode::ManifestBlobUnknown,
                ) => firm(ImageError::NotFound { registry, image }),
                Some(OciErrorCode::Toomanyrequests) => firm(ImageError::TooManyRequests { registry }),
                code => {
                    let status = code.map_or("an error".into(), |code| format!("{code:?}"));
                    firm(ImageError::Registry { registry, image, status: show(status.as_bytes()), said: said(&text) })
                }
            }
        }
        OciError::RequestError(error) => {
            let passing = !error.is_builder();
            Failure { error: ImageError::Unreachable { registry, why: causes(error) }, passing }
        }
        OciError::DigestError(DigestError::VerificationError { expected, actual }) => {
            match (expected.parse(), actual.parse()) {
                (Ok(expected), Ok(got)) => firm(ImageError::DigestMismatch { what: image, expected, got }),
                _ => firm(ImageError::Protocol { registry, why: "its digests do not match".into() }),
            }
        }
        OciError::ImageManifestNotFoundError(_) => firm(ImageError::NotFound { registry, image }),
        other => firm(ImageError::Protocol { registry, why: show(other.to_string().as_bytes()) }),
    }
}

/// The causes of a failed request, the outermost first, without its address: that may hold a signature.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    show(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_and_listed_registries_go_without_tls() {
        let access = Access {
            insecure: vec!["nas.lan:5000".into()],
            connect: Duration::from_secs(1),
            idle: Duration::from_secs(1),
        };
        let plain = |text: &str| is_plain(&text.parse().expect(text), &access);
        assert!(plain("localhost:5000/a") && plain("127.0.0.1:5000/a") && plain("nas.lan:5000/a"));
        assert!(!plain("a") && !plain("nas.lan/a") && !plain("localhost.evil.com/a") && !plain("10.0.0.1:5000/a"));
    }
}
