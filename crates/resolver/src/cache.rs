//! Answers of others, for as long as they say, within bounds of time and memory.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::message::{Answer, Key, Query, Rcode};

/// Nothing is kept longer: zones change, whatever they promised.
const TTL_MAX: Duration = Duration::from_secs(3600);
/// Nor is the news that there is nothing.
const NEGATIVE_TTL_MAX: Duration = Duration::from_secs(60);
const BYTES_MAX: usize = 256 << 10;

/// The cache.
#[derive(Debug, Default)]
pub(crate) struct Cache {
    kept: HashMap<Key, Kept>,
    bytes: usize,
}

#[derive(Debug)]
struct Kept {
    answer: Answer,
    since: Instant,
    until: Instant,
    bytes: usize,
}

impl Cache {
    /// The answer as it is now, cut to `limit` bytes.
    pub(crate) fn get(&mut self, now: Instant, query: &Query, limit: usize) -> Option<Vec<u8>> {
        let key = query.key();
        let kept = self.kept.get(&key)?;
        if kept.until <= now {
            self.remove(&key);
            return None;
        }
        let age = now.saturating_duration_since(kept.since).as_secs();
        Some(query.pass_on(&kept.answer, u32::try_from(age).unwrap_or(u32::MAX), limit))
    }

    /// Keeps an answer, if it may be kept.
    pub(crate) fn put(&mut self, now: Instant, query: &Query, answer: Answer) {
        let most = match answer.rcode {
            Rcode::OK => TTL_MAX,
            Rcode::NO_SUCH_NAME => NEGATIVE_TTL_MAX,
            _ => return,
        };
        let key = query.key();
        let bytes = answer.bytes() + key.bytes() + size_of::<(Key, Kept)>();
        let ttl = Duration::from_secs(u64::from(answer.ttl)).min(most);
        // One that fills the cache alone is not worth all the others.
        if answer.truncated || ttl.is_zero() || bytes > BYTES_MAX / 8 {
            return;
        }
        self.remove(&key);
        self.make_room(now, bytes);
        self.bytes += bytes;
        self.kept.insert(key, Kept { answer, since: now, until: now + ttl, bytes });
    }

    /// Forgets all: they came from other upstreams.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    fn make_room(&mut self, now: Instant, bytes: usize) {
        if self.bytes + bytes <= BYTES_MAX {
            return;
        }
        // Half of it, the soonest to end first: sorting is rare then.
        let mut ends: Vec<_> = self.kept.values().map(|kept| kept.until).collect();
        ends.sort_unstable();
        let middle = ends.get(ends.len() / 2).copied().unwrap_or(now);
        self.kept.retain(|_, kept| kept.until > middle);
        self.bytes = self.kept.values().map(|kept| kept.bytes).sum();
    }

    fn remove(&mut self, key: &Key) {
        if let Some(kept) = self.kept.remove(key) {
            self.bytes -= kept.bytes;
        }
    }
}
