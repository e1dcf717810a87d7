use super::*;

fn check(text: &str, expected: &[&str]) {
    let masters = Masters::parse(text).expect(text);
    assert_eq!(masters.given, expected);
}

#[test]
fn addresses_get_the_default_port() {
    check("m1", &["m1:5050"]);
    check("10.0.0.1:5051", &["10.0.0.1:5051"]);
    check("http://m1:80/", &["m1:80"]);
    check("m1, m2:1", &["m1:5050", "m2:1"]);
    check("::1", &["[::1]:5050"]);
    check("[fe80::2]", &["[fe80::2]:5050"]);
    check("[::1]:5055", &["[::1]:5055"]);
}

#[test]
fn a_credential_is_for_every_master_and_is_not_told() {
    let mut masters = Masters::parse("http://alice:s@cret@m1,m2:1").expect("two masters");
    assert_eq!(masters.given, ["m1:5050", "m2:1"]);
    let expected = format!("Basic {}", STANDARD.encode("alice:s@cret"));
    assert_eq!(masters.target().authorization.expect("given"), expected.as_str());
    masters.redirected("//m9:5051/").expect("a leader");
    let target = masters.target();
    assert_eq!(target.address, "m9:5051");
    assert_eq!(target.authorization.as_ref().expect("the same"), expected.as_str());
    assert!(!format!("{masters:?} {target:?}").contains(&STANDARD.encode("alice:s@cret")));
    for text in ["alice:s@m1:x", "s@m1", "https://alice:s@m1"] {
        let error = Masters::parse(text).expect_err(text).to_string();
        assert!(!error.contains("s@"), "{error}");
    }
}

#[test]
fn useless_addresses_are_refused_with_a_reason() {
    for text in ["", "m1,", "zk://a:2181", "https://m1", "m1:x", "m1:0", "m1:70000", "a b", "m/1"] {
        let error = Masters::parse(text).expect_err(text).to_string();
        assert!(error.contains(&format!("{text:?}")), "{error}");
    }
}

#[test]
fn redirects_are_followed_and_forgotten_on_failure() {
    let mut masters = Masters::parse("m1,m2").expect("two masters");
    masters.redirected("//m9:5051/master/api/v1/scheduler").expect("scheme-relative");
    assert_eq!(masters.current(), "m9:5051");
    masters.redirected("http://m8:5050/api/v1/scheduler").expect("absolute");
    assert_eq!(masters.current(), "m8:5050");
    masters.failed();
    assert_eq!(masters.current(), "m1:5050");
    masters.failed();
    assert_eq!(masters.current(), "m2:5050");
    masters.failed();
    assert_eq!(masters.current(), "m1:5050");
    assert!(masters.redirected("/api/v1/scheduler").is_err());
    assert_eq!(masters.current(), "m1:5050");
}
