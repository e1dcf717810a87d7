//! The swarm that this host is a member of.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use docker_api::models::swarm as wire;
use serde_json::{Value, json};
use swarm::{ClusterSpec, ClusterUpdate, Init, Join};

use crate::api::Api;
use crate::body::JsonBody;
use crate::convert::swarm as convert;
use crate::error::{ApiError, ApiResult};
use crate::membership::addresses;
use crate::params::Params;

/// `GET /swarm`
pub(crate) async fn inspect(State(api): State<Api>) -> ApiResult<Json<Value>> {
    let mut wire = convert::cluster(&api.swarm.cluster()?, &api.swarm.trust_root()?);
    let (worker, manager) = api.swarm.tokens()?;
    wire["JoinTokens"] = json!({"Worker": worker, "Manager": manager});
    Ok(Json(wire))
}

/// `POST /swarm/init`
pub(crate) async fn init(
    State(api): State<Api>,
    JsonBody(body): JsonBody<wire::Init>,
) -> ApiResult<Json<Value>> {
    let body = body.unwrap_or_default();
    if body.auto_lock_managers == Some(true) {
        return Err(ApiError::unsupported("locking managers (autolock) is not supported"));
    }
    let init = api.blocking(move |_| init_of(body)).await?;
    Ok(Json(json!(api.swarm.init(init).await?)))
}

fn init_of(body: wire::Init) -> ApiResult<Init> {
    let interfaces = addresses::interfaces()?;
    let listen = addresses::listen(body.listen_addr.as_deref().unwrap_or_default(), &interfaces)?;
    let advertise = body.advertise_addr.as_deref().unwrap_or_default();
    let data_path = body.data_path_addr.as_deref().unwrap_or_default();
    let port = body.data_path_port.filter(|port| *port != 0);
    let port = port.unwrap_or(u32::from(swarm::DEFAULT_DATA_PATH_PORT));
    let size = body.subnet_size.filter(|size| *size != 0).unwrap_or(24);
    Ok(Init {
        listen,
        advertise: addresses::advertise(advertise, listen, &interfaces)?,
        data_path: addresses::data_path(data_path, &interfaces)?,
        data_path_port: u16::try_from(port).map_err(|_| {
            let text = "Datapath port number is not in valid range (1024-49151)";
            ApiError::invalid(format!("{text} : {port}"))
        })?,
        pools: convert::pools(body.default_addr_pool.unwrap_or_default())?,
        subnet_size: u8::try_from(size)
            .map_err(|_| ApiError::invalid(format!("subnet size is out of range: {size}")))?,
        spec: convert::cluster_spec(body.spec.unwrap_or_default(), &ClusterSpec::default())?,
        availability: convert::availability(
            body.availability.as_deref(),
            swarm::Availability::Active,
        )?,
        force_new_cluster: body.force_new_cluster.unwrap_or(false),
    })
}

/// `POST /swarm/join`
pub(crate) async fn join(
    State(api): State<Api>,
    JsonBody(body): JsonBody<wire::Join>,
) -> ApiResult<StatusCode> {
    let join = api.blocking(move |_| join_of(body.unwrap_or_default())).await?;
    api.swarm.join(join).await?;
    Ok(StatusCode::OK)
}

fn join_of(body: wire::Join) -> ApiResult<Join> {
    let interfaces = addresses::interfaces()?;
    let listen = addresses::listen(body.listen_addr.as_deref().unwrap_or_default(), &interfaces)?;
    let advertise = body.advertise_addr.as_deref().filter(|text| !text.is_empty());
    let advertise =
        advertise.map(|text| addresses::advertise(text, listen, &interfaces)).transpose()?;
    let data_path = body.data_path_addr.as_deref().unwrap_or_default();
    Ok(Join {
        token: body.join_token.unwrap_or_default(),
        remotes: body.remote_addrs.unwrap_or_default(),
        listen,
        advertise: advertise.map(|address| address.ip()),
        data_path: addresses::data_path(data_path, &interfaces)?,
        availability: convert::availability(
            body.availability.as_deref(),
            swarm::Availability::Active,
        )?,
    })
}

/// `POST /swarm/leave`
pub(crate) async fn leave(State(api): State<Api>, params: Params) -> ApiResult<StatusCode> {
    api.swarm.leave(params.bool("force")).await?;
    Ok(StatusCode::OK)
}

/// `POST /swarm/update`
pub(crate) async fn update(
    State(api): State<Api>,
    params: Params,
    JsonBody(body): JsonBody<wire::Spec>,
) -> ApiResult<StatusCode> {
    if params.bool("rotateManagerUnlockKey") {
        return Err(ApiError::unsupported("locking managers (autolock) is not supported"));
    }
    let version = super::nodes::version(&params, "swarm")?;
    api.blocking(move |api| {
        let known = api.swarm.cluster()?.spec;
        let update = ClusterUpdate {
            version,
            spec: body.map(|body| convert::cluster_spec(body, &known)).transpose()?,
            rotate_worker_token: params.bool("rotateWorkerToken"),
            rotate_manager_token: params.bool("rotateManagerToken"),
        };
        Ok(api.swarm.update_cluster(update)?)
    })
    .await?;
    Ok(StatusCode::OK)
}

/// `GET /swarm/unlockkey`: no manager is ever locked, so there is none.
pub(crate) async fn unlock_key(State(api): State<Api>) -> ApiResult<Json<Value>> {
    api.swarm.cluster()?;
    Ok(Json(json!({"UnlockKey": ""})))
}

/// `POST /swarm/unlock`
pub(crate) async fn unlock(State(api): State<Api>) -> ApiResult<StatusCode> {
    api.swarm.cluster()?;
    Err(ApiError::new(StatusCode::CONFLICT, "swarm is not locked"))
}

/// `GET` of services, tasks, secrets and configs: a manager has none.
pub(crate) async fn none(State(api): State<Api>) -> ApiResult<Json<Value>> {
    api.swarm.cluster()?;
    Ok(Json(json!([])))
}

/// Everything else about services, tasks, secrets and configs.
pub(crate) async fn no_services(
    State(api): State<Api>,
    uri: axum::http::Uri,
    method: axum::http::Method,
) -> ApiError {
    if let Err(error) = api.swarm.cluster() {
        return error.into();
    }
    let mut parts = uri.path().trim_start_matches('/').splitn(2, '/');
    let noun = parts.next().unwrap_or_default().trim_end_matches('s').to_owned();
    match (method, parts.next()) {
        (axum::http::Method::GET, Some(name)) => {
            let name = crate::params::printable(&crate::params::decode(name));
            ApiError::not_found(format!("{noun} {name} not found"))
        }
        _ => ApiError::unsupported(format!(
            "{noun}s of a swarm are not supported yet: run containers with `run --network`, on an \
             attachable overlay network if they are to reach those of other nodes"
        )),
    }
}
