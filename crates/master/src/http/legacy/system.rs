//! The machine's load and memory, and how much is logged.

use mesos_api::json::Writer;

use super::super::Server;
use super::super::forms::Fields;
use super::super::reply::{self, Response, bad_request};

/// What the kernel counts loads in.
const LOAD_SCALE: f64 = 65_536.0;

/// Loads, processors and memory: names and values.
#[allow(clippy::cast_precision_loss, reason = "a double tells memory well enough")]
pub(crate) fn figures() -> [(&'static str, f64); 6] {
    let system = rustix::system::sysinfo();
    let unit = f64::from(system.mem_unit);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    [
        ("avg_load_15min", system.loads[2] as f64 / LOAD_SCALE),
        ("avg_load_1min", system.loads[0] as f64 / LOAD_SCALE),
        ("avg_load_5min", system.loads[1] as f64 / LOAD_SCALE),
        ("cpus_total", processors as f64),
        ("mem_free_bytes", system.freeram as f64 * unit),
        ("mem_total_bytes", system.totalram as f64 * unit),
    ]
}

/// `/system/stats.json`
pub(super) fn stats() -> String {
    let mut to = Writer::new();
    to.begin_object();
    for (name, value) in figures() {
        to.name(name);
        // Counts are whole here, and only here.
        if value.fract() == 0.0 && !name.starts_with("avg") {
            to.raw(&format!("{value:.0}"));
        } else {
            to.f64(value);
        }
    }
    to.end_object();
    to.into_string()
}

/// `/logging/toggle`
pub(super) fn toggle(server: &Server, query: &Fields) -> Response {
    let verbosity = &server.facts.verbosity;
    let (level, duration) = match (query.get("level"), query.get("duration")) {
        (None, None) => {
            return reply::text("text/plain; charset=utf-8", format!("{}\n", verbosity.level()));
        }
        (Some(_), None) => return bad_request("Expecting 'duration=value' in query.\n"),
        (None, Some(_)) => return bad_request("Expecting 'level=value' in query.\n"),
        (Some(level), Some(duration)) => (level, duration),
    };
    let Ok(level) = level.parse() else {
        return bad_request(format!("Invalid level '{level}'.\n"));
    };
    match ::flags::units::duration(duration) {
        Ok(duration) => {
            verbosity.set(level, duration);
            reply::empty(hyper::StatusCode::OK)
        }
        Err(error) => bad_request(format!("{error}.\n")),
    }
}
