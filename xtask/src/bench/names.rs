//! Load for a name server: threads that ask one question after another, each with one socket.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

const DURATION: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(1);

/// What came of it.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) rate: f64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) lost: u64,
}

impl Figures {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [rate, p50, p99, lost] = words.as_slice() else { bail!("read {text}") };
        Ok(Self {
            rate: rate.parse()?,
            p50_us: p50.parse()?,
            p99_us: p99.parse()?,
            lost: lost.parse()?,
        })
    }
}

/// `bench names-load SERVER NAME THREADS`: rate, p50, p99 in microseconds, and questions without an
/// answer, on one line. Asks from the network namespace it is started in.
pub(crate) fn load(options: &[&str]) -> Result<()> {
    let [server, name, threads] = options else {
        bail!("usage: names-load SERVER NAME THREADS");
    };
    let threads: usize = threads.parse()?;
    let start = Instant::now();
    let asked = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| ask(server, name))).collect();
        running
            .into_iter()
            .map(|thread| thread.join().ok().context("a thread panicked")?)
            .collect::<Result<Vec<_>>>()
    })?;
    let elapsed = start.elapsed();
    let lost: u64 = asked.iter().map(|(_, lost)| lost).sum();
    let mut times: Vec<Duration> = asked.into_iter().flat_map(|(times, _)| times).collect();
    times.sort_unstable();
    let rank =
        |percent: usize| times.get(times.len() * percent / 100).map_or(0, Duration::as_micros);
    let count = u32::try_from(times.len())?;
    println!("{} {} {} {lost}", f64::from(count) / elapsed.as_secs_f64(), rank(50), rank(99));
    Ok(())
}

fn ask(server: &str, name: &str) -> Result<(Vec<Duration>, u64)> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect((server, 53))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut query = vec![0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len())?);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    let (start, mut times, mut lost) = (Instant::now(), Vec::new(), 0);
    let mut answer = [0; 1500];
    let mut id: u16 = 0;
    while start.elapsed() < DURATION {
        id = id.wrapping_add(1);
        query[..2].copy_from_slice(&id.to_be_bytes());
        let sent = Instant::now();
        socket.send(&query)?;
        match socket.recv(&mut answer) {
            Ok(length) if length > 12 && answer[..2] == query[..2] => {
                if answer[7] == 0 || answer[3] & 0xf != 0 {
                    bail!("{server} does not know {name}");
                }
                times.push(sent.elapsed());
            }
            _ => lost += 1,
        }
    }
    Ok((times, lost))
}
