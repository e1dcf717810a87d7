//! `--call`: what to do with the Dockerfile, and how what it offers is shown. The tables are BuildKit's.

use serde_json::Value as Json;

use crate::table::align;

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) method: Method,
    /// Whether an answer is shown as it is, rather than as tables.
    is_json: bool,
}

/// By BuildKit's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Build,
    Check,
    Outline,
    Targets,
}

impl Method {
    /// As the daemon calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Check => "check",
            Self::Outline => "outline",
            Self::Targets => "targets",
        }
    }
}

impl Call {
    /// Reads `NAME[,format=json]`; `check` says the same as that name.
    pub(super) fn parse(text: Option<&str>, check: bool) -> Result<Self, String> {
        let text = text.unwrap_or_default();
        let mut fields = text.split(',');
        let method = match fields.next().unwrap_or_default() {
            "" | "build" if check => Method::Check,
            "" | "build" => Method::Build,
            "check" | "lint" => Method::Check,
            "outline" => Method::Outline,
            "targets" => Method::Targets,
            other => {
                return Err(format!(
                    "--call {other}: it is not offered: use build, check, outline or targets"
                ));
            }
        };
        let mut is_json = false;
        for field in fields {
            is_json = match field.split_once('=') {
                Some(("format", "json")) => true,
                Some(("format", "text" | "")) => false,
                _ => {
                    return Err(format!(
                        "--call {text}: {field:?} is neither format=json nor format=text"
                    ));
                }
            };
        }
        if is_json && matches!(method, Method::Build | Method::Check) {
            let name = method.name();
            return Err(format!("--call {text}: {name} has no JSON: leave format=json out"));
        }
        Ok(Self { method, is_json })
    }

    /// Writes an answer down.
    pub(super) fn shown(self, answer: &Json) -> String {
        match self.method {
            _ if self.is_json => format!("{answer:#}\n"),
            Method::Targets => targets(answer),
            _ => outline(answer),
        }
    }
}

fn text<'a>(value: &'a Json, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Json, key: &str) -> impl Iterator<Item = &'a Json> {
    value[key].as_array().into_iter().flatten()
}

/// No text of a Dockerfile is to draw on the terminal, or to begin a column.
fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

fn targets(answer: &Json) -> String {
    let rows = list(answer, "targets").map(|target| {
        let name = match (text(target, "name"), target["default"] == true) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        format!("{}\t{}", plain(&name), plain(text(target, "description")))
    });
    let lines: Vec<String> =
        std::iter::once("TARGET\tDESCRIPTION".to_owned()).chain(rows).collect();
    align(&lines, 0, 1)
}

fn outline(answer: &Json) -> String {
    let mut shown = String::new();
    let mut table = |head: &str, rows: Vec<String>, padding| {
        if !rows.is_empty() {
            let head = Some(head.to_owned()).filter(|head| !head.is_empty());
            let lines: Vec<String> = head.into_iter().chain(rows).collect();
            shown.push_str(&align(&lines, 0, padding));
            shown.push('\n');
        }
    };
    let (name, description) = (text(answer, "name"), text(answer, "description"));
    let mut about = Vec::new();
    if !name.is_empty() {
        about.push(format!("TARGET:\t{}", plain(name)));
    }
    if !description.is_empty() {
        about.push(format!("DESCRIPTION:\t{}", plain(description)));
    }
    table("", about, 1);
    let args = list(answer, "args")
        .map(|arg| ["name", "value", "description"].map(|key| plain(text(arg, key))).join("\t"));
    table("BUILD ARG\tVALUE\tDESCRIPTION", args.collect(), 3);
    for (head, key) in [("SECRET\tREQUIRED", "secrets"), ("SSH\tREQUIRED", "ssh")] {
        let rows = list(answer, key).map(|asked| {
            let required = if asked["required"] == true { "true" } else { "" };
            format!("{}\t{required}", plain(text(asked, "name")))
        });
        table(head, rows.collect(), 3);
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(text: &str) -> Call {
        Call::parse(Some(text), false).unwrap()
    }

    #[test]
    fn methods_have_buildkits_names() {
        assert_eq!(Call::parse(None, false).unwrap().method, Method::Build);
        assert_eq!(Call::parse(None, true).unwrap().method, Method::Check);
        assert_eq!(call("lint").method, Method::Check);
        assert_eq!(call("outline,format=text"), call("outline"));
        assert!(call("targets,format=json").is_json);
        for (bad, told) in [
            ("prune", "use build, check, outline or targets"),
            ("outline,format=yaml", "\"format=yaml\" is neither"),
            ("check,format=json", "check has no JSON"),
        ] {
            let error = Call::parse(Some(bad), false).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn what_a_dockerfile_offers_is_in_tables() {
        let answer = json!({
            "name": "release", "description": "is \u{1b}[31mred",
            "args": [
                {"name": "GO_VERSION", "value": "1.22", "description": "sets the version"},
                {"name": "TOKEN"},
            ],
            "secrets": [{"name": "key", "required": true}, {"name": "other"}],
        });
        expect_test::expect![[r"
            TARGET:      release
            DESCRIPTION: is [31mred

            BUILD ARG    VALUE   DESCRIPTION
            GO_VERSION   1.22    sets the version
            TOKEN                

            SECRET   REQUIRED
            key      true
            other    

        "]]
        .assert_eq(&call("outline").shown(&answer));
        let answer = json!({"targets": [
            {"name": "build", "description": "compiles"}, {}, {"name": "last", "default": true},
        ]});
        expect_test::expect![[r"
            TARGET         DESCRIPTION
            build          compiles
                           
            last (default) 
        "]]
        .assert_eq(&call("targets").shown(&answer));
        let shown = call("targets,format=json").shown(&answer);
        assert_eq!(serde_json::from_str::<Json>(&shown).unwrap(), answer);
    }
}
