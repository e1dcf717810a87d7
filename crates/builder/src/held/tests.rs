use std::sync::Arc;

use dockerignore::Patterns;
use proptest::prelude::*;
use tar::EntryType;

use super::*;
use crate::select;
use crate::tree::{FileTree, Found};

/// An entry: kind, name, mode, content or target of a link.
type Row<'a> = (EntryType, &'a str, u32, &'a str);

fn archive(rows: &[Row<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (number, (kind, name, mode, text)) in rows.iter().enumerate() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_uid(rustix::process::geteuid().as_raw().into());
        header.set_gid(rustix::process::getegid().as_raw().into());
        header.set_mtime(1_000_000_000 + number as u64);
        header.set_size(0);
        // Names as they are, also those that a client would not write.
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        match kind {
            EntryType::Regular => {
                header.set_size(text.len() as u64);
                header.set_cksum();
                archive.append(&header, text.as_bytes()).unwrap();
            }
            _ => {
                header.set_link_name_literal(text).unwrap();
                header.set_cksum();
                archive.append(&header, io::empty()).unwrap();
            }
        }
    }
    archive.into_inner().unwrap()
}

/// A directory for a context, and what is received for it.
fn received(bytes: impl Read) -> (tempfile::TempDir, PathBuf, Result<Received>) {
    let dir = tempfile::tempdir().unwrap();
    let context = dir.path().join("context");
    std::fs::create_dir(&context).unwrap();
    let received = receive(bytes, &context, &dir.path().join("context.tar"));
    assert!(!dir.path().join("context.tar").exists());
    (dir, context, received)
}

/// All that counts of a tree, and what a copy of it all is to the cache. Times of directories depend
/// on when others come, and count for nothing but a layer that has them.
fn told(tree: FileTree) -> Vec<String> {
    let tree = Arc::new(tree);
    let none = Patterns::default();
    let options = select::Options { parents: false, exclude: &none, keep_owner: true };
    let selections = select::select(&tree, "/", options).unwrap();
    let mut told = vec![select::digest(&selections).unwrap().hex()];
    let mut first_names: HashMap<u64, String> = HashMap::new();
    for item in &selections[0].items[1..] {
        let (stat, path) = (&item.node.stat, String::from_utf8_lossy(&item.node.path).into_owned());
        let mut line = format!("{path} {:o} {}:{}", stat.st_mode, stat.st_uid, stat.st_gid);
        if !item.node.is_dir() {
            let first = first_names.entry(stat.st_ino).or_insert_with(|| path.clone());
            let (mtime, names) = (stat.st_mtime, stat.st_nlink);
            line += &format!(" {} {mtime}.{} {names} {first}", stat.st_size, stat.st_mtime_nsec);
            line += &format!(" -> {}", String::from_utf8_lossy(&item.node.link));
        }
        if item.node.kind() == FileType::RegularFile {
            let digest = tree.digests(&[&item.node]).unwrap().remove(0);
            line += &format!(" {}", digest.hex());
            assert_eq!(Digest::of(&tree.read(&item.node.path, MAX_FILE + 1).unwrap()), digest);
        }
        told.push(line);
    }
    told
}

/// What there is when the archive is unpacked at once.
fn unpacked(bytes: &[u8]) -> std::result::Result<Vec<String>, String> {
    let dir = tempfile::tempdir().unwrap();
    match engine::archive::unpack_into(bytes, dir.path()) {
        Ok(_) => Ok(told(FileTree::open(dir.path()).unwrap())),
        Err(error) => Err(error.to_string()),
    }
}

/// Compares both ways; tells whether the archive was held.
fn is_the_same(bytes: &[u8]) -> bool {
    let expected = unpacked(bytes);
    let (_dir, context, received) = received(bytes);
    let received = match received {
        Ok(received) => received,
        Err(error) => {
            let expected = expected.expect_err("it cannot be unpacked");
            // The directory's name is in some.
            assert_eq!(error.to_string().split('/').next(), expected.split('/').next());
            return false;
        }
    };
    let expected = expected.expect("it can be unpacked");
    let is_held = matches!(received, Received::Held(_));
    let tree = FileTree::received(&context, received).unwrap();
    if is_held {
        assert_eq!(std::fs::read_dir(&context).unwrap().count(), 0, "files are made already");
    }
    tree.unpack().unwrap();
    assert_eq!(told(tree), expected);
    assert_eq!(told(FileTree::open(&context).unwrap()), expected, "on the disk");
    is_held
}

use EntryType::{Directory, Fifo, Link, Regular, Symlink};

#[test]
fn what_is_known_of_an_archive_is_what_unpacking_makes() {
    let rows: &[Row<'_>] = &[
        (Directory, "./", 0o700, ""),
        (Directory, "d/", 0o1777, ""),
        (Regular, "d/file", 0o644, "content"),
        (Regular, "./d//run", 0o4755, "#!/bin/sh"),
        (Regular, "empty", 0o600, ""),
        (Symlink, "d/link", 0o777, "../empty"),
        (Symlink, "dangling", 0o777, "/none"),
        (Link, "hard", 0o644, "d/file"),
        (Link, "harder", 0o644, "./hard"),
        (Directory, "d/sub", 0o2750, ""),
        (Regular, "d/sub/x", 0o444, "x"),
    ];
    let bytes = archive(rows);
    assert!(is_the_same(&bytes));
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(&bytes).unwrap();
    assert!(is_the_same(&packed.finish().unwrap()));
}

#[test]
fn an_archive_that_says_more_is_unpacked_at_once() {
    let long = "n".repeat(99);
    let archives: &[&[Row<'_>]] = &[
        &[(Regular, "a", 0o644, "old"), (Regular, "a", 0o600, "new")],
        &[(Directory, "a", 0o755, ""), (Regular, "a/b", 0o644, "b"), (Regular, "a", 0o644, "a")],
        &[(Regular, "none/a", 0o644, "a")],
        &[(Directory, "a", 0o755, ""), (Regular, "a/../b", 0o644, "b")],
        &[(Regular, "../a", 0o644, "a")],
        &[(Directory, "a", 0o755, ""), (Symlink, "l", 0o777, "a"), (Regular, "l/b", 0o644, "b")],
        &[(Regular, "a", 0o644, "a"), (Regular, "a/b", 0o644, "b")],
        &[(Link, "a", 0o644, "none")],
        &[(Symlink, "s", 0o777, "none"), (Link, "a", 0o644, "s")],
        &[(Directory, "d", 0o755, ""), (Link, "a", 0o644, "d")],
        &[(Fifo, "a", 0o644, "")],
        &[(Symlink, "a", 0o777, "")],
        &[(Regular, &long, 0o644, "fine"), (Regular, &long, 0o644, "twice")],
    ];
    for rows in archives {
        assert!(!is_the_same(&archive(rows)), "{rows:?}");
    }
    let large = "x".repeat(usize::try_from(MAX_FILE).unwrap() + 1);
    assert!(!is_the_same(&archive(&[(Regular, "a", 0o644, "a"), (Regular, "b", 0o644, &large)])));
    assert!(is_the_same(&archive(&[(Regular, "b", 0o644, &large[1..])])));
    // Attributes come in an entry of their own.
    let mut with_attributes = tar::Builder::new(Vec::new());
    let records = [("SCHILY.xattr.user.colour", b"blue".as_slice())];
    with_attributes.append_pax_extensions(records).unwrap();
    let mut bytes = with_attributes.into_inner().unwrap();
    bytes.truncate(1024);
    bytes.extend(archive(&[(Regular, "a", 0o644, "a")]));
    assert!(!is_the_same(&bytes));
}

#[test]
fn a_bad_archive_is_told_of_as_it_is_without_holding() {
    let bytes = archive(&[(Regular, "a", 0o644, "some text"), (Regular, "b", 0o644, "more")]);
    for end in [100, 515, 1030, 1538] {
        assert!(unpacked(&bytes[..end]).is_err() && !is_the_same(&bytes[..end]), "{end}");
    }
    // What is missing between entries may not matter.
    [700, 1024, 1700, 2048].iter().for_each(|end| _ = is_the_same(&bytes[..*end]));
    assert!(!is_the_same(b"no archive at all, but some text"));
    struct Cut;
    impl Read for Cut {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the client has gone"))
        }
    }
    let (_dir, _, received) = received(bytes[..515].chain(Cut));
    let mut error: &dyn std::error::Error = &received.err().unwrap();
    while let Some(source) = error.source() {
        error = source;
    }
    assert_eq!(error.to_string(), "the client has gone");
}

#[test]
fn what_is_removed_is_neither_listed_nor_unpacked() {
    let rows: &[Row<'_>] = &[
        (Directory, "d", 0o755, ""),
        (Regular, "d/Dockerfile", 0o644, "FROM scratch"),
        (Regular, "d/kept", 0o644, "kept"),
        (Symlink, "l", 0o777, "d"),
    ];
    let (_dir, context, received) = received(&*archive(rows));
    let tree = FileTree::received(&context, received.unwrap()).unwrap();
    assert!(tree.remove(b"d").is_err() && tree.remove(b"none").is_err());
    assert!(tree.remove(b"l/kept").is_err(), "through a link");
    tree.remove(b"d/Dockerfile").unwrap();
    assert!(matches!(tree.find(b"d/Dockerfile").unwrap(), Found::Missing(_)));
    assert_eq!(tree.list(b"d").unwrap().len(), 1);
    assert_eq!(std::fs::read_dir(&context).unwrap().count(), 0, "files are made already");
    let mut text = String::new();
    tree.open_file(b"d/kept").unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "kept");
    assert!(!context.join("d/Dockerfile").exists());
    tree.remove(b"d/kept").unwrap();
    assert!(!context.join("d/kept").exists());
}

proptest! {
    #[test]
    fn any_archive_is_what_unpacking_makes(
        rows in prop::collection::vec((0..4_u8, 0..7_usize, 0..7_usize), 0..9),
    ) {
        let names = ["a", "b", "a/a", "a/b", "b/c", "./a/a/x", "a/../b"];
        let rows: Vec<Row<'_>> = rows
            .into_iter()
            .map(|(kind, name, other)| match kind {
                0 => (Directory, names[name], 0o755, ""),
                1 => (Regular, names[name], 0o640, names[other]),
                2 => (Symlink, names[name], 0o777, names[other]),
                _ => (Link, names[name], 0o644, names[other]),
            })
            .collect();
        is_the_same(&archive(&rows));
    }
}
