//! The machine's load and memory, and how much is logged.

use logging::Verbosity;
use mesos_api::json::Writer;

/// What the kernel counts loads in.
const LOAD_SCALE: f64 = 65_536.0;

/// Loads, processors and memory: their names in `/system/stats.json`, as metrics, and values.
#[allow(clippy::cast_precision_loss, reason = "a double tells memory well enough")]
fn figures() -> [(&'static str, &'static str, f64); 6] {
    let system = rustix::system::sysinfo();
    let unit = f64::from(system.mem_unit);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    [
        ("avg_load_15min", "system/load_15min", system.loads[2] as f64 / LOAD_SCALE),
        ("avg_load_1min", "system/load_1min", system.loads[0] as f64 / LOAD_SCALE),
        ("avg_load_5min", "system/load_5min", system.loads[1] as f64 / LOAD_SCALE),
        ("cpus_total", "system/cpus_total", processors as f64),
        ("mem_free_bytes", "system/mem_free_bytes", system.freeram as f64 * unit),
        ("mem_total_bytes", "system/mem_total_bytes", system.totalram as f64 * unit),
    ]
}

/// The same as metrics.
pub fn metrics() -> impl Iterator<Item = (&'static str, f64)> {
    figures().into_iter().map(|(_, name, value)| (name, value))
}

/// The answer of `/system/stats.json`.
pub fn stats() -> String {
    let mut to = Writer::new();
    to.begin_object();
    for (name, _, value) in figures() {
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

/// Carries `/logging/toggle` out: without parameters the answer is the level in force, with both
/// nothing.
///
/// # Errors
/// What is wrong with the parameters, in the words of Mesos.
pub fn toggle(
    verbosity: &Verbosity,
    level: Option<&str>,
    duration: Option<&str>,
) -> Result<String, String> {
    let (level, duration) = match (level, duration) {
        (None, None) => return Ok(format!("{}\n", verbosity.level())),
        (Some(_), None) => return Err("Expecting 'duration=value' in query.\n".to_owned()),
        (None, Some(_)) => return Err("Expecting 'level=value' in query.\n".to_owned()),
        (Some(level), Some(duration)) => (level, duration),
    };
    let level = level.parse().map_err(|_| format!("Invalid level '{level}'.\n"))?;
    let duration = flags::units::duration(duration).map_err(|error| format!("{error}.\n"))?;
    verbosity.set(level, duration);
    Ok(String::new())
}

/// Checks how long whoever asks for metrics would wait. They are there at once, so that nobody does.
///
/// # Errors
/// In the words of Mesos.
pub fn check_timeout(timeout: Option<&str>) -> Result<(), String> {
    let Some(text) = timeout else { return Ok(()) };
    match flags::units::duration(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("Invalid timeout '{text}': {error}.\n")),
    }
}
