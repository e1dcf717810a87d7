//! Archives of images: our own, Docker's old layout, OCI layouts, and hostile ones.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::*;
use crate::store::tests::{import, root_only, sh, store, tar};
use crate::{ErrorKind, ListFilter, Reference, RunConfig};

fn load(store: &Store, archive: &[u8]) -> Result<Vec<Loaded>> {
    store.load(archive, &|_| {})
}

fn save(store: &Store, names: &[&str]) -> Vec<u8> {
    let mut archive = Vec::new();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    store.save(&names, &mut archive).unwrap();
    archive
}

/// A store with two images of one base; the second has two layers.
fn filled() -> (tempfile::TempDir, Store, ImageId, ImageId) {
    let (dir, store) = store();
    let base = import(&store, &tar("mkdir d; seq 1 50000 > d/f; ln d/f g", ""), "base:1").unwrap();
    let rw = store.create_rw("c", &base).unwrap();
    fs::write(rw.upper.join("new"), "x").unwrap();
    let request = crate::CommitRequest {
        container_id: "c".into(),
        base,
        config: RunConfig::default(),
        author: String::new(),
        comment: String::new(),
        created_by: String::new(),
        docker_version: String::new(),
        tag: Reference::parse("quay.io/x/child:2").ok(),
    };
    let child = store.commit(&request).unwrap();
    store.tag(&child, &Reference::parse("base:2").unwrap()).unwrap();
    (dir, store, base, child)
}

#[test]
fn saved_images_come_back_with_ids_and_names() {
    root_only!();
    let (_dir, first, base, child) = filled();
    let archive = save(&first, &["base", "quay.io/x/child:2"]);
    assert_eq!(archive, save(&first, &["base", "quay.io/x/child:2"]), "the same bytes every time");
    let (_dir, second) = store();
    let loaded = load(&second, &archive).unwrap();
    assert_eq!(loaded.iter().map(|l| l.id).collect::<Vec<_>>(), [base, child]);
    assert_eq!(second.resolve("quay.io/x/child:2").unwrap(), child);
    assert_eq!(second.resolve("base:1").unwrap(), base);
    assert_eq!(second.resolve("base:2").unwrap(), child);
    assert_eq!(second.verify().unwrap(), []);
    assert_eq!(save(&second, &["base", "quay.io/x/child:2"]), archive);
    // Once more, over what is there already, compressed, and by id.
    assert_eq!(load(&second, &archive).unwrap(), loaded);
    let (dir, third) = store();
    fs::write(dir.path().join("a"), save(&first, &[&child.hex()])).unwrap();
    sh(dir.path(), "gzip a");
    let loaded = load(&third, &fs::read(dir.path().join("a.gz")).unwrap()).unwrap();
    assert_eq!((loaded[0].id, loaded[0].names.len()), (child, 0));
}

#[test]
fn an_oci_layout_without_docker_files_loads() {
    root_only!();
    let (_dir, first, base, child) = filled();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.tar"), save(&first, &["base"])).unwrap();
    sh(
        dir.path(),
        "mkdir x; tar xf a.tar -C x; rm x/manifest.json x/repositories; tar cf b.tar -C x .",
    );
    let (_dir, second) = store();
    load(&second, &fs::read(dir.path().join("b.tar")).unwrap()).unwrap();
    assert_eq!(second.resolve("base:1").unwrap(), base);
    assert_eq!(second.resolve("base:2").unwrap(), child);
    assert!(!second.manifests_of(&base).unwrap().is_empty());
}

/// Makes an archive of files.
fn archive(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = dir.path().join("x").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    sh(dir.path(), "tar cf a.tar -C x .");
    fs::read(dir.path().join("a.tar")).unwrap()
}

fn config(diff_ids: &[Digest], architecture: &str) -> Vec<u8> {
    json!({"os": "linux", "architecture": architecture, "config": {},
           "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    .to_string()
    .into_bytes()
}

fn compress(program: &str, bytes: &[u8]) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a"), bytes).unwrap();
    sh(dir.path(), &format!("{program} -c < a > b"));
    fs::read(dir.path().join("b")).unwrap()
}

#[test]
fn nested_indexes_and_compressed_layers_load() {
    root_only!();
    let layer = tar("echo hi > f", "");
    let diff_id = Digest::of(&layer);
    let gzip = compress("gzip", &layer);
    let blob = |bytes: &[u8]| (format!("blobs/sha256/{}", Digest::of(bytes).hex()), bytes.to_vec());
    let descriptor = |kind: &str, bytes: &[u8]| {
        json!({"mediaType": format!("application/vnd.oci.image.{kind}+json"),
               "digest": Digest::of(bytes), "size": bytes.len()})
    };
    let mut files = vec![blob(&gzip)];
    let mut entries = Vec::new();
    for architecture in ["s390x", crate::host_architecture()] {
        let config = config(&[diff_id], architecture);
        let manifest = json!({"schemaVersion": 2, "config": descriptor("config.v1", &config),
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                        "digest": Digest::of(&gzip), "size": gzip.len()}]})
        .to_string()
        .into_bytes();
        let mut entry = descriptor("manifest.v1", &manifest);
        entry["platform"] = json!({"os": "linux", "architecture": architecture});
        entries.push(entry);
        files.extend([blob(&config), blob(&manifest)]);
    }
    let inner = json!({"schemaVersion": 2, "manifests": entries}).to_string().into_bytes();
    let mut outer = descriptor("index.v1", &inner);
    outer["annotations"] = json!({"org.opencontainers.image.ref.name": "multi:1"});
    files.push(blob(&inner));
    files.push((
        "index.json".into(),
        json!({"schemaVersion": 2, "manifests": [outer]}).to_string().into(),
    ));
    let files: Vec<(&str, Vec<u8>)> = files.iter().map(|(n, c)| (n.as_str(), c.clone())).collect();
    let (_dir, store) = store();
    let loaded = load(&store, &archive(&files)).unwrap();
    let detail = store.inspect(&loaded[0].id).unwrap();
    assert_eq!(detail.config.architecture, crate::host_architecture());
    assert_eq!(detail.repo_tags, ["multi:1"]);
    assert_eq!(store.layer_blob(&diff_id).unwrap().digest, Digest::of(&gzip));
    assert_eq!(store.verify().unwrap(), []);
}

/// Loads an archive in Docker's layout; nothing may stay behind when that fails.
#[track_caller]
fn check(files: &[(&str, Vec<u8>)], expected: &str) {
    let (dir, store) = store();
    let outcome = load(&store, &archive(files));
    if expected.is_empty() {
        outcome.unwrap();
        return;
    }
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{error}");
    assert!(error.to_string().contains(expected), "{error}");
    assert_eq!(store.list(&ListFilter::default()).unwrap(), []);
    assert_eq!(fs::read_dir(dir.path().join("layers")).unwrap().count(), 0);
}

#[test]
fn dockers_old_layout_and_lies_about_it() {
    root_only!();
    let layer = tar("echo hi > f", "");
    let diff_id = Digest::of(&layer);
    let host = crate::host_architecture();
    let item = |config: &str, tags: serde_json::Value, layers: &[&str]| {
        json!([{"Config": config, "RepoTags": tags, "Layers": layers}]).to_string().into_bytes()
    };
    let manifest = item("c.json", json!(["old:1"]), &["abc/layer.tar"]);
    let good = config(&[diff_id], host);
    check(
        &[
            ("manifest.json", manifest.clone()),
            ("c.json", good.clone()),
            ("abc/layer.tar", layer.clone()),
        ],
        "",
    );
    check(
        &[
            ("manifest.json", manifest.clone()),
            ("c.json", good.clone()),
            ("abc/layer.tar", compress("gzip", &layer)),
        ],
        "",
    );
    let other = tar("echo other > f", "");
    check(
        &[
            ("manifest.json", manifest.clone()),
            ("c.json", good.clone()),
            ("abc/layer.tar", other.clone()),
        ],
        &format!("expected {diff_id}, got {}", Digest::of(&other)),
    );
    check(
        &[("manifest.json", manifest.clone()), ("c.json", good.clone())],
        "layer abc/layer.tar is missing",
    );
    check(
        &[("manifest.json", manifest.clone()), ("abc/layer.tar", layer.clone())],
        "\"c.json\" is missing",
    );
    check(&[("c.json", good.clone())], "neither manifest.json nor index.json");
    check(
        &[
            ("manifest.json", manifest.clone()),
            ("c.json", config(&[], host)),
            ("abc/layer.tar", layer.clone()),
        ],
        "has 1 layers, its config names 0",
    );
    check(
        &[
            ("manifest.json", manifest.clone()),
            ("c.json", config(&[diff_id], "s390x")),
            ("abc/layer.tar", layer.clone()),
        ],
        "is for platform linux/s390x, this host is linux/",
    );
    check(
        &[("manifest.json", item("c.json", json!(["BAD"]), &[])), ("c.json", good.clone())],
        "must be lowercase",
    );
    check(&[("manifest.json", b"[{]".to_vec())], "manifest.json");
    let lying = format!("blobs/sha256/{}", Digest::of(b"x").hex());
    check(
        &[("manifest.json", item(&lying, json!(null), &[])), (&lying, config(&[], host))],
        "digest mismatch",
    );
}

#[test]
fn a_truncated_archive_leaves_nothing() {
    root_only!();
    let (_dir, first, ..) = filled();
    let whole = save(&first, &["base"]);
    let (dir, second) = store();
    for cut in [whole.len() / 3, whole.len() * 2 / 3, 700] {
        let error = load(&second, &whole[..cut]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{error}");
        assert_eq!(fs::read_dir(dir.path().join("layers")).unwrap().count(), 0);
    }
    assert!(Path::new(dir.path()).join("images.redb").exists());
}
