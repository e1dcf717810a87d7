//! Unpacking what is usual, what is odd and what is hostile. Nothing may be made outside of the layer.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::archive::{Time, write};
use crate::layer::changes::is_opaque;
use crate::store::tests::root_only;
use crate::{Digest, ErrorKind};

type Entries = Vec<(Entry, Vec<u8>)>;

/// A layer directory within a directory that must stay as it is.
struct Sandbox {
    dir: tempfile::TempDir,
}

impl Sandbox {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("layer/diff")).unwrap();
        fs::create_dir(dir.path().join("outside")).unwrap();
        Self { dir }
    }

    fn unpack(&self, archive: &[u8], recipe: bool) -> Result<u64> {
        let layer = self.dir.path().join("layer");
        let record = match recipe {
            true => Record::Recipe(RecipeWriter::create(&layer.join("recipe"))?),
            false => Record::Discard,
        };
        unpack(archive, &layer, record)
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("layer/diff")
    }

    #[track_caller]
    fn assert_nothing_outside(&self) {
        assert_eq!(fs::read_dir(self.dir.path()).unwrap().count(), 2);
        assert_eq!(fs::read_dir(self.dir.path().join("outside")).unwrap().count(), 0);
    }
}

fn file(name: &str, content: &str) -> (Entry, Vec<u8>) {
    let mut entry = Entry::new(name, EntryKind::File);
    entry.mode = 0o644;
    (entry.size, entry.payload) = (content.len() as u64, content.len() as u64);
    (entry, content.as_bytes().to_vec())
}

fn other(name: &str, kind: EntryKind, link: &str) -> (Entry, Vec<u8>) {
    let mut entry = Entry::new(name, kind);
    entry.mode = 0o755;
    entry.link = link.into();
    (entry, Vec::new())
}

fn dir(name: &str) -> (Entry, Vec<u8>) {
    other(name, EntryKind::Directory, "")
}

fn archive(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (entry, content) in entries {
        bytes.extend(write::header(entry));
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(write::padding(content.len() as u64));
    }
    bytes.extend_from_slice(&write::END);
    bytes
}

fn opaque(path: &std::path::Path) -> bool {
    let fd = fs::File::open(path).unwrap();
    is_opaque(std::os::fd::AsFd::as_fd(&fd), b".")
}

#[test]
fn whiteouts_in_any_order() {
    root_only!();
    let sandbox = Sandbox::new();
    let entries = [
        dir("d"),
        file("d/.wh.gone", ""),
        dir("o"),
        file("o/.wh..wh..opq", ""),
        // The same name as whiteout and entry: the entry stays, a directory hides what is below.
        file(".wh.new", ""),
        dir("new"),
        file("new/f", "x"),
        dir("new2"),
        file(".wh.new2", ""),
        file(".wh.f", ""),
        file("f", "content"),
        file("g", "content"),
        file(".wh.g", ""),
        file(".wh..wh.plnk/1.2", "aufs"),
        file(".wh..wh.aufs", ""),
        file("implied/deep/.wh.x", ""),
    ];
    sandbox.unpack(&archive(&entries), true).unwrap();
    let root = sandbox.root();
    for gone in ["d/gone", "implied/deep/x"] {
        let metadata = fs::symlink_metadata(root.join(gone)).unwrap();
        assert!(metadata.file_type().is_char_device() && metadata.rdev() == 0, "{gone}");
    }
    assert!(opaque(&root.join("o")) && opaque(&root.join("new")) && opaque(&root.join("new2")));
    assert!(!opaque(&root.join("d")));
    assert_eq!(fs::read(root.join("f")).unwrap(), b"content");
    assert_eq!(fs::read(root.join("g")).unwrap(), b"content");
    assert!(!root.join(".wh..wh.plnk").exists() && !root.join(".wh..wh.aufs").exists());
}

#[test]
fn later_entries_replace_earlier_ones() {
    root_only!();
    let sandbox = Sandbox::new();
    let entries = [
        file("f", "first"),
        other("hard", EntryKind::HardLink, "f"),
        file("f", "second"),
        dir("d"),
        other("d", EntryKind::Symlink, "f"),
        file("x", "1"),
        dir("x"),
        file("x/y", "2"),
        other("l", EntryKind::Symlink, "x"),
        file("l/z", "through a link"),
        file("f", "third"),
    ];
    let bytes = archive(&entries);
    sandbox.unpack(&bytes, true).unwrap();
    let root = sandbox.root();
    assert_eq!(fs::read(root.join("f")).unwrap(), b"third");
    assert_eq!(fs::read(root.join("hard")).unwrap(), b"first");
    assert_eq!(fs::read_link(root.join("d")).unwrap(), PathBuf::from("f"));
    assert_eq!(fs::read(root.join("x/z")).unwrap(), b"through a link");
    // What was replaced is kept aside, so that the archive can still be rebuilt.
    let mut rebuilt = Vec::new();
    let layer = sandbox.dir.path().join("layer");
    let mut reader = crate::layer::recipe::RecipeReader::open(&layer).unwrap();
    std::io::Read::read_to_end(&mut reader, &mut rebuilt).unwrap();
    assert_eq!(Digest::of(&rebuilt), Digest::of(&bytes));
}

#[test]
fn hostile_entries_are_refused_and_stay_inside() {
    root_only!();
    let symlink = |name, target| other(name, EntryKind::Symlink, target);
    let hard = |name, target| other(name, EntryKind::HardLink, target);
    let long = "x".repeat(300);
    let deep = "d/".repeat(3000);
    let rows: Vec<(Entries, &str)> = vec![
        (vec![file("../outside/f", "x")], "leads out of the root"),
        (vec![file("a/../../outside/f", "x")], "leads out of the root"),
        (vec![hard("f", "../outside")], "leads out of the root"),
        (vec![hard("f", "/etc/passwd")], "target is not in the archive"),
        (vec![hard("f", "f")], "hard link to itself"),
        (vec![dir("d"), hard("f", "d")], "hard link to a directory"),
        (vec![file("f", "x"), file("f/g", "y")], "not a directory"),
        (vec![other("p", EntryKind::Fifo, ""), file("p/x", "y")], "not a directory"),
        (vec![file(".wh.w", ""), file("w/x", "y")], "not a directory"),
        (vec![symlink("a", "b"), symlink("b", "a"), file("a/x", "y")], "cycle of links"),
        (vec![symlink("a", "nowhere"), file("a/x", "y")], "not a directory"),
        (vec![file(".wh...", "")], "whiteout of nothing"),
        (vec![file(".wh.", "")], "whiteout of nothing"),
        (vec![file(&long, "")], "longer than 255"),
        (vec![file(&deep, "")], "longer than 4095"),
        (vec![symlink("s", "")], "impossible target"),
        (vec![other("/", EntryKind::Symlink, "x")], "root is not a directory"),
        (vec![dir("d"), file("d/f", "x"), file("d", "y")], "directory that is not empty"),
    ];
    for (entries, expected) in rows {
        let sandbox = Sandbox::new();
        let error = sandbox.unpack(&archive(&entries), true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{error}");
        assert!(error.to_string().contains(expected), "{error}, want {expected}");
        sandbox.assert_nothing_outside();
    }
}

#[test]
fn links_lead_nowhere_outside() {
    root_only!();
    let sandbox = Sandbox::new();
    let outside = sandbox.dir.path().join("outside");
    let target = outside.to_str().unwrap();
    let up = format!("{}{}", "../".repeat(30), target);
    let entries = [
        dir(target.trim_start_matches('/')),
        other("abs", EntryKind::Symlink, target),
        file("abs/f", "x"),
        other("rel", EntryKind::Symlink, &up),
        file("rel/g", "x"),
        other("proc", EntryKind::Symlink, "/proc/self/root"),
        // A file through a link of the same name replaces the link.
        other("e", EntryKind::Symlink, &format!("{target}/h")),
        file("e", "x"),
        dir("rel"),
        file("rel/i", "x"),
    ];
    sandbox.unpack(&archive(&entries), false).unwrap();
    sandbox.assert_nothing_outside();
    let inside = sandbox.root().join(target.trim_start_matches('/'));
    assert!(inside.join("f").exists() && inside.join("g").exists());
    assert!(sandbox.root().join("rel/i").exists());
}

#[test]
fn attributes_that_steer_overlayfs_are_left_out() {
    root_only!();
    let sandbox = Sandbox::new();
    let mut entry = dir("d");
    entry.0.xattrs = vec![
        (b"trusted.overlay.redirect".to_vec(), b"/../../etc".to_vec()),
        (b"trusted.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"user.overlay.opaque".to_vec(), b"y".to_vec()),
        (b"user.fine".to_vec(), b"1".to_vec()),
    ];
    sandbox.unpack(&archive(&[entry]), false).unwrap();
    let names: Vec<_> = xattr::list(sandbox.root().join("d")).unwrap().collect();
    assert_eq!(names, ["user.fine"]);
}

#[test]
fn lies_about_sizes() {
    root_only!();
    let (mut entry, content) = file("f", "content");
    let mut check = |size: u64, sparse: Option<Vec<Extent>>, expected: &str| {
        let sandbox = Sandbox::new();
        (entry.size, entry.payload, entry.sparse) = (size, content.len() as u64, sparse.clone());
        if sparse.is_none() {
            entry.payload = size;
        }
        let bytes = [write::header(&entry), content.clone(), write::padding(7).to_vec()].concat();
        let error = sandbox.unpack(&bytes, true).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}, want {expected}");
        sandbox.assert_nothing_outside();
    };
    let extent = |offset, length| Extent { offset, length };
    check(1 << 40, None, "truncated");
    check(u64::MAX / 2, None, "bad size");
    check(4, Some(vec![extent(0, 7)]), "map of a sparse file");
    check(100, Some(vec![extent(50, 4), extent(0, 3)]), "map of a sparse file");
    check(100, Some(vec![extent(0, 3)]), "map of a sparse file");
    check(u64::MAX, Some(vec![extent(u64::MAX - 1, 7)]), "map of a sparse file");
    check(1 << 62, Some(vec![extent(1 << 61, 7)]), "larger than a file can be");
}

fn any_entry() -> impl Strategy<Value = (Entry, Vec<u8>)> {
    let name = prop::collection::vec(
        prop::sample::select(vec!["a", "b", "c", "..", ".", "", ".wh.a", ".wh..wh..opq", "é"]),
        1..4,
    );
    let kind = prop::sample::select(vec![
        EntryKind::File,
        EntryKind::File,
        EntryKind::Directory,
        EntryKind::HardLink,
        EntryKind::Symlink,
        EntryKind::Fifo,
        EntryKind::CharDevice,
    ]);
    let link = prop::sample::select(vec!["a", "b", "../..", "/", "a/b", "/proc/self/root/tmp"]);
    let content = prop::collection::vec(any::<u8>(), 0..600);
    (name, kind, link, content, any::<u32>()).prop_map(|(name, kind, link, content, number)| {
        let mut entry = Entry::new(name.join("/"), kind);
        entry.mode = number & 0o7777;
        entry.uid = number;
        entry.mtime = Time { secs: i64::from(number) - (1 << 31), nanos: number % 1_000_000_000 };
        entry.link = link.into();
        let content = if kind == EntryKind::File { content } else { Vec::new() };
        (entry.size, entry.payload) = (content.len() as u64, content.len() as u64);
        (entry, content)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever comes: refused or unpacked inside, never a panic; and what was unpacked with a recipe can
    /// be rebuilt byte for byte, unless a link was replaced under a file's path.
    #[test]
    fn any_archive_stays_inside(
        entries in prop::collection::vec(any_entry(), 0..12),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let sandbox = Sandbox::new();
        let mut bytes = archive(&entries);
        for (at, value) in &flips {
            let at = at.index(bytes.len());
            bytes[at] = *value;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let has_links = entries.iter().any(|(entry, _)| entry.kind == EntryKind::Symlink);
        match sandbox.unpack(&bytes, true) {
            Ok(_) if !has_links => {
                let layer = sandbox.dir.path().join("layer");
                let mut reader = crate::layer::recipe::RecipeReader::open(&layer).unwrap();
                let mut rebuilt = Vec::new();
                std::io::Read::read_to_end(&mut reader, &mut rebuilt).unwrap();
                prop_assert_eq!(rebuilt, bytes);
            }
            Ok(_) => {}
            Err(error) => prop_assert_eq!(error.kind(), ErrorKind::InvalidParameter, "{}", error),
        }
        sandbox.assert_nothing_outside();
    }
}
