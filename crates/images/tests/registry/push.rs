//! Pushes to Debian's docker-registry.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use images::registry::{AuthConfig, PullOptions, PushOptions, Registry, RegistryConfig, Timeouts};
use images::{CommitRequest, Digest, ErrorKind, ImportRequest, Reference};

use crate::auth::HTPASSWD;
use crate::content::{Format, Memory, TestImage, noise, tar_of};
use crate::harness::{DockerRegistry, Fixture, config, credentials, is_root};
use crate::server::{Answer, Reply, Server};

/// Pulls `image` into a new store from a registry in memory.
async fn with_pulled(image: &TestImage) -> (Fixture, Server) {
    let memory = Memory::of("1", image);
    let server = Server::start(move |request| memory.reply(request)).await;
    let fixture = Fixture::new();
    fixture.pull(&format!("{}/source:1", server.host())).await.unwrap();
    fixture.lines();
    (fixture, server)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pulled_image_keeps_its_digest_when_pushed() {
    if !is_root() {
        return;
    }
    let Some(registry) = DockerRegistry::start(None) else { return };
    for (format, seed) in [(Format::DockerGzip, 1), (Format::OciZstd, 10), (Format::OciTar, 20)] {
        let image = TestImage::new(format, "amd64", seed, &[40_000, 300]);
        let (fixture, _source) = with_pulled(&image).await;
        let name = format!("{}/pushed/app:{seed}", registry.host());
        fixture.tag(&image.id(), &name);
        let pushed = fixture.push(&name, AuthConfig::default()).await.unwrap();
        assert_eq!(
            (pushed[0].digest, pushed[0].size),
            (image.digest(), image.manifest.len() as u64)
        );
        let lines = fixture.lines();
        assert_eq!(
            lines[0],
            format!("The push refers to repository [{}/pushed/app]", registry.host())
        );
        for diff_id in &image.diff_ids {
            for state in ["Preparing", "Pushing", "Pushed"] {
                let line = format!("{}: {state}", diff_id.short());
                assert!(lines.contains(&line), "{line}: {lines:?}");
            }
        }
        let (digest, size) = (image.digest(), image.manifest.len());
        let end = [
            format!("{seed}: digest: {digest} size: {size}"),
            format!("aux {seed} {digest} {size}"),
        ];
        assert_eq!(lines[lines.len() - 2..], end);
        let by_digest = format!("{}/pushed/app@{digest}", registry.host());
        assert_eq!(fixture.store.resolve(&by_digest).unwrap(), image.id());

        fixture.push(&name, AuthConfig::default()).await.unwrap();
        let lines = fixture.lines();
        let there = format!("{}: Layer already exists", image.diff_ids[0].short());
        assert!(lines.contains(&there), "{lines:?}");

        let elsewhere = Fixture::new();
        let pulled = elsewhere.pull(&name).await.unwrap();
        assert_eq!((pulled[0].id, pulled[0].digest), (image.id(), image.digest()));
        assert_eq!(elsewhere.file(&image.id(), "file-0").unwrap(), noise(seed, 40_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_made_here_is_pushed_as_schema_2() {
    if !is_root() {
        return;
    }
    let Some(registry) = DockerRegistry::start(None) else { return };
    let fixture = Fixture::new();
    let name = format!("{}/made:here", registry.host());
    let archive = tar_of(&[("hello", b"world".to_vec())]);
    let request =
        ImportRequest { tag: Some(Reference::parse(&name).unwrap()), ..Default::default() };
    let id = fixture.store.import(archive.as_slice(), &request).unwrap();
    let pushed = fixture.push(&name, AuthConfig::default()).await.unwrap();

    let elsewhere = Fixture::new();
    let pulled = elsewhere.pull(&name).await.unwrap();
    assert_eq!((pulled[0].id, pulled[0].digest), (id, pushed[0].digest));
    assert_eq!(elsewhere.file(&id, "hello").unwrap(), b"world");
    let reference = Reference::parse(&name).unwrap();
    let inspected = elsewhere.registry.inspect(&reference, &Default::default()).await.unwrap();
    assert_eq!(inspected.media_type, "application/vnd.docker.distribution.manifest.v2+json");
    assert_eq!(fixture.push(&name, AuthConfig::default()).await.unwrap(), pushed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_on_a_zstd_image_is_pushed_as_oci() {
    if !is_root() {
        return;
    }
    let Some(registry) = DockerRegistry::start(None) else { return };
    let base = TestImage::new(Format::OciZstd, "amd64", 45, &[5000]);
    let (fixture, _source) = with_pulled(&base).await;
    let first = format!("{}/base:1", registry.host());
    fixture.tag(&base.id(), &first);
    fixture.push(&first, AuthConfig::default()).await.unwrap();
    fixture.lines();

    let rw = fixture.store.create_rw("c1", &base.id()).unwrap();
    std::fs::write(rw.upper.join("added"), b"here").unwrap();
    let name = format!("{}/derived:1", registry.host());
    let request = CommitRequest {
        container_id: "c1".into(),
        base: base.id(),
        config: Default::default(),
        author: String::new(),
        comment: String::new(),
        created_by: "test".into(),
        docker_version: String::new(),
        tag: Some(Reference::parse(&name).unwrap()),
    };
    let id = fixture.store.commit(&request).unwrap();
    fixture.store.remove_rw("c1").unwrap();
    fixture.push(&name, AuthConfig::default()).await.unwrap();
    let mounted = format!("{}: Mounted from base", base.diff_ids[0].short());
    let lines = fixture.lines();
    assert!(lines.contains(&mounted), "{lines:?}");

    let elsewhere = Fixture::new();
    assert_eq!(elsewhere.pull(&name).await.unwrap()[0].id, id);
    assert_eq!(elsewhere.file(&id, "added").unwrap(), b"here");
    assert_eq!(elsewhere.file(&id, "file-0").unwrap(), noise(45, 5000));
    let reference = Reference::parse(&name).unwrap();
    let inspected = elsewhere.registry.inspect(&reference, &Default::default()).await.unwrap();
    assert_eq!(inspected.media_type, "application/vnd.oci.image.manifest.v1+json");
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_mounted_from_where_they_came() {
    if !is_root() {
        return;
    }
    let Some(registry) = DockerRegistry::start(None) else { return };
    let image = TestImage::new(Format::DockerGzip, "amd64", 50, &[5000]);
    let (fixture, _source) = with_pulled(&image).await;
    let first = format!("{}/first:1", registry.host());
    fixture.tag(&image.id(), &first);
    fixture.push(&first, AuthConfig::default()).await.unwrap();
    fixture.lines();
    let second = format!("{}/second/place:1", registry.host());
    fixture.tag(&image.id(), &second);
    fixture.push(&second, AuthConfig::default()).await.unwrap();
    let mounted = format!("{}: Mounted from first", image.diff_ids[0].short());
    let lines = fixture.lines();
    assert!(lines.contains(&mounted), "{lines:?}");
    assert_eq!(Fixture::new().pull(&second).await.unwrap()[0].id, image.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_upload_goes_on_where_it_stopped() {
    if !is_root() {
        return;
    }
    let Some(registry) = DockerRegistry::start(None) else { return };
    let image = TestImage::new(Format::OciTar, "amd64", 60, &[3_000_000]);
    let (fixture, _source) = with_pulled(&image).await;
    let patches = AtomicUsize::new(0);
    let proxy = Server::before(Some(registry.address), move |request| {
        if request.method == "PATCH" && patches.fetch_add(1, Ordering::Relaxed) < 2 {
            return Reply::ForwardCut(1_000_000);
        }
        Reply::Forward
    })
    .await;
    let name = format!("{}/app:1", proxy.host());
    fixture.tag(&image.id(), &name);
    let pushed = fixture.push(&name, AuthConfig::default()).await.unwrap();
    assert_eq!(pushed[0].digest, image.digest());
    let patches = proxy.seen("PATCH ");
    assert!(patches.len() >= 3, "{patches:?}");
    let name = format!("{}/app:1", registry.host());
    assert_eq!(Fixture::new().pull(&name).await.unwrap()[0].id, image.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_hangs_is_tried_again_and_given_up() {
    if !is_root() {
        return;
    }
    let image = TestImage::new(Format::OciTar, "amd64", 65, &[100_000]);
    let (pulled, _source) = with_pulled(&image).await;
    let server = Server::start(|request| match request.method.as_str() {
        "HEAD" => crate::content::error(404, "BLOB_UNKNOWN", "blob unknown"),
        "POST" => Answer::new(202, "").with("Location", "/v2/app/blobs/uploads/1?state=x").into(),
        "PATCH" => Reply::Hang,
        _ => Answer::new(200, "").into(),
    })
    .await;
    let timeouts = Timeouts { idle: Duration::from_millis(100), ..config().timeouts };
    let settings = RegistryConfig { timeouts, max_attempts: 2, ..config() };
    let registry = Registry::new(pulled.store.clone(), settings);
    let reference = Reference::parse(&format!("{}/app:1", server.host())).unwrap();
    pulled.store.tag(&image.id(), &reference).unwrap();
    let failure = registry.push(&reference, &PushOptions::default(), &|_| ()).await.unwrap_err();
    assert!(failure.to_string().contains("no progress"), "{failure}");
    assert_eq!(failure.kind(), ErrorKind::Unavailable);
    assert_eq!(server.seen("PATCH /v2/app/blobs/uploads/1?state=x").len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_asked_for() {
    if !is_root() {
        return;
    }
    let Some(registry) = DockerRegistry::start(Some(HTPASSWD)) else { return };
    let image = TestImage::new(Format::DockerGzip, "amd64", 70, &[500]);
    let (fixture, _source) = with_pulled(&image).await;
    let name = format!("{}/private/app:1", registry.host());
    fixture.tag(&image.id(), &name);
    let host = registry.host();
    for auth in [AuthConfig::default(), credentials("alice", "wrong")] {
        let failure = fixture.push(&name, auth).await.unwrap_err();
        assert_eq!(failure.kind(), ErrorKind::Unauthorized);
        assert_eq!(
            failure.to_string(),
            format!(
                "push access denied for {host}/private/app, it may be protected or require 'teu login {host}': \
                 unauthorized: authentication required"
            )
        );
    }
    let auth = credentials("alice", "secret");
    fixture.push(&name, auth.clone()).await.unwrap();

    let elsewhere = Fixture::new();
    let failure = elsewhere.pull(&name).await.unwrap_err().to_string();
    assert!(failure.contains("may require 'teu login'"), "{failure}");
    let options = PullOptions { auth, ..Default::default() };
    assert_eq!(elsewhere.pull_with(&name, &options).await.unwrap()[0].id, image.id());
}

#[tokio::test]
async fn what_is_not_here_cannot_be_pushed() {
    let fixture = Fixture::new();
    let failure = fixture.push("127.0.0.1:9/app:1", AuthConfig::default()).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound);
    assert_eq!(
        failure.to_string(),
        "An image does not exist locally with the tag: 127.0.0.1:9/app"
    );
    let name = format!("app@{}", Digest::of(b""));
    let failure = fixture.push(&name, AuthConfig::default()).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::InvalidParameter);
}
