use super::*;
use crate::syntax::parse;

fn found(source: &str) -> Vec<Diagnostic> {
    let file = parse(source).unwrap();
    let global_args = BTreeMap::from([("TARGETPLATFORM".to_owned(), "linux/amd64".to_owned())]);
    let ignored = Patterns::from_patterns(["*.log"]).unwrap();
    let image = |name: &str| {
        let platform = if name == "arm" { "linux/arm64/v8" } else { "linux/amd64" }.to_owned();
        let environment = vec!["HOME_OF_IT".to_owned()];
        ["here", "arm"].contains(&name).then_some(Image { environment, platform })
    };
    let facts = Facts {
        global_args: &global_args,
        ignored: &ignored,
        platform: "linux/amd64",
        image: &image,
    };
    let settings = Settings::parse(file.directives.check.as_deref().unwrap_or_default()).unwrap();
    check(&file, &settings, &facts)
}

fn rules(source: &str) -> Vec<&'static str> {
    found(source).into_iter().filter_map(|found| found.rule).collect()
}

#[test]
fn findings_have_names() {
    for (source, expected) in [
        ("FROM a\nCMD [\"x\"]\n", vec![]),
        ("FROM a\nCMD x\n", vec!["JSONArgsRecommended"]),
        ("FROM a\nSHELL [\"sh\"]\nCMD x\n", vec![]),
        ("FROM a\nCMD [\"x\"]\nCMD [\"y\"]\n", vec!["MultipleInstructionsDisallowed"]),
        ("FROM a\nWORKDIR x\n", vec!["WorkdirRelativePath"]),
        ("FROM a\nWORKDIR /a\nWORKDIR x\n", vec![]),
        ("FROM a\nENV DB_PASSWORD=x\nARG PUBLIC_KEY\n", vec!["SecretsUsedInArgOrEnv"]),
        ("FROM a AS x\nFROM b AS x\n", vec!["DuplicateStageName"]),
        ("FROM a AS Build\n", vec!["StageNameCasing"]),
        ("FROM a as b\n", vec!["FromAsCasing"]),
        ("from a as b\nrun x\n", vec![]),
        ("FROM a AS context\n", vec!["ReservedStageName"]),
        ("FROM --platform=$TARGETPLATFORM a\n", vec!["RedundantTargetPlatform"]),
        ("FROM --platform=linux/amd64 a\n", vec!["FromPlatformFlagConstDisallowed"]),
        ("FROM --platform=linux/amd64 a AS of-amd64\n", vec![]),
        ("FROM a\nMAINTAINER x\n", vec!["MaintainerDeprecated"]),
        ("FROM a\nENV a b\n", vec!["LegacyKeyValueFormat"]),
        ("FROM a\nRUN x \\\n\n y\n", vec!["NoEmptyContinuation"]),
        ("FROM a\nRUN x\nrun y\n", vec!["ConsistentInstructionCasing"]),
        ("FROM a\nRun x\n", vec!["ConsistentInstructionCasing"]),
        ("FROM a\nEXPOSE 80/TCP 1.2.3.4:80:80\n", vec!["ExposeProtoCasing", "ExposeInvalidFormat"]),
        ("FROM a\nCOPY b.log c /d/\nCOPY --from=x b.log /\n", vec!["CopyIgnoredFile"]),
        ("FROM arm\n", vec!["InvalidBaseImagePlatform"]),
        ("FROM --platform=$P arm\n", vec!["UndefinedArgInFrom"]),
        ("ARG V\nFROM a:$V\n", vec!["InvalidDefaultArgInFrom"]),
        ("ARG V=1\nFROM a:$V\n", vec![]),
        ("FROM a:${V:-1}\n", vec![]),
        ("FROM a$V\n", vec!["UndefinedArgInFrom"]),
        ("# check=skip=JSONArgsRecommended\nFROM a\nCMD x\n", vec![]),
        ("# check=skip=all\nFROM a\nCMD x\n", vec![]),
    ] {
        assert_eq!(rules(source), expected, "{source}");
    }
}

#[test]
fn variables_are_looked_for_where_the_base_is_known() {
    for (body, count) in [
        ("WORKDIR /$X", 1),
        ("WORKDIR /${X}/$Y", 2),
        ("WORKDIR /${X:-a}${X+b}", 0),
        ("ARG X\nWORKDIR /$X", 0),
        ("ENV X=1\nWORKDIR /$X", 0),
        ("ENV X=$Y", 1),
        ("ENV X='$Y' Z=\\$Y", 0),
        ("COPY $X --bad /y", 1),
        ("RUN echo $X", 0),
        ("LABEL a=$HOME_OF_IT b=$PATH c=$http_proxy", 0),
    ] {
        let in_known = found(&format!("FROM here AS b\nFROM b\n{body}\n"));
        let count_of = |found: &[Diagnostic]| {
            found.iter().filter(|finding| finding.rule == Some("UndefinedVar")).count()
        };
        assert_eq!(count_of(&in_known), count, "{body}");
        assert_eq!(count_of(&found(&format!("FROM elsewhere\n{body}\n"))), 0, "{body}");
    }
    let near = &found("FROM scratch\nARG NAME\nWORKDIR /$NMAE\n")[0];
    assert_eq!(near.help.as_deref(), Some("did you mean $NAME?"));
}

#[test]
fn settings_are_read() {
    let settings = Settings::parse("skip=A, B ;error=true").unwrap();
    assert!(settings.is_error && settings.skips(Some("B")) && !settings.skips(Some("C")));
    assert!(Settings::parse("error=maybe").is_err());
    assert!(Settings::parse("what").is_err());
    assert_eq!(Settings::parse("").unwrap(), Settings::default());
}
