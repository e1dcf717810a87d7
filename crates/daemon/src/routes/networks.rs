//! Networks: bridge, host and none can be listed and inspected; there are no others yet.

use axum::Json;
use axum::extract::State;
use network::NetworkInfo;
use serde_json::{Value, json};

use crate::api::Api;
use crate::convert::network as convert;
use crate::error::{ApiError, ApiResult};
use crate::extract::Name;
use crate::params::{Filters, Params};

const FILTERS: [&str; 7] = ["dangling", "driver", "id", "label", "name", "scope", "type"];

const ONLY_PREDEFINED: &str = "user-defined networks are not available yet: a container can use \
                               the networks bridge, host and none";

/// `GET /networks`
pub(crate) async fn list(State(api): State<Api>, params: Params) -> ApiResult<Json<Vec<Value>>> {
    let filters = params.filters()?.only(&FILTERS)?;
    let networks = api.blocking(|api| Ok(api.engine.network().list())).await?;
    let shown = networks.iter().filter(|info| matches(&filters, info));
    // A list does not say who is attached.
    Ok(Json(shown.map(|info| convert::network(info, convert::Endpoints::Hidden)).collect()))
}

fn matches(filters: &Filters, info: &NetworkInfo) -> bool {
    let record = &info.record;
    let any = |name: &str, test: &dyn Fn(&str) -> bool| {
        let values = filters.values(name);
        values.is_empty() || values.iter().any(|value| test(value))
    };
    let labels = filters.values("label").iter().all(|label| match label.split_once('=') {
        Some((key, value)) => record.labels.get(key).is_some_and(|have| have == value),
        None => record.labels.contains_key(label.as_str()),
    });
    labels
        && any("name", &|name| record.name.contains(name))
        && any("id", &|id| record.id.starts_with(id))
        && any("driver", &|driver| record.driver.to_string() == driver)
        && any("scope", &|scope| scope == "local")
        && any("type", &|kind| (kind == "builtin") == record.is_predefined())
        // Predefined networks are never dangling: prune must not take them.
        && any("dangling", &|value| ["0", "false"].contains(&value) || !record.is_predefined())
}

/// `GET /networks/{id}`
pub(crate) async fn inspect(State(api): State<Api>, Name(name): Name) -> ApiResult<Json<Value>> {
    let info = api.blocking(move |api| Ok(api.engine.network().inspect(&name)?)).await?;
    Ok(Json(convert::network(&info, convert::Endpoints::Shown)))
}

/// `POST /networks/create`, `…/connect`, `…/disconnect`
pub(crate) async fn unavailable() -> ApiError {
    ApiError::unsupported(ONLY_PREDEFINED)
}

/// `DELETE /networks/{id}`
pub(crate) async fn remove(State(api): State<Api>, Name(name): Name) -> ApiResult<()> {
    api.blocking(move |api| Ok(api.engine.network().remove(&name)?)).await
}

/// `POST /networks/prune`
pub(crate) async fn prune() -> Json<Value> {
    Json(json!({"NetworksDeleted": null}))
}
