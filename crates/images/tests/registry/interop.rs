//! What skopeo pushes we pull, and what we push skopeo reads.

use images::registry::AuthConfig;
use images::{ImportRequest, Reference};

use crate::content::{Format, TestImage, noise, tar_of};
use crate::harness::{DockerRegistry, Fixture, is_root, skopeo};

#[tokio::test(flavor = "multi_thread")]
async fn what_skopeo_pushes_is_pulled() {
    if !is_root() {
        return;
    }
    let Some(registry) = DockerRegistry::start(None) else { return };
    let image = TestImage::new(Format::OciGzip, "amd64", 5, &[20_000, 400]);
    let layout = tempfile::tempdir().unwrap();
    image.write_layout(layout.path());
    let source = format!("oci:{}:latest", layout.path().display());
    for (tag, flags) in [
        ("oci", &["--format", "oci"][..]),
        ("schema2", &["--format", "v2s2"]),
        ("zstd", &["--format", "oci", "--dest-compress-format", "zstd"]),
    ] {
        let name = format!("{}/skopeo/app:{tag}", registry.host());
        let target = format!("docker://{name}");
        let mut args = vec!["copy", "--dest-tls-verify=false"];
        args.extend_from_slice(flags);
        args.extend_from_slice(&[&source, &target]);
        if skopeo(&args).is_none() {
            return;
        }
        let fixture = Fixture::new();
        let pulled = fixture.pull(&name).await.unwrap();
        assert_eq!(fixture.file(&pulled[0].id, "file-0").unwrap(), noise(5, 20_000), "{tag}");
        assert_eq!(fixture.file(&pulled[0].id, "file-1").unwrap(), noise(6, 400), "{tag}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_skopeo_reads() {
    if !is_root() {
        return;
    }
    let Some(registry) = DockerRegistry::start(None) else { return };
    let fixture = Fixture::new();
    let name = format!("{}/made:1", registry.host());
    let archive = tar_of(&[("hello", noise(1, 100_000))]);
    let request =
        ImportRequest { tag: Some(Reference::parse(&name).unwrap()), ..Default::default() };
    let id = fixture.store.import(archive.as_slice(), &request).unwrap();
    let pushed = fixture.push(&name, AuthConfig::default()).await.unwrap();
    let source = format!("docker://{name}");
    let Some(text) = skopeo(&["inspect", "--tls-verify=false", &source]) else { return };
    let inspected: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(inspected["Digest"], pushed[0].digest.to_string());
    let target = tempfile::tempdir().unwrap();
    let target = format!("dir:{}", target.path().display());
    skopeo(&["copy", "--src-tls-verify=false", &source, &target]);
    let config = skopeo(&["inspect", "--raw", "--config", "--tls-verify=false", &source]).unwrap();
    assert_eq!(images::ImageId::of_config(config.as_bytes()), id);
}
