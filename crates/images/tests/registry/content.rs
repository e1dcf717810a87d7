//! Images for the tests, and a registry in memory that serves them.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use images::{Digest, ImageId};
use serde_json::{Value, json};

use crate::server::{Answer, Reply, Request};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    DockerGzip,
    OciGzip,
    OciZstd,
    OciTar,
}

/// An image with its manifest and blobs.
#[derive(Debug, Clone)]
pub struct TestImage {
    pub config: Vec<u8>,
    /// Compressed, lowest first.
    pub layers: Vec<Vec<u8>>,
    pub diff_ids: Vec<Digest>,
    pub manifest: Vec<u8>,
    pub media_type: &'static str,
}

/// Bytes that do not compress, the same each time for one seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

pub fn tar_of(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_700_000_000);
        builder.append_data(&mut header, path, content.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

impl TestImage {
    /// An image with one file `/file-<n>` of noise per layer.
    pub fn new(format: Format, architecture: &str, seed: u64, sizes: &[usize]) -> Self {
        let tars: Vec<Vec<u8>> = sizes
            .iter()
            .enumerate()
            .map(|(n, size)| tar_of(&[(&format!("file-{n}"), noise(seed + n as u64, *size))]))
            .collect();
        Self::of_tars(format, architecture, &tars)
    }

    pub fn of_tars(format: Format, architecture: &str, tars: &[Vec<u8>]) -> Self {
        let diff_ids: Vec<Digest> = tars.iter().map(|tar| Digest::of(tar)).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {"Cmd": ["/file-0"], "Env": ["A=b"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
            "history": tars.iter().map(|_| json!({"created_by": "test"})).collect::<Vec<_>>(),
        })
        .to_string()
        .into_bytes();
        let layers: Vec<Vec<u8>> = tars
            .iter()
            .map(|tar| match format {
                Format::DockerGzip | Format::OciGzip => gzip(tar),
                Format::OciZstd => zstd::encode_all(tar.as_slice(), 1).unwrap(),
                Format::OciTar => tar.clone(),
            })
            .collect();
        let (media_type, config_type, layer_type) = match format {
            Format::DockerGzip => (
                "application/vnd.docker.distribution.manifest.v2+json",
                "application/vnd.docker.container.image.v1+json",
                "application/vnd.docker.image.rootfs.diff.tar.gzip",
            ),
            _ => (
                "application/vnd.oci.image.manifest.v1+json",
                "application/vnd.oci.image.config.v1+json",
                match format {
                    Format::OciGzip => "application/vnd.oci.image.layer.v1.tar+gzip",
                    Format::OciZstd => "application/vnd.oci.image.layer.v1.tar+zstd",
                    _ => "application/vnd.oci.image.layer.v1.tar",
                },
            ),
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": descriptor(config_type, &config),
            "layers": layers.iter().map(|layer| descriptor(layer_type, layer)).collect::<Vec<_>>(),
        });
        Self { config, layers, diff_ids, manifest: manifest.to_string().into_bytes(), media_type }
    }

    pub fn id(&self) -> ImageId {
        ImageId::of_config(&self.config)
    }

    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// The same image with another manifest.
    pub fn edited(&self, edit: impl FnOnce(&mut Value)) -> Self {
        let mut manifest: Value = serde_json::from_slice(&self.manifest).unwrap();
        edit(&mut manifest);
        Self { manifest: manifest.to_string().into_bytes(), ..self.clone() }
    }

    /// Writes an OCI layout with the image under the tag `latest`.
    pub fn write_layout(&self, dir: &Path) {
        let blobs = dir.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        for bytes in self.layers.iter().chain([&self.config, &self.manifest]) {
            std::fs::write(blobs.join(Digest::of(bytes).hex()), bytes).unwrap();
        }
        let mut entry = descriptor(self.media_type, &self.manifest);
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": "latest"});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
        std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(bytes), "size": bytes.len()})
}

pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Serves what was put into it, with ranges.
#[derive(Debug, Default, Clone)]
pub struct Memory {
    blobs: HashMap<String, Vec<u8>>,
    /// By tag or digest.
    manifests: HashMap<String, (String, Vec<u8>)>,
}

impl Memory {
    pub fn of(tag: &str, image: &TestImage) -> Self {
        let mut memory = Self::default();
        memory.add(tag, image);
        memory
    }

    pub fn add(&mut self, tag: &str, image: &TestImage) {
        for bytes in image.layers.iter().chain([&image.config]) {
            self.blob(bytes);
        }
        self.manifest(tag, image.media_type, &image.manifest);
    }

    pub fn blob(&mut self, bytes: &[u8]) {
        self.blobs.insert(Digest::of(bytes).to_string(), bytes.to_vec());
    }

    /// Puts other bytes where a blob belongs.
    pub fn forge(&mut self, digest: Digest, bytes: Vec<u8>) {
        self.blobs.insert(digest.to_string(), bytes);
    }

    pub fn manifest(&mut self, tag: &str, media_type: &str, bytes: &[u8]) {
        for key in [tag.to_owned(), Digest::of(bytes).to_string()] {
            self.manifests.insert(key, (media_type.to_owned(), bytes.to_vec()));
        }
    }

    pub fn index(&mut self, tag: &str, images: &[(&str, &TestImage)]) -> Digest {
        let entries: Vec<Value> = images
            .iter()
            .map(|(platform, image)| {
                self.add(platform, image);
                let (os, architecture) = platform.split_once('/').unwrap();
                let mut entry = descriptor(image.media_type, &image.manifest);
                entry["platform"] = json!({"os": os, "architecture": architecture});
                entry
            })
            .collect();
        let index =
            json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).to_string();
        self.manifest(tag, INDEX, index.as_bytes());
        Digest::of(index.as_bytes())
    }

    pub fn reply(&self, request: &Request) -> Reply {
        let path = request.path.split('?').next().unwrap_or_default();
        if path == "/v2/" {
            return Answer::new(200, "{}").into();
        }
        let last = path.rsplit('/').next().unwrap_or_default();
        if path.contains("/manifests/") {
            return match self.manifests.get(last) {
                Some((media_type, bytes)) => {
                    Answer::new(200, bytes.clone()).with("Content-Type", media_type).into()
                }
                None => error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
            };
        }
        match self.blobs.get(last) {
            Some(bytes) if path.contains("/blobs/") => ranged(request, bytes).into(),
            _ => error(404, "BLOB_UNKNOWN", "blob unknown to registry"),
        }
    }
}

/// Answers with the range asked for.
pub fn ranged(request: &Request, bytes: &[u8]) -> Answer {
    let start = request
        .header("range")
        .and_then(|text| text.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    match start {
        None => Answer::new(200, bytes),
        Some(start) if start < bytes.len() => Answer::new(206, &bytes[start..])
            .with("Content-Range", format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len())),
        Some(_) => Answer::new(416, ""),
    }
}

pub fn error(status: u16, code: &str, message: &str) -> Reply {
    Answer::new(status, json!({"errors": [{"code": code, "message": message}]}).to_string()).into()
}
