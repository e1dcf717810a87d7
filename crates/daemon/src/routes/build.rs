//! Building images, and the cache of that.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::Response;
use builder::{ContextSource, Error, Event, PruneOptions, Request as Build};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::api::Api;
use crate::convert::build::{self as convert, Teller, Telling};
use crate::convert::time;
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
    let options = convert::options(&params, &parts.headers)?;
    let context = match params.text("remote").filter(|remote| *remote != "client-session") {
        Some(url) => ContextSource::Remote(url.to_owned()),
        None => ContextSource::Archive(stream::incoming(body)),
    };
    let telling = match (params.bool("events"), params.bool("q")) {
        (true, _) => Telling::Events,
        (false, true) => Telling::Quiet,
        (false, false) => Telling::Classic,
    };
    let build = Build { context, contexts: Default::default(), options };
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

/// `POST /build/cancel`: builds end with their connection, so there is none to name.
pub(crate) async fn cancel() -> ApiError {
    ApiError::unsupported("a build is cancelled by closing its connection")
}

/// `POST /build/prune`
pub(crate) async fn prune(State(api): State<Api>, params: Params) -> ApiResult<Json<Value>> {
    const FILTERS: [&str; 6] = ["until", "unused-for", "id", "type", "inuse", "shared"];
    let filters = params.filters()?.only(&FILTERS)?;
    let until = match filters.values("until").iter().chain(filters.values("unused-for")).next() {
        Some(text) => Some(time::parse_or_refuse("until", text)?.as_second()),
        None => None,
    };
    let keep = match params.number::<i64>("keep-storage")? {
        Some(keep) => Some(keep),
        None => params.number::<i64>("reserved-space")?,
    };
    let options = PruneOptions {
        all: params.bool("all"),
        keep_bytes: keep.and_then(|keep| u64::try_from(keep).ok()).filter(|keep| *keep > 0),
        unused_since: until,
        ids: filters.values("id").to_vec(),
        kinds: filters.values("type").to_vec(),
    };
    let pruned = api.builder.prune(options).await?;
    let removed = Some(pruned.removed).filter(|removed| !removed.is_empty());
    Ok(Json(json!({"CachesDeleted": removed, "SpaceReclaimed": pruned.space_reclaimed})))
}
