use std::collections::BTreeSet;

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Resources {
    Resources::parse(text, &Role::star()).unwrap()
}

fn check(text: &str, expected: &Expect) {
    let shown = match Resources::parse(text, &Role::star()) {
        Ok(resources) => resources.to_string(),
        Err(error) => format!("error: {error}"),
    };
    expected.assert_eq(&shown);
}

#[test]
fn text_is_parsed_into_normal_form() {
    check(
        "cpus:24;mem:24576;disk(role):4;ports:[30000-34000, 21000-24000];bugs:{b,a}",
        &expect![
            "cpus:24; mem:24576; disk(reservations: [(STATIC,role)]):4; ports:[21000-24000, 30000-34000]; bugs:{a, b}"
        ],
    );
    check("cpus:1;cpus:0.5", &expect!["cpus:1.5"]);
    check("ports:[1-3,4-6,5-9]", &expect!["ports:[1-9]"]);
    check("cpus:0", &expect!["{}"]);
    check("cpus:0.0004;mem:0.0005", &expect!["mem:0.001"]);
}

#[test]
fn bad_text_is_refused_with_the_part_named() {
    check("cpus", &expect!["error: bad resource 'cpus': expected name:value or name(role):value"]);
    check(
        "cpus:-1",
        &expect!["error: bad value '-1' of resource 'cpus': an amount is finite and not negative"],
    );
    check(
        "cpus:nan",
        &expect!["error: bad value 'nan' of resource 'cpus': an amount is finite and not negative"],
    );
    check(
        "ports:[5-1]",
        &expect!["error: bad value '[5-1]' of resource 'ports': a range begins before it ends"],
    );
    check(
        "cpus(/a):1",
        &expect!["error: bad role of resource 'cpus': Role '/a' cannot start with a slash"],
    );
    check("x:1;x:{a}", &expect!["error: resource 'x' is a number in one place and not in another"]);
    check(
        "cpus(a:1",
        &expect!["error: bad resource 'cpus(a:1': expected name:value or name(role):value"],
    );
}

#[test]
fn reserved_and_unreserved_are_different_things() {
    let both = parse("cpus:1;cpus(web):2");
    assert!(both.contains(&parse("cpus(web):2")));
    assert!(!both.contains(&parse("cpus:2")));
    assert_eq!(both.unreserved(), parse("cpus:1"));
    assert_eq!(both.reserved_to(&Role::from("web")), parse("cpus(web):2"));
    assert_eq!(both.amount("cpus"), Some(Scalar::from_f64(3.0)));
    assert_eq!(both.usable_by(&Role::from("web/a")), both);
    assert_eq!(both.usable_by(&Role::from("webshop")), parse("cpus:1"));
}

#[test]
fn a_volume_is_taken_entire_or_not_at_all() {
    let volume = |id: &str, amount| {
        let mut resource = Resource::scalar("disk", amount);
        resource.disk = Some(Arc::new(Disk {
            persistence: Some(Persistence { id: id.into(), principal: None }),
            ..Disk::default()
        }));
        resource
    };
    let two: Resources = [volume("a", 64.0), volume("b", 64.0)].into_iter().collect();
    assert_eq!(two.len(), 2);
    assert!(two.contains_one(&volume("a", 64.0)));
    assert!(!two.contains_one(&volume("a", 32.0)));
    assert_eq!(two.minus(&volume("a", 32.0).into()), two);
    assert_eq!(two.minus(&volume("a", 64.0).into()), volume("b", 64.0).into());
}

#[test]
fn two_equal_whole_disks_are_two() {
    let mut mount = Resource::scalar("disk", 100.0);
    mount.disk = Some(Arc::new(Disk {
        source: Some(DiskSource {
            kind: DiskSourceKind::Mount,
            root: Some("/m".into()),
            id: None,
            profile: None,
            vendor: None,
            metadata: Vec::new(),
        }),
        ..Disk::default()
    }));
    let one: Resources = mount.clone().into();
    let two: Resources = [mount.clone(), mount].into_iter().collect();
    assert!(two.contains(&two));
    assert!(!one.contains(&two));
}

#[test]
fn a_shared_volume_counts_its_holders() {
    let mut volume = Resource::scalar("disk", 64.0);
    volume.shared = true;
    volume.disk = Some(Arc::new(Disk {
        persistence: Some(Persistence { id: "v".into(), principal: None }),
        ..Disk::default()
    }));
    let one: Resources = volume.clone().into();
    let two = one.plus(&one);
    assert_eq!(two.len(), 1);
    assert_eq!(Quantities::from(&two).get("disk"), Scalar::from_f64(64.0));
    assert!(!one.contains(&two));
    assert_eq!(two.minus(&one), one);
    assert!(one.minus(&one).is_empty());
}

#[test]
fn reservations_are_refined_and_undone() {
    let level = |role: &str| Reservation {
        kind: ReservationKind::Dynamic,
        role: Role::from(role),
        principal: Some("p".into()),
        labels: Vec::new(),
    };
    let free = parse("cpus:2;mem:10");
    let reserved = free.push_reservation(&level("a")).push_reservation(&level("a/b"));
    assert_eq!(reserved.reserved_to(&Role::from("a/b")).len(), 2);
    assert_eq!(reserved.pop_reservation().pop_reservation(), free);
}

fn ranges() -> impl Strategy<Value = Ranges> {
    prop::collection::vec((0_u64..40, 0_u64..40), 0..6).prop_map(Ranges::new)
}

fn numbers(ranges: &Ranges) -> BTreeSet<u64> {
    ranges.iter().flat_map(|(begin, end)| begin..=end).collect()
}

fn resources() -> impl Strategy<Value = Resources> {
    let scalar = (0..3_usize, 0..5_i64).prop_map(|(name, milli)| {
        Resource::new(["cpus", "mem", "disk"][name], Value::Scalar(Scalar::from_milli(milli)))
    });
    let ports = ranges().prop_map(|ranges| Resource::new("ports", Value::Ranges(ranges)));
    let set = prop::collection::btree_set("[a-d]", 0..3).prop_map(|items| {
        Resource::new("set", Value::Set(items.iter().map(|item| item.as_str().into()).collect()))
    });
    let one = (prop_oneof![scalar, ports, set], prop::bool::ANY).prop_map(|(mut resource, web)| {
        if web {
            resource.reservations.push(Reservation {
                kind: ReservationKind::Static,
                role: Role::from("web"),
                principal: None,
                labels: Vec::new(),
            });
        }
        resource
    });
    prop::collection::vec(one, 0..6).prop_map(|items| items.into_iter().collect())
}

proptest! {
    #[test]
    fn ranges_behave_like_sets_of_numbers(a in ranges(), b in ranges()) {
        let (left, right) = (numbers(&a), numbers(&b));
        prop_assert_eq!(numbers(&a.union(&b)), &left | &right);
        prop_assert_eq!(numbers(&a.difference(&b)), &left - &right);
        prop_assert_eq!(a.contains(&b), right.is_subset(&left));
        prop_assert_eq!(a.count(), left.len() as u64);
        prop_assert_eq!(Ranges::new(a.difference(&b).iter()), a.difference(&b), "normal form");
        for n in 0..41 {
            prop_assert_eq!(a.contains_value(n), left.contains(&n));
        }
    }

    #[test]
    fn what_was_added_can_be_taken_away(a in resources(), b in resources()) {
        let sum = a.plus(&b);
        prop_assert!(sum.contains(&a) && sum.contains(&b));
        prop_assert_eq!(sum.clone(), b.plus(&a), "order does not matter");
        let rest = sum.minus(&b);
        // Sets may overlap, so that taking b away takes the overlap along; scalars are exact.
        prop_assert!(a.contains(&rest));
        prop_assert_eq!(Quantities::from(&rest), Quantities::from(&a));
    }

    #[test]
    fn a_part_and_the_rest_are_the_whole(a in resources(), b in resources()) {
        let rest = a.minus(&b);
        prop_assert!(a.contains(&rest));
        if a.contains(&b) {
            prop_assert_eq!(rest.plus(&b), a);
        }
    }

    #[test]
    fn any_text_is_parsed_or_refused(text in "[a-z(){}\\[\\];:,.0-9 -]{0,40}") {
        if let Ok(resources) = Resources::parse(&text, &Role::star()) {
            prop_assert!(resources.iter().all(|item| !item.is_empty()));
        }
    }

    #[test]
    fn printed_values_parse_back(a in resources()) {
        let unreserved = a.unreserved();
        let text = unreserved.to_string();
        if text != "{}" {
            prop_assert_eq!(parse(&text), unreserved);
        }
    }
}
