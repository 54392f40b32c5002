//! A docker-archive of our own: one layer, a fixed config, the same bytes for the same root file system.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;

use pib_plan::id::Digest;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// How much of a file is read at once.
const CHUNK: usize = 256 * 1024;
/// The only variable that a base sets.
pub(super) const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Size of a tar block.
const BLOCK: u64 = 512;

/// What of an archive comes before the layer's bytes, and what after them.
#[derive(Clone)]
pub(super) struct Frame {
    pub(super) head: Vec<u8>,
    pub(super) tail: Vec<u8>,
}

/// Returns the size and the digest of a file.
pub(super) fn measure(path: &Path) -> io::Result<(u64, Digest)> {
    let mut file = pib_file::open(path)?;
    let (mut hasher, mut size, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK]);
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((size, Digest::from_bytes(hasher.finalize().into())));
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}

/// Checks that a file is a tar from end to end: engines that unpack layers only when they are used take anything.
pub(super) fn check_tar(path: &Path) -> io::Result<()> {
    let file = pib_file::open(path)?;
    tar::Archive::new(file).entries_with_seek()?.try_for_each(|entry| entry.map(drop))
}

/// Returns the archive around a layer of `size` bytes with the digest `layer`.
///
/// The config's digest is the container image's id, so nothing in it may depend on when or where it is made.
pub(super) fn frame(
    tag: &str,
    platform: &str,
    labels: &BTreeMap<String, String>,
    layer: &Digest,
    size: u64,
) -> io::Result<Frame> {
    let config = config(platform, labels, layer).to_string();
    let config_name = format!("{}.json", Digest::of(config.as_bytes()).hex());
    let manifest = json!([{ "Config": config_name, "RepoTags": [tag], "Layers": ["layer.tar"] }]).to_string();
    let mut head = tar::Builder::new(Vec::new());
    for (name, text) in [("manifest.json", &manifest), (config_name.as_str(), &config)] {
        head.append_data(&mut header(text.len() as u64), name, text.as_bytes())?;
    }
    let mut head = head.into_inner()?;
    // The two blocks that end an archive come after the layer.
    head.truncate(head.len() - 2 * BLOCK as usize);
    let mut layer_header = header(size);
    layer_header.set_path("layer.tar")?;
    layer_header.set_cksum();
    head.extend_from_slice(layer_header.as_bytes());
    let padding = size.next_multiple_of(BLOCK) - size;
    Ok(Frame { head, tail: vec![0; (padding + 2 * BLOCK) as usize] })
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn config(platform: &str, labels: &BTreeMap<String, String>, layer: &Digest) -> serde_json::Value {
    let mut platform = platform.split('/').skip(1);
    let mut config = json!({
        "architecture": platform.next(),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": { "Env": [PATH], "Labels": labels },
        "rootfs": { "type": "layers", "diff_ids": [layer.to_string()] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "pib" }],
    });
    if let Some(variant) = platform.next() {
        config["variant"] = variant.into();
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_archive_is_a_tar_with_the_layer_at_its_place() {
        for size in [0_usize, 1, 511, 512, 513] {
            let layer = vec![7; size];
            let digest = Digest::of(&layer);
            let frame = frame("pib-base:x", "linux/arm/v7", &BTreeMap::new(), &digest, size as u64).unwrap();
            let bytes = [frame.head, layer.clone(), frame.tail].concat();
            assert_eq!(bytes.len() % BLOCK as usize, 0);
            let mut archive = tar::Archive::new(&bytes[..]);
            let mut found = BTreeMap::new();
            for entry in archive.entries().unwrap() {
                let mut entry = entry.unwrap();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                found.insert(entry.path().unwrap().display().to_string(), content);
            }
            assert_eq!(found.len(), 3);
            assert_eq!(found["layer.tar"], layer);
            let manifest: serde_json::Value = serde_json::from_slice(&found["manifest.json"]).unwrap();
            let name = manifest[0]["Config"].as_str().unwrap();
            let config: serde_json::Value = serde_json::from_slice(&found[name]).unwrap();
            assert_eq!(config["architecture"], "arm");
            assert_eq!(config["variant"], "v7");
            assert_eq!(config["rootfs"]["diff_ids"][0], digest.to_string());
        }
    }
}
