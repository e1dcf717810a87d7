//! Archives written byte by byte, because no decent program writes such.

use std::io::Write;

use anyhow::Result;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const BLOCK: usize = 512;

/// Kinds of entries as tar names them.
pub(super) const FILE: u8 = b'0';
pub(super) const HARD_LINK: u8 = b'1';
pub(super) const SYMLINK: u8 = b'2';
pub(super) const DEVICE: u8 = b'3';
pub(super) const DIRECTORY: u8 = b'5';
pub(super) const FIFO: u8 = b'6';
const LONG_NAME: u8 = b'L';

/// A tar archive in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Archive(Vec<u8>);

impl Archive {
    pub(crate) fn file(self, name: &str, content: &[u8]) -> Self {
        self.entry(FILE, name, "", content)
    }

    pub(super) fn link(self, kind: u8, name: &str, target: &str) -> Self {
        self.entry(kind, name, target, b"")
    }

    pub(super) fn entry(mut self, kind: u8, name: &str, target: &str, content: &[u8]) -> Self {
        if name.len() > 99 {
            let long = [name.as_bytes(), b"\0"].concat();
            self = self.entry(LONG_NAME, "././@LongLink", "", &long);
        }
        self.0.extend(header(kind, name, target, content.len()));
        self.0.extend(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    /// A file whose header promises more than follows.
    pub(super) fn lie(mut self, name: &str, promised: usize) -> Vec<u8> {
        self.0.extend(header(FILE, name, "", promised));
        self.end()
    }

    pub(crate) fn end(mut self) -> Vec<u8> {
        self.0.extend([0; 2 * BLOCK]);
        self.0
    }
}

fn header(kind: u8, name: &str, target: &str, size: usize) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, text: &[u8]| {
        let text = &text[..text.len().min(99)];
        block[at..at + text.len()].copy_from_slice(text);
    };
    put(0, name.as_bytes());
    put(100, b"0000755");
    put(108, b"0000000");
    put(116, b"0000000");
    put(124, format!("{size:011o}").as_bytes());
    put(136, b"00000000000");
    put(148, b"        ");
    put(156, &[kind]);
    put(157, target.as_bytes());
    put(257, b"ustar\x0000");
    // The host's memory, were the node ever openable.
    put(329, b"0000001");
    put(337, b"0000001");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

/// A configuration that names layers.
pub(super) fn config(diff_ids: &[String]) -> Value {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    json!({"os": "linux", "architecture": architecture, "config": {},
           "rootfs": {"type": "layers", "diff_ids": diff_ids}})
}

/// What `docker save` would write of an image with this configuration and this only layer.
pub(super) fn saved(config: &[u8], layer: &[u8]) -> Vec<u8> {
    let manifest =
        json!([{"Config": "config.json", "RepoTags": ["hostile:1"], "Layers": ["l.tar"]}]);
    Archive::default()
        .file("manifest.json", manifest.to_string().as_bytes())
        .file("config.json", config)
        .file("l.tar", layer)
        .end()
}

/// The same with a configuration that tells the truth about the layer.
pub(super) fn saved_layer(layer: &[u8]) -> Vec<u8> {
    let diff_id = format!("sha256:{}", sha256(layer));
    saved(config(&[diff_id]).to_string().as_bytes(), layer)
}
