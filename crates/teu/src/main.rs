//! The binary: picks a role by name or verb, wires the parts, owns exit codes.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// What one thread allocates is freed by another all over the master: it is sent to, or read by,
/// tasks on other threads. The allocator of the C library does this at half the speed.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    if let Err(error) = cli::end_with_parent(&mut args) {
        eprintln!("teu: {error}");
        return ExitCode::FAILURE;
    }
    if invoked_as(&args, "dockerd") {
        return daemon::main(args);
    }
    if args.get(1).is_some_and(|verb| verb == "daemon") {
        let name = OsString::from("teu daemon");
        return daemon::main(std::iter::once(name).chain(args.into_iter().skip(2)));
    }
    if invoked_as(&args, "mesos-agent") || invoked_as(&args, "mesos-slave") {
        return agent::main(args);
    }
    if args.get(1).is_some_and(|verb| verb == "agent") {
        let name = OsString::from("teu agent");
        return agent::main(std::iter::once(name).chain(args.into_iter().skip(2)));
    }
    if invoked_as(&args, "mesos-master") {
        return master("mesos-master", args.into_iter().skip(1));
    }
    if args.get(1).is_some_and(|verb| verb == "master") {
        return master("teu master", args.into_iter().skip(2));
    }
    cli::run(args)
}

fn master(usage: &str, args: impl Iterator<Item = OsString>) -> ExitCode {
    master::main(usage, args.map(|arg| arg.to_string_lossy().into_owned()))
}

fn invoked_as(args: &[OsString], name: &str) -> bool {
    args.first().is_some_and(|program| Path::new(program).file_name() == Some(name.as_ref()))
}
