use super::*;
use crate::plan::{self, Inputs};
use crate::syntax::parse;

const FILE: &str = "# syntax=docker/dockerfile:1

ARG BASE=box
ARG OTHER=unused$BASE
# SUFFIX is what the base's name ends with
ARG SUFFIX=\"y${BASE}\"

FROM bus${SUFFIX} AS first
# no description: another name
ARG FOO=123
# BAR is a number
#
ARG BAR=456
RUN --mount=type=secret,target=/etc/passwd,required=true --mount=type=ssh true

FROM alpine AS second
ARG NEVER
RUN --mount=type=secret,id=unused true

FROM scratch AS third
# FOO is another one here

# TOKEN is asked for
ARG TOKEN BASE TARGETARCH
RUN --mount=type=secret,id=second$BASE true

# result has it all
FROM third AS result
COPY --from=first /etc/passwd /
RUN --mount=type=ssh,id=deploy,required true

FROM second
";

fn source(text: &str) -> SourceFile {
    SourceFile { name: "Dockerfile".to_owned(), text: text.to_owned() }
}

fn outlined(target: &str, given: &[(&str, &str)]) -> Result<Json> {
    let (file, source) = (parse(FILE).unwrap(), source(FILE));
    let given = given.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
    let build_args: BTreeMap<String, Option<String>> = given.collect();
    let predefined = BTreeMap::from([("TARGETARCH".to_owned(), "amd64".to_owned())]);
    let target = Some(target);
    let inputs = Inputs { build_args: build_args.clone(), target, predefined, ..Inputs::default() };
    let plan = plan::plan(&file, &inputs).unwrap();
    let image = &|_: &str| None;
    outline(&Facts { file: &file, source: &source, plan: &plan, build_args: &build_args, image })
}

/// An entry in short: line, name, and what else there is.
fn short(outline: &Json, list: &str) -> Vec<String> {
    let entries = outline[list].as_array().into_iter().flatten();
    let entries = entries.map(|entry| {
        let text = |key: &str| match &entry[key] {
            Json::Null => String::new(),
            Json::String(text) => format!(" {key}={text}"),
            other => format!(" {key}={other}"),
        };
        let line = &entry["location"]["ranges"][0]["start"]["line"];
        let name = entry["name"].as_str().unwrap();
        format!("{line} {name}{}{}{}", text("value"), text("description"), text("required"))
    });
    entries.collect()
}

#[test]
fn an_outline_has_what_the_target_and_its_stages_take() {
    let outline = outlined("result", &[("BAR", "678")]).unwrap();
    assert_eq!(
        (&outline["name"], &outline["description"]),
        (&json!("result"), &json!("has it all"))
    );
    assert_eq!(outline["sources"], json!([STANDARD.encode(FILE)]));
    assert_eq!(
        short(&outline, "args"),
        [
            "3 BASE value=box",
            "6 SUFFIX value=ybox description=is what the base's name ends with",
            "10 FOO value=123",
            "13 BAR value=678",
            "24 TOKEN description=is asked for",
        ]
    );
    assert_eq!(short(&outline, "secrets"), ["14 passwd required=true", "25 secondbox"]);
    assert_eq!(short(&outline, "ssh"), ["14 default", "30 deploy required=true"]);
    let outline = outlined("", &[]).unwrap();
    assert_eq!((&outline["name"], &outline["description"]), (&Json::Null, &Json::Null));
    assert_eq!(short(&outline, "args"), ["17 NEVER"]);
}

#[test]
fn a_value_made_of_others_needs_them() {
    let text = "ARG A=1\nARG B=2\nARG A=$A$B\nARG C=$A\nFROM x:$C\n";
    let (file, source) = (parse(text).unwrap(), source(text));
    let plan = plan::plan(&file, &Inputs::default()).unwrap();
    let (build_args, image) = (BTreeMap::new(), &|_: &str| None);
    let facts = Facts { file: &file, source: &source, plan: &plan, build_args: &build_args, image };
    let outline = outline(&facts).unwrap();
    assert_eq!(short(&outline, "args"), ["2 B value=2", "3 A value=12", "4 C value=12"]);
}

#[test]
fn targets_are_all_stages() {
    let list = targets(&parse(FILE).unwrap(), &source(FILE));
    let told = list["targets"].as_array().unwrap().iter().map(|target| {
        let text = |key: &str| target[key].as_str().unwrap_or("-").to_owned();
        let line = &target["location"]["ranges"][0]["start"]["line"];
        let is_default = target["default"] == true;
        format!("{line} {} {} {} {is_default}", text("name"), text("base"), text("description"))
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "8 first bus${SUFFIX} - false",
            "16 second alpine - false",
            "20 third scratch - false",
            "28 result third has it all false",
            "32 - second - true",
        ]
    );
}
