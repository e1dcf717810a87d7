use std::fs;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::{FutureExt, StreamExt, TryStreamExt};
use tokio::sync::Notify;

use super::*;

struct Log {
    dir: tempfile::TempDir,
    written: u64,
}

impl Log {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), written: 0 }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("c-json.log")
    }

    fn old(&self, suffix: &str) -> PathBuf {
        self.dir.path().join(format!("c-json.log.{suffix}"))
    }

    fn raw(&self, bytes: &[u8]) {
        let mut options = fs::File::options();
        options.append(true).create(true).open(self.path()).unwrap().write_all(bytes).unwrap();
    }

    /// Appends lines numbered on from the last; line n has second n.
    fn lines(&mut self, count: u64) {
        for _ in 0..count {
            let n = self.written;
            let stream = if n.is_multiple_of(2) { "stdout" } else { "stderr" };
            let time = Timestamp::from_second(i64::try_from(n).unwrap()).unwrap();
            self.raw(
                format!("{{\"log\":\"{n}\\n\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n")
                    .as_bytes(),
            );
            self.written += 1;
        }
    }

    fn rotate(&self) {
        for n in (1..5).rev() {
            let _ = fs::rename(self.old(&n.to_string()), self.old(&(n + 1).to_string()));
        }
        fs::rename(self.path(), self.old("1")).unwrap();
    }

    fn compress(&self, number: u32) {
        let plain = self.old(&number.to_string());
        let file = fs::File::create(self.old(&format!("{number}.gz"))).unwrap();
        let mut encoder = GzEncoder::new(file, Compression::fast());
        encoder.write_all(&fs::read(&plain).unwrap()).unwrap();
        encoder.finish().unwrap();
        fs::remove_file(plain).unwrap();
    }

    async fn read(&self, options: LogOptions) -> Vec<u64> {
        numbers(read(&self.path(), options, None).try_collect().await.unwrap())
    }
}

fn numbers(lines: Vec<LogLine>) -> Vec<u64> {
    lines.iter().map(number).collect()
}

fn number(line: &LogLine) -> u64 {
    std::str::from_utf8(&line.message).unwrap().trim_end().parse().unwrap()
}

fn tail(count: u64) -> LogOptions {
    LogOptions { tail: Some(count), ..LogOptions::default() }
}

#[tokio::test]
async fn tail_reaches_over_generations() {
    let mut log = Log::new();
    assert!(log.read(LogOptions::default()).await.is_empty());
    for _ in 0..3 {
        log.lines(100);
        log.rotate();
    }
    log.compress(3);
    log.compress(2);
    log.lines(5);
    let all: Vec<u64> = (0..305).collect();
    assert_eq!(log.read(LogOptions::default()).await, all);
    for count in [0, 1, 4, 5, 6, 104, 105, 106, 205, 299, 305, 1000] {
        let from = all.len().saturating_sub(count);
        assert_eq!(log.read(tail(count as u64)).await, all[from..], "tail {count}");
    }
}

#[tokio::test]
async fn tail_of_a_long_file_starts_inside_it() {
    let mut log = Log::new();
    log.lines(5000);
    assert_eq!(log.read(tail(1234)).await, (3766..5000).collect::<Vec<_>>());
}

#[tokio::test]
async fn times_and_sources_select() {
    let mut log = Log::new();
    log.lines(10);
    let at = |second| Some(Timestamp::from_second(second).unwrap());
    let window = LogOptions { since: at(3), until: at(6), ..LogOptions::default() };
    assert_eq!(log.read(window).await, [3, 4, 5, 6]);
    assert_eq!(log.read(LogOptions { stdout: false, ..window }).await, [3, 5]);
    assert_eq!(log.read(LogOptions { stderr: false, ..window }).await, [4, 6]);
}

#[tokio::test]
async fn torn_foreign_and_huge_lines_are_skipped() {
    let mut log = Log::new();
    log.lines(1);
    log.raw(b"not json\n{\"log\":1}\n\0\0\0\n");
    log.raw(&vec![b'x'; 3 << 20]);
    log.raw(b"\n");
    log.lines(1);
    log.raw(b"{\"log\":\"torn");
    assert_eq!(log.read(LogOptions::default()).await, [0, 1]);
}

#[tokio::test]
async fn special_files_are_refused_without_blocking() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR).unwrap();
    let result: Result<Vec<_>, _> = read(&path, LogOptions::default(), None).try_collect().await;
    assert!(result.is_err());
}

/// A follower, with a deadline on every step.
struct Follower {
    stream: std::pin::Pin<Box<dyn Stream<Item = io::Result<LogLine>> + Send>>,
    ended: Arc<Notify>,
}

impl Follower {
    fn new(log: &Log, options: LogOptions) -> Self {
        let ended = Arc::new(Notify::new());
        let signal = Arc::clone(&ended);
        let wait = async move { signal.notified().await }.boxed();
        Self { stream: Box::pin(read(&log.path(), options, Some(wait))), ended }
    }

    async fn next(&mut self) -> Option<u64> {
        let step = tokio::time::timeout(Duration::from_secs(20), self.stream.next());
        step.await.expect("no line in time").map(|line| number(&line.unwrap()))
    }

    async fn expect(&mut self, numbers: std::ops::Range<u64>) {
        for n in numbers {
            assert_eq!(self.next().await, Some(n));
        }
    }
}

#[tokio::test]
async fn follow_survives_rotations_and_ends_with_the_container() {
    let mut log = Log::new();
    let mut follower = Follower::new(&log, LogOptions::default());
    assert!(follower.stream.next().now_or_never().is_none());
    log.lines(3);
    follower.expect(0..3).await;
    log.lines(2);
    log.rotate();
    log.lines(2);
    follower.expect(3..7).await;
    // Several at once, while nobody reads.
    for _ in 0..3 {
        log.lines(10);
        log.rotate();
    }
    log.lines(1);
    follower.expect(7..38).await;
    // Compressed at once: the file's identity is lost, the times are not.
    log.lines(2);
    log.rotate();
    log.compress(1);
    log.lines(2);
    follower.expect(38..42).await;
    log.lines(1);
    follower.ended.notify_one();
    follower.expect(42..43).await;
    assert_eq!(follower.next().await, None);
}

#[tokio::test]
async fn follow_sees_truncation_and_completes_torn_lines() {
    let mut log = Log::new();
    log.lines(50);
    let mut follower = Follower::new(&log, tail(1));
    follower.expect(49..50).await;
    fs::File::options().write(true).open(log.path()).unwrap().set_len(0).unwrap();
    log.lines(1);
    follower.expect(50..51).await;
    log.raw(b"{\"log\":\"51\\n\",\"stream\":");
    assert!(follower.stream.next().now_or_never().is_none());
    log.raw(b"\"stdout\",\"time\":\"2026-01-01T00:00:00Z\"}\n");
    follower.expect(51..52).await;
}

#[tokio::test]
async fn follow_ends_at_until() {
    let mut log = Log::new();
    log.lines(2);
    let until = Some(Timestamp::now() + Duration::from_millis(100));
    let mut follower = Follower::new(&log, LogOptions { until, ..LogOptions::default() });
    follower.expect(0..2).await;
    assert_eq!(follower.next().await, None);
}
