//! What needs a registry: pull, push, login, distribution inspect.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use images::Reference;
use images::registry::{AuthConfig, Platform, PullOptions, PushOptions};
use serde::Deserialize;
use serde_json::{Value, json};

use super::images::import;
use crate::api::Api;
use crate::body::JsonBody;
use crate::error::{ApiError, ApiResult};
use crate::extract::header_text;
use crate::params::Params;
use crate::progress::answer;

/// `POST /images/create`: a pull, or an import when `fromSrc` is given.
pub(crate) async fn create(
    State(api): State<Api>,
    params: Params,
    request: Request,
) -> ApiResult<Response> {
    match params.text("fromImage") {
        Some(image) => pull(api, image, &params, request.headers()).await,
        None if params.get("fromSrc").is_some() => import(api, params, request.into_body()).await,
        None => Err(ApiError::invalid("missing parameter: fromImage or fromSrc")),
    }
}

async fn pull(api: Api, image: &str, params: &Params, headers: &HeaderMap) -> ApiResult<Response> {
    let reference = Reference::parse(image)?;
    let reference = match params.text("tag") {
        Some(digest) if digest.contains(':') => reference.with_digest(digest.parse()?),
        Some(tag) => reference.with_tag(tag)?,
        None => reference,
    };
    let options = PullOptions {
        auth: credentials(headers),
        platform: params.text("platform").map(Platform::parse).transpose()?,
        // A name alone means every tag, as it always has in this API.
        all_tags: reference.tag().is_none() && reference.digest().is_none(),
    };
    answer(move |lines| async move {
        for pulled in api.registry.pull(&reference, &options, &|p| lines.report(&p)).await? {
            tell(&api, "pull", &pulled.reference);
        }
        Ok(())
    })
    .await
}

fn tell(api: &Api, action: &str, reference: &Reference) {
    api.engine.image_event(action, &reference.to_string(), &reference.familiar_name());
}

/// `POST /images/{name}/push`
pub(crate) async fn push(
    api: Api,
    name: String,
    params: Params,
    headers: &HeaderMap,
) -> ApiResult<Response> {
    let reference = Reference::parse(&name)?;
    let reference = match params.text("tag") {
        Some(tag) => reference.with_tag(tag)?,
        None => reference,
    };
    let options = PushOptions { auth: credentials(headers), all_tags: reference.tag().is_none() };
    answer(move |lines| async move {
        for pushed in api.registry.push(&reference, &options, &|p| lines.report(&p)).await? {
            tell(&api, "push", &pushed.reference);
        }
        Ok(())
    })
    .await
}

/// `GET /distribution/{name}/json`
pub(crate) async fn distribution(
    api: Api,
    name: String,
    headers: &HeaderMap,
) -> ApiResult<Json<Value>> {
    let found = api.registry.inspect(&Reference::parse(&name)?, &credentials(headers)).await?;
    Ok(Json(json!({
        "Descriptor": {
            "mediaType": found.media_type,
            "digest": found.digest.to_string(),
            "size": found.size,
        },
        "Platforms": found.platforms,
    })))
}

/// `GET /images/search`
pub(crate) async fn search(
    State(api): State<Api>,
    params: Params,
    headers: HeaderMap,
) -> ApiResult<Json<Vec<Value>>> {
    const MOST: u32 = 100;
    let limit = params.number::<u32>("limit")?.unwrap_or(0);
    let limit = if limit == 0 { 25 } else { limit };
    if limit > MOST {
        return Err(ApiError::invalid(format!(
            "limit {limit} is outside the range of [1, {MOST}]"
        )));
    }
    let filters = params.filters()?.only(&["is-automated", "is-official", "stars"])?;
    let is = |name: &str| -> ApiResult<Option<bool>> {
        let Some(text) = filters.values(name).first() else { return Ok(None) };
        let parsed = text.parse().map(Some);
        parsed.map_err(|_| ApiError::invalid(format!("invalid filter '{name}={text}'")))
    };
    let (automated, official) = (is("is-automated")?, is("is-official")?);
    let mut least = 0;
    for text in filters.values("stars") {
        let stars: u64 = text
            .parse()
            .map_err(|_| ApiError::invalid(format!("invalid filter 'stars={text}'")))?;
        least = least.max(stars);
    }
    let term = params.text("term").unwrap_or_default();
    let found = api.registry.search(term, limit, &credentials(&headers)).await?;
    let wanted = found.into_iter().filter(|image| {
        automated.is_none_or(|automated| image.is_automated == automated)
            && official.is_none_or(|official| image.is_official == official)
            && image.star_count >= least
    });
    Ok(Json(
        wanted
            .map(|image| {
                json!({
                    "name": image.name,
                    "description": image.description,
                    "star_count": image.star_count,
                    "is_official": image.is_official,
                    "is_automated": image.is_automated,
                })
            })
            .collect(),
    ))
}

/// Credentials as clients send them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct WireAuth {
    username: Option<String>,
    password: Option<String>,
    /// `user:password` in base64, in place of the two.
    auth: Option<String>,
    #[serde(alias = "serverAddress")]
    serveraddress: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl From<WireAuth> for AuthConfig {
    fn from(wire: WireAuth) -> Self {
        let mut username = wire.username.unwrap_or_default();
        let mut password = wire.password.unwrap_or_default();
        if username.is_empty()
            && let Some(pair) = wire.auth.and_then(|auth| STANDARD.decode(auth).ok())
            && let Some((user, secret)) = String::from_utf8_lossy(&pair).split_once(':')
        {
            user.clone_into(&mut username);
            secret.clone_into(&mut password);
        }
        Self {
            username,
            password,
            identity_token: wire.identitytoken.unwrap_or_default(),
            registry_token: wire.registrytoken.unwrap_or_default(),
        }
    }
}

/// Reads `X-Registry-Config`: credentials by registry, for all that a build may need.
pub(crate) fn all_credentials(headers: &HeaderMap) -> BTreeMap<String, AuthConfig> {
    let text = header_text(headers, "x-registry-config").trim();
    let wires: BTreeMap<String, WireAuth> = decoded(text).unwrap_or_default();
    wires.into_iter().map(|(server, wire)| (host_of(&server), wire.into())).collect()
}

/// `https://index.docker.io/v1/` and the like as the domain that references have.
fn host_of(server: &str) -> String {
    let host = server.split_once("://").map_or(server, |(_, rest)| rest);
    match host.split('/').next().unwrap_or(host) {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        host => host.to_owned(),
    }
}

fn decoded<T: serde::de::DeserializeOwned>(text: &str) -> Option<T> {
    let alphabets = [URL_SAFE, URL_SAFE_NO_PAD, STANDARD, STANDARD_NO_PAD];
    let json = alphabets.iter().find_map(|alphabet| alphabet.decode(text).ok());
    json.and_then(|json| serde_json::from_slice(&json).ok())
}

/// Reads `X-Registry-Auth`. What cannot be read counts as no credentials, as with Docker: the
/// registry then says what is missing.
fn credentials(headers: &HeaderMap) -> AuthConfig {
    let text = header_text(headers, "x-registry-auth").trim();
    decoded::<WireAuth>(text).unwrap_or_default().into()
}

/// `POST /auth`
pub(crate) async fn login(
    State(api): State<Api>,
    JsonBody(body): JsonBody<WireAuth>,
) -> ApiResult<Json<Value>> {
    let body = body.unwrap_or_default();
    let server = body.serveraddress.clone().unwrap_or_default();
    let logged_in = api.registry.login(&server, &body.into()).await?;
    Ok(Json(json!({
        "Status": "Login Succeeded",
        "IdentityToken": logged_in.identity_token,
    })))
}
