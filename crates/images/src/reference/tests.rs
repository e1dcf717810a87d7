//! The reference grammar, row by row, and against a naive model of it.

use super::*;

#[track_caller]
fn check(text: &str, expected: Result<(&str, &str, Option<&str>), &str>) {
    let parsed = Reference::parse(text).map_err(|error| error.to_string());
    match (parsed, expected) {
        (Ok(reference), Ok((domain, path, tag))) => {
            assert_eq!(reference.domain(), domain, "{text}");
            assert_eq!(reference.path(), path, "{text}");
            assert_eq!(reference.tag(), tag, "{text}");
        }
        (Err(actual), Err(expected)) => assert_eq!(actual, expected, "{text}"),
        (actual, expected) => panic!("{text}: got {actual:?}, want {expected:?}"),
    }
}

#[test]
fn names_are_completed_as_docker_does() {
    check("debian", Ok(("docker.io", "library/debian", None)));
    check("debian:bookworm", Ok(("docker.io", "library/debian", Some("bookworm"))));
    check("a/b", Ok(("docker.io", "a/b", None)));
    check("index.docker.io/x", Ok(("docker.io", "library/x", None)));
    check("docker.io/library/x:1", Ok(("docker.io", "library/x", Some("1"))));
    check("localhost/x", Ok(("localhost", "x", None)));
    check("localhost:5000/a/b:Tag_1.2-x", Ok(("localhost:5000", "a/b", Some("Tag_1.2-x"))));
    check("[::1]:5000/x", Ok(("[::1]:5000", "x", None)));
    check("Upper/x", Ok(("Upper", "x", None)));
    check("x/a--b__c.d_e", Ok(("docker.io", "x/a--b__c.d_e", None)));
    check("sha256:abcd", Ok(("docker.io", "library/sha256", Some("abcd"))));
}

#[test]
fn malformed_names_are_refused_in_dockers_words() {
    let malformed = Err("invalid reference format");
    for text in [
        "",
        ":",
        "a:",
        "a:b:c",
        "a@b",
        "a/",
        "/a",
        "a//b",
        "-a",
        "a-",
        "a..b",
        "a___b",
        "a b",
        "a:.x",
        "http://a/b",
        "a\n",
        "é",
        "[::1/x",
        "a_b.c/d",
        "x.y:/z",
        "a@sha256:abc",
    ] {
        check(text, malformed);
    }
    check(
        "Debian",
        Err("invalid reference format: repository name (library/Debian) must be lowercase"),
    );
    check("x.y/aB:C", Err("invalid reference format: repository name (aB) must be lowercase"));
    let id = "a".repeat(64);
    check(
        &id,
        Err(&format!("invalid repository name ({id}), cannot specify 64-byte hexadecimal strings")),
    );
    check(&"a".repeat(256), Err("repository name must not be more than 255 characters"));
    check(&format!("a:{}", "t".repeat(129)), malformed);
    check(&format!("a@sha512:{}", "0".repeat(128)), Err("unsupported digest algorithm"));
    check(&format!("a@sha256:{}", "0".repeat(40)), Err("invalid checksum digest length"));
}

#[test]
fn display_is_familiar_and_canonical_is_full() {
    for (text, familiar, canonical) in [
        ("debian", "debian", "docker.io/library/debian"),
        ("docker.io/library/debian:1", "debian:1", "docker.io/library/debian:1"),
        ("docker.io/a/b", "a/b", "docker.io/a/b"),
        ("quay.io/a", "quay.io/a", "quay.io/a"),
        ("docker.io/library/a/b", "library/a/b", "docker.io/library/a/b"),
    ] {
        let reference = Reference::parse(text).unwrap();
        assert_eq!(reference.to_string(), familiar);
        assert_eq!(reference.canonical(), canonical);
    }
    let digest = Digest::of(b"");
    let reference = Reference::parse(&format!("debian:x@{digest}")).unwrap();
    assert_eq!(reference.to_string(), format!("debian:x@{digest}"));
    assert_eq!(Reference::parse("debian").unwrap().or_latest().to_string(), "debian:latest");
}

proptest::proptest! {
    /// Both forms of a valid reference mean the same; anything else is refused without a panic.
    #[test]
    fn valid_references_round_trip(
        domain in "([a-z0-9]{1,5}\\.[a-z]{2,3}(:[0-9]{1,5})?/)?",
        path in "[a-z0-9]{1,8}((\\.|_|__|-{1,3})[a-z0-9]{1,4})?(/[a-z0-9]{1,8}){0,2}",
        tag in "(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,20})?",
        noise in "[a-zA-Z0-9._:/@\\[\\] -]{0,30}",
    ) {
        let reference = Reference::parse(&format!("{domain}{path}{tag}")).unwrap();
        for form in [reference.to_string(), reference.canonical()] {
            proptest::prop_assert_eq!(Reference::parse(&form).unwrap(), reference.clone());
        }
        if let Ok(reference) = Reference::parse(&noise) {
            let again = Reference::parse(&reference.to_string()).unwrap();
            proptest::prop_assert_eq!(again.canonical(), reference.canonical());
        }
    }
}

#[test]
fn what_the_fuzzer_kept_is_read() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/reference");
    for entry in std::fs::read_dir(corpus).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let Ok(reference) = Reference::parse(&String::from_utf8_lossy(&bytes)) else { continue };
        let again = Reference::parse(&reference.canonical()).unwrap();
        assert_eq!(again.canonical(), reference.canonical());
    }
}
