//! `network doctor`: what is wrong with a network, in words.

use docker_api::Request;
use serde_json::Value as Json;

use crate::grammar::{Call, Outcome};

/// `network doctor [OPTIONS] [CONTAINER|NETWORK]`; exits 1 when there is a problem.
pub(crate) async fn doctor(call: Call<'_>) -> Outcome {
    let client = call.cli.client().await?;
    let name = call.args.first().map(String::as_str);
    let request = Request::get("/teu/network/doctor").query_some("name", name);
    let findings: Vec<Json> = client.call(request).await?.json().await?;
    print!("{}", render(&findings, call.flags.on("quiet")));
    Ok(u8::from(problems(&findings) > 0))
}

fn problems(findings: &[Json]) -> usize {
    findings.iter().filter(|finding| finding["Level"] == "problem").count()
}

/// One paragraph per subject; `problems_only` leaves the rest out.
fn render(findings: &[Json], problems_only: bool) -> String {
    let mut text = String::new();
    let mut subject = "";
    for finding in findings {
        let field = |name: &str| finding[name].as_str().unwrap_or_default();
        let mark = match field("Level") {
            "problem" => "PROBLEM",
            _ if problems_only => continue,
            "note" => "note",
            _ => "ok",
        };
        if field("About") != subject {
            subject = field("About");
            text.push_str(&format!("{subject}\n"));
        }
        text.push_str(&format!("  {mark:<8} {}\n", field("Text")));
        if !field("Remedy").is_empty() {
            text.push_str(&format!("           -> {}\n", field("Remedy")));
        }
    }
    text.push_str(&match problems(findings) {
        0 => "no problem found\n".to_owned(),
        1 => "1 problem found\n".to_owned(),
        count => format!("{count} problems found\n"),
    });
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn findings_are_told_by_subject_with_what_to_do() {
        let findings = [
            json!({"Level": "good", "About": "host", "Text": "all is well", "Remedy": null}),
            json!({"Level": "problem", "About": "host", "Text": "it rains", "Remedy": "wait"}),
            json!({"Level": "note", "About": "network n", "Text": "is internal", "Remedy": null}),
        ];
        assert_eq!(
            render(&findings, false),
            "host\n  ok       all is well\n  PROBLEM  it rains\n           -> wait\n\
             network n\n  note     is internal\n1 problem found\n"
        );
        assert_eq!(
            render(&findings, true),
            "host\n  PROBLEM  it rains\n           -> wait\n1 problem found\n"
        );
        assert_eq!(render(&[], false), "no problem found\n");
    }
}
