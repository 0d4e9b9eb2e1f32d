//! Images that tests make: layers in memory, manifests by hand.

use std::fs;
use std::io::Write;
use std::path::Path;

use images::Digest;
use serde_json::{Value, json};

pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// A layer, packed in one way.
pub struct Blob {
    pub bytes: Vec<u8>,
    pub media_type: String,
    pub diff_id: Digest,
}

pub struct Made {
    pub layers: Vec<Blob>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
}

pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A tar of files with these contents.
pub fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, contents) in files {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(contents.len() as u64);
        builder.append_data(&mut header, name, contents.as_bytes()).expect("a file");
    }
    builder.into_inner().expect("a tar")
}

impl Blob {
    pub fn plain(tar: &[u8]) -> Self {
        Self { bytes: tar.to_vec(), media_type: LAYER.into(), diff_id: Digest::of(tar) }
    }

    pub fn gzip(tar: &[u8]) -> Self {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(tar).expect("written");
        let bytes = encoder.finish().expect("finished");
        Self { bytes, media_type: format!("{LAYER}+gzip"), diff_id: Digest::of(tar) }
    }

    pub fn zstd(tar: &[u8]) -> Self {
        let bytes = ruzstd::encoding::compress_to_vec(tar, ruzstd::encoding::CompressionLevel::Fastest);
        Self { bytes, media_type: format!("{LAYER}+zstd"), diff_id: Digest::of(tar) }
    }
}

impl Made {
    /// For this machine.
    pub fn new(layers: Vec<Blob>, config: Value) -> Self {
        Self::for_architecture(architecture(), layers, config)
    }

    pub fn for_architecture(architecture: &str, layers: Vec<Blob>, config: Value) -> Self {
        let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.diff_id).collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).expect("JSON");
        let mut made = Self { layers, config, manifest: vec![] };
        made.write_manifest();
        made
    }

    pub fn write_manifest(&mut self) {
        let describe =
            |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len()});
        let layers: Vec<Value> = self.layers.iter().map(|layer| describe(&layer.media_type, &layer.bytes)).collect();
        let config = describe("application/vnd.oci.image.config.v1+json", &self.config);
        let manifest = json!({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers});
        self.manifest = serde_json::to_vec(&manifest).expect("JSON");
    }

    /// Changes what the manifest says.
    pub fn lie(&mut self, lie: impl FnOnce(&mut Value)) {
        let mut manifest: Value = serde_json::from_slice(&self.manifest).expect("JSON");
        lie(&mut manifest);
        self.manifest = serde_json::to_vec(&manifest).expect("JSON");
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// How an index lists it.
    pub fn entry(&self, architecture: &str) -> Value {
        json!({
            "mediaType": OCI_MANIFEST, "digest": self.digest(), "size": self.manifest.len(),
            "platform": {"os": "linux", "architecture": architecture},
        })
    }

    /// Adds it to the OCI layout in `folder`, under the name.
    pub fn write_layout(&self, folder: &Path, name: &str) {
        let blobs = folder.join("blobs/sha256");
        fs::create_dir_all(&blobs).expect("a folder");
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
        let layers = self.layers.iter().map(|layer| &layer.bytes);
        for bytes in layers.chain([&self.config, &self.manifest]) {
            fs::write(blobs.join(Digest::of(bytes).hex()), bytes).expect("written");
        }
        let index = fs::read(folder.join("index.json")).ok();
        let mut index: Value = index
            .map(|text| serde_json::from_slice(&text).expect("JSON"))
            .unwrap_or_else(|| json!({"schemaVersion": 2, "manifests": []}));
        let entry = json!({
            "mediaType": OCI_MANIFEST, "digest": self.digest(), "size": self.manifest.len(),
            "annotations": {"org.opencontainers.image.ref.name": name},
        });
        index["manifests"].as_array_mut().expect("a list").push(entry);
        fs::write(folder.join("index.json"), index.to_string()).expect("written");
    }

    /// Pushes it to the registry at `host`.
    pub async fn push(&self, host: &str, repository: &str, tag: &str) {
        let client = client();
        let layers = self.layers.iter().map(|layer| &layer.bytes);
        for bytes in layers.chain([&self.config]) {
            let start =
                client.post(format!("http://{host}/v2/{repository}/blobs/uploads/")).send().await.expect("started");
            let location = start.headers()["location"].to_str().expect("text").to_owned();
            let (sign, digest) = (if location.contains('?') { '&' } else { '?' }, Digest::of(bytes));
            let done = client.put(format!("{location}{sign}digest={digest}")).body(bytes.clone()).send().await;
            assert_eq!(done.expect("pushed").status(), 201);
        }
        push_manifest(host, repository, tag, OCI_MANIFEST, self.manifest.clone()).await;
    }
}

pub async fn push_manifest(host: &str, repository: &str, tag: &str, kind: &str, bytes: Vec<u8>) {
    let put = client().put(format!("http://{host}/v2/{repository}/manifests/{tag}")).header("content-type", kind);
    let done = put.body(bytes).send().await.expect("pushed");
    assert_eq!(done.status(), 201, "{:?}", done.text().await);
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().danger_accept_invalid_certs(true).no_proxy().build().expect("a client")
}
