//! Images on this host: list, inspect, tag, remove, archives, commit. What needs a registry is in
//! `registry`.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use docker_api::models::exact;
use engine::image_ops::{CommitOptions, ImageRemoveOptions, ImportOptions};
use images::Reference;
use serde_json::{Value, json};

use crate::api::Api;
use crate::body::JsonBody;
use crate::convert::{container, image as convert};
use crate::error::{ApiError, ApiResult};
use crate::params::Params;
use crate::progress::{answer, answer_in_lines};
use crate::stream;
use crate::version::ApiVersion;

/// `GET /images/json`
pub(crate) async fn list(
    State(api): State<Api>,
    version: ApiVersion,
    params: Params,
) -> ApiResult<Json<Vec<Value>>> {
    let filter = convert::list_filter(&params)?;
    let listed = api.blocking(move |api| Ok(api.engine.images().list(&filter)?)).await?;
    Ok(Json(listed.iter().map(|image| convert::summary(image, version)).collect()))
}

/// `GET /images/{name}/json`
pub(crate) async fn inspect(api: Api, name: String, version: ApiVersion) -> ApiResult<Json<Value>> {
    let inspect = move |api: &Api| {
        let images = api.engine.images();
        Ok(images.inspect(&images.resolve(&name)?)?)
    };
    Ok(Json(convert::inspect(&api.blocking(inspect).await?, version)))
}

/// `GET /images/{name}/history`
pub(crate) async fn history(api: Api, name: String) -> ApiResult<Json<Vec<Value>>> {
    let history = move |api: &Api| {
        let images = api.engine.images();
        Ok(images.history(&images.resolve(&name)?)?)
    };
    let entries = api.blocking(history).await?;
    Ok(Json(entries.iter().map(convert::history_entry).collect()))
}

/// `POST /images/{name}/tag`
pub(crate) async fn tag(api: Api, name: String, params: Params) -> ApiResult<StatusCode> {
    let reference =
        reference(&params)?.ok_or_else(|| ApiError::invalid("invalid reference format"))?;
    api.engine.image_tag(&name, reference).await?;
    Ok(StatusCode::CREATED)
}

/// `DELETE /images/{name}`
pub(crate) async fn remove(api: Api, name: String, params: Params) -> ApiResult<Json<Value>> {
    let options =
        ImageRemoveOptions { force: params.bool("force"), no_prune: params.bool("noprune") };
    let removed = api.engine.image_remove(&name, options).await?;
    Ok(Json(convert::removed(&removed)))
}

/// `POST /images/prune`
pub(crate) async fn prune(State(api): State<Api>, params: Params) -> ApiResult<Json<Value>> {
    let filters = params.filters()?.only(&["dangling", "label", "label!", "until"])?;
    let pruned = api.engine.image_prune(filters.into()).await?;
    let deleted = Some(pruned.removed).filter(|removed| !removed.is_empty());
    Ok(Json(json!({
        "ImagesDeleted": deleted.map(|removed| convert::removed(&removed)),
        "SpaceReclaimed": pruned.space_reclaimed,
    })))
}

/// `GET /images/get` and `GET /images/{name}/get`
pub(crate) async fn save(api: Api, names: Vec<String>) -> ApiResult<Response> {
    if names.is_empty() {
        return Err(ApiError::invalid("no image to save: give at least one name"));
    }
    let archive = api.engine.image_save(names).await?;
    Ok(stream::with_type(Body::from_stream(archive), "application/x-tar"))
}

/// `GET /images/get`
pub(crate) async fn save_several(State(api): State<Api>, params: Params) -> ApiResult<Response> {
    save(api, params.all("names")).await
}

/// `POST /images/load`
pub(crate) async fn load(
    State(api): State<Api>,
    params: Params,
    request: Request,
) -> ApiResult<Response> {
    let quiet = params.bool("quiet");
    let archive = stream::incoming(request.into_body());
    answer_in_lines(move |progress| async move {
        Ok(api.engine.image_load(archive, progress.sink(quiet)).await?)
    })
    .await
}

/// `POST /images/create?fromSrc=…`
pub(crate) async fn import(api: Api, params: Params, body: Body) -> ApiResult<Response> {
    let source = params.text("fromSrc").unwrap_or("-");
    let options = ImportOptions {
        reference: reference(&params)?,
        message: params.get("message").unwrap_or("").to_owned(),
        changes: params.all("changes"),
        platform: params.text("platform").map(str::to_owned),
        source: source.to_owned(),
    };
    let url = (source != "-").then(|| source.to_owned());
    answer(move |progress| async move {
        let archive = match url {
            None => stream::incoming(body),
            Some(url) => {
                let fetched = api.registry.fetch(&url).await?;
                progress
                    .send(&json!({"status": format!("Downloading from {}", fetched.name)}))
                    .await;
                fetched.bytes
            }
        };
        let id = api.engine.image_import(archive, options).await?;
        progress.send(&json!({"status": id.to_string()})).await;
        Ok(())
    })
    .await
}

/// `POST /commit`
pub(crate) async fn commit(
    State(api): State<Api>,
    params: Params,
    JsonBody(config): JsonBody<Option<exact::ContainerConfig>>,
) -> ApiResult<(StatusCode, Json<Value>)> {
    let name = params
        .text("container")
        .ok_or_else(|| ApiError::invalid("missing parameter: container"))?;
    let options = CommitOptions {
        reference: reference(&params)?,
        comment: params.get("comment").unwrap_or("").to_owned(),
        author: params.get("author").unwrap_or("").to_owned(),
        config: container::config(config.flatten().unwrap_or_default())?,
        changes: params.all("changes"),
        pause: params.bool_or("pause", true),
    };
    let id = api.engine.commit(name, options).await?;
    Ok((StatusCode::CREATED, Json(json!({"Id": id.to_string()}))))
}

/// The name that `repo` and `tag` make up; `None` without a repo.
fn reference(params: &Params) -> ApiResult<Option<Reference>> {
    let Some(repo) = params.text("repo") else { return Ok(None) };
    let reference = Reference::parse(repo)?;
    let reference = match params.text("tag") {
        Some(tag) => reference.with_tag(tag)?,
        None => reference.or_latest(),
    };
    if reference.digest().is_some() {
        return Err(ApiError::invalid("refusing to create a tag with a digest reference"));
    }
    Ok(Some(reference))
}
