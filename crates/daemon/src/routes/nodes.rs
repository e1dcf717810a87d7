//! The nodes of the swarm that this host manages.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use docker_api::models::swarm as wire;
use serde_json::Value;
use swarm::NodeStatus;

use crate::api::Api;
use crate::body::JsonBody;
use crate::convert::swarm as convert;
use crate::error::{ApiError, ApiResult};
use crate::extract::Name;
use crate::params::{Filters, Params, printable};

/// `GET /nodes`
pub(crate) async fn list(State(api): State<Api>, params: Params) -> ApiResult<Json<Vec<Value>>> {
    let nodes = api.swarm.nodes()?;
    let root = api.swarm.trust_root()?;
    let filters = filters(params.filters()?)?;
    let shown = nodes.iter().filter(|node| accepts(&filters, node));
    Ok(Json(shown.map(|node| convert::node(node, &root)).collect()))
}

/// `GET /nodes/{id}`
pub(crate) async fn inspect(State(api): State<Api>, Name(name): Name) -> ApiResult<Json<Value>> {
    let node = find(api.swarm.nodes()?, &name)?;
    Ok(Json(convert::node(&node, &api.swarm.trust_root()?)))
}

/// `POST /nodes/{id}/update`
pub(crate) async fn update(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
    JsonBody(body): JsonBody<wire::NodeSpec>,
) -> ApiResult<StatusCode> {
    let version = version(&params, "node")?;
    let spec = convert::node_spec(body.unwrap_or_default())?;
    api.blocking(move |api| {
        let node = find(api.swarm.nodes()?, &name)?;
        Ok(api.swarm.update_node(&node.node.id, version, spec)?)
    })
    .await?;
    Ok(StatusCode::OK)
}

/// `DELETE /nodes/{id}`
pub(crate) async fn remove(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
) -> ApiResult<StatusCode> {
    let force = params.bool("force");
    api.blocking(move |api| {
        let node = find(api.swarm.nodes()?, &name)?;
        Ok(api.swarm.remove_node(&node.node.id, force)?)
    })
    .await?;
    Ok(StatusCode::OK)
}

/// Reads the version that the client has seen.
pub(crate) fn version(params: &Params, noun: &str) -> ApiResult<u64> {
    let text = params.get("version").unwrap_or_default();
    text.parse().map_err(|_| {
        let text = printable(text);
        ApiError::invalid(format!("invalid {noun} version '{text}': invalid syntax"))
    })
}

/// Finds a node by its id, its name, or the beginning of its id.
fn find(nodes: Vec<NodeStatus>, name: &str) -> ApiResult<NodeStatus> {
    let ways: [&dyn Fn(&NodeStatus) -> bool; 3] = [
        &|node| node.node.id == name,
        &|node| node.node.spec.name == name || node.node.description.hostname == name,
        &|node| !name.is_empty() && node.node.id.starts_with(name),
    ];
    for way in ways {
        let mut found = nodes.iter().filter(|node| way(node));
        match (found.next(), found.count()) {
            (None, _) => {}
            (Some(node), 0) => return Ok(node.clone()),
            (Some(_), more) => {
                let name = printable(name);
                return Err(ApiError::invalid(format!(
                    "node {name} is ambiguous ({} matches found)",
                    more + 1
                )));
            }
        }
    }
    Err(ApiError::not_found(format!("node {} not found", printable(name))))
}

/// Refuses what no list of nodes knows.
fn filters(filters: Filters) -> ApiResult<Filters> {
    let filters = filters.only(&["id", "label", "membership", "name", "node.label", "role"])?;
    for (name, known) in [("membership", ["accepted", "pending"]), ("role", ["manager", "worker"])]
    {
        let values = filters.values(name);
        if let Some(value) = values.iter().find(|value| !known.contains(&value.as_str())) {
            let value = printable(value);
            return Err(ApiError::invalid(format!("invalid {name} filter: '{value}'")));
        }
    }
    Ok(filters)
}

/// Whether a node fits: values of one name are alternatives, but labels must all be there.
fn accepts(filters: &Filters, status: &NodeStatus) -> bool {
    let node = &status.node;
    let any = |name: &str, fits: &dyn Fn(&str) -> bool| {
        let values = filters.values(name);
        values.is_empty() || values.iter().any(|value| fits(value))
    };
    let shown_name = match node.spec.name.as_str() {
        "" => &node.description.hostname,
        name => name,
    };
    let labels = |name: &str, labels: &std::collections::BTreeMap<String, String>| {
        filters.values(name).iter().all(|wanted| match wanted.split_once('=') {
            Some((key, value)) => labels.get(key).is_some_and(|own| own == value),
            None => labels.contains_key(wanted),
        })
    };
    any("id", &|id| node.id.starts_with(id))
        && any("name", &|name| shown_name.starts_with(name))
        && any("role", &|role| node.spec.role.as_str() == role)
        && any("membership", &|membership| membership == "accepted")
        && labels("label", &node.description.engine_labels)
        && labels("node.label", &node.spec.labels)
}
