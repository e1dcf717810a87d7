//! Tests of durable writes, locks and roots.

use std::io::Read;
use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

fn scratch(name: &str) -> std::path::PathBuf {
    let dir = std::env::temp_dir().join(format!("teu-linux-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn durable_write_replaces_and_leaves_no_temporary() {
    let dir = scratch("durable");
    let path = dir.join("state.json");
    write_durable(&path, b"one").unwrap();
    write_durable_with_mode(&path, b"two", 0o640).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"two");
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o640);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn second_lock_names_the_holder() {
    let dir = scratch("lock");
    let path = dir.join("lock");
    let held = FileLock::acquire(&path).unwrap();
    match FileLock::acquire(&path) {
        Err(LockError::Held { holder, .. }) => assert_eq!(holder, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(held);
    FileLock::acquire(&path).unwrap();
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn paths_stay_in_the_root() {
    let dir = scratch("root");
    std::fs::create_dir(dir.join("root")).unwrap();
    std::fs::write(dir.join("secret"), "outside").unwrap();
    std::fs::write(dir.join("root/secret"), "inside").unwrap();
    symlink("../secret", dir.join("root/up")).unwrap();
    symlink("/secret", dir.join("root/absolute")).unwrap();
    symlink("/usr", dir.join("root/etc")).unwrap();
    let root = Root::open(dir.join("root")).unwrap();

    for path in ["up", "absolute", "/secret", "../../secret", "etc/../up"] {
        let mut content = String::new();
        match root.open_in_root(path, OFlags::RDONLY, Mode::empty()) {
            Ok(fd) => {
                std::fs::File::from(fd).read_to_string(&mut content).unwrap();
                assert_eq!(content, "inside", "{path}");
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{path}"),
        }
    }
    for path in ["up", "absolute", "/secret", "../secret"] {
        let error = root.open_beneath(path, OFlags::RDONLY, Mode::empty()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EXDEV), "{path}");
    }
    let error = root.open_no_symlinks("up", OFlags::RDONLY, Mode::empty()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::ELOOP));

    root.create_dir_all("/a/b/../c", Mode::from_raw_mode(0o755)).unwrap();
    assert!(dir.join("root/a/c").is_dir());
    std::fs::create_dir(dir.join("root/real")).unwrap();
    symlink("/real", dir.join("root/link")).unwrap();
    root.create_dir_all("link/sub", Mode::from_raw_mode(0o755)).unwrap();
    assert!(dir.join("root/real/sub").is_dir());
    symlink("/missing/../there", dir.join("root/dangling")).unwrap();
    root.create_file_all("dangling/file", Mode::from_raw_mode(0o644)).unwrap();
    assert!(dir.join("root/there/file").is_file());
    symlink("loop", dir.join("root/loop")).unwrap();
    assert!(root.create_dir_all("loop/x", Mode::from_raw_mode(0o755)).is_err());
    std::fs::remove_dir_all(dir).unwrap();
}
