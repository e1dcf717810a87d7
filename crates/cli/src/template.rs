//! `--format`: Go templates with Docker's functions, over JSON values.

use std::collections::HashMap;
use std::fmt::Write as _;

use gtmpl_ng::{Context, FuncError, Template, Value};
use serde_json::Value as Json;

use crate::failure::Failure;
use crate::table::html_safe;
use crate::units::go_duration;

/// Labels of a row under their own names, for `{{.Label "name"}}`; not part of its JSON.
pub(crate) const LABELS: &str = "\u{1}labels";

/// Around a duration's nanoseconds while a template works on it. Go's templates show durations as
/// `1m30s`, and `json` shows their nanoseconds; a value here is either a number or a text.
const DURATION: (char, char) = ('\u{1}', '\u{2}');

/// The parts of a health check that are durations.
const DURATIONS: [&str; 4] = ["Interval", "Timeout", "StartPeriod", "StartInterval"];

/// A parsed template.
pub(crate) struct Format(Template);

impl Format {
    /// Parses a template; `\t` and `\n` may be written out.
    pub(crate) fn parse(text: &str) -> Result<Self, Failure> {
        Self::with_functions(
            text,
            &[
                ("json", json),
                ("split", split),
                ("join", join),
                ("title", title),
                ("lower", lower),
                ("upper", upper),
                ("pad", pad),
                ("truncate", truncate),
                ("label", label),
                ("printf", printf),
            ],
        )
    }

    /// Parses a template whose values are column titles, which functions leave alone.
    pub(crate) fn parse_for_titles(text: &str) -> Result<Self, Failure> {
        let same: Vec<(&str, Function)> =
            ["json", "split", "join", "title", "lower", "upper", "truncate"]
                .into_iter()
                .map(|name| (name, first as Function))
                .chain([("pad", pad as Function), ("label", label_title as Function)])
                .collect();
        Self::with_functions(text, &same)
    }

    fn with_functions(text: &str, functions: &[(&str, Function)]) -> Result<Self, Failure> {
        let text =
            text.replace("\\t", "\t").replace("\\n", "\n").replace(".Label \"", "label $ \"");
        let mut template = Template::default();
        template.add_funcs(functions);
        template
            .parse(text)
            .map_err(|e| Failure::with_code(64, format!("template parsing error: {e}")))?;
        Ok(Self(template))
    }

    pub(crate) fn render(&self, value: &Json) -> Result<String, Failure> {
        self.0
            .render(&Context::from(to_value(value)))
            .map(|text| write_durations(&text))
            .map_err(|e| Failure::new(describe(&e.to_string())))
    }
}

/// Says what is wrong without the whole value that the engine's error carries.
fn describe(error: &str) -> String {
    match error.split_once("no field `").and_then(|(_, rest)| rest.split_once('`')) {
        Some((name, _)) => format!("template parsing error: map has no entry for key {name:?}"),
        None => format!("template parsing error: {error}"),
    }
}

type Function = fn(&[Value]) -> Result<Value, FuncError>;

/// Converts for a template. An unknown field of an object is an error, as of Go's
/// structs, except among names that users chose.
fn to_value(json: &Json) -> Value {
    to_value_of("", json)
}

fn to_value_of(name: &str, json: &Json) -> Value {
    match json {
        Json::Null => Value::Nil,
        Json::Bool(b) => Value::Bool(*b),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Value::from(n),
            (None, Some(n)) => Value::from(n),
            (None, None) => Value::from(n.as_f64().unwrap_or_default()),
        },
        Json::String(s) => Value::String(s.clone()),
        Json::Array(items) => Value::Array(items.iter().map(to_value).collect()),
        Json::Object(map) => {
            let fields: HashMap<String, Value> =
                map.iter().map(|(name, value)| (name.clone(), to_value_of(name, value))).collect();
            let fields = if name == "Healthcheck" { mark_durations(fields) } else { fields };
            if matches!(name, "Labels" | "Options" | "Annotations" | "Sysctls" | LABELS) {
                Value::Map(fields)
            } else {
                Value::Object(fields)
            }
        }
    }
}

fn mark_durations(mut fields: HashMap<String, Value>) -> HashMap<String, Value> {
    let (before, after) = DURATION;
    for name in DURATIONS {
        if let Some(value @ Value::Number(_)) = fields.get_mut(name) {
            *value = Value::String(format!("{before}{value}{after}"));
        }
    }
    fields
}

/// The nanoseconds of a marked duration.
fn marked(text: &str) -> Option<i64> {
    text.strip_prefix(DURATION.0)?.strip_suffix(DURATION.1)?.parse().ok()
}

fn write_durations(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(DURATION.0) {
        let length = rest[start..].find(DURATION.1).map(|at| at + DURATION.1.len_utf8());
        let whole = length.map(|length| &rest[start..start + length]);
        let Some((whole, nanos)) = whole.and_then(|whole| Some((whole, marked(whole)?))) else {
            // A control character of somebody's own.
            let next = start + DURATION.0.len_utf8();
            out.push_str(&rest[..next]);
            rest = &rest[next..];
            continue;
        };
        out.push_str(&rest[..start]);
        out.push_str(&go_duration(nanos));
        rest = &rest[start + whole.len()..];
    }
    out + rest
}

fn to_json(value: &Value) -> Json {
    match value {
        Value::Bool(b) => Json::Bool(*b),
        Value::String(s) if marked(s).is_some() => marked(s).map_or(Json::Null, Json::from),
        Value::String(s) => Json::String(s.clone()),
        Value::Number(n) => n
            .as_i64()
            .map(Json::from)
            .or_else(|| n.as_u64().map(Json::from))
            .or_else(|| n.as_f64().map(Json::from))
            .unwrap_or(Json::Null),
        Value::Array(items) => Json::Array(items.iter().map(to_json).collect()),
        Value::Object(map) | Value::Map(map) => {
            let visible = map.iter().filter(|(k, _)| k.as_str() != LABELS);
            Json::Object(visible.map(|(k, v)| (k.clone(), to_json(v))).collect())
        }
        _ => Json::Null,
    }
}

/// Writes JSON with sorted names and without what templates alone may see.
pub(crate) fn to_sorted_json(value: &Json) -> String {
    fn sorted(value: &Json) -> Json {
        match value {
            Json::Array(items) => items.iter().map(sorted).collect(),
            Json::Object(map) => {
                let mut entries: Vec<_> = map.iter().filter(|(name, _)| *name != LABELS).collect();
                entries.sort_by_key(|(name, _)| *name);
                Json::Object(
                    entries
                        .into_iter()
                        .map(|(name, value)| (name.clone(), sorted(value)))
                        .collect(),
                )
            }
            other => other.clone(),
        }
    }
    sorted(value).to_string()
}

fn argument<'a>(name: &str, args: &'a [Value], index: usize) -> Result<&'a Value, FuncError> {
    args.get(index).ok_or_else(|| FuncError::AtLeastXArgs(name.to_owned(), index + 1))
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

fn count_of(name: &str, args: &[Value], index: usize) -> Result<usize, FuncError> {
    let value = argument(name, args, index)?;
    let number = if let Value::Number(n) = value { n.as_u64() } else { None };
    number
        .and_then(|n| usize::try_from(n).ok())
        .filter(|n| *n <= 1 << 20)
        .ok_or_else(|| FuncError::Generic(format!("{name}: expected a small number")))
}

fn first(args: &[Value]) -> Result<Value, FuncError> {
    argument("function", args, 0).cloned()
}

fn json(args: &[Value]) -> Result<Value, FuncError> {
    let value = argument("json", args, 0)?;
    let text = to_sorted_json(&to_json(value));
    let is_row = matches!(value, Value::Object(map) if map.contains_key(LABELS));
    Ok(Value::String(if is_row { html_safe(&text) } else { text }))
}

fn split(args: &[Value]) -> Result<Value, FuncError> {
    let (text, separator) =
        (text_of(argument("split", args, 0)?), text_of(argument("split", args, 1)?));
    Ok(Value::Array(text.split(separator.as_str()).map(Value::from).collect()))
}

fn join(args: &[Value]) -> Result<Value, FuncError> {
    let separator = text_of(argument("join", args, 1)?);
    match argument("join", args, 0)? {
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().map(text_of).collect();
            Ok(Value::String(parts.join(&separator)))
        }
        Value::Nil | Value::NoValue => Ok(Value::String(String::new())),
        _ => Err(FuncError::Generic("join: expected a list".to_owned())),
    }
}

/// Go's `printf`, for which a duration is a number where the format wants one.
fn printf(args: &[Value]) -> Result<Value, FuncError> {
    let format = text_of(argument("printf", args, 0)?).replace("%%", "");
    let verbs = format.split('%').skip(1).map(|verb| verb.chars().find(char::is_ascii_alphabetic));
    let mut args = args.to_vec();
    for (argument, verb) in args[1..].iter_mut().zip(verbs) {
        if let (Value::String(text), Some('d')) = (&*argument, verb)
            && let Some(nanos) = marked(text)
        {
            *argument = Value::from(nanos);
        }
    }
    gtmpl_ng::funcs::printf(&args)
}

fn title(args: &[Value]) -> Result<Value, FuncError> {
    let text = text_of(argument("title", args, 0)?);
    let mut out = String::with_capacity(text.len());
    let mut at_start = true;
    for c in text.chars() {
        if at_start {
            out.extend(c.to_uppercase());
        } else {
            out.push(c);
        }
        at_start = c.is_whitespace();
    }
    Ok(Value::String(out))
}

fn lower(args: &[Value]) -> Result<Value, FuncError> {
    Ok(Value::String(text_of(argument("lower", args, 0)?).to_lowercase()))
}

fn upper(args: &[Value]) -> Result<Value, FuncError> {
    Ok(Value::String(text_of(argument("upper", args, 0)?).to_uppercase()))
}

/// `pad TEXT BEFORE AFTER`: blanks around a text that is not empty.
fn pad(args: &[Value]) -> Result<Value, FuncError> {
    let text = text_of(argument("pad", args, 0)?);
    let (before, after) = (count_of("pad", args, 1)?, count_of("pad", args, 2)?);
    let padded = if text.is_empty() { text } else { format!("{:before$}{text}{:after$}", "", "") };
    Ok(Value::String(padded))
}

fn truncate(args: &[Value]) -> Result<Value, FuncError> {
    let text = text_of(argument("truncate", args, 0)?);
    let count = count_of("truncate", args, 1)?;
    Ok(Value::String(text.chars().take(count).collect()))
}

fn label(args: &[Value]) -> Result<Value, FuncError> {
    let name = text_of(argument("label", args, 1)?);
    let (Value::Map(row) | Value::Object(row)) = argument("label", args, 0)? else {
        return Ok(Value::String(String::new()));
    };
    let (Some(Value::Map(labels)) | Some(Value::Object(labels))) = row.get(LABELS) else {
        return Ok(Value::String(String::new()));
    };
    Ok(labels.get(&name).cloned().unwrap_or_else(|| Value::String(String::new())))
}

/// The column title of a label is its name, with separators as blanks.
fn label_title(args: &[Value]) -> Result<Value, FuncError> {
    let name = text_of(argument("label", args, 1)?);
    let last = name.rsplit('.').next().unwrap_or_default().replace(['-', '_'], " ");
    Ok(Value::String(last))
}

/// Writes JSON text again with an indent of four blanks, keeping the order and spelling of everything.
pub(crate) fn indent(text: &str, prefix: &str) -> String {
    let mut out = String::with_capacity(text.len() * 2);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut chars = text.chars().peekable();
    let newline = |out: &mut String, depth: usize| {
        let _ = write!(out, "\n{prefix}{:width$}", "", width = depth * 4); // a String takes every write
    };
    while let Some(c) = chars.next() {
        if in_string {
            out.push(c);
            in_string = escaped || c != '"';
            escaped = c == '\\' && !escaped;
            continue;
        }
        match c {
            '"' => {
                in_string = true;
                out.push(c);
            }
            '{' | '[' => {
                out.push(c);
                while chars.next_if(|c| c.is_ascii_whitespace()).is_some() {}
                if chars.peek().is_some_and(|next| matches!(next, '}' | ']')) {
                    continue;
                }
                depth += 1;
                newline(&mut out, depth);
            }
            '}' | ']' => {
                if !out.ends_with(['{', '[']) {
                    depth = depth.saturating_sub(1);
                    newline(&mut out, depth);
                }
                out.push(c);
            }
            ',' => {
                out.push(c);
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c if c.is_ascii_whitespace() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_render_as_go_does() {
        let value = json!({
            "Name": "/web", "Id": "0123456789ab", "N": 3, "None": null,
            "State": {"Running": true, "Pid": 42},
            "Args": ["a", "b"],
            "Config": {"Labels": {"x": "1"}},
            LABELS: {"com.example.role": "front"},
        });
        let cases = [
            ("{{.Name}}", "/web"),
            ("{{.State.Running}} {{.State.Pid}}", "true 42"),
            ("{{json .Args}}", "[\"a\",\"b\"]"),
            ("{{join .Args \", \"}}", "a, b"),
            ("{{range .Args}}<{{.}}>{{end}}", "<a><b>"),
            ("{{upper .Name}}{{title \"ab cd\"}}", "/WEBAb Cd"),
            ("{{truncate .Id 4}}|{{pad .Name 1 2}}|", "0123| /web  |"),
            ("{{index .Config.Labels \"x\"}}", "1"),
            ("{{.Label \"com.example.role\"}}", "front"),
            ("{{if .State.Running}}up{{else}}down{{end}}", "up"),
            ("{{range $k, $v := .Config.Labels}}{{$k}}={{$v}}{{end}}", "x=1"),
            ("{{println .N}}", "3\n"),
            ("{{(index .Args 1)}}", "b"),
            ("{{len .Args}}", "2"),
            ("{{printf \"%s-%d\" .Name .N}}", "/web-3"),
            ("{{eq .N 3}} {{.None}}", "true <no value>"),
            ("{{slice .Id 0 3}}", "012"),
            ("a\\tb", "a\tb"),
        ];
        for (template, expected) in cases {
            let rendered = Format::parse(template).and_then(|f| f.render(&value));
            assert_eq!(rendered.expect(template), expected, "{template}");
        }
        assert!(Format::parse("{{.Name").is_err());
        let missing = Format::parse("{{.State.Foo}}")
            .and_then(|f| f.render(&value))
            .expect_err("unknown field");
        assert_eq!(missing.text, "template parsing error: map has no entry for key \"Foo\"");
        let label = Format::parse("{{.Config.Labels.foo}}").and_then(|f| f.render(&value));
        assert_eq!(label.expect("labels have any name"), "<no value>");
    }

    #[test]
    fn durations_of_health_checks_read_as_go_writes_them() {
        let value = json!({"Config": {"Healthcheck": {
            "Test": ["CMD", "\u{1}odd"], "Interval": 90_000_000_000_i64, "Retries": 3,
        }}, "HostConfig": {"Interval": 5}});
        for (template, expected) in [
            ("{{.Config.Healthcheck.Interval}} {{.Config.Healthcheck.Retries}}", "1m30s 3"),
            ("{{json .Config.Healthcheck.Interval}}", "90000000000"),
            (
                "{{printf \"100%% %s %05d %d\" .Config.Healthcheck.Interval .HostConfig.Interval \
                 .Config.Healthcheck.Interval}}",
                "100% 1m30s 00005 90000000000",
            ),
            (
                "{{json .Config.Healthcheck}}",
                r#"{"Interval":90000000000,"Retries":3,"Test":["CMD","\u0001odd"]}"#,
            ),
            ("{{index .Config.Healthcheck.Test 1}}!", "\u{1}odd!"),
            ("{{.HostConfig.Interval}}", "5"),
        ] {
            let rendered = Format::parse(template).and_then(|f| f.render(&value));
            assert_eq!(rendered.expect(template), expected, "{template}");
        }
    }

    #[test]
    fn json_is_indented_in_its_own_order() {
        let text = r#"{"b":1,"a":[1,{"x":"a\"{,"}],"e":{},"n":[ ]}"#;
        let expected = "{\n    \"b\": 1,\n    \"a\": [\n        1,\n        {\n            \"x\": \"a\\\"{,\"\n        }\n    ],\n    \"e\": {},\n    \"n\": []\n}";
        assert_eq!(indent(text, ""), expected);
    }
}
