//! What flows out of and into containers: wait, attach, logs, stats, archives.

use axum::Json;
use axum::body::Body;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use docker_api::models::FilesystemChange;
use engine::archive::{PathStat, PutOptions};
use engine::container::{AttachOptions, AttachStream, WaitCondition};
use engine::logs::{Follow, LogOptions};
use engine::stats::StatsMode;
use futures_util::StreamExt;
use serde_json::json;

use crate::api::Api;
use crate::convert::{detach_keys, logs, stats, time};
use crate::error::{ApiError, ApiResult};
use crate::extract::{Name, Upgrade, stream_type};
use crate::hijack::Input;
use crate::params::Params;
use crate::version::ApiVersion;
use crate::websocket::{self, Payload};
use crate::{hijack, stream};

/// `POST /containers/{id}/wait`. The status goes out at once: it tells the client that the wait is
/// in place, and only then does it start the container.
pub(crate) async fn wait(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
) -> ApiResult<Response> {
    let condition = match params.text("condition") {
        None | Some("not-running") => WaitCondition::NotRunning,
        Some("next-exit") => WaitCondition::NextExit,
        Some("removed") => WaitCondition::Removed,
        Some(other) => {
            return Err(ApiError::invalid(format!("invalid condition: {:?}", other)));
        }
    };
    let wait = api.engine.container_wait(&name, condition).await?;
    let answer = async move {
        let result = wait.await;
        let mut answer = json!({"StatusCode": result.exit_code});
        if let Some(message) = result.error {
            answer["Error"] = json!({"Message": message});
        }
        stream::line(&answer)
    };
    let answer = futures_util::stream::once(answer).take_until(api.stop.cancelled_owned());
    Ok(stream::json_lines(answer))
}

/// `POST /containers/{id}/attach`
pub(crate) async fn attach(
    State(api): State<Api>,
    Name(name): Name,
    version: ApiVersion,
    params: Params,
    Upgrade(upgrade): Upgrade,
    request: Request,
) -> ApiResult<Response> {
    let wanted = Wanted::of(&params);
    let (attached, input) = attachment(&api, &name, &params, wanted).await?;
    let content_type = stream_type(attached.tty, version);
    let body = request.into_body();
    let attached = std::future::ready(Some(attached));
    Ok(hijack::answer(attached, input, upgrade, body, content_type, api.stop.clone()).await)
}

/// `GET /containers/{id}/attach/ws`
pub(crate) async fn attach_websocket(
    State(api): State<Api>,
    Name(name): Name,
    version: ApiVersion,
    params: Params,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> ApiResult<Response> {
    /// From here on clients choose the streams; before they got all of them.
    const STREAMS_CHOSEN: ApiVersion = ApiVersion(42);
    /// From here on messages are binary; before they were texts.
    const BINARY: ApiVersion = ApiVersion(28);
    websocket::refuse_other_origins(&headers)?;
    let wanted = match version < STREAMS_CHOSEN {
        true => Wanted { stdin: true, stdout: true, stderr: true },
        false => Wanted::of(&params),
    };
    let upgrade = upgrade.map_err(|refused| {
        let reason = refused.body_text();
        ApiError::invalid(format!("not a websocket's opening handshake: {reason}"))
    })?;
    let (attached, input) = attachment(&api, &name, &params, wanted).await?;
    let payload = if version < BINARY { Payload::Text } else { Payload::Binary };
    let upgrade = websocket::bounded(upgrade);
    Ok(upgrade
        .on_upgrade(move |socket| websocket::pump(socket, attached, input, payload, api.stop)))
}

/// The streams of a container that a client asks for.
#[derive(Clone, Copy)]
struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

impl Wanted {
    fn of(params: &Params) -> Self {
        let wanted = |name| params.bool(name);
        Self { stdin: wanted("stdin"), stdout: wanted("stdout"), stderr: wanted("stderr") }
    }
}

/// What was logged, what comes, or both, as the query wants it.
async fn attachment(
    api: &Api,
    name: &str,
    params: &Params,
    Wanted { stdin, stdout, stderr }: Wanted,
) -> ApiResult<(AttachStream, Input)> {
    let (with_logs, with_stream) = (params.bool("logs"), params.bool("stream"));
    let detach_keys = detach_keys::parse(params.get("detachKeys").unwrap_or(""))?;
    let config = api.engine.container_inspect(name).await?.record.config.clone();
    let options = AttachOptions {
        stdin: stdin && with_stream,
        stdout: stdout && with_stream,
        stderr: stderr && with_stream,
        detach_keys,
    };
    let past = LogOptions { stdout, stderr, ..LogOptions::default() };
    let past = if with_logs {
        Some(api.engine.container_logs(name, past, Follow::No).await?)
    } else {
        None
    };
    let mut attached = if with_stream {
        api.engine.container_attach(name, options).await?
    } else {
        logs::nothing(config.tty)
    };
    if let Some(past) = past {
        attached.reader = logs::before(past, attached.reader);
    }
    let input = match (stdin && with_stream, config.stdin_once && !config.tty) {
        (true, true) => Input::Attached,
        (true, false) => Input::Shared,
        (false, _) => Input::Ignored,
    };
    Ok((attached, input))
}

/// `GET /containers/{id}/logs`
pub(crate) async fn container_logs(
    State(api): State<Api>,
    Name(name): Name,
    version: ApiVersion,
    params: Params,
) -> ApiResult<Response> {
    let (stdout, stderr) = (params.bool("stdout"), params.bool("stderr"));
    if !stdout && !stderr {
        return Err(ApiError::invalid("Bad parameters: you must choose at least one stream"));
    }
    let options = LogOptions {
        stdout,
        stderr,
        since: time::parameter(&params, "since")?,
        until: time::parameter(&params, "until")?,
        tail: params.text("tail").and_then(|tail| tail.parse().ok()),
    };
    let follow = if params.bool("follow") { Follow::UntilStopped } else { Follow::No };
    let read = api.engine.container_logs(&name, options, follow).await?;
    let format = logs::Format {
        tty: read.tty,
        timestamps: params.bool("timestamps"),
        details: params.bool("details"),
    };
    let content_type = stream_type(read.tty, version);
    let lines = read.lines.map(move |line| line.map(|line| logs::bytes(&line, format)));
    let lines = lines.take_until(api.stop.cancelled_owned());
    Ok(stream::with_type(Body::from_stream(lines), content_type))
}

/// `GET /containers/{id}/stats`
pub(crate) async fn container_stats(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
) -> ApiResult<Response> {
    let (streaming, one_shot) = (params.bool_or("stream", true), params.bool("one-shot"));
    let mode = match (streaming, one_shot) {
        (true, true) => {
            return Err(ApiError::invalid("cannot have stream=true and one-shot=true"));
        }
        (true, false) => StatsMode::Stream,
        (false, false) => StatsMode::Once,
        (false, true) => StatsMode::OneShot,
    };
    let samples = api.engine.container_stats(&name, mode).await?;
    let lines = samples.map(|sample| stream::line(&stats::to_wire(sample)));
    Ok(stream::json_lines(lines.take_until(api.stop.cancelled_owned())))
}

/// `GET /containers/{id}/changes`
pub(crate) async fn changes(
    State(api): State<Api>,
    Name(name): Name,
) -> ApiResult<Json<Vec<FilesystemChange>>> {
    let changes = api.engine.container_changes(&name).await?;
    Ok(Json(changes.into_iter().map(crate::convert::change).collect()))
}

/// `GET /containers/{id}/export`
pub(crate) async fn export(State(api): State<Api>, Name(name): Name) -> ApiResult<Response> {
    let archive = api.engine.container_export(&name).await?;
    Ok(stream::with_type(Body::from_stream(archive), "application/octet-stream"))
}

const PATH_STAT: &str = "x-docker-container-path-stat";

fn path(params: &Params) -> ApiResult<&str> {
    params.text("path").ok_or_else(|| ApiError::invalid("missing parameter: path"))
}

fn path_stat(stat: &PathStat) -> ApiResult<HeaderValue> {
    let stat = crate::convert::path_stat(stat).to_string();
    HeaderValue::from_str(&STANDARD.encode(stat))
        .map_err(|error| ApiError::internal(error.to_string()))
}

/// `HEAD /containers/{id}/archive`
pub(crate) async fn archive_stat(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
) -> ApiResult<Response> {
    let stat = api.engine.container_archive_stat(&name, path(&params)?).await?;
    let mut response = StatusCode::OK.into_response();
    response.headers_mut().insert(PATH_STAT, path_stat(&stat)?);
    Ok(response)
}

/// `GET /containers/{id}/archive`
pub(crate) async fn archive_get(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
) -> ApiResult<Response> {
    let (stat, archive) = api.engine.container_archive_get(&name, path(&params)?).await?;
    let mut response = stream::with_type(Body::from_stream(archive), "application/x-tar");
    response.headers_mut().insert(PATH_STAT, path_stat(&stat)?);
    Ok(response)
}

/// `PUT /containers/{id}/archive`
pub(crate) async fn archive_put(
    State(api): State<Api>,
    Name(name): Name,
    params: Params,
    request: Request,
) -> ApiResult<StatusCode> {
    let options = PutOptions {
        no_overwrite_dir_non_dir: params.bool("noOverwriteDirNonDir"),
        copy_uid_gid: params.bool("copyUIDGID"),
    };
    let archive = stream::incoming(request.into_body());
    api.engine.container_archive_put(&name, path(&params)?, options, archive).await?;
    Ok(StatusCode::OK)
}
