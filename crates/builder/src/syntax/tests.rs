use proptest::prelude::*;

use super::*;

fn only(line: &str) -> Kind {
    let file =
        parse(&format!("FROM scratch\n{line}\n")).unwrap_or_else(|e| panic!("{line}: {e:?}"));
    file.stages[0].instructions[0].kind.clone()
}

fn refused(source: &str) -> String {
    parse(source).unwrap_err().render("Dockerfile", source)
}

#[test]
fn stages_have_names_and_platforms() {
    let file =
        parse("ARG V=1\nFROM --platform=linux/amd64 debian:$V AS Build\nRUN x\nFROM build\n");
    let file = file.unwrap();
    assert_eq!(file.global_args.len(), 1);
    let stage = &file.stages[0];
    assert_eq!(stage.base.text, "debian:$V");
    assert_eq!(stage.platform.as_ref().map(|p| p.text.as_str()), Some("linux/amd64"));
    assert_eq!(stage.name.as_ref().map(|p| p.text.as_str()), Some("build"));
    assert_eq!(file.stages[1].base.text, "build");
}

#[test]
fn commands_have_two_forms() {
    assert_eq!(only("CMD echo hi"), Kind::Cmd(Words::Shell("echo hi".into())));
    assert_eq!(
        only("ENTRYPOINT [\"a\", \"b c\"]"),
        Kind::Entrypoint(Words::Exec(vec!["a".into(), "b c".into()]))
    );
    assert_eq!(only("CMD ['a']"), Kind::Cmd(Words::Shell("['a']".into())));
}

#[test]
fn run_takes_flags_and_heredocs() {
    let kind = only("RUN --mount=type=cache,target=/c --network=none <<EOF\na\nb\nEOF");
    let Kind::Run(run) = kind else { panic!("{kind:?}") };
    assert!(run.is_script);
    assert_eq!(run.command, Words::Shell("a\nb\n".into()));
    assert_eq!(run.mounts[0].text, "type=cache,target=/c");
    assert_eq!(run.network.unwrap().text, "none");
    let kind = only("RUN cat <<EOF > /x\na\nEOF");
    let Kind::Run(run) = kind else { panic!("{kind:?}") };
    assert!(!run.is_script && run.heredocs.len() == 1);
}

#[test]
fn copy_takes_flags_lists_and_heredocs() {
    let kind = only("COPY --from=a --chown=1:2 --link [\"a b\", \"/c d/\"]");
    let Kind::Copy(copy) = kind else { panic!("{kind:?}") };
    assert!(copy.link && !copy.is_add);
    assert_eq!(copy.destination, "/c d/");
    assert!(matches!(&copy.sources[0], Source::Path(path) if path.text == "a b"));
    let kind = only("COPY <<a.txt b /d/\nhello\na.txt");
    let Kind::Copy(copy) = kind else { panic!("{kind:?}") };
    assert!(matches!(&copy.sources[0], Source::Inline(file) if file.content == "hello\n"));
}

#[test]
fn pairs_have_two_forms() {
    let pairs =
        vec![("a".to_owned(), "1".to_owned()), ("b".to_owned(), "\"two words\"".to_owned())];
    assert_eq!(only("ENV a=1 b=\"two words\""), Kind::Env(pairs));
    let pair = vec![("a".to_owned(), "the rest  is".to_owned())];
    assert_eq!(only("ENV a the rest  is"), Kind::Env(pair));
}

#[test]
fn a_remark_behind_an_arg_is_names_of_more() {
    let names = |line| match only(line) {
        Kind::Arg(args) => args.into_iter().map(|(name, _)| name).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(names("ARG V= # CHANGE ME"), ["V", "#", "CHANGE", "ME"]);
    assert_eq!(names("ARG a-b=1 1c"), ["a-b", "1c"]);
    assert!(refused("FROM a\nARG =x\n").contains("2:5: ARG names can not be blank"));
}

#[test]
fn health_checks_have_times() {
    let kind = only("HEALTHCHECK --interval=1m30s --retries=2 CMD curl x");
    let Kind::Healthcheck(check) = kind else { panic!("{kind:?}") };
    assert_eq!((check.interval, check.retries), (90_000_000_000, 2));
    assert_eq!(check.command, Some(Words::Shell("curl x".into())));
}

#[test]
fn mistakes_point_at_their_place() {
    for (source, parts) in [
        ("FORM x\n", vec!["Dockerfile:1:1: unknown instruction: FORM", "did you mean FROM?"]),
        ("FROM a\nRUN --mont=type=cache x\n", vec![":2:5:", "unknown flag: --mont", "--mount?"]),
        ("FROM a b\n", vec![":1:8:", "one or three arguments"]),
        ("RUN x\n", vec!["no build stage"]),
        ("", vec!["cannot be empty"]),
        ("# only\n", vec!["cannot be empty"]),
        ("FROM a\nCOPY x\n", vec![":2:1:", "at least two arguments"]),
        ("FROM a\nENV a=1 \\\n  b\n", vec![":3:3:", "can't find ="]),
        ("FROM a\nRUN\n", vec!["RUN requires at least one argument"]),
        ("FROM a AS 1\n", vec!["invalid name for build stage"]),
        ("FROM a\nONBUILD FROM x\n", vec!["isn't allowed as an ONBUILD trigger"]),
        ("FROM a\nONBUILD RAN x\n", vec!["unknown instruction: RAN", "did you mean RUN?"]),
        ("FROM a\nSHELL x\n", vec!["JSON form"]),
        ("FROM a\nHEALTHCHECK --interval=x CMD a\n", vec![":2:13:", "invalid duration"]),
        ("FROM a\nCOPY --link=maybe a b\n", vec!["Expecting boolean"]),
        ("FROM a\nCOPY --chown a b\n", vec!["Missing a value on flag: chown"]),
    ] {
        let text = refused(source);
        for part in parts {
            assert!(text.contains(part), "{source:?}: {text}");
        }
    }
}

proptest! {
    #[test]
    fn nothing_panics(source in "(FROM|RUN|COPY|ENV|ARG|ONBUILD|HEALTHCHECK|#|<<|\\\\|\n|\"|'|=|-|\\[| |\\PC){0,60}") {
        if let Err(found) = parse(&source) {
            let _ = found.render("Dockerfile", &source);
        }
    }
}

#[test]
fn what_the_fuzzer_kept_is_read() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/dockerfile");
    for entry in std::fs::read_dir(corpus).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let source = String::from_utf8_lossy(&bytes);
        match parse(&source) {
            Ok(file) => drop(crate::plan::plan(&file, &crate::plan::Inputs::default())),
            Err(found) => drop(found.render("Dockerfile", &source)),
        }
    }
}
