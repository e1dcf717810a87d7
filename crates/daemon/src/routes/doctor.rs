//! Teu's own: what is wrong with a network, in words.

use axum::Json;
use axum::extract::State;
use network::{Finding, Level};
use serde_json::{Value, json};

use crate::api::Api;
use crate::error::ApiResult;
use crate::params::Params;

/// `GET /teu/network/doctor?name=`: a list of `{Level, About, Text, Remedy}`, the level one of
/// `good`, `note`, `problem`.
pub(crate) async fn network(State(api): State<Api>, params: Params) -> ApiResult<Json<Vec<Value>>> {
    let findings = api.engine.network_doctor(params.text("name")).await?;
    Ok(Json(findings.iter().map(finding).collect()))
}

fn finding(finding: &Finding) -> Value {
    let level = match finding.level {
        Level::Good => "good",
        Level::Note => "note",
        Level::Problem => "problem",
    };
    json!({
        "Level": level,
        "About": finding.about,
        "Text": finding.text,
        "Remedy": finding.remedy,
    })
}
