use super::*;

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
    all(&[packed, executable], &sandbox, None).await.expect("both fetched");
    assert_eq!(fs::read_to_string(sandbox.join("bin/hi")).expect("extracted"), "hi");
    let mode = fs::metadata(sandbox.join("run.sh")).expect("copied").permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
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
    let error = all(&[uri(archive.to_str().expect("a path"))], &sandbox, None).await;
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
        let error = all(&[uri(value)], dir.path(), None).await.expect_err(value).to_string();
        assert!(error.contains(part), "{error}");
    }
}
