use images::RunConfig;
use proptest::prelude::*;

use super::changes::apply;

fn applied(changes: &[&str]) -> RunConfig {
    let mut config = RunConfig::default();
    let changes: Vec<String> = changes.iter().map(|&change| change.to_owned()).collect();
    apply(&mut config, &changes).unwrap();
    config
}

fn error(change: &str) -> String {
    apply(&mut RunConfig::default(), &[change.to_owned()]).unwrap_err().to_string()
}

#[test]
fn commands_have_two_forms() {
    let config = applied(&["CMD [\"nginx\", \"-g\", \"daemon off;\"]", "entrypoint run it"]);
    assert_eq!(config.cmd.unwrap(), ["nginx", "-g", "daemon off;"]);
    assert_eq!(config.entrypoint.unwrap(), ["/bin/sh", "-c", "run it"]);
    assert_eq!(applied(&["CMD ['single']"]).cmd.unwrap(), ["/bin/sh", "-c", "['single']"]);
    assert_eq!(applied(&["ENTRYPOINT []"]).entrypoint.unwrap(), Vec::<String>::new());
}

#[test]
fn pairs_are_quoted_and_replaced() {
    let config = applied(&[
        "ENV A=1 B=\"two words\" C=a\\ b",
        "ENV A=2",
        "ENV OLD the rest is  \"the\" value",
        "LABEL a=\"x\\\"y\" 'b c'='d e'",
        "LABEL old form",
    ]);
    assert_eq!(config.env.unwrap(), ["A=2", "B=two words", "C=a b", "OLD=the rest is  the value"]);
    let labels = config.labels.unwrap();
    assert_eq!(labels["a"], "x\"y");
    assert_eq!(labels["b c"], "d e");
    assert_eq!(labels["old"], "form");
}

#[test]
fn other_instructions_apply() {
    let config = applied(&[
        "EXPOSE 80 53/udp 8000-8002/TCP",
        "VOLUME [\"/a\", \"/b c\"]",
        "VOLUME /d /e",
        "USER www-data:www-data",
        "WORKDIR /srv",
        "WORKDIR app/../data",
        "STOPSIGNAL SIGQUIT",
        "ONBUILD RUN make",
        "HEALTHCHECK --interval=1m30s --timeout=500ms --retries=5 CMD curl -f http://x || exit 1",
        "# a comment",
        "",
    ]);
    let ports: Vec<_> = config.exposed_ports.unwrap().into_keys().collect();
    assert_eq!(ports, ["53/udp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp"]);
    let volumes: Vec<_> = config.volumes.unwrap().into_keys().collect();
    assert_eq!(volumes, ["/a", "/b c", "/d", "/e"]);
    assert_eq!(
        (config.user.as_str(), config.working_dir.as_str()),
        ("www-data:www-data", "/srv/data")
    );
    assert_eq!(config.stop_signal, "SIGQUIT");
    assert_eq!(config.on_build.unwrap(), ["RUN make"]);
    let check = config.healthcheck.unwrap();
    assert_eq!(check.test, ["CMD-SHELL", "curl -f http://x || exit 1"]);
    assert_eq!((check.interval, check.timeout, check.retries), (90_000_000_000, 500_000_000, 5));
    let check = applied(&["HEALTHCHECK CMD [\"/probe\"]"]).healthcheck.unwrap();
    assert_eq!(check.test, ["CMD", "/probe"]);
    assert_eq!(applied(&["HEALTHCHECK NONE"]).healthcheck.unwrap().test, ["NONE"]);
    assert_eq!(applied(&["CMD echo \\\n  hello"]).cmd.unwrap()[2], "echo   hello");
}

#[test]
fn what_is_not_allowed_is_named() {
    let rows = [
        ("RUN make", "RUN is not a valid change command"),
        ("copy a b", "copy is not a valid change command"),
        ("", "file with no instructions"),
        ("# CMD x\n \n", "file with no instructions"),
        ("ENV", "ENV requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=1 B", "Syntax error - can't find = in \"B\". Must be of the form: name=value"),
        ("ENV =1", "ENV names can not be blank"),
        ("ENV A=\"x", "unexpected end of statement while looking for matching double-quote"),
        ("EXPOSE http", "invalid containerPort: http"),
        ("EXPOSE 90-80", "invalid containerPort: 90-80"),
        ("VOLUME [\"\"]", "VOLUME specified can not be an empty string"),
        ("USER a b", "USER requires exactly one argument"),
        ("STOPSIGNAL SIGNOPE", "invalid signal: SIGNOPE"),
        ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
        ("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"),
        ("HEALTHCHECK --interval=5 CMD x", "invalid duration \"5\" for --interval"),
        ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
        ("HEALTHCHECK maybe", "Unknown type \"maybe\" in HEALTHCHECK (try CMD)"),
    ];
    for (change, expected) in rows {
        assert_eq!(error(change), expected);
    }
}

proptest! {
    #[test]
    fn no_text_breaks_the_parser(text in "(ENV|LABEL|CMD|EXPOSE|HEALTHCHECK|VOLUME)[ =\"'\\\\a-z0-9\\[\\],/-]{0,40}") {
        let _ = apply(&mut RunConfig::default(), &[text]);
    }
}
