//! Compiles the init of `--init` statically, so that it runs in containers without a libc.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    let source = "container-init/main.rs";
    println!("cargo::rerun-if-changed={source}");
    let variable = |name: &str| std::env::var(name).expect("cargo sets it for build scripts");
    let output = PathBuf::from(variable("OUT_DIR")).join("docker-init");
    let status = Command::new(variable("RUSTC"))
        .args(["--edition=2024", "--crate-name=docker_init", "--target", &variable("TARGET")])
        .args(["-Copt-level=s", "-Cpanic=abort", "-Cstrip=symbols", "-Clto=fat"])
        .args(["-Ctarget-feature=+crt-static", "-Dwarnings", "-o"])
        .arg(&output)
        .arg(source)
        .status()
        .expect("rustc compiled this script, so it can be started");
    assert!(status.success(), "compile {source}: rustc ended with {status}");
}
