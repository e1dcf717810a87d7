//! Prints how long import, commit, save and load of a filesystem archive take.
//!
//! `cargo run --release -p images --example measure -- ARCHIVE.tar DATA_ROOT`

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Instant;

use images::{CommitRequest, Error, ImportRequest, Reference, Result, RunConfig, Store};

fn timed<T>(what: &str, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let start = Instant::now();
    let result = run()?;
    println!("{what:>24} {:8.3} s", start.elapsed().as_secs_f64());
    Ok(result)
}

fn open(path: &str) -> Result<File> {
    File::open(path).map_err(Error::ReadInput)
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(archive), Some(root)) = (arguments.next(), arguments.next()) else {
        return Err(Error::InvalidParameter("want ARCHIVE.tar and DATA_ROOT".to_owned()));
    };
    let store = timed("open", || Store::open(Path::new(&root)))?;
    let tag = Some(Reference::parse("measure:base")?);
    let request = ImportRequest { tag, ..ImportRequest::default() };
    let id = timed("import", || store.import(open(&archive)?, &request))?;
    let detail = store.inspect(&id)?;
    println!("{:>24} {:8.0} MB", "content", detail.size as f64 / 1e6);
    let rw = timed("create_rw", || store.create_rw("measure", &id))?;
    let big = rw.upper.join("big");
    let mut content = io::repeat(b'x');
    let mut file = File::create(&big).map_err(Error::ReadInput)?;
    io::copy(&mut io::Read::take(&mut content, 1 << 30), &mut file).map_err(Error::ReadInput)?;
    let request = CommitRequest {
        container_id: "measure".to_owned(),
        base: id,
        config: RunConfig::default(),
        author: String::new(),
        comment: String::new(),
        created_by: String::new(),
        docker_version: String::new(),
        tag: Some(Reference::parse("measure:big")?),
    };
    timed("commit of 1 GiB", || store.commit(&request))?;
    timed("changes", || store.rw_changes("measure"))?;
    timed("remove_rw", || store.remove_rw("measure"))?;
    timed("save", || store.save(&["measure:base".to_owned()], io::sink()))?;
    let saved = Path::new(&root).join("saved.tar");
    let output = File::create(&saved).map_err(Error::WriteOutput)?;
    store.save(&["measure:base".to_owned()], output)?;
    let other = Store::open(&Path::new(&root).join("other"))?;
    timed("load", || other.load(open(&saved.to_string_lossy())?, &|_| {}))?;
    timed("compress", || store.layer_blob(&detail.layers[0]))?;
    let faults = timed("verify", || store.verify())?;
    println!("{:>24} {:8}", "faults", faults.len());
    Ok(())
}
