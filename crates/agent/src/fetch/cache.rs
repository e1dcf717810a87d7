//! What was fetched with `cache`, for whoever wants the same again.
//!
//! ```text
//! (absent) -- claimed --> coming -- finished --> ready -- evicted, or its file is gone --> (absent)
//!                            |
//!                            +-- failed, or whoever fetched it was killed --> (absent)
//! ```
//!
//! Each user has entries of its own. Room is reserved before a byte is written; what makes room is
//! what was not used for longest, and never what is being used. An entry is not refreshed: a
//! framework asks for another URI when its content has changed (Mesos, docs/fetcher.md).

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// A user, as whom nobody else fetches, and a URI.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) uid: Option<u32>,
    pub(super) uri: String,
}

/// Where a download stands, for those that wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Coming,
    Ready,
    Failed,
}

/// The files, and what is known of them.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
    /// In bytes.
    capacity: u64,
    /// Held for moments, by any thread.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<Key, Entry>,
    /// Bytes that are taken or promised.
    used: u64,
    /// Grows with every use: names files, and orders entries by their last use.
    serial: u64,
}

#[derive(Debug)]
struct Entry {
    /// Tells it from a later one of the same key.
    id: u64,
    file: PathBuf,
    size: u64,
    users: usize,
    last_used: u64,
    progress: watch::Receiver<Progress>,
}

/// What the cache has for a key.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing: whoever asked is the one to fetch it.
    New(Claim),
    /// Another fetches it.
    Coming(watch::Receiver<Progress>),
    Ready(Held),
}

impl Cache {
    /// An empty one; what an earlier agent has left in `directory` goes.
    ///
    /// # Errors
    /// When the directory cannot be emptied or made.
    pub(super) fn new(directory: PathBuf, capacity: u64) -> io::Result<Arc<Self>> {
        match fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Of what users fetch others are shown nothing.
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        Ok(Arc::new(Self { directory, capacity, state: Mutex::default() }))
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes that are taken or promised.
    pub(super) fn used(&self) -> u64 {
        self.lock().used
    }

    pub(super) fn find(self: &Arc<Self>, key: &Key) -> Found {
        let mut state = self.lock();
        state.serial += 1;
        let now = state.serial;
        if let Some(entry) = state.entries.get_mut(key) {
            if *entry.progress.borrow() == Progress::Coming {
                return Found::Coming(entry.progress.clone());
            }
            if entry.file.is_file() {
                entry.users += 1;
                entry.last_used = now;
                let (id, file) = (entry.id, entry.file.clone());
                return Found::Ready(Held { cache: Arc::clone(self), key: key.clone(), id, file });
            }
            // Somebody has tidied up in there.
            state.remove(key);
        }
        let file = self.directory.join(now.to_string());
        let (sender, progress) = watch::channel(Progress::Coming);
        let (size, users) = (0, 1);
        let entry = Entry { id: now, file: file.clone(), size, users, last_used: now, progress };
        state.entries.insert(key.clone(), entry);
        let held = Held { cache: Arc::clone(self), key: key.clone(), id: now, file };
        Found::New(Claim { held: Some(held), progress: sender })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remove(&mut self, key: &Key) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.used -= entry.size;
        Some(entry)
    }

    /// Takes out what was not used for longest until `wanted` bytes are free, or nothing.
    fn make_room(&mut self, wanted: u64, capacity: u64) -> Option<Vec<PathBuf>> {
        let mut idle: Vec<(u64, Key, u64)> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.users == 0)
            .map(|(key, entry)| (entry.last_used, key.clone(), entry.size))
            .collect();
        idle.sort_by_key(|(last_used, ..)| *last_used);
        let mut used = self.used;
        let mut victims = Vec::new();
        for (_, key, size) in idle {
            if used + wanted <= capacity {
                break;
            }
            used -= size;
            victims.push(key);
        }
        if used.checked_add(wanted).is_none_or(|sum| sum > capacity) {
            return None;
        }
        Some(victims.iter().filter_map(|key| self.remove(key)).map(|entry| entry.file).collect())
    }
}

/// A file that is being used: it stays until this is dropped.
#[derive(Debug)]
pub(super) struct Held {
    cache: Arc<Cache>,
    key: Key,
    id: u64,
    file: PathBuf,
}

impl Held {
    pub(super) fn file(&self) -> &Path {
        &self.file
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.cache.lock();
        match state.entries.get_mut(&self.key).filter(|entry| entry.id == self.id) {
            Some(entry) => entry.users -= 1,
            // The cache has let go of it meanwhile.
            None => drop(fs::remove_file(&self.file)),
        }
    }
}

/// The right, and the duty, to fetch what others wait for. Dropped, it was not to be, and another
/// tries.
#[derive(Debug)]
pub(super) struct Claim {
    /// `None` once it is settled.
    held: Option<Held>,
    progress: watch::Sender<Progress>,
}

impl Claim {
    /// Where to put it.
    pub(super) fn file(&self) -> PathBuf {
        self.held.as_ref().map(|held| held.file.clone()).unwrap_or_default()
    }

    /// Makes room for so many bytes; false if there cannot be as much.
    pub(super) fn reserve(&self, size: u64) -> bool {
        let Some(held) = &self.held else { return false };
        let mut state = held.cache.lock();
        let Some(evicted) = state.make_room(size, held.cache.capacity) else { return false };
        if let Some(entry) = state.entries.get_mut(&held.key) {
            entry.size = size;
            state.used += size;
        }
        drop(state);
        for file in evicted {
            tracing::debug!(file = %file.display(), "removed from the cache");
            let _ = fs::remove_file(file); // somebody else has tidied up
        }
        true
    }

    /// It is there. What is larger than was said serves this one use only.
    pub(super) fn finish(mut self, size: u64) -> Option<Held> {
        let held = self.held.take()?;
        let mut state = held.cache.lock();
        let expected = state.entries.get(&held.key).map_or(0, |entry| entry.size);
        if size > expected {
            state.remove(&held.key);
        } else if let Some(entry) = state.entries.get_mut(&held.key) {
            entry.size = size;
            state.used -= expected - size;
        }
        drop(state);
        self.progress.send_replace(Progress::Ready);
        Some(held)
    }

    /// Those that wait had better fetch it themselves.
    pub(super) fn fail(mut self) {
        self.give_up();
        self.progress.send_replace(Progress::Failed);
    }

    fn give_up(&mut self) {
        if let Some(held) = self.held.take() {
            held.cache.lock().remove(&held.key);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.give_up();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct World {
        _dir: tempfile::TempDir,
        cache: Arc<Cache>,
    }

    fn world(capacity: u64) -> World {
        let dir = tempfile::tempdir().expect("a directory");
        let place = dir.path().join("cache");
        fs::create_dir(&place).and_then(|()| fs::write(place.join("old"), "x")).expect("a file");
        let cache = Cache::new(place.clone(), capacity).expect("a cache");
        assert_eq!(fs::read_dir(place).expect("listed").count(), 0, "it begins empty");
        World { _dir: dir, cache }
    }

    fn key(uri: &str) -> Key {
        Key { uid: None, uri: uri.to_owned() }
    }

    impl World {
        fn claim(&self, uri: &str) -> Claim {
            match self.cache.find(&key(uri)) {
                Found::New(claim) => claim,
                other => panic!("{uri}: {other:?}"),
            }
        }

        fn held(&self, uri: &str) -> Held {
            match self.cache.find(&key(uri)) {
                Found::Ready(held) => held,
                other => panic!("{uri}: {other:?}"),
            }
        }

        fn put(&self, uri: &str, size: u64) -> Option<Held> {
            let claim = self.claim(uri);
            if !claim.reserve(size) {
                claim.fail();
                return None;
            }
            fs::write(claim.file(), "x".repeat(usize::try_from(size).expect("small")))
                .expect("written");
            claim.finish(size)
        }

        fn has(&self, uri: &str) -> bool {
            self.cache.lock().entries.contains_key(&key(uri))
        }

        fn files(&self) -> usize {
            fs::read_dir(&self.cache.directory).expect("listed").count()
        }
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let world = world(10);
        drop(world.put("a", 4));
        drop(world.put("b", 4));
        drop(world.held("a"));
        drop(world.put("c", 4).expect("there is room"));
        assert!(world.has("a") && !world.has("b") && world.has("c"));
        assert_eq!((world.cache.used(), world.files()), (8, 2));
        assert!(world.put("d", 11).is_none(), "never as much");
        assert_eq!(world.cache.used(), 8, "nothing went for it");
    }

    #[test]
    fn what_is_being_used_stays() {
        let world = world(10);
        let first = world.put("a", 6).expect("room");
        assert!(world.put("b", 6).is_none());
        assert!(first.file().is_file());
        drop(first);
        drop(world.put("b", 6).expect("room"));
        assert!(!world.has("a"));
    }

    #[test]
    fn users_do_not_see_each_others() {
        let world = world(10);
        drop(world.put("a", 1));
        let other = Key { uid: Some(33), ..key("a") };
        assert!(matches!(world.cache.find(&other), Found::New(_)));
    }

    #[test]
    fn who_waits_hears_how_it_went() {
        let world = world(10);
        let waiting = |claim: &Claim| match world.cache.find(&key("a")) {
            Found::Coming(progress) => progress,
            other => panic!("{other:?} while {claim:?}"),
        };
        let claim = world.claim("a");
        let progress = waiting(&claim);
        claim.fail();
        assert_eq!(*progress.borrow(), Progress::Failed);
        let claim = world.claim("a");
        let progress = waiting(&claim);
        drop(claim);
        assert!(progress.has_changed().is_err(), "whoever fetched it is gone");
        let claim = world.claim("a");
        let progress = waiting(&claim);
        assert!(claim.reserve(3));
        fs::write(claim.file(), "xx").expect("written");
        let held = claim.finish(2).expect("held");
        assert_eq!(*progress.borrow(), Progress::Ready);
        assert_eq!(world.cache.used(), 2, "as much as there really is");
        drop(held);
    }

    #[test]
    fn what_is_larger_than_it_said_or_gone_is_fetched_anew() {
        let world = world(10);
        let claim = world.claim("a");
        assert!(claim.reserve(1));
        fs::write(claim.file(), "xxxxx").expect("written");
        let held = claim.finish(5).expect("held");
        assert!(held.file().is_file() && !world.has("a"));
        drop(held);
        assert_eq!((world.cache.used(), world.files()), (0, 0));
        drop(world.put("b", 2));
        fs::remove_dir_all(&world.cache.directory).expect("removed");
        assert!(matches!(world.cache.find(&key("b")), Found::New(_)));
        assert_eq!(world.cache.used(), 0);
    }
}
