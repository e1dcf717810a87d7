//! The Dockerfile language, judged by what is in the images it makes. Most lines judge themselves: a
//! RUN that does not find what it should fails its build.

mod bad;
mod caching;
mod contexts;
mod copies;
mod heredocs;
mod inherited;
mod limits;
mod mounts;
mod stages;

use anyhow::{Result, ensure};
use e2e::Ran;

use crate::World;
use crate::build::{Files, build};

/// Builds `t` of a Dockerfile and files beside it.
fn make(world: &World, dockerfile: &str, files: &[(&str, &str)], args: &[&str]) -> Result<Ran> {
    let mut all = vec![("Dockerfile", dockerfile)];
    all.extend(files);
    let dir = tempfile::Builder::new().prefix("ctx").tempdir_in(world.host.scratch())?;
    let name = dir.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
    let files = Files::new(world, &name, &all)?;
    build(world, &files, &[&["-t", "t"], args].concat())
}

/// The same, and it must succeed; returns all that was told.
fn made(world: &World, dockerfile: &str, files: &[(&str, &str)], args: &[&str]) -> Result<String> {
    let ran = make(world, dockerfile, files, args)?;
    let told = format!("{}{}", ran.stdout, ran.stderr);
    ran.ok()?;
    Ok(told)
}

/// The same, and it must fail; returns all that was told.
fn refused(
    world: &World,
    dockerfile: &str,
    files: &[(&str, &str)],
    args: &[&str],
) -> Result<String> {
    let ran = make(world, dockerfile, files, args)?;
    let told = format!("{}{}", ran.stdout, ran.stderr);
    ensure!(ran.code != 0, "this was built: {dockerfile}\n{told}");
    Ok(told)
}
