use std::fs::File;
use std::io::Write as _;

use super::*;

/// One without a cache.
fn fetcher() -> Fetcher {
    let dir = tempfile::tempdir().expect("a directory");
    fetcher_in(dir.path(), 0)
}

fn fetcher_in(directory: &Path, cache_bytes: u64) -> Fetcher {
    let (cache_dir, home) = (directory.join("cache"), None);
    let stall_timeout = Duration::from_secs(60);
    Fetcher::new(&config::Fetch { cache_dir, cache_bytes, stall_timeout, home }).expect("a fetcher")
}

fn uri(value: &str) -> Uri {
    Uri { value: value.to_owned(), ..Uri::default() }
}

#[test]
fn names_come_from_the_uri_or_the_field() {
    let name = |uri: &Uri| output_name(uri).map(|p| p.display().to_string());
    assert_eq!(name(&uri("http://h/a/b.tgz?x=1")), Ok("b.tgz".to_owned()));
    assert_eq!(name(&uri("/x/y/")), Ok("y".to_owned()));
    let named = |output: &str| Uri { output_file: Some(output.to_owned()), ..uri("/x") };
    assert_eq!(name(&named("d/e")), Ok("d/e".to_owned()));
    for bad in ["../e", "/e", "", "a'b"] {
        assert!(name(&named(bad)).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn files_are_copied_and_archives_extracted() {
    let dir = tempfile::tempdir().expect("a directory");
    let (from, sandbox) = (dir.path().join("from"), dir.path().join("sandbox"));
    fs::create_dir_all(&from).and_then(|()| fs::create_dir_all(&sandbox)).expect("directories");
    let archive = from.join("a.tar.gz");
    let gzip = flate2::write::GzEncoder::new(
        File::create(&archive).expect("a file"),
        flate2::Compression::fast(),
    );
    let mut tar = tar::Builder::new(gzip);
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    header.set_mode(0o755);
    tar.append_data(&mut header, "bin/hi", &b"hi"[..]).expect("an entry");
    tar.into_inner().and_then(flate2::write::GzEncoder::finish).expect("an archive");
    let script = from.join("run.sh");
    fs::write(&script, "x").expect("a file");
    let executable = Uri { executable: Some(true), ..uri(script.to_str().expect("a path")) };
    let packed = uri(&format!("file://{}", archive.display()));
    fetcher().all(&[packed, executable], &sandbox, None).await.expect("both fetched");
    assert_eq!(fs::read_to_string(sandbox.join("bin/hi")).expect("extracted"), "hi");
    let mode = fs::metadata(sandbox.join("run.sh")).expect("copied").permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}

/// Whatever Mesos' fetcher extracts, packed by the tools that frameworks' authors use.
#[tokio::test]
async fn every_kind_of_archive_is_extracted() {
    let dir = tempfile::tempdir().expect("a directory");
    let from = dir.path();
    fs::create_dir(from.join("bin")).expect("a directory");
    fs::write(from.join("bin/hi"), "hi").expect("a file");
    fs::set_permissions(from.join("bin/hi"), fs::Permissions::from_mode(0o755)).expect("a mode");
    let mut tar = tar::Builder::new(File::create(from.join("a.tar")).expect("a file"));
    tar.append_path_with_name(from.join("bin/hi"), "bin/hi").expect("an entry");
    tar.finish().expect("an archive");
    let mut zip = zip::ZipWriter::new(File::create(from.join("a.zip")).expect("a file"));
    let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
    zip.start_file("bin/hi", options).expect("an entry");
    zip.write_all(b"hi").expect("written");
    zip.finish().expect("an archive");
    for (tool, ending) in [("gzip", "gz"), ("bzip2", "bz2"), ("xz", "xz")] {
        let packed = std::process::Command::new(tool).arg("-k").arg(from.join("a.tar")).status();
        assert!(packed.expect(tool).success(), "{tool} makes {ending}");
    }
    for (given, name) in [
        ("a.tar", "b.tar"),
        ("a.tar.gz", "b.tgz"),
        ("a.tar.bz2", "b.tar.bz2"),
        ("a.tar.bz2", "b.tbz2"),
        ("a.tar.xz", "b.txz"),
        ("a.tar.xz", "b.tar.xz"),
        ("a.zip", "b.zip"),
    ] {
        let sandbox = tempfile::tempdir().expect("a directory");
        let value = from.join(given).display().to_string();
        let named = Uri { output_file: Some(name.to_owned()), ..uri(&value) };
        fetcher().all(&[named], sandbox.path(), None).await.expect(name);
        let hi = sandbox.path().join("bin/hi");
        assert_eq!(fs::read_to_string(&hi).expect(name), "hi");
        let mode = fs::metadata(&hi).expect(name).permissions().mode();
        assert_eq!(mode & 0o777, 0o755, "{name}");
    }
}

#[tokio::test]
async fn a_zip_file_cannot_leave_the_sandbox_and_has_to_be_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let sandbox = dir.path().join("sandbox");
    fs::create_dir_all(&sandbox).expect("a directory");
    let options = zip::write::SimpleFileOptions::default();
    let packed = |link: bool| {
        let path = dir.path().join("evil.zip");
        let mut zip = zip::ZipWriter::new(File::create(&path).expect("a file"));
        let name = if link {
            zip.add_symlink("out", dir.path().to_string_lossy(), options).expect("a link");
            "out/evil"
        } else {
            "../evil"
        };
        zip.start_file(name, options).expect("an entry");
        zip.write_all(b"x").expect("written");
        zip.finish().expect("an archive");
        uri(path.to_str().expect("a path"))
    };
    for link in [false, true] {
        assert!(fetcher().all(&[packed(link)], &sandbox, None).await.is_err());
        assert!(!dir.path().join("evil").exists());
    }
    fs::write(dir.path().join("bad.zip"), "no archive").expect("a file");
    let bad = uri(dir.path().join("bad.zip").to_str().expect("a path"));
    let error = fetcher().all(&[bad], &sandbox, None).await.expect_err("no archive").to_string();
    assert!(error.contains("cannot extract it"), "{error}");
}

#[tokio::test]
async fn an_archive_cannot_leave_the_sandbox() {
    let dir = tempfile::tempdir().expect("a directory");
    let sandbox = dir.path().join("sandbox");
    fs::create_dir_all(&sandbox).expect("a directory");
    let archive = dir.path().join("evil.tar");
    let mut tar = tar::Builder::new(File::create(&archive).expect("a file"));
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    tar.append_link(&mut header, "out", dir.path()).expect("a link");
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    tar.append_data(&mut header, "out/evil", &b"x"[..]).expect("an entry");
    tar.finish().expect("an archive");
    let error = fetcher().all(&[uri(archive.to_str().expect("a path"))], &sandbox, None).await;
    assert!(error.is_err());
    assert!(!dir.path().join("evil").exists());
}

#[tokio::test]
async fn what_cannot_be_fetched_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    for (value, part) in [
        ("hdfs://x/y", "not hdfs"),
        ("relative", "has to be absolute"),
        ("/does/not/exist", "No such file"),
        ("http://127.0.0.1:1/x", "refused"),
    ] {
        let error =
            fetcher().all(&[uri(value)], dir.path(), None).await.expect_err(value).to_string();
        assert!(error.contains(part), "{error}");
    }
}
