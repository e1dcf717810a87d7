//! Downloads over connections that break, and registries that are slow, full or confused.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use images::registry::{RegistryConfig, Timeouts};
use images::{Digest, ErrorKind};

use crate::content::{Format, Memory, TestImage, noise, ranged};
use crate::harness::{Fixture, config, is_root};
use crate::server::{Answer, Reply, Request, Server};

const SIZE: usize = 200_000;

/// An image of one layer, and that layer's digest.
fn image() -> (TestImage, String) {
    let image = TestImage::new(Format::OciTar, "amd64", 77, &[SIZE]);
    let layer = Digest::of(&image.layers[0]).to_string();
    (image, layer)
}

/// Serves the image; the n-th request for the layer (from 0) goes to `fault`.
async fn faulty(
    image: &TestImage,
    fault: impl Fn(usize, &Request, &[u8]) -> Reply + Send + Sync + 'static,
) -> Server {
    let memory = Memory::of("1", image);
    let layer = image.layers[0].clone();
    let digest = Digest::of(&layer).to_string();
    let count = AtomicUsize::new(0);
    Server::start(move |request| {
        if request.path.ends_with(&digest) {
            return fault(count.fetch_add(1, Ordering::Relaxed), request, &layer);
        }
        memory.reply(request)
    })
    .await
}

fn cut(mut answer: Answer, at: usize) -> Reply {
    answer.cut = Some(at);
    answer.into()
}

fn ranges(server: &Server, layer: &str) -> Vec<String> {
    server
        .seen(layer)
        .iter()
        .map(|request| request.header("range").unwrap_or("-").to_owned())
        .collect()
}

async fn pulls(server: &Server, image: &TestImage) -> Fixture {
    let fixture = Fixture::new();
    let pulled = fixture.pull(&format!("{}/app:1", server.host())).await.unwrap();
    assert_eq!(pulled[0].id, image.id());
    assert_eq!(fixture.file(&image.id(), "file-0").unwrap(), noise(77, SIZE));
    fixture
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_download_goes_on_where_it_stopped() {
    if !is_root() {
        return;
    }
    let (image, layer) = image();
    let server = faulty(&image, |n, request, bytes| match n {
        0..=2 => cut(ranged(request, bytes), 50_000),
        _ => ranged(request, bytes).into(),
    })
    .await;
    let fixture = pulls(&server, &image).await;
    assert_eq!(ranges(&server, &layer), ["-", "bytes=50000-", "bytes=100000-", "bytes=150000-"]);
    assert!(fixture.lines().iter().any(|line| line.ends_with(": Retrying in 1 second")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_after_a_restart_of_the_daemon() {
    if !is_root() {
        return;
    }
    let (image, layer) = image();
    let server = faulty(&image, |n, request, bytes| match n {
        0 => cut(ranged(request, bytes), 120_000),
        _ => ranged(request, bytes).into(),
    })
    .await;
    let fixture = Fixture::with(RegistryConfig { max_attempts: 1, ..config() });
    let name = format!("{}/app:1", server.host());
    let failure = fixture.pull(&name).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Unavailable, "{failure}");
    assert!(fixture.store.resolve(&name).is_err());

    let fixture = fixture.restarted();
    assert_eq!(fixture.pull(&name).await.unwrap()[0].id, image.id());
    assert_eq!(ranges(&server, &layer), ["-", "bytes=120000-"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_pull_leaves_only_what_can_be_resumed() {
    if !is_root() {
        return;
    }
    let (image, layer) = image();
    let server = faulty(&image, |n, request, bytes| {
        let mut answer = ranged(request, bytes);
        answer.stall = (n == 0).then_some(90_000);
        answer.into()
    })
    .await;
    let fixture = Fixture::new();
    let name = format!("{}/app:1", server.host());
    let (enough, arrived) = tokio::sync::oneshot::channel();
    let enough = std::sync::Mutex::new(Some(enough));
    let reference = images::Reference::parse(&name).unwrap();
    let report = |message| {
        if let images::Progress::Layer {
            state: images::LayerState::Downloading { current, .. },
            ..
        } = message
            && current > 0
            && let Some(enough) = enough.lock().unwrap().take()
        {
            enough.send(()).unwrap();
        }
    };
    let options = images::registry::PullOptions::default();
    tokio::select! {
        result = fixture.registry.pull(&reference, &options, &report) => panic!("ended: {result:?}"),
        _ = arrived => {}
    }
    assert!(fixture.store.resolve(&name).is_err());
    assert_eq!(fixture.pull(&name).await.unwrap()[0].id, image.id());
    let ranges = ranges(&server, &layer);
    assert_eq!(ranges.len(), 2);
    assert!(ranges[1].starts_with("bytes="), "{ranges:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_that_cannot_resume_are_asked_from_the_start() {
    if !is_root() {
        return;
    }
    type Fault = fn(&Request, &[u8]) -> Reply;
    let second: [(&str, Fault); 5] = [
        ("ignores the range", |_, bytes| Answer::new(200, bytes).into()),
        ("refuses the range", |_, _| Answer::new(416, "").into()),
        ("starts elsewhere", |_, bytes| {
            Answer::new(206, &bytes[10..])
                .with("Content-Range", format!("bytes 10-{}/*", bytes.len() - 1))
                .into()
        }),
        ("does not say where it starts", |_, bytes| Answer::new(206, bytes).into()),
        ("sends other bytes for the rest", |_, bytes| {
            Answer::new(206, vec![0; bytes.len() - 60_000])
                .with("Content-Range", format!("bytes 60000-{}/{}", bytes.len() - 1, bytes.len()))
                .into()
        }),
    ];
    for (what, fault) in second {
        let (image, _) = image();
        let server = faulty(&image, move |n, request, bytes| match n {
            0 => cut(Answer::new(200, bytes), 60_000),
            1 => fault(request, bytes),
            _ => Answer::new(200, bytes).into(),
        })
        .await;
        eprintln!("{what}");
        pulls(&server, &image).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn busy_registries_are_asked_again_as_they_wish() {
    if !is_root() {
        return;
    }
    let (image, layer) = image();
    let server = faulty(&image, |n, request, bytes| match n {
        0 => Answer::new(429, "slow down").with("Retry-After", "0").into(),
        1 => Answer::new(503, "").with("Retry-After", "Mon, 01 Jan 2024 00:00:00 GMT").into(),
        2 => Reply::Close,
        3 => Answer::new(500, "").into(),
        _ => ranged(request, bytes).into(),
    })
    .await;
    pulls(&server, &image).await;
    assert_eq!(server.seen(&layer).len(), 5);

    let server =
        faulty(&image, |_, _, _| Answer::new(429, "later").with("Retry-After", "100000").into())
            .await;
    let fixture = Fixture::new();
    let failure = fixture.pull(&format!("{}/app:1", server.host())).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Unavailable);
    assert!(failure.to_string().contains("429"), "{failure}");
    assert_eq!(server.seen(&layer).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_hangs_is_given_up() {
    let (image, layer) = image();
    let server = faulty(&image, |n, request, bytes| match n {
        0 => Reply::Hang,
        _ => {
            let mut answer = ranged(request, bytes);
            answer.stall = Some(0);
            answer.into()
        }
    })
    .await;
    let timeouts = Timeouts { idle: Duration::from_millis(200), ..config().timeouts };
    let fixture = Fixture::with(RegistryConfig { timeouts, max_attempts: 3, ..config() });
    let started = Instant::now();
    let failure = fixture.pull(&format!("{}/app:1", server.host())).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Unavailable);
    assert!(failure.to_string().contains("no answer in time"), "{failure}");
    assert_eq!(server.seen(&layer).len(), 3);
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_always_breaks_is_given_up() {
    let (image, layer) = image();
    let server = faulty(&image, |_, _, bytes| cut(Answer::new(200, bytes), 1000)).await;
    let fixture = Fixture::new();
    let failure = fixture.pull(&format!("{}/app:1", server.host())).await.unwrap_err();
    assert_eq!(failure.kind(), ErrorKind::Unavailable, "{failure}");
    assert_eq!(server.seen(&layer).len(), 5);
}

/// Runs itself once more in a mount namespace of its own, where the small filesystem goes with the process.
#[test]
fn a_full_disk_is_told_and_left_clean() {
    const INSIDE: &str = "REGISTRY_TEST_FULL_DISK";
    if !is_root() {
        return;
    }
    if std::env::var_os(INSIDE).is_none() {
        let test = "faults::a_full_disk_is_told_and_left_clean";
        let exe = std::env::current_exe().unwrap();
        let output = std::process::Command::new("unshare")
            .arg("--mount")
            .arg(exe)
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(dir.path())
        .status()
        .unwrap();
    assert!(mounted.success());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let image = TestImage::new(Format::OciTar, "amd64", 9, &[4_000_000]);
        let memory = Memory::of("1", &image);
        let server = Server::start(move |request| memory.reply(request)).await;
        let store = images::Store::open(dir.path()).unwrap();
        let registry = images::registry::Registry::new(store.clone(), config());
        let reference = images::Reference::parse(&format!("{}/app:1", server.host())).unwrap();
        let options = images::registry::PullOptions::default();
        let failure = registry.pull(&reference, &options, &|_| ()).await.unwrap_err();
        assert!(failure.to_string().contains("no space left on device"), "{failure}");
        assert_eq!(failure.kind(), ErrorKind::Unavailable);
        assert_eq!(crate::harness::files_below(&dir.path().join("content"), ""), 0);
        assert!(store.list(&images::ListFilter::default()).unwrap().is_empty());
    });
    drop(runtime);
    assert!(std::process::Command::new("umount").arg(dir.path()).status().unwrap().success());
}
