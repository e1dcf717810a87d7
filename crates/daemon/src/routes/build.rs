//! Building images, and the cache of that.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use builder::{ContextSource, Error, Event, Request as Build};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::api::Api;
use crate::body::JsonBody;
use crate::convert::build::{self as convert, Teller, Telling};
use crate::error::{ApiError, ApiResult};
use crate::params::Params;
use crate::progress::{Lines, answer};
use crate::stream::{self, StreamError};

/// Events on their way to the client; a build waits when it does not read.
const EVENTS: usize = 256;

/// `POST /build`
pub(crate) async fn build(
    State(api): State<Api>,
    params: Params,
    request: Request,
) -> ApiResult<Response> {
    let (parts, body) = request.into_parts();
    // Also of a build that is refused the body is taken.
    let body = stream::incoming(body);
    let mut options = convert::options(&params, &parts.headers)?;
    let contexts = convert::take_inputs(&params, &api.builder, &mut options)?;
    let context = match params.text("remote").filter(|remote| *remote != "client-session") {
        Some(url) => ContextSource::Remote(url.to_owned()),
        None => ContextSource::Archive(body),
    };
    let telling = match (params.bool("events"), params.bool("q")) {
        (true, _) => Telling::Events,
        (false, true) => Telling::Quiet,
        (false, false) => Telling::Classic,
    };
    let build = Build { context, contexts, options };
    answer(move |lines| run(api, build, telling, lines)).await
}

async fn run(api: Api, build: Build, telling: Telling, lines: Lines) -> ApiResult<()> {
    let (events, mut receiver) = mpsc::channel::<Event>(EVENTS);
    let tell = async {
        let mut teller = Teller::new(telling);
        while let Some(event) = receiver.recv().await {
            for line in teller.lines(&event) {
                lines.send(&line).await;
            }
        }
        for line in teller.rest() {
            lines.send(&line).await;
        }
    };
    let (built, ()) = tokio::join!(api.builder.build(build, events), tell);
    match built {
        Ok(_) => Ok(()),
        Err(error) => fail(error, telling, &lines).await,
    }
}

/// A failed command is a line with its code, whatever came before.
async fn fail(error: Error, telling: Telling, lines: &Lines) -> ApiResult<()> {
    let Some((code, tail)) = error.command() else { return Err(error.into()) };
    let mut message = error.to_string();
    if telling == Telling::Quiet && !tail.is_empty() {
        message = format!("{message}\n{tail}");
    }
    lines.send(&StreamError::of_command(code, message)).await;
    Ok(())
}

/// `POST /build/inputs`, of Teu's own: sends a secret or a context ahead, to be named in `secret=`
/// and `buildcontext=` of the build.
pub(crate) async fn inputs(
    State(api): State<Api>,
    params: Params,
    request: Request,
) -> ApiResult<Json<Value>> {
    let body = stream::incoming(request.into_body());
    let id = match params.text("kind") {
        Some("secret") => api.builder.add_secret(body).await?,
        Some("context") => api.builder.add_context(body).await?,
        // Nothing is to be named: the steps are in the cache now.
        Some("cache") => {
            api.builder.import_cache(body).await?;
            return Ok(Json(json!({"Id": ""})));
        }
        _ => {
            let text = "missing parameter: kind, which is secret, context or cache";
            return Err(ApiError::invalid(text));
        }
    };
    Ok(Json(json!({"Id": id})))
}

/// `POST /build/cache`, of Teu's own: gives steps of the cache as an archive, see `kind=cache` of
/// [`inputs`].
pub(crate) async fn cache(
    State(api): State<Api>,
    JsonBody(wanted): JsonBody<convert::CacheWanted>,
) -> ApiResult<Response> {
    let wanted = wanted.ok_or_else(|| ApiError::invalid("no steps are named"))?;
    let known = wanted.known.iter().map(|text| text.parse::<images::Digest>());
    let known = known.collect::<Result<Vec<_>, _>>()?;
    let archive = api.builder.export_cache(wanted.keys, known).await?;
    Ok(stream::with_type(Body::from_stream(archive), "application/x-tar"))
}

/// `POST /build/cache/image`, of Teu's own: makes an image of steps of the cache, to be pushed.
pub(crate) async fn cache_image(
    State(api): State<Api>,
    JsonBody(wanted): JsonBody<convert::CacheWanted>,
) -> ApiResult<Json<Value>> {
    let wanted = wanted.ok_or_else(|| ApiError::invalid("no steps are named"))?;
    let id = api.builder.cache_image(wanted.keys).await?;
    Ok(Json(json!({"Id": id.to_string()})))
}

/// `POST /build/cancel`: builds end with their connection, so there is none to name.
pub(crate) async fn cancel() -> ApiError {
    ApiError::unsupported("a build is cancelled by closing its connection")
}

/// `POST /build/prune`
pub(crate) async fn prune(State(api): State<Api>, params: Params) -> ApiResult<Json<Value>> {
    let pruned = api.builder.prune(convert::prune_options(&params)?).await?;
    let removed = Some(pruned.removed).filter(|removed| !removed.is_empty());
    Ok(Json(json!({"CachesDeleted": removed, "SpaceReclaimed": pruned.space_reclaimed})))
}
