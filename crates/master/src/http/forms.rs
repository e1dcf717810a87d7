//! The older endpoints that change something: forms, lists of machines, weights, quotas, schedules.
//! Each becomes the operator call that does the same.

use std::sync::Arc;

use cluster::master::Input;
use hyper::Method;
use mesos_api::json;
use mesos_api::v1::master::{Call, call};
use mesos_api::v1::{self, MachineId, Resource, WeightInfo, maintenance, quota};

use super::reply::{self, Response, bad_request, method_not_allowed};
use super::route::{Form, Machine};
use super::{Server, Whole, legacy};

/// The fields of a form or a query.
#[derive(Debug, Default)]
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    /// Takes `a=b&c=d` apart.
    pub(crate) fn parse(text: &str) -> Self {
        let fields = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (unescape(name), unescape(value))
        });
        Self(fields.collect())
    }

    /// The last value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }
}

/// Reads `%41` and `+`; what is no escape stays as it is.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = (*first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Answers a form.
pub(super) async fn answer(server: &Server, form: Form, request: Whole) -> Response {
    let body = String::from_utf8_lossy(&request.body);
    match form_call(form, &Fields::parse(&body)) {
        Ok(call) => operate(server, request.principal.clone(), call).await,
        Err(text) => bad_request(text),
    }
}

/// Hands a call to the core.
pub(super) async fn operate(server: &Server, principal: Option<Arc<str>>, call: Call) -> Response {
    let call = Box::new(call);
    reply::from_core(
        server.handle.ask(|request| Input::Operator { request, principal, call }).await,
    )
}

fn form_call(form: Form, fields: &Fields) -> Result<Call, String> {
    let field = |name: &str| {
        fields
            .get(name)
            .ok_or_else(|| format!("Missing '{name}' query parameter in the request body"))
    };
    if form == Form::Teardown {
        let framework_id = field("frameworkId")?.into();
        let teardown = Some(call::Teardown { framework_id });
        return Ok(Call { teardown, ..typed(call::Type::Teardown) });
    }
    let agent_id = v1::AgentId::from(field("slaveId")?);
    Ok(match form {
        Form::Teardown | Form::Reserve => {
            let resources = resources("resources", field("resources")?)?;
            let reserve = call::ReserveResources { agent_id, source: Vec::new(), resources };
            Call { reserve_resources: Some(reserve), ..typed(call::Type::ReserveResources) }
        }
        Form::Unreserve => {
            let resources = resources("resources", field("resources")?)?;
            let unreserve = call::UnreserveResources { agent_id, resources };
            Call { unreserve_resources: Some(unreserve), ..typed(call::Type::UnreserveResources) }
        }
        Form::CreateVolumes => {
            let volumes = resources("volumes", field("volumes")?)?;
            let create = call::CreateVolumes { agent_id, volumes };
            Call { create_volumes: Some(create), ..typed(call::Type::CreateVolumes) }
        }
        Form::DestroyVolumes => {
            let volumes = resources("volumes", field("volumes")?)?;
            let destroy = call::DestroyVolumes { agent_id, volumes };
            Call { destroy_volumes: Some(destroy), ..typed(call::Type::DestroyVolumes) }
        }
    })
}

fn typed(kind: call::Type) -> Call {
    Call { r#type: Some(kind.into()), ..Call::default() }
}

fn resources(name: &str, text: &str) -> Result<Vec<Resource>, String> {
    json::parse(text.as_bytes())
        .and_then(|value| json::list_from_value(&value).map_err(|error| error.to_string()))
        .map_err(|error| {
            format!("Error in parsing '{name}' query parameter in the request body: {error}")
        })
}

/// `POST /machine/down` and `/machine/up`.
pub(super) async fn machines(server: &Server, form: Machine, request: Whole) -> Response {
    let parsed = json::parse(&request.body)
        .and_then(|value| json::list_from_value::<MachineId>(&value).map_err(|e| e.to_string()));
    let machines = match parsed {
        Ok(machines) => machines,
        Err(text) => return bad_request(text),
    };
    let call = match form {
        Machine::Down => Call {
            start_maintenance: Some(call::StartMaintenance { machines }),
            ..typed(call::Type::StartMaintenance)
        },
        Machine::Up => Call {
            stop_maintenance: Some(call::StopMaintenance { machines }),
            ..typed(call::Type::StopMaintenance)
        },
    };
    operate(server, request.principal.clone(), call).await
}

/// `/weights`: read by GET, changed by PUT.
pub(super) async fn weights(server: &Server, request: Whole) -> Response {
    match request.head.method {
        Method::GET => legacy::weights(server).await,
        Method::PUT => match weight_infos(&request.body) {
            Ok(weight_infos) => {
                let update = call::UpdateWeights { weight_infos };
                let call =
                    Call { update_weights: Some(update), ..typed(call::Type::UpdateWeights) };
                operate(server, request.principal.clone(), call).await
            }
            Err(text) => bad_request(text),
        },
        ref other => method_not_allowed(&["GET", "PUT"], other),
    }
}

fn weight_infos(body: &[u8]) -> Result<Vec<WeightInfo>, String> {
    let text = String::from_utf8_lossy(body);
    let value = json::parse(body).map_err(|error| {
        format!("Failed to parse update weights request JSON '{text}': {error}")
    })?;
    json::list_from_value(&value).map_err(|error| {
        format!("Failed to convert weights JSON array to protobuf '{text}': {error}")
    })
}

/// `/quota`: read by GET, set by POST, removed by DELETE.
pub(super) async fn quota(server: &Server, request: Whole) -> Response {
    match request.head.method {
        Method::GET => legacy::quota(server).await,
        Method::POST => {
            let text = String::from_utf8_lossy(&request.body);
            match json::from_slice::<quota::QuotaRequest>(&request.body) {
                Ok(quota_request) => {
                    let set = Some(call::SetQuota { quota_request });
                    operate(server, request.principal.clone(), set_quota(set)).await
                }
                Err(error) => {
                    bad_request(format!("Failed to parse set quota request JSON '{text}': {error}"))
                }
            }
        }
        Method::DELETE => {
            let path = request.head.uri.path().trim_matches('/');
            let path = path.strip_prefix("master/").unwrap_or(path);
            match path.strip_prefix("quota/") {
                Some(role) if !role.is_empty() => {
                    let remove = Some(call::RemoveQuota { role: unescape(role) });
                    operate(server, request.principal.clone(), remove_quota(remove)).await
                }
                _ => bad_request(format!(
                    "Failed to parse request path '{path}': 2 tokens required: 'quota', 'role'"
                )),
            }
        }
        ref other => method_not_allowed(&["GET", "POST", "DELETE"], other),
    }
}

#[allow(deprecated, reason = "this endpoint is the older form")]
fn set_quota(set_quota: Option<call::SetQuota>) -> Call {
    Call { set_quota, ..typed(call::Type::SetQuota) }
}

#[allow(deprecated, reason = "this endpoint is the older form")]
fn remove_quota(remove_quota: Option<call::RemoveQuota>) -> Call {
    Call { remove_quota, ..typed(call::Type::RemoveQuota) }
}

/// `/maintenance/schedule`: read by GET, set by POST.
pub(super) async fn schedule(server: &Server, request: Whole) -> Response {
    match request.head.method {
        Method::GET => legacy::schedule(server, &request).await,
        Method::POST => match json::from_slice::<maintenance::Schedule>(&request.body) {
            Ok(schedule) => {
                let update = Some(call::UpdateMaintenanceSchedule { schedule });
                let kind = typed(call::Type::UpdateMaintenanceSchedule);
                operate(
                    server,
                    request.principal.clone(),
                    Call { update_maintenance_schedule: update, ..kind },
                )
                .await
            }
            Err(error) => bad_request(error.to_string()),
        },
        ref other => method_not_allowed(&["GET", "POST"], other),
    }
}

#[cfg(test)]
mod tests;
