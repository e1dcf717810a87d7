//! Tests of taking steps from images.

use images::{Digest, History, ImageConfig};

use super::*;

const BASE: &str = "base";
const RUN: &str = "RUN /bin/sh -c make";

fn digest(text: &str) -> Digest {
    let mut hasher = images::Hasher::default();
    hasher.update(text.as_bytes());
    hasher.finish()
}

/// Entries by what made them, with their layer if they have one.
fn image(entries: &[(&str, Option<&str>)]) -> ImageConfig {
    let mut config = State::scratch().config;
    for (created_by, layer) in entries {
        config.history.push(History {
            created: Some("1970-01-01T00:00:07Z".to_owned()),
            created_by: (*created_by).to_owned(),
            empty_layer: layer.is_none(),
            ..History::default()
        });
        config.rootfs.diff_ids.extend(layer.map(digest));
    }
    config
}

fn state(entries: &[(&str, Option<&str>)]) -> State {
    State { config: image(entries), ..State::scratch() }
}

#[test]
fn a_step_is_taken_after_the_same_steps() {
    let sources = Sources(vec![image(&[
        (BASE, Some("a")),
        ("ENV A=1", None),
        (RUN, Some("b")),
        ("USER x", None),
    ])]);
    let found = sources.find(&state(&[(BASE, Some("a"))]), "ENV A=1");
    assert_eq!(found, Some(Finished { layer: None, created_at: 7 }));
    let found = sources.find(&state(&[(BASE, Some("a")), ("ENV A=1", None)]), RUN);
    assert_eq!(found, Some(Finished { layer: Some(digest("b")), created_at: 7 }));
}

#[test]
fn another_past_or_step_is_not_taken() {
    let sources = Sources(vec![image(&[(BASE, Some("a")), ("ENV A=1", None), (RUN, Some("b"))])]);
    for past in [
        &[][..],
        &[(BASE, Some("a"))],
        &[(BASE, Some("other")), ("ENV A=1", None)],
        &[(BASE, Some("a")), ("ENV A=2", None)],
        &[(BASE, Some("a")), ("ENV A=1", Some("c"))],
        &[(BASE, Some("a")), ("ENV A=1", None), (RUN, Some("b"))],
    ] {
        assert_eq!(sources.find(&state(past), RUN), None, "{past:?}");
    }
    let past = state(&[(BASE, Some("a")), ("ENV A=1", None)]);
    assert_eq!(sources.find(&past, "RUN /bin/sh -c make test"), None);
}

#[test]
fn an_image_without_its_history_or_of_another_platform_is_none() {
    let mut short = image(&[(BASE, Some("a")), (RUN, Some("b"))]);
    short.rootfs.diff_ids.push(digest("c"));
    let mut other = image(&[(BASE, Some("a")), (RUN, Some("b"))]);
    other.architecture = "none".to_owned();
    let sources = Sources(vec![short, other]);
    assert_eq!(sources.find(&state(&[(BASE, Some("a"))]), RUN), None);
}
