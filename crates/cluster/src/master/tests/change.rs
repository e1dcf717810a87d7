//! Frameworks that change what they said of themselves: UPDATE_FRAMEWORK, and subscribing again.

use std::time::Duration;

use mesos_api::v1;
use mesos_api::v1::framework_info::capability::Type as Capability;
use mesos_api::v1::scheduler::{OfferConstraints, call, event};

use super::harness::*;
use crate::master::{Change, Reply};
use crate::wire::ToAgent;

fn of_roles(roles: &[&str]) -> v1::FrameworkInfo {
    v1::FrameworkInfo {
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..framework_info(&[Capability::MultiRole])
    }
}

fn change(info: v1::FrameworkInfo) -> call::UpdateFramework {
    call::UpdateFramework { framework_info: info, ..call::UpdateFramework::default() }
}

fn update(world: &mut World, framework: &Framework, update: call::UpdateFramework) -> Reply {
    world.call(framework, call::Type::UpdateFramework, |call| {
        call.update_framework = Some(update.clone());
    });
    world.reply().expect("a reply")
}

#[test]
fn update_framework_changes_what_may_change() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(of_roles(&["a"]));
    world.run(&framework, &agent, "t", "cpus:1;mem:64");
    world.call(&framework, call::Type::Revive, |_| {});
    let [offer] = world.offers(&framework).try_into().expect("an offer");
    world.messages(&agent);
    world.changes.clear();
    let info = v1::FrameworkInfo {
        name: "renamed".into(),
        failover_timeout: Some(7.0),
        roles: vec!["b".into()],
        ..framework.info.clone()
    };
    assert_eq!(update(&mut world, &framework, change(info.clone())), Reply::Ok);
    let events = world.events(&framework);
    let rescinded: Vec<_> = events.iter().filter_map(|event| event.rescind.as_ref()).collect();
    assert_eq!(rescinded[0].offer_id, offer.id, "the offer was of a role that it has left");
    let told = world.messages(&agent);
    let [ToAgent::UpdateFramework(message)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(message.framework_info.as_ref().unwrap().name, "renamed");
    assert!(
        matches!(world.changes.as_slice(), [Change::FrameworkUpdated(id)] if *id == framework.id),
        "{:?}",
        world.changes
    );
    assert_eq!(*world.master.frameworks[&framework.id].info, info);
    assert_eq!(world.offers(&framework)[0].allocation_info.as_ref().unwrap().role(), "b");
}

#[test]
fn update_framework_is_refused_as_a_whole() {
    let mut world = world();
    world.agent("cpus:4;mem:4096");
    let principal = Some("p".to_owned());
    let framework = world.framework(v1::FrameworkInfo { principal, ..of_roles(&["a"]) });
    let known = framework.info.clone();
    let constrained = |role: &str| {
        let role_constraints = [(role.to_owned(), Default::default())].into();
        Some(OfferConstraints { role_constraints })
    };
    let text = |text: &str| text.to_owned();
    let cases = [
        (
            change(v1::FrameworkInfo { id: Some("other".into()), ..known.clone() }),
            text(
                "Failed to validate scheduler::Call: 'framework_id' differs from \
                 'update_framework.framework_info.id'",
            ),
        ),
        (
            change(v1::FrameworkInfo { roles: vec!["/".into()], ..known.clone() }),
            text(
                "Supplied FrameworkInfo is not valid: 'FrameworkInfo.roles' contains invalid \
                 role: Role '/' cannot start with a slash",
            ),
        ),
        (
            change(v1::FrameworkInfo { principal: Some("other".into()), ..known.clone() }),
            text(
                "FrameworkInfo update is not valid: Changing framework's principal is not allowed.",
            ),
        ),
        (
            change(v1::FrameworkInfo { user: "other".into(), ..known.clone() }),
            text(
                "FrameworkInfo update is not valid: Updating 'FrameworkInfo.user' is \
                 unsupported; attempted to update from 'root' to 'other'",
            ),
        ),
        (
            change(v1::FrameworkInfo { checkpoint: None, ..known.clone() }),
            text(
                "FrameworkInfo update is not valid: Updating 'FrameworkInfo.checkpoint' is \
                 unsupported; attempted to update from 'true' to 'false'",
            ),
        ),
        (
            call::UpdateFramework {
                suppressed_roles: vec!["c".into(), "b".into()],
                ..change(known.clone())
            },
            text(
                "'UpdateFramework' call is not valid: Suppressed roles { b, c } are not \
                 contained in the set of roles",
            ),
        ),
        (
            call::UpdateFramework { offer_constraints: constrained("b"), ..change(known.clone()) },
            text(
                "'UpdateFramework' call is not valid: Offer constraints specify \
                 `role_constraints` for a role 'b' not contained in the set of roles",
            ),
        ),
    ];
    for (mut call, expected) in cases {
        call.framework_info.name = "renamed".into();
        assert_eq!(update(&mut world, &framework, call), Reply::BadRequest(expected));
    }
    assert_eq!(*world.master.frameworks[&framework.id].info, known, "nothing has changed");
}

#[test]
fn roles_that_are_not_allowed_cannot_be_taken_up() {
    let mut config = config();
    config.roles = Some(vec!["a".into()]);
    let mut world = World::new(config);
    let framework = world.framework(of_roles(&["a"]));
    let info = v1::FrameworkInfo {
        roles: vec!["a".into(), "c".into(), "b".into()],
        ..framework.info.clone()
    };
    let expected = "Supplied FrameworkInfo is not valid: Roles { b, c } are not present in the \
                    master's --roles";
    assert_eq!(
        update(&mut world, &framework, change(info)),
        Reply::BadRequest(expected.to_owned())
    );
}

/// A role that is wanted again is a fresh start: what was refused in it is forgotten.
#[test]
fn a_role_that_is_no_longer_suppressed_has_no_filters() {
    let mut world = world();
    let agent = world.agent("cpus:4;mem:4096");
    let framework = world.framework(of_roles(&["a"]));
    let offers = world.offers(&framework);
    world.decline(&framework, &offers, 1000.0);
    let same = change(framework.info.clone());
    assert_eq!(update(&mut world, &framework, same.clone()), Reply::Ok);
    world.live(Duration::from_secs(2), &[&agent]);
    assert!(world.offers(&framework).is_empty(), "it was not suppressed");
    let suppressed = call::UpdateFramework { suppressed_roles: vec!["a".into()], ..same.clone() };
    assert_eq!(update(&mut world, &framework, suppressed), Reply::Ok);
    assert!(world.offers(&framework).is_empty());
    assert_eq!(update(&mut world, &framework, same), Reply::Ok);
    assert_eq!(world.offers(&framework).len(), 1);
}

/// Agents rely on both: whoever subscribes again with others goes on with the old ones.
#[test]
fn user_and_checkpoint_stay_when_a_framework_subscribes_again() {
    let mut world = world();
    let framework = world.framework(framework_info(&[]));
    let info = v1::FrameworkInfo {
        user: "other".into(),
        checkpoint: None,
        name: "renamed".into(),
        ..framework.info.clone()
    };
    let at = world.stream();
    let again = world.subscribe(at, info);
    assert_eq!(again.id, framework.id);
    assert!(!world.kinds(&again).contains(&event::Type::Error));
    let expected = v1::FrameworkInfo { name: "renamed".into(), ..framework.info };
    assert_eq!(*world.master.frameworks[&again.id].info, expected);
}
