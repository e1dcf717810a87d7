//! `inspect`, of any kind of object or of one.

use docker_api::{Client, Request, encode_path};
use serde_json::Value as Json;

use crate::failure::{Failure, describe};
use crate::grammar::{Call, Outcome};
use crate::template::{Format, indent};

/// A kind of object, with its name in messages and its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Container,
    Image,
    Network,
    Node,
    Volume,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Container, Self::Image, Self::Network, Self::Volume, Self::Node];

    const fn word(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
            Self::Network => "network",
            Self::Node => "node",
            Self::Volume => "volume",
        }
    }

    fn request(self, name: &str) -> Request {
        let name = encode_path(name);
        match self {
            Self::Container => Request::get(format!("/containers/{name}/json")),
            Self::Image => Request::get(format!("/images/{name}/json")),
            Self::Network => Request::get(format!("/networks/{name}")),
            Self::Node => Request::get(format!("/nodes/{name}")),
            Self::Volume => Request::get(format!("/volumes/{name}")),
        }
    }
}

/// `inspect [OPTIONS] NAME|ID [NAME|ID...]`
pub(crate) async fn inspect(call: Call<'_>) -> Outcome {
    let wanted = call.flags.text("type");
    let kinds: Vec<Kind> = match wanted {
        // Only managers of a swarm know nodes.
        "" => Kind::ALL.into_iter().filter(|kind| *kind != Kind::Node).collect(),
        word => match Kind::ALL.into_iter().find(|kind| kind.word() == word) {
            Some(kind) => vec![kind],
            None => {
                return Err(format!(
                    "unknown type: {word:?}: must be one of \"container\", \"image\", \"network\", \"node\", \"volume\""
                )
                .into());
            }
        },
    };
    inspect_as(call, &kinds).await
}

/// `container inspect`
pub(crate) async fn container(call: Call<'_>) -> Outcome {
    inspect_as(call, &[Kind::Container]).await
}

/// `image inspect`
pub(crate) async fn image(call: Call<'_>) -> Outcome {
    inspect_as(call, &[Kind::Image]).await
}

/// `network inspect`
pub(crate) async fn network(call: Call<'_>) -> Outcome {
    inspect_as(call, &[Kind::Network]).await
}

/// `node inspect`
pub(crate) async fn node(call: Call<'_>) -> Outcome {
    inspect_as(call, &[Kind::Node]).await
}

/// `volume inspect`
pub(crate) async fn volume(call: Call<'_>) -> Outcome {
    inspect_as(call, &[Kind::Volume]).await
}

async fn inspect_as(call: Call<'_>, kinds: &[Kind]) -> Outcome {
    let flags = &call.flags;
    let format = match flags.text("format") {
        "" | "json" => None,
        template => Some(Format::parse(template)?),
    };
    let client = call.cli.client().await?;
    let (mut found, mut failed) = (Vec::new(), Vec::new());
    for name in &call.args {
        match find(client, kinds, name, &|request| decorate(request, &call)).await {
            Ok(text) => found.push(text),
            Err(failure) => failed.push(failure.text),
        }
    }
    print!("{}", show(&found, format.as_ref(), flags.text("format") == "json", &mut failed));
    if failed.is_empty() { Ok(0) } else { Err(Failure::new(failed.join("\n"))) }
}

fn decorate(request: Request, call: &Call<'_>) -> Request {
    request
        .query_flag("size", call.flags.on("size"))
        .query_flag("verbose", call.flags.on("verbose"))
        .query_some("scope", call.flags.get("scope"))
}

/// Asks for the object as each kind in turn; the first that knows it wins.
async fn find(
    client: &Client,
    kinds: &[Kind],
    name: &str,
    decorate: &dyn Fn(Request) -> Request,
) -> Result<String, Failure> {
    for &kind in kinds {
        let answer = match client.call(decorate(kind.request(name))).await {
            Ok(response) => response.bytes().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(bytes) => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.is_not_found() && kinds.len() > 1 => {}
            Err(error) => return Err(Failure::new(describe(&error))),
        }
    }
    Err(Failure::new(format!("Error: No such object: {name}")))
}

/// Writes objects as an indented array, as JSON in one line, or by a template each.
fn show(
    found: &[String],
    format: Option<&Format>,
    compact: bool,
    failed: &mut Vec<String>,
) -> String {
    let Some(format) = format else {
        if compact {
            let trimmed: Vec<&str> = found.iter().map(|text| text.trim()).collect();
            return format!("[{}]\n", trimmed.join(","));
        }
        let array = found.iter().map(|text| text.trim()).collect::<Vec<_>>().join(",");
        return indent(&format!("[{array}]"), "") + "\n";
    };
    let mut out = String::new();
    for text in found {
        let rendered = serde_json::from_str::<Json>(text)
            .map_err(|e| Failure::new(e.to_string()))
            .and_then(|value| {
                // Where that does not work either, what is not there is the better complaint.
                format.render(&with_absent(value.clone())).or_else(|_| format.render(&value))
            });
        match rendered {
            Ok(line) => {
                out.push_str(&line);
                out.push('\n');
            }
            Err(failure) => failed.push(failure.text),
        }
    }
    // What scripts read line by line has a line even for nothing.
    if found.is_empty() {
        out.push('\n');
    }
    out
}

/// Fields of a container that an answer leaves out when there is nothing to say. A template may ask
/// for them all the same: `{{if .State.Health}}` is false then.
const OPTIONAL: [(&str, &[&str]); 2] =
    [("State", &["Health"]), ("Config", &["ExposedPorts", "Healthcheck", "Shell", "StopTimeout"])];

fn with_absent(mut object: Json) -> Json {
    let is_container = object.get("State").is_some_and(Json::is_object);
    for (part, names) in OPTIONAL.into_iter().filter(|_| is_container) {
        if let Some(fields) = object.get_mut(part).and_then(Json::as_object_mut) {
            for name in names {
                fields.entry(*name).or_insert(Json::Null);
            }
        }
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_container_lacks_is_nothing_and_no_error() {
        let found = [r#"{"State":{"Status":"created"},"Config":{}}"#.to_owned()];
        let shown = |template: &str| {
            let format = Format::parse(template).expect("parses");
            let mut failed = Vec::new();
            (show(&found, Some(&format), false, &mut failed), failed)
        };
        let template = "{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}";
        assert_eq!(shown(template), ("none\n".to_owned(), Vec::new()));
        assert_eq!(shown("{{range .Config.ExposedPorts}}x{{end}}").0, "\n");
        assert_eq!(shown("{{json .Config.Healthcheck}}").0, "null\n");
        let told = "template parsing error: map has no entry for key \"Health\"";
        assert_eq!(shown("{{.State.Health.Status}}").1, [told]);
    }

    #[test]
    fn objects_print_as_an_indented_array() {
        let found = [r#"{"Id":"a","B":[]}"#.to_owned()];
        let text = show(&found, None, false, &mut Vec::new());
        assert_eq!(text, "[\n    {\n        \"Id\": \"a\",\n        \"B\": []\n    }\n]\n");
        assert_eq!(show(&[], None, false, &mut Vec::new()), "[]\n");
        let format = Format::parse("{{.Id}}").expect("parses");
        assert_eq!(show(&found, Some(&format), false, &mut Vec::new()), "a\n");
    }
}
