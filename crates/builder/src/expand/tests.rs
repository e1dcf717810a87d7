use proptest::prelude::*;

use super::*;

fn lookup(name: &str) -> Option<String> {
    match name {
        "a" => Some("value".to_owned()),
        "empty" => Some(String::new()),
        "path" => Some("/usr/local/lib/x.tar.gz".to_owned()),
        _ => None,
    }
}

#[test]
fn words_are_docker_s() {
    for (given, expected) in [
        ("plain", "plain"),
        ("$a", "value"),
        ("${a}b", "valueb"),
        ("'$a'", "$a"),
        ("\"$a b\"", "value b"),
        ("\\$a", "$a"),
        ("\"\\$a\\x\"", "$a\\x"),
        ("$", "$"),
        ("$none", ""),
        ("${a:-x}", "value"),
        ("${empty:-x}", "x"),
        ("${empty-x}", ""),
        ("${none-x}", "x"),
        ("${none:-${a}}", "value"),
        ("${a:+x}", "x"),
        ("${empty:+x}", ""),
        ("${empty+x}", "x"),
        ("${none+x}", ""),
        ("${a:?gone}", "value"),
        ("${path#*/}", "usr/local/lib/x.tar.gz"),
        ("${path##*/}", "x.tar.gz"),
        ("${path%.*}", "/usr/local/lib/x.tar"),
        ("${path%%.*}", "/usr/local/lib/x"),
        ("${path/l/L}", "/usr/Local/lib/x.tar.gz"),
        ("${path//l/L}", "/usr/LocaL/Lib/x.tar.gz"),
        ("${a/#/x}", "value"),
        ("a'b'\"c\"", "abc"),
        ("", ""),
    ] {
        assert_eq!(word(given, '\\', &lookup).as_deref(), Ok(expected), "{given}");
    }
}

#[test]
fn mistakes_are_told() {
    for (given, part) in [
        ("'a", "single-quote"),
        ("\"a", "double-quote"),
        ("${a", "missing '}'"),
        ("${}", "bad substitution"),
        ("${none:?is needed}", "none: is needed"),
        ("${none?}", "none: not set"),
        ("${a^}", "unsupported modifier (^)"),
        ("${a:=b}", "unsupported modifier (:=)"),
    ] {
        let error = word(given, '\\', &lookup).unwrap_err();
        assert!(error.contains(part), "{given}: {error}");
    }
    assert!(word(&"${x:-".repeat(200), '\\', &lookup).is_err());
}

#[test]
fn another_escape_leaves_backslashes_alone() {
    assert_eq!(word("C:\\dir`$a", '`', &lookup).as_deref(), Ok("C:\\dir$a"));
}

#[test]
fn quotes_stay_in_texts() {
    assert_eq!(text("it's \"$a\" \\$a \\n", '\\', &lookup).as_deref(), Ok("it's \"value\" $a \\n"));
}

proptest! {
    #[test]
    fn nothing_panics(given in "\\PC{0,40}") {
        let _ = word(&given, '\\', &lookup);
        let _ = text(&given, '`', &lookup);
    }
}

#[test]
fn what_the_fuzzer_kept_is_read() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/expand");
    for entry in std::fs::read_dir(corpus).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        let given = String::from_utf8_lossy(&bytes);
        let _ = word(&given, '\\', &lookup);
        let _ = text(&given, '`', &lookup);
    }
}
