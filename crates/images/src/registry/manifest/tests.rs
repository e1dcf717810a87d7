//! Tests of manifests.

use serde_json::{Value, json};

use super::{
    DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_LIST, DOCKER_MANIFEST, Manifest, OCI_INDEX,
    OCI_MANIFEST, choose, platforms,
};
use crate::Digest;
use crate::registry::{Platform, RegistryError};

fn descriptor(media_type: &str, content: &str) -> Value {
    json!({"mediaType": media_type, "digest": Digest::of(content.as_bytes()), "size": 7})
}

fn image(media_type: &str) -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": descriptor(DOCKER_CONFIG, "c"),
        "layers": [descriptor(DOCKER_LAYER_GZIP, "l")],
    })
}

fn with(mut value: Value, pointer: &str, new: Value) -> Value {
    *value.pointer_mut(pointer).unwrap() = new;
    value
}

fn entry(os: &str, architecture: &str, content: &str) -> Value {
    let mut entry = descriptor(OCI_MANIFEST, content);
    entry["platform"] = json!({"os": os, "architecture": architecture});
    entry
}

fn parse(value: &Value, content_type: &str) -> Result<Manifest, RegistryError> {
    Manifest::parse(value.to_string().as_bytes(), content_type, "x:1")
}

#[test]
fn manifests_and_indexes_are_told_apart() {
    let index = json!({"schemaVersion": 2, "manifests": []});
    let mut unnamed = image(OCI_MANIFEST);
    unnamed.as_object_mut().unwrap().remove("mediaType");
    for (value, content_type, is_index) in [
        (&image(DOCKER_MANIFEST), DOCKER_MANIFEST, false),
        (&image(OCI_MANIFEST), OCI_MANIFEST, false),
        (&image(DOCKER_MANIFEST), "application/json", false),
        (&unnamed, OCI_MANIFEST, false),
        (&unnamed, "", false),
        (&index, OCI_INDEX, true),
        (&index, "application/vnd.docker.distribution.manifest.list.v2+json; charset=utf-8", true),
    ] {
        let parsed = parse(value, content_type).unwrap();
        assert_eq!(matches!(parsed, Manifest::Index(_)), is_index, "{value} as {content_type}");
    }
}

#[test]
fn what_is_no_image_is_refused_with_the_reason() {
    let good = image(DOCKER_MANIFEST);
    let mut both = good.clone();
    both["manifests"] = json!([]);
    let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
    let many: Vec<_> = (0..501).map(|n| descriptor(DOCKER_LAYER_GZIP, &n.to_string())).collect();
    let rows = [
        (json!({"schemaVersion": 1, "fsLayers": [], "name": "x"}), "", "schema 1"),
        (good.clone(), "application/vnd.docker.distribution.manifest.v1+prettyjws", "schema 1"),
        (with(good.clone(), "/schemaVersion", json!(3)), "", "schemaVersion 3"),
        (with(good.clone(), "/schemaVersion", json!("2")), "", "invalid type"),
        (good.clone(), OCI_INDEX, "was sent as"),
        (both.clone(), "", "do not fit"),
        (with(both, "/mediaType", json!("")), "", "do not fit"),
        (json!({"schemaVersion": 2, "mediaType": DOCKER_LIST, "layers": []}), "", "do not fit"),
        (json!({"schemaVersion": 2}), "", "do not fit"),
        (json!([]), "", "invalid"),
        (with(good.clone(), "/layers/0/mediaType", json!(foreign)), "", "foreign layer"),
        (with(good.clone(), "/layers/0/mediaType", json!("text/\u{1b}[2J")), "", "unknown"),
        (with(good.clone(), "/layers/0/size", json!(-1)), "", "invalid value"),
        (with(good.clone(), "/layers/0/digest", json!("sha256:../../x")), "", "invalid digest"),
        (with(good.clone(), "/layers/0/digest", json!("md5:aa")), "", "invalid digest"),
        (with(good.clone(), "/layers", json!(many)), "", "501 layers"),
        (with(good.clone(), "/config/size", json!(u64::MAX)), "", "larger than"),
        (with(good, "/config/mediaType", json!("application/vnd.cncf.helm.v1")), "", "artifact"),
    ];
    for (value, content_type, expected) in rows {
        let error = parse(&value, content_type).unwrap_err().to_string();
        assert!(error.contains(expected), "{value}: {error}");
        assert!(!error.contains('\u{1b}'), "{error:?}");
    }
}

#[test]
fn any_bytes_are_an_error_and_never_a_panic() {
    let good = image(DOCKER_MANIFEST).to_string();
    for end in 0..good.len() {
        assert!(Manifest::parse(&good.as_bytes()[..end], "", "x").is_err());
    }
    let deep = "[".repeat(100_000);
    assert!(Manifest::parse(deep.as_bytes(), "", "x").is_err());
    assert!(Manifest::parse(b"\xff\xfe", "", "x").is_err());
}

#[test]
fn the_best_platform_wins_and_attestations_are_no_images() {
    let mut attestation = entry("linux", "amd64", "attestation");
    attestation["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [
        entry("unknown", "unknown", "unknown"),
        attestation,
        entry("linux", "386", "386"),
        entry("windows", "amd64", "windows"),
        entry("linux", "arm64", "arm64"),
        entry("linux", "amd64", "amd64"),
        entry("linux", "amd64", "second"),
    ]});
    let Manifest::Index(entries) = parse(&index, OCI_INDEX).unwrap() else { panic!("no index") };
    for (platform, content) in
        [("linux/amd64", "amd64"), ("linux/arm64", "arm64"), ("linux/386", "386")]
    {
        let chosen = choose(&entries, &Platform::parse(platform).unwrap()).unwrap();
        assert_eq!(chosen.digest, Digest::of(content.as_bytes()), "{platform}");
    }
    let error = choose(&entries, &Platform::parse("linux/s390x").unwrap()).unwrap_err().to_string();
    assert_eq!(
        error,
        "no matching manifest for linux/s390x in the manifest list entries: \
         available are linux/386, linux/amd64, linux/arm64, windows/amd64"
    );
    assert_eq!(platforms(&entries).len(), 5);
}

#[test]
fn an_entry_without_platform_is_the_last_choice() {
    let index = json!({"schemaVersion": 2, "manifests": [
        descriptor(OCI_MANIFEST, "unnamed"), entry("linux", "amd64", "amd64"),
    ]});
    let Manifest::Index(entries) = parse(&index, OCI_INDEX).unwrap() else { panic!("no index") };
    let amd64 = Platform::parse("linux/amd64").unwrap();
    assert_eq!(choose(&entries, &amd64).unwrap().digest, Digest::of(b"amd64"));
    let arm64 = Platform::parse("linux/arm64").unwrap();
    assert_eq!(choose(&entries, &arm64).unwrap().digest, Digest::of(b"unnamed"));
    assert!(choose(&[], &amd64).is_err());
}
