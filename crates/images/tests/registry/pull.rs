//! Pulls from a registry that behaves.

use images::registry::{InsecureRegistries, Mirror, Platform, PullOptions, RegistryConfig};
use images::{Digest, ErrorKind, Reference, RemoveOptions};

use crate::content::{Format, Memory, TestImage, error, noise, tar_of};
use crate::harness::{Fixture, config, is_root};
use crate::server::{Answer, Server};

#[tokio::test(flavor = "multi_thread")]
async fn every_format_is_pulled_with_dockers_messages() {
    if !is_root() {
        return;
    }
    for (format, seed) in [
        (Format::DockerGzip, 1),
        (Format::OciGzip, 10),
        (Format::OciZstd, 20),
        (Format::OciTar, 30),
    ] {
        let image = TestImage::new(format, "amd64", seed, &[5000, 300]);
        let memory = Memory::of("1.0", &image);
        let server = Server::start(move |request| memory.reply(request)).await;
        let fixture = Fixture::new();
        let name = format!("{}/some/app:1.0", server.host());
        let pulled = fixture.pull(&name).await.unwrap();
        assert_eq!(pulled.len(), 1);
        assert_eq!(
            (pulled[0].id, pulled[0].digest, pulled[0].newer),
            (image.id(), image.digest(), true)
        );
        assert_eq!(fixture.store.resolve(&name).unwrap(), image.id());
        let by_digest = format!("{}/some/app@{}", server.host(), image.digest());
        assert_eq!(fixture.store.resolve(&by_digest).unwrap(), image.id());
        assert_eq!(fixture.file(&image.id(), "file-0").unwrap(), noise(seed, 5000));
        assert_eq!(fixture.file(&image.id(), "file-1").unwrap(), noise(seed + 1, 300));

        let lines = fixture.lines();
        assert_eq!(lines[0], "1.0: Pulling from some/app");
        for layer in &image.layers {
            let short = Digest::of(layer).short();
            let own: Vec<&str> =
                lines.iter().filter_map(|line| line.strip_prefix(&format!("{short}: "))).collect();
            assert_eq!(own.first(), Some(&"Pulling fs layer"), "{lines:?}");
            let steps = [
                "Downloading",
                "Verifying Checksum",
                "Download complete",
                "Extracting",
                "Pull complete",
            ];
            let mut rest = own.iter();
            for step in steps {
                assert!(rest.any(|line| *line == step), "{step}: {own:?}");
            }
        }
        let end = [
            format!("Digest: {}", image.digest()),
            format!("Status: Downloaded newer image for {name}"),
        ];
        assert_eq!(lines[lines.len() - 2..], end);

        assert!(!fixture.pull(&name).await.unwrap()[0].newer);
        let again = [
            "1.0: Pulling from some/app".to_owned(),
            format!("Digest: {}", image.digest()),
            format!("Status: Image is up to date for {name}"),
        ];
        assert_eq!(fixture.lines(), again);
        assert_eq!(server.seen("/blobs/").len(), 3, "nothing is downloaded twice");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_platform_is_chosen_and_others_are_refused() {
    if !is_root() {
        return;
    }
    let host = Platform::host();
    let here = TestImage::new(Format::OciGzip, &host.architecture, 1, &[100]);
    let there = TestImage::new(Format::OciGzip, "s390x", 2, &[100]);
    let mut memory = Memory::default();
    let index = memory.index("multi", &[("linux/s390x", &there), (&host.to_string(), &here)]);
    memory.index("foreign", &[("linux/s390x", &there), ("windows/amd64", &there)]);
    memory.add("single", &there);
    let server = Server::start(move |request| memory.reply(request)).await;
    let fixture = Fixture::new();
    let name = |tag: &str| format!("{}/app:{tag}", server.host());

    let pulled = fixture.pull(&name("multi")).await.unwrap();
    assert_eq!((pulled[0].id, pulled[0].digest), (here.id(), index));

    let failure = fixture.pull(&name("foreign")).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::NotFound);
    assert_eq!(
        failure.to_string(),
        format!(
            "no matching manifest for {host} in the manifest list entries: \
             available are linux/s390x, windows/amd64"
        )
    );
    let failure = fixture.pull(&name("single")).await.unwrap_err().to_string();
    assert!(failure.contains("is for linux/s390x"), "{failure}");
    assert!(failure.contains("--platform linux/s390x"), "{failure}");

    let options = PullOptions {
        platform: Some(Platform::parse("linux/s390x").unwrap()),
        ..Default::default()
    };
    for tag in ["multi", "single"] {
        assert_eq!(fixture.pull_with(&name(tag), &options).await.unwrap()[0].id, there.id());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_is_pulled_and_verified() {
    if !is_root() {
        return;
    }
    let image = TestImage::new(Format::DockerGzip, "amd64", 3, &[100]);
    let other = TestImage::new(Format::DockerGzip, "amd64", 4, &[100]);
    let memory = Memory::of("1", &image);
    let lie = other.manifest.clone();
    let lied_about = other.digest();
    let server = Server::start(move |request| {
        if request.path.ends_with(&Digest::of(b"missing").to_string()) {
            return Answer::new(200, lie.clone()).into();
        }
        memory.reply(request)
    })
    .await;
    let fixture = Fixture::new();
    let name = format!("{}/app@{}", server.host(), image.digest());
    assert_eq!(fixture.pull(&name).await.unwrap()[0].id, image.id());
    assert_eq!(
        fixture.lines().last().unwrap(),
        &format!("Status: Downloaded newer image for {name}")
    );

    let failure = fixture
        .pull(&format!("{}/app@{}", server.host(), Digest::of(b"missing")))
        .await
        .unwrap_err();
    let text = failure.to_string();
    assert!(text.contains(&format!("has digest {lied_about}, expected")), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tags_are_pulled_over_several_pages() {
    if !is_root() {
        return;
    }
    let (one, two) = (
        TestImage::new(Format::DockerGzip, "amd64", 5, &[100]),
        TestImage::new(Format::DockerGzip, "amd64", 6, &[100]),
    );
    let mut memory = Memory::of("one", &one);
    memory.add("two", &two);
    let server = Server::start(move |request| match request.path.as_str() {
        "/v2/app/tags/list" => Answer::new(200, r#"{"name":"app","tags":["one"]}"#)
            .with("Link", "</v2/app/tags/list?last=one&n=1>; rel=\"next\"")
            .into(),
        "/v2/app/tags/list?last=one&n=1" => {
            Answer::new(200, r#"{"name":"app","tags":["two"]}"#).into()
        }
        _ => memory.reply(request),
    })
    .await;
    let fixture = Fixture::new();
    let name = format!("{}/app", server.host());
    let options = PullOptions { all_tags: true, ..Default::default() };
    let ids: Vec<_> =
        fixture.pull_with(&name, &options).await.unwrap().iter().map(|pulled| pulled.id).collect();
    assert_eq!(ids, [one.id(), two.id()]);
    assert_eq!(
        fixture.lines().last().unwrap(),
        &format!("Status: Downloaded newer image for {name}")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn mirrors_come_first_and_are_passed_over_when_they_fail() {
    if !is_root() {
        return;
    }
    let image = TestImage::new(Format::DockerGzip, "amd64", 7, &[100]);
    let memory = Memory::of("latest", &image);
    let broken = Server::start(|_| error(404, "MANIFEST_UNKNOWN", "not here")).await;
    let mirror = Server::start(move |request| memory.reply(request)).await;
    let mirrors = [&broken, &mirror]
        .map(|server| Mirror::parse(&format!("http://{}", server.host())).unwrap());
    let fixture = Fixture::with(RegistryConfig { mirrors: mirrors.to_vec(), ..config() });
    let auth = crate::harness::credentials("hub-user", "hub-password");
    fixture.pull_with("app", &PullOptions { auth, ..Default::default() }).await.unwrap();
    assert_eq!(fixture.store.resolve("app:latest").unwrap(), image.id());
    assert!(!broken.requests().is_empty());
    assert!(!mirror.seen("/v2/library/app/").is_empty());
    assert!(mirror.requests().iter().all(|request| request.header("authorization").is_none()));
    assert_eq!(fixture.lines().last().unwrap(), "Status: Downloaded newer image for app:latest");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pulls_share_one_download() {
    if !is_root() {
        return;
    }
    let image = TestImage::new(Format::OciTar, "amd64", 8, &[3_000_000]);
    let layer = Digest::of(&image.layers[0]).to_string();
    let memory = Memory::of("1", &image);
    let server = Server::start(move |request| memory.reply(request)).await;
    let fixture = Fixture::new();
    let name = format!("{}/app:1", server.host());
    let (first, second) = tokio::join!(fixture.pull(&name), fixture.pull(&name));
    assert_eq!((first.unwrap()[0].id, second.unwrap()[0].id), (image.id(), image.id()));
    assert_eq!(server.seen(&layer).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_and_removals_of_the_same_layers_do_not_meet() {
    if !is_root() {
        return;
    }
    let tars = [tar_of(&[("shared", noise(1, 50_000))]), tar_of(&[("own", noise(2, 50_000))])];
    let images =
        [&tars[..1], &tars[..]].map(|tars| TestImage::of_tars(Format::OciGzip, "amd64", tars));
    let mut memory = Memory::of("0", &images[0]);
    memory.add("1", &images[1]);
    let server = Server::start(move |request| memory.reply(request)).await;
    let fixture = std::sync::Arc::new(Fixture::new());
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..4 {
        let (fixture, name) = (fixture.clone(), format!("{}/app:{}", server.host(), n % 2));
        tasks.spawn(async move {
            for _ in 0..6 {
                fixture.pull(&name).await.unwrap();
                let (store, name) = (fixture.store.clone(), name.clone());
                let removed = tokio::task::spawn_blocking(move || {
                    let options = RemoveOptions { force: true, no_prune: false, in_use: &|_| None };
                    store.remove(&name, &options)
                });
                // The other task with this name may have been first.
                let _ = removed.await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let name = format!("{}/app:1", server.host());
    assert_eq!(fixture.pull(&name).await.unwrap()[0].id, images[1].id());
    assert_eq!(fixture.file(&images[1].id(), "shared").unwrap(), noise(1, 50_000));
    assert!(fixture.store.verify().unwrap().is_empty());
}

#[tokio::test]
async fn errors_name_the_image_and_the_next_step() {
    let server = Server::start(|request| match request.path.as_str() {
        "/v2/" => Answer::new(200, "").into(),
        path if path.contains("denied") => {
            error(403, "DENIED", "requested access to the resource is denied")
        }
        path if path.contains("nothing") => {
            error(404, "NAME_UNKNOWN", "repository name not known to registry")
        }
        path if path.contains("broken") => Answer::new(418, "\u{1b}[2Jteapot\n").into(),
        _ => error(404, "MANIFEST_UNKNOWN", "manifest unknown"),
    })
    .await;
    let fixture = Fixture::new();
    let host = server.host();
    for (name, kind, expected) in [
        (
            "denied",
            ErrorKind::NotFound,
            format!(
                "pull access denied for {host}/denied, repository does not exist or may require 'teu login': \
                 denied: requested access to the resource is denied"
            ),
        ),
        (
            "nothing",
            ErrorKind::NotFound,
            format!(
                "repository {host}/nothing not found: name unknown: repository name not known to registry"
            ),
        ),
        (
            "app:9",
            ErrorKind::NotFound,
            format!("manifest for {host}/app:9 not found: manifest unknown: manifest unknown"),
        ),
        (
            "broken",
            ErrorKind::Internal,
            format!(
                "unexpected status from GET http://{host}/v2/broken/manifests/latest request: \
                 418 I'm a teapot: [2Jteapot"
            ),
        ),
    ] {
        let failure = fixture.pull(&format!("{host}/{name}")).await.unwrap_err();
        assert_eq!(failure.to_string(), expected);
        assert_eq!(failure.kind(), kind, "{name}");
    }
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_named_with_what_was_tried() {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let fixture = Fixture::new();
    let failure = fixture.pull(&format!("{address}/app")).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Unavailable);
    let text = failure.to_string();
    for part in [
        format!("registry {address} cannot be reached"),
        format!("GET https://{address}/"),
        format!("GET http://{address}/"),
        "refused".to_owned(),
        "check the name".to_owned(),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    let failure = fixture.pull("registry.invalid/app").await.unwrap_err().to_string();
    assert!(failure.contains("registry registry.invalid cannot be reached"), "{failure}");
}

#[tokio::test]
async fn inspect_tells_digest_and_platforms() {
    let image = TestImage::new(Format::DockerGzip, "amd64", 9, &[10]);
    let mut memory = Memory::of("single", &image);
    let index = memory.index("multi", &[("linux/amd64", &image), ("linux/arm64", &image)]);
    let server = Server::start(move |request| memory.reply(request)).await;
    let fixture = Fixture::with(RegistryConfig {
        insecure: InsecureRegistries::parse(["127.0.0.0/8"]).unwrap(),
        ..config()
    });
    for (tag, digest, platforms) in [
        ("single", image.digest(), vec!["linux/amd64"]),
        ("multi", index, vec!["linux/amd64", "linux/arm64"]),
    ] {
        let reference = Reference::parse(&format!("{}/app:{tag}", server.host())).unwrap();
        let inspected = fixture.registry.inspect(&reference, &Default::default()).await.unwrap();
        let found: Vec<String> = inspected.platforms.iter().map(ToString::to_string).collect();
        assert_eq!(
            (inspected.digest, found),
            (digest, platforms.into_iter().map(str::to_owned).collect())
        );
    }
}

/// The daemon runs these in tasks of their own.
#[test]
fn the_futures_are_send() {
    fn check<T: Send>(_: T) {}
    let fixture = Fixture::new();
    let reference = Reference::parse("app:1").unwrap();
    let auth = Default::default();
    check(fixture.registry.pull(&reference, &Default::default(), &|_| ()));
    check(fixture.registry.push(&reference, &Default::default(), &|_| ()));
    check(fixture.registry.inspect(&reference, &auth));
    check(fixture.registry.login("", &auth));
}
