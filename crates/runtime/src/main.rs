//! `teu-shim --bundle DIR`: starts the container described in the bundle and looks after it.
//!
//! Not for people: the daemon runs it. Its protocol is `runtime::shim::protocol`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match arguments.as_slice() {
        [flag, bundle] if flag == "--bundle" => {
            ExitCode::from(runtime::shim::run(Path::new(bundle)))
        }
        [flag, bundle] if flag == "--log" => {
            ExitCode::from(runtime::shim::write_log(Path::new(bundle)))
        }
        [flag, bundle] if flag == "--resolve" => {
            ExitCode::from(runtime::shim::resolve(Path::new(bundle)))
        }
        [flag] if flag == "--version" => {
            println!("teu-shim {}", env!("CARGO_PKG_VERSION"));
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: teu-shim --bundle DIR");
            ExitCode::from(2)
        }
    }
}
