use std::time::Duration;

use super::units::{bytes, duration, print_duration};
use super::*;

static TABLE: &[Flag] = &[
    value("work_dir", None, "Where everything is kept."),
    value("docker_stop_timeout", Some("0ns"), "How long stop waits."),
    value("port", Some("5051"), "The port."),
    switch("docker_kill_orphans", true, "Removes orphans."),
    switch("quiet", false, "Says less."),
    path("whitelist", "A file."),
    refused("appc_store_dir", "appc images are not supported"),
];

fn run(args: &[&str], env: &[(&str, &str)]) -> Result<Parsed, Error> {
    parse(
        TABLE,
        args.iter().map(|a| (*a).to_owned()),
        env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())),
    )
}

fn values(args: &[&str], env: &[(&str, &str)]) -> Values {
    match run(args, env).expect("good flags") {
        Parsed::Run(values) => values,
        other => panic!("{other:?}"),
    }
}

#[test]
fn values_come_from_the_line_the_environment_and_defaults() {
    let got = values(
        &["--work_dir=/a=b", "--port", "1", "--no-docker_kill_orphans", "--quiet"],
        &[("MESOS_PORT", "2"), ("MESOS_DOCKER_STOP_TIMEOUT", "3secs"), ("MESOS_SANDBOX", "/x")],
    );
    assert_eq!(got.text("work_dir"), "/a=b");
    assert_eq!(got.text("port"), "1");
    assert!(!got.on("docker_kill_orphans"));
    assert!(got.on("quiet"));
    assert_eq!(got.need("docker_stop_timeout", duration), Ok(Duration::from_secs(3)));
    assert_eq!(values(&[], &[]).get("work_dir"), None);
}

#[test]
fn a_file_that_is_read_again_is_known_by_its_path() {
    for given in ["--whitelist=/no/such/file", "--whitelist=file:///no/such/file"] {
        assert_eq!(values(&[given], &[]).get("whitelist"), Some("/no/such/file"));
    }
    assert!(matches!(run(&["--work_dir=file:///no/such/file"], &[]), Err(Error::File { .. })));
    assert!(matches!(run(&["--no-whitelist"], &[]), Err(Error::NotASwitch(_))));
    assert!(help("teu", TABLE).contains("--whitelist=PATH"));
}

#[test]
fn bad_lines_say_what_is_wrong() {
    let cases: [(&[&str], &str); 9] = [
        (&["--worc_dir=x"], "unknown flag '--worc_dir'; near it: --work_dir"),
        (&["--zzz"], "unknown flag '--zzz'; --help lists all"),
        (&["--port"], "flag '--port' needs a value: --port=VALUE"),
        (&["--port=1", "--port=2"], "flag '--port' is given twice"),
        (&["--no-port"], "flag '--port' takes a value, so there is no '--no-port'"),
        (&["--quiet=maybe"], "flag '--quiet' is true or false, not 'maybe'"),
        (&["run"], "unexpected argument 'run': flags are written --name=value"),
        (
            &["--appc_store_dir=/x"],
            "flag '--appc_store_dir' is not available: appc images are not supported",
        ),
        (
            &["--work_dir=file:///does/not/exist"],
            "flag '--work_dir': cannot read /does/not/exist: No such file or directory (os error 2)",
        ),
    ];
    for (args, expected) in cases {
        assert_eq!(run(args, &[]).expect_err("a bad line").to_string(), expected);
    }
}

#[test]
fn help_and_version_win() {
    assert_eq!(run(&["--quiet", "--help", "--zzz"], &[]), Ok(Parsed::Help));
    assert_eq!(run(&["--version"], &[]), Ok(Parsed::Version));
    assert!(help("teu agent", TABLE).contains("--[no-]quiet"));
}

#[test]
fn a_page_tells_what_acts_from_what_is_refused() {
    let page = page("agent", TABLE);
    let (acting, refused) = page.split_once("## Refused").expect("both parts");
    assert!(acting.contains("| `--port` | `5051` | The port. |\n"), "{page}");
    assert!(acting.contains("| `--quiet` | `false` | Says less. |\n"), "{page}");
    let line = "| `--appc_store_dir` | appc images are not supported |\n";
    assert!(refused.contains(line) && !acting.contains("appc"), "{page}");
    assert!(page.starts_with("# Flags of `teu agent`\n"), "{page}");
    assert_eq!(unknown(TABLE, "port\nhelp\nother"), ["other"]);
    let twice = [TABLE[0], TABLE[0]];
    assert_eq!(unknown(&twice, ""), ["work_dir"]);
}

#[test]
fn units_are_mesos_units() {
    assert_eq!(duration("1.5hrs"), Ok(Duration::from_secs(5400)));
    assert_eq!(duration("0ns"), Ok(Duration::ZERO));
    assert_eq!(bytes("2GB"), Ok(2 << 30));
    for bad in ["", "5", "5s", "-1secs", "secs", "99999999999999weeks"] {
        assert!(duration(bad).is_err(), "{bad}");
    }
    for text in ["5secs", "15mins", "1weeks", "1500ms", "0ns"] {
        assert_eq!(print_duration(duration(text).expect("a duration")), text);
    }
    assert!(bytes("12").is_err() && bytes("99999999TB").is_err());
}
