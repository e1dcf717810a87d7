//! Which differences from the image are the container's own.
//!
//! A start needs places to mount on. Where the image has none they are made in the container's
//! layer, where nobody asked for them.

use std::path::Path;

use images::ChangeKind;

use super::Change;

/// What a start makes where it is missing.
const MADE_BY_START: [&str; 11] = [
    "/.dockerenv",
    "/dev",
    "/dev/console",
    "/dev/mqueue",
    "/dev/pts",
    "/dev/shm",
    "/etc/hostname",
    "/etc/hosts",
    "/etc/resolv.conf",
    "/proc",
    "/sys",
];

/// Leaves out what a start made, and `/etc` if nothing else in it changed.
pub(super) fn visible(changes: Vec<Change>) -> Vec<Change> {
    let made = |change: &Change| {
        change.kind == ChangeKind::Added
            && MADE_BY_START.iter().any(|path| change.path == Path::new(path))
    };
    let (hidden, mut shown): (Vec<Change>, Vec<Change>) = changes.into_iter().partition(made);
    for parent in ["/dev", "/etc"].map(Path::new) {
        let below = |change: &Change| change.path != parent && change.path.starts_with(parent);
        if hidden.iter().any(below) && !shown.iter().any(below) {
            shown.retain(|change| change.path != parent);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(paths: &[(ChangeKind, &str)]) -> Vec<String> {
        let change = |(kind, path): &(ChangeKind, &str)| Change { kind: *kind, path: path.into() };
        let shown = visible(paths.iter().map(change).collect());
        shown.into_iter().map(|change| change.path.display().to_string()).collect()
    }

    #[test]
    fn places_made_by_a_start_are_not_shown() {
        use ChangeKind::{Added, Deleted, Modified};
        let start = [(Modified, "/etc"), (Added, "/etc/hosts"), (Added, "/proc"), (Added, "/x")];
        assert_eq!(shown(&start), ["/x"]);
        let own = [(Modified, "/etc"), (Added, "/etc/hosts"), (Added, "/etc/own")];
        assert_eq!(shown(&own), ["/etc", "/etc/own"]);
        assert_eq!(shown(&[(Modified, "/etc"), (Deleted, "/proc")]), ["/etc", "/proc"]);
    }
}
