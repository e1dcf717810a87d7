//! Registries that lie. Each lie is refused by name, and nothing of it stays.

use images::registry::{RegistryConfig, RegistryError};
use images::{Digest, ListFilter};
use serde_json::json;

use crate::content::{Format, Memory, TestImage, descriptor, gzip, noise, tar_of};
use crate::harness::{Fixture, files_below, is_root};
use crate::server::{Answer, Reply, Request, Server};

async fn refused(handler: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> RegistryError {
    let server = Server::start(handler).await;
    let fixture = Fixture::new();
    let failure = fixture.pull(&format!("{}/app:1", server.host())).await.unwrap_err();
    let text = failure.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.len() < 2000, "{text}");
    assert!(
        fixture.store.list(&ListFilter { all: true, ..Default::default() }).unwrap().is_empty()
    );
    assert_eq!(files_below(&fixture.dir.path().join("layers"), ""), 0, "{text}");
    failure
}

async fn refused_memory(memory: Memory) -> String {
    refused(move |request| memory.reply(request)).await.to_string()
}

fn image() -> TestImage {
    TestImage::new(Format::DockerGzip, "amd64", 5, &[3000, 2000])
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_that_are_not_what_the_manifest_says_are_refused() {
    let image = image();
    let layer = &image.layers[0];
    let digest = Digest::of(layer);
    let mut flipped = layer.clone();
    flipped[100] ^= 1;
    let mut longer = layer.clone();
    longer.extend([0; 10]);
    for (bytes, expected) in [
        (flipped, "digest mismatch"),
        (longer, "the manifest says"),
        (layer[..100].to_vec(), "the manifest says"),
        (Vec::new(), "the manifest says"),
    ] {
        let mut memory = Memory::of("1", &image);
        memory.forge(digest, bytes);
        let text = refused_memory(memory).await;
        assert!(text.contains(expected) && text.contains(&digest.to_string()), "{text}");
    }
    let mut memory = Memory::of("1", &image);
    memory.forge(Digest::of(&image.config), b"{}".to_vec());
    let text = refused_memory(memory).await;
    assert!(text.contains("has digest") && text.contains("config"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_without_end_is_cut_off() {
    let image = image();
    let memory = Memory::of("1", &image);
    let digest = Digest::of(&image.layers[1]).to_string();
    let failure = refused(move |request| {
        if !request.path.ends_with(&digest) {
            return memory.reply(request);
        }
        let mut body = Vec::new();
        for _ in 0..64 {
            body.extend_from_slice(b"1000\r\n");
            body.extend(noise(1, 0x1000));
            body.extend_from_slice(b"\r\n");
        }
        let mut answer = Answer::new(200, body).with("Transfer-Encoding", "chunked");
        answer.stall = Some(usize::MAX);
        answer.into()
    })
    .await;
    assert!(failure.to_string().contains("more than the"), "{failure}");
}

#[tokio::test]
async fn replies_without_bound_are_not_read() {
    for part in ["/manifests/", "/blobs/"] {
        let image = image();
        for honest in [true, false] {
            let memory = Memory::of("1", &image);
            let failure = refused(move |request| {
                if !request.path.contains(part) {
                    return memory.reply(request);
                }
                let mut body = Vec::new();
                for _ in 0..5000 {
                    body.extend_from_slice(b"400\r\n");
                    body.extend([b' '; 0x400]);
                    body.extend_from_slice(b"\r\n");
                }
                let answer = Answer::new(200, body);
                if honest {
                    answer.with("Content-Length", 1_u64 << 40).into()
                } else {
                    answer.with("Transfer-Encoding", "chunked").into()
                }
            })
            .await;
            assert!(
                matches!(failure, RegistryError::TooLarge { .. }),
                "{part} {honest}: {failure}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_that_lie_are_refused() {
    let image = image();
    let huge = image.edited(|manifest| manifest["config"]["size"] = json!(1_u64 << 40));
    let fewer = image.edited(|manifest| {
        manifest["layers"].as_array_mut().unwrap().pop();
    });
    let swapped = image.edited(|manifest| manifest["layers"].as_array_mut().unwrap().reverse());
    let config = image.edited(|manifest| {
        manifest["config"] =
            descriptor("application/vnd.docker.container.image.v1+json", &image.layers[0]);
    });
    for (image, expected) in [
        (huge, "larger than"),
        (fewer, "it has 1 layers, the image config has 2"),
        (swapped, "mismatch"),
        (config, "invalid image config"),
    ] {
        let text = refused_memory(Memory::of("1", &image)).await;
        assert!(text.contains(expected), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_header_that_does_not_fit_is_refused() {
    let image = image();
    let failure = refused(move |request| {
        let Reply::Answer(answer) = Memory::of("1", &image).reply(request) else { unreachable!() };
        answer.with("Docker-Content-Digest", Digest::of(b"other")).into()
    })
    .await;
    assert!(matches!(failure, RegistryError::DigestMismatch { .. }), "{failure}");
}

#[tokio::test(flavor = "multi_thread")]
async fn index_cycles_end() {
    let mut memory = Memory::default();
    let image = image();
    let mut last = memory.index("0", &[("linux/amd64", &image)]);
    for depth in 1..5 {
        let entry = json!({"mediaType": crate::content::INDEX, "digest": last, "size": 1,
                           "platform": {"os": "linux", "architecture": "amd64"}});
        let index =
            json!({"schemaVersion": 2, "mediaType": crate::content::INDEX, "manifests": [entry]})
                .to_string();
        last = Digest::of(index.as_bytes());
        memory.manifest(
            if depth == 4 { "1" } else { "x" },
            crate::content::INDEX,
            index.as_bytes(),
        );
    }
    let text = refused_memory(memory).await;
    assert!(text.contains("nested deeper"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_cannot_leave_their_root_or_grow_without_bound() {
    if !is_root() {
        return;
    }
    let mut traversal = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(1);
    header.as_mut_bytes()[..13].copy_from_slice(b"../../escaped");
    header.set_cksum();
    traversal.append(&header, b"x".as_slice()).unwrap();
    let traversal = traversal.into_inner().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let image = TestImage::of_tars(Format::DockerGzip, "amd64", &[traversal]);
    let memory = Memory::of("1", &image);
    let server = Server::start(move |request| memory.reply(request)).await;
    let fixture = Fixture::at(outside, crate::harness::config());
    // Refused, or kept below the layer's root: either way nothing is outside.
    let _ = fixture.pull(&format!("{}/app:1", server.host())).await;
    assert!(!fixture.dir.path().join("layers/escaped").exists());
    assert!(!fixture.dir.path().join("escaped").exists());

    let truncated = gzip(&tar_of(&[("file", noise(3, 4000))])[..2000]);
    let mut image =
        TestImage::of_tars(Format::DockerGzip, "amd64", &[tar_of(&[("file", noise(3, 4000))])]);
    image.layers = vec![truncated];
    let image = image.edited(|manifest| {
        let kind = manifest["layers"][0]["mediaType"].as_str().unwrap().to_owned();
        manifest["layers"][0] = descriptor(&kind, &image.layers[0]);
    });
    refused_memory(Memory::of("1", &image)).await;
}

/// Random damage to whatever the registry sends: an error or a pull, never a panic, a hang or a leftover image.
#[tokio::test(flavor = "multi_thread")]
async fn random_replies_are_survived() {
    if !is_root() {
        return;
    }
    for seed in 0..60_u64 {
        let image = image();
        let memory = Memory::of("1", &image);
        let server = Server::start(move |request| {
            let dice = noise(seed ^ (request.path.len() as u64 * 131), 8);
            let Reply::Answer(mut answer) = memory.reply(request) else { unreachable!() };
            if !answer.body.is_empty() && request.path != "/v2/" {
                let at = usize::from(dice[1]) * answer.body.len() / 256;
                match dice[0] % 8 {
                    0 => answer.body[at] ^= 1 << (dice[2] % 8),
                    1 => answer.body.truncate(at),
                    2 => answer.cut = Some(at),
                    3 => {
                        answer.status =
                            [204, 206, 301, 307, 404, 416, 500][usize::from(dice[2]) % 7]
                    }
                    4 => answer.headers.push(("Location".into(), "/v2/app/manifests/1".into())),
                    5 => return Reply::Raw(noise(seed, at)),
                    6 => answer.headers.push(("Content-Encoding".into(), "gzip".into())),
                    _ => {}
                }
            }
            answer.into()
        })
        .await;
        let fixture = Fixture::new();
        let name = format!("{}/app:1", server.host());
        let pulled =
            tokio::time::timeout(std::time::Duration::from_secs(60), fixture.pull(&name)).await;
        match pulled.unwrap_or_else(|_| panic!("seed {seed} hangs")) {
            Ok(pulled) => assert_eq!(pulled[0].id, image.id()),
            Err(_) => assert!(fixture.store.resolve(&name).is_err()),
        }
    }
}

/// The same for a push: whatever the registry answers, the push ends, and the image here stays as it is.
#[tokio::test(flavor = "multi_thread")]
async fn random_replies_to_a_push_are_survived() {
    if !is_root() {
        return;
    }
    let image = image();
    let memory = Memory::of("1", &image);
    let source = Server::start(move |request| memory.reply(request)).await;
    let settings = RegistryConfig { max_attempts: 3, ..crate::harness::config() };
    let fixture = Fixture::with(settings);
    fixture.pull(&format!("{}/app:1", source.host())).await.unwrap();
    for seed in 0..60_u64 {
        let server = Server::start(move |request| {
            let line = request.line().len() as u64;
            let dice = noise((seed * 1000) ^ line, 8);
            let status =
                [200, 201, 202, 204, 206, 301, 307, 400, 401, 404, 405, 416, 429, 500, 201, 202];
            let location = [
                "/v2/app/blobs/uploads/1",
                "http://127.0.0.1:9/x",
                "http://[::1",
                "",
                "ftp://x/",
                "?\u{7f}",
                "//",
                "/v2/app/blobs/uploads/1?digest=sha256:00",
            ];
            let range = ["0-0", "0-99999999999999999999", "5-1", "-", "bytes=0-100", "0-1000"];
            Answer::new(status[usize::from(dice[0]) % status.len()], "")
                .with("Location", location[usize::from(dice[1]) % location.len()])
                .with("Range", range[usize::from(dice[2]) % range.len()])
                .with("WWW-Authenticate", "Basic realm=x, Bearer realm=\"data:,\"")
                .into()
        })
        .await;
        let name = format!("{}/app:1", server.host());
        fixture.tag(&image.id(), &name);
        let push = fixture.push(&name, crate::harness::credentials("alice", "secret"));
        let pushed = tokio::time::timeout(std::time::Duration::from_secs(60), push).await;
        // A registry that says it has everything is believed.
        let _ = pushed.unwrap_or_else(|_| panic!("seed {seed} hangs"));
        assert_eq!(fixture.store.resolve(&name).unwrap(), image.id());
    }
}

#[tokio::test]
async fn token_servers_that_lie_are_refused() {
    let rows: &[(&str, u16, &[u8], &str)] = &[
        ("file:///etc/passwd", 200, b"", "not an http or https URL"),
        ("http://[::1", 200, b"", "realm"),
        ("", 200, b"", "realm"),
        ("HOST", 200, b"{}", "has no token"),
        ("HOST", 200, b"not json", "token of"),
        ("HOST", 200, b"{\"token\": 7}", "invalid type"),
        ("HOST", 200, b"{\"token\": \"a\\r\\nX-Evil: 1\"}", "cannot be sent"),
        ("HOST", 403, b"{\"details\": \"\\u001b[2Jno\"}", "unauthorized: [2Jno"),
        ("HOST", 500, b"oops", "500"),
    ];
    for (realm, status, body, expected) in rows {
        let (status, body) = (*status, body.to_vec());
        let tokens = Server::start(move |_| Answer::new(status, body.clone()).into()).await;
        let realm = if *realm == "HOST" {
            format!("http://{}/", tokens.host())
        } else {
            (*realm).to_owned()
        };
        let header = format!("Bearer realm=\"{realm}\",service=x");
        let server =
            Server::start(move |_| Answer::new(401, "").with("WWW-Authenticate", &header).into())
                .await;
        let auth = crate::harness::credentials("alice", "secret");
        let failure =
            Fixture::new().registry.login(&server.host(), &auth).await.unwrap_err().to_string();
        assert!(failure.contains(expected), "{realm}: {failure}");
        assert!(!failure.chars().any(char::is_control), "{failure:?}");
        assert!(!failure.contains("secret"), "{failure}");
    }
    let endless = Server::start(|_| Answer::new(200, vec![b' '; 1 << 20]).into()).await;
    let header = format!("Bearer realm=\"http://{}/\"", endless.host());
    let server =
        Server::start(move |_| Answer::new(401, "").with("WWW-Authenticate", &header).into()).await;
    let failure =
        Fixture::new().registry.login(&server.host(), &Default::default()).await.unwrap_err();
    assert!(matches!(failure, RegistryError::TooLarge { .. }), "{failure}");
}
