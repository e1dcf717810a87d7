//! Command lines as rows: what they mean, or how they are refused.

use super::*;
use crate::commands;

fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn run_flags(line: &str) -> Result<(Values, Vec<String>), String> {
    let command = commands::find("run").expect("run exists");
    match parse(command, "teu run", &words(line)) {
        Ok(Parsed::Go { flags, args }) => Ok((flags, args)),
        Ok(Parsed::Help) => Err("help".to_owned()),
        Err(failure) => Err(failure.text.lines().next().unwrap_or_default().to_owned()),
    }
}

#[test]
fn flags_end_at_the_image() {
    let (flags, args) =
        run_flags("-it --name web -p80:80 -e A=1 --rm=false img sh -c --help").expect("parses");
    assert!(flags.on("interactive") && flags.on("tty") && !flags.on("rm"));
    assert_eq!(flags.text("name"), "web");
    assert_eq!(flags.all("publish"), ["80:80"]);
    assert_eq!(args, ["img", "sh", "-c", "--help"]);
}

#[test]
fn values_are_refused_in_dockers_words() {
    let cases = [
        ("--memory x img", "invalid argument \"x\" for \"-m, --memory\" flag: invalid size: 'x'"),
        (
            "-it=x img",
            "invalid argument \"x\" for \"-t, --tty\" flag: strconv.ParseBool: parsing \"x\": invalid syntax",
        ),
        ("-Z img", "unknown shorthand flag: 'Z' in -Z"),
        ("-iZ img", "unknown shorthand flag: 'Z' in -Z"),
        ("--name", "flag needs an argument: --name"),
        ("-p", "flag needs an argument: 'p' in -p"),
        ("--zzzzzz img", "unknown flag: --zzzzzz"),
        (
            "--cpus x img",
            "invalid argument \"x\" for \"--cpus\" flag: failed to parse x as a rational number",
        ),
        (
            "-a foo img",
            "invalid argument \"foo\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR",
        ),
        (
            "--ulimit nofile=5:3 img",
            "invalid argument \"nofile=5:3\" for \"--ulimit\" flag: ulimit soft limit must be less than or equal to hard limit: 5 > 3",
        ),
        (
            "--add-host x:y img",
            "invalid argument \"x:y\" for \"--add-host\" flag: invalid IP address in add-host: \"y\"",
        ),
        (
            "--sysctl foo.bar=1 img",
            "invalid argument \"foo.bar=1\" for \"--sysctl\" flag: sysctl 'foo.bar=1' is not allowed",
        ),
        (
            "--device-cgroup-rule x img",
            "invalid argument \"x\" for \"--device-cgroup-rule\" flag: invalid device cgroup format 'x'",
        ),
        ("", "teu: 'teu run' requires at least 1 argument"),
    ];
    for (line, expected) in cases {
        assert_eq!(run_flags(line).map(|_| ()), Err(expected.to_owned()), "{line}");
    }
}

#[test]
fn mistyped_flags_get_a_guess() {
    assert_eq!(
        run_flags("--nmae x img").map(|_| ()),
        Err("unknown flag: --nmae (did you mean --name?)".to_owned())
    );
}

#[test]
fn every_command_is_well_formed() {
    fn check(command: &'static Command) {
        assert!(!command.name.is_empty() && !command.about.is_empty(), "{}", command.name);
        let mut seen = std::collections::HashSet::new();
        for flag in command.flag_list() {
            assert!(seen.insert(flag.long.to_owned()), "{} --{}", command.name, flag.long);
            if let Some(short) = flag.short {
                assert!(seen.insert(format!("-{short}")), "{} -{short}", command.name);
            }
        }
        for child in command.children() {
            check(child);
        }
    }
    for command in commands::all() {
        check(command);
    }
}

#[test]
fn scripts_complete_every_shell() {
    let all: Vec<&'static Command> = commands::all().collect();
    for shell in ["bash", "zsh", "fish"] {
        let script = script(shell, "teu", &all, commands::GLOBALS).expect("known shell");
        assert!(String::from_utf8_lossy(&script).contains("bootstrap"), "{shell}");
    }
    assert!(script("ksh", "teu", &all, commands::GLOBALS).is_none());
}
