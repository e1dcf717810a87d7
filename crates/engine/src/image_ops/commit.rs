//! The configuration a commit gives to its image.

use images::{Empty, Healthcheck, RunConfig};

use crate::container::{ContainerConfig, HealthConfig};

/// Fills what the changes left open from the container's configuration, as Docker does: the
/// command of the container goes away with its entrypoint.
pub(super) fn merged(mut changes: RunConfig, container: &ContainerConfig) -> RunConfig {
    let set = |names: &mut dyn Iterator<Item = String>| {
        Some(names.map(|name| (name, Empty {})).collect())
            .filter(|set: &std::collections::BTreeMap<_, _>| !set.is_empty())
    };
    if changes.user.is_empty() {
        changes.user.clone_from(&container.user);
    }
    let ports = container.exposed_ports.iter().map(ToString::to_string);
    changes.exposed_ports =
        set(&mut ports.chain(changes.exposed_ports.take().unwrap_or_default().into_keys()));
    let volumes = container.volumes.iter().cloned();
    changes.volumes =
        set(&mut volumes.chain(changes.volumes.take().unwrap_or_default().into_keys()));
    let changed = changes.env.take().unwrap_or_default();
    let key = |entry: &str| entry.split('=').next().unwrap_or("").to_owned();
    let overridden: Vec<String> = changed.iter().map(|entry| key(entry)).collect();
    let kept = container.env.iter().filter(|entry| !overridden.contains(&key(entry))).cloned();
    let env: Vec<String> = kept.chain(changed.iter().cloned()).collect();
    changes.env = Some(env).filter(|env| !env.is_empty());
    let mut labels = container.labels.clone();
    labels.extend(changes.labels.take().unwrap_or_default());
    changes.labels = Some(labels).filter(|labels| !labels.is_empty());
    if changes.entrypoint.as_ref().is_none_or(Vec::is_empty) {
        if changes.cmd.as_ref().is_none_or(Vec::is_empty) {
            changes.cmd.clone_from(&container.cmd);
        }
        if changes.entrypoint.is_none() {
            changes.entrypoint.clone_from(&container.entrypoint);
        }
    }
    if changes.working_dir.is_empty() {
        changes.working_dir.clone_from(&container.working_dir);
    }
    if changes.stop_signal.is_empty() {
        changes.stop_signal = container.stop_signal.clone().unwrap_or_default();
    }
    changes.healthcheck = match (changes.healthcheck.take(), &container.healthcheck) {
        (None, None) => None,
        (None, Some(inherited)) => Some(converted(inherited)),
        (Some(own), None) => Some(own),
        (Some(own), Some(inherited)) => Some(completed(own, converted(inherited))),
    };
    if !container.on_build.is_empty() {
        let own = changes.on_build.take().unwrap_or_default();
        changes.on_build = Some(container.on_build.iter().cloned().chain(own).collect());
    }
    if changes.shell.is_none() {
        changes.shell.clone_from(&container.shell);
    }
    changes
}

fn converted(config: &HealthConfig) -> Healthcheck {
    Healthcheck {
        test: config.test.clone(),
        interval: config.interval_nanos,
        timeout: config.timeout_nanos,
        start_period: config.start_period_nanos,
        start_interval: config.start_interval_nanos,
        retries: config.retries,
    }
}

fn completed(own: Healthcheck, inherited: Healthcheck) -> Healthcheck {
    let or = |own: i64, inherited: i64| if own == 0 { inherited } else { own };
    Healthcheck {
        test: if own.test.is_empty() { inherited.test } else { own.test },
        interval: or(own.interval, inherited.interval),
        timeout: or(own.timeout, inherited.timeout),
        start_period: or(own.start_period, inherited.start_period),
        start_interval: or(own.start_interval, inherited.start_interval),
        retries: or(own.retries, inherited.retries),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Option<Vec<String>> {
        Some(words.iter().map(|&word| word.to_owned()).collect())
    }

    #[test]
    fn the_container_s_configuration_fills_the_gaps() {
        let container = ContainerConfig {
            cmd: words(&["sleep"]),
            entrypoint: words(&["/init"]),
            env: vec!["A=1".into(), "B=2".into()],
            user: "web".into(),
            exposed_ports: ["80/tcp".parse().unwrap()].into(),
            ..ContainerConfig::default()
        };
        let plain = merged(RunConfig::default(), &container);
        assert_eq!((plain.cmd, plain.entrypoint), (words(&["sleep"]), words(&["/init"])));
        let changes = RunConfig {
            entrypoint: words(&["/other"]),
            env: words(&["B=3", "C=4"]),
            ..RunConfig::default()
        };
        let changed = merged(changes, &container);
        assert_eq!((changed.cmd, changed.entrypoint), (None, words(&["/other"])));
        assert_eq!(changed.env, words(&["A=1", "B=3", "C=4"]));
        assert_eq!(changed.user, "web");
        assert!(changed.exposed_ports.unwrap().contains_key("80/tcp"));
        assert_eq!(changed.labels, None);
    }
}
