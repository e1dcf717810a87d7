use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

#[test]
fn the_agents_of_a_master_are_in_the_order_of_their_numbers() {
    let ids: Vec<AgentId> = [0, 9, 10, 99, 100, 10_000, 123_456]
        .map(|n| format!("{}-S{n}", "0123-".repeat(8)).into())
        .into();
    assert!(ids.is_sorted());
    let distinct: BTreeSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), ids.len());
}

#[test]
fn long_identifiers_are_told_apart_by_their_texts() {
    let long = |begin: &str, length: usize| TaskId::from(format!("{begin}{}", "x".repeat(length)));
    assert_ne!(long("a", 1000), long("b", 1000));
    assert_ne!(long("a", 1000), long("a", 1001));
    assert_eq!(long("a", 1000), long("a", 1000));
}

proptest! {
    #[test]
    fn identifiers_are_equal_where_their_texts_are(a in "[ab]{0,10}", b in "[ab]{0,10}") {
        let (x, y) = (TaskId::from(&*a), TaskId::from(&*b));
        prop_assert_eq!(x == y, a == b);
        prop_assert_eq!(x.cmp(&y) == Ordering::Equal, a == b);
        prop_assert_eq!(x.cmp(&y), y.cmp(&x).reverse());
    }
}
