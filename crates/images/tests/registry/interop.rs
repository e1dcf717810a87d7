//! What skopeo pushes we pull.

use crate::content::{Format, TestImage, noise};
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
