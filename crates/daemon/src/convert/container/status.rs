//! The STATUS column: `Up 5 minutes (healthy)`.

use engine::container::{ContainerState, HealthStatus, Status};
use jiff::Timestamp;

/// Words a state as seen at `now`.
pub(super) fn status(state: &ContainerState, now: Timestamp) -> String {
    let since = |then: Option<Timestamp>| {
        let seconds = then.map_or(0, |then| now.as_second() - then.as_second());
        age(seconds.max(0))
    };
    match state.status {
        Status::Created => "Created".to_owned(),
        Status::Removing => "Removal In Progress".to_owned(),
        Status::Dead => "Dead".to_owned(),
        Status::Paused => format!("Up {} (Paused)", since(state.started_at)),
        Status::Restarting => {
            format!("Restarting ({}) {} ago", state.exit_code, since(state.finished_at))
        }
        Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished_at)),
        Status::Running => {
            let up = format!("Up {}", since(state.started_at));
            match state.health.as_ref().map(|health| health.status) {
                None => up,
                Some(HealthStatus::Starting) => format!("{up} (health: starting)"),
                Some(status) => format!("{up} ({status})"),
            }
        }
    }
}

/// A duration as people say it.
fn age(seconds: i64) -> String {
    let minutes = seconds / 60;
    // Hours are rounded, all else is cut off.
    let hours = (seconds + 1800) / 3600;
    match (seconds, minutes, hours) {
        (0, ..) => "Less than a second".to_owned(),
        (1, ..) => "1 second".to_owned(),
        (2..60, ..) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, 2..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, 2..48) => format!("{hours} hours"),
        (_, _, 48..336) => format!("{} days", hours / 24),
        (_, _, 336..1440) => format!("{} weeks", hours / 24 / 7),
        (_, _, 1440..17520) => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_worded_as_dockers() {
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400, "2 months"),
            (730 * 86400, "2 years"),
        ] {
            assert_eq!(age(seconds), words);
        }
    }

    #[test]
    fn states_are_worded_as_dockers() {
        let now: Timestamp = "2024-01-01T01:00:00Z".parse().unwrap();
        let mut state = ContainerState {
            status: Status::Running,
            started_at: Some("2024-01-01T00:55:00Z".parse().unwrap()),
            finished_at: Some("2024-01-01T00:59:58Z".parse().unwrap()),
            exit_code: 3,
            ..ContainerState::default()
        };
        assert_eq!(status(&state, now), "Up 5 minutes");
        state.health = Some(engine::container::Health::default());
        assert_eq!(status(&state, now), "Up 5 minutes (health: starting)");
        state.status = Status::Paused;
        assert_eq!(status(&state, now), "Up 5 minutes (Paused)");
        state.status = Status::Exited;
        assert_eq!(status(&state, now), "Exited (3) 2 seconds ago");
    }
}
