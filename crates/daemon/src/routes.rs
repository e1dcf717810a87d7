//! The operations of the Engine API, one file per noun.

mod absent;
mod build;
mod containers;
mod doctor;
mod exec;
mod images;
mod named_images;
mod networks;
mod nodes;
mod registry;
mod streams;
mod swarm;
mod system;
mod volumes;

pub(crate) use registry::all_credentials;

use axum::Router;
use axum::routing::{any, delete, get, head, post};

use crate::api::{Api, not_found};

/// All routes, without version prefixes.
pub(crate) fn router() -> Router<Api> {
    Router::new()
        .merge(system_routes())
        .merge(container_routes())
        .merge(image_routes())
        .merge(volume_and_network_routes())
        .merge(swarm_routes())
        .merge(absent_routes())
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
}

fn system_routes() -> Router<Api> {
    Router::new()
        .route("/_ping", get(system::ping))
        .route("/version", get(system::version))
        .route("/info", get(system::info))
        .route("/events", get(system::events))
        .route("/system/df", get(system::disk_usage))
        .route("/auth", post(registry::login))
}

fn container_routes() -> Router<Api> {
    Router::new()
        .route("/containers/create", post(containers::create))
        .route("/containers/json", get(containers::list))
        .route("/containers/prune", post(containers::prune))
        .route("/containers/{id}", delete(containers::remove))
        .route("/containers/{id}/json", get(containers::inspect))
        .route("/containers/{id}/start", post(containers::start))
        .route("/containers/{id}/stop", post(containers::stop))
        .route("/containers/{id}/restart", post(containers::restart))
        .route("/containers/{id}/kill", post(containers::kill))
        .route("/containers/{id}/pause", post(containers::pause))
        .route("/containers/{id}/unpause", post(containers::unpause))
        .route("/containers/{id}/rename", post(containers::rename))
        .route("/containers/{id}/update", post(containers::update))
        .route("/containers/{id}/resize", post(containers::resize))
        .route("/containers/{id}/top", get(containers::top))
        .route("/containers/{id}/wait", post(streams::wait))
        .route("/containers/{id}/attach", post(streams::attach))
        .route("/containers/{id}/attach/ws", get(streams::attach_websocket))
        .route("/containers/{id}/logs", get(streams::container_logs))
        .route("/containers/{id}/stats", get(streams::container_stats))
        .route("/containers/{id}/changes", get(streams::changes))
        .route("/containers/{id}/export", get(streams::export))
        .route(
            "/containers/{id}/archive",
            head(streams::archive_stat).get(streams::archive_get).put(streams::archive_put),
        )
        .route("/containers/{id}/exec", post(exec::create))
        .route("/exec/{id}/start", post(exec::start))
        .route("/exec/{id}/json", get(exec::inspect))
        .route("/exec/{id}/resize", post(exec::resize))
}

fn image_routes() -> Router<Api> {
    Router::new()
        .route("/images/json", get(images::list))
        .route("/images/create", post(registry::create))
        .route("/images/load", post(images::load))
        .route("/images/get", get(images::save_several))
        .route("/images/prune", post(images::prune))
        .route("/images/search", get(registry::search))
        .route("/images/{*path}", any(named_images::image))
        .route("/commit", post(images::commit))
        .route("/build", post(build::build))
        .route("/build/cache", post(build::cache))
        .route("/build/cache/image", post(build::cache_image))
        .route("/build/inputs", post(build::inputs))
        .route("/build/prune", post(build::prune))
        .route("/build/cancel", post(build::cancel))
        .route("/distribution/{*path}", get(named_images::distribution))
}

fn volume_and_network_routes() -> Router<Api> {
    Router::new()
        .route("/volumes", get(volumes::list))
        .route("/volumes/create", post(volumes::create))
        .route("/volumes/prune", post(volumes::prune))
        .route("/volumes/{name}", get(volumes::inspect).delete(volumes::remove))
        .route("/networks", get(networks::list))
        .route("/networks/", get(networks::list))
        .route("/networks/create", post(networks::create))
        .route("/networks/prune", post(networks::prune))
        .route("/teu/network/doctor", get(doctor::network))
        .route("/networks/{id}", get(networks::inspect).delete(networks::remove))
        .route("/networks/{id}/connect", post(networks::connect))
        .route("/networks/{id}/disconnect", post(networks::disconnect))
}

fn swarm_routes() -> Router<Api> {
    let mut routes = Router::new()
        .route("/swarm", get(swarm::inspect))
        .route("/swarm/init", post(swarm::init))
        .route("/swarm/join", post(swarm::join))
        .route("/swarm/leave", post(swarm::leave))
        .route("/swarm/update", post(swarm::update))
        .route("/swarm/unlockkey", get(swarm::unlock_key))
        .route("/swarm/unlock", post(swarm::unlock))
        .route("/nodes", get(nodes::list))
        .route("/nodes/{id}", get(nodes::inspect).delete(nodes::remove))
        .route("/nodes/{id}/update", post(nodes::update));
    for noun in ["services", "tasks", "secrets", "configs"] {
        routes = routes
            .route(&format!("/{noun}"), get(swarm::none))
            .route(&format!("/{noun}/{{*path}}"), any(swarm::no_services));
    }
    routes
}

fn absent_routes() -> Router<Api> {
    Router::new()
        .route("/session", post(absent::session))
        .route("/grpc", post(absent::session))
        .route("/plugins", get(absent::plugins))
        .route("/plugins/{*path}", any(absent::plugin))
        .route("/containers/{id}/checkpoints", any(absent::checkpoint))
        .route("/containers/{id}/checkpoints/{name}", any(absent::checkpoint))
}
