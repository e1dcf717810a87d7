use super::*;

fn basic(pair: &str) -> String {
    format!("Basic {}", STANDARD.encode(pair))
}

#[test]
fn credentials_are_read_in_both_forms_of_mesos() {
    let json = r#"{"credentials": [{"principal": "a", "secret": "x"},
                                   {"principal": "b", "secret": "y z"}]}"#;
    let json = Credentials::parse(json).expect("good");
    assert_eq!(json.principal(&basic("b:y z")).as_deref(), Some("b"));
    let lines = Credentials::parse("a x\n\nb  y:y\n").expect("good");
    assert_eq!(lines.principal(&basic("b:y:y")).as_deref(), Some("b"));
    assert_eq!(format!("{lines:?}"), r#"{"a", "b"}"#, "secrets are not printed");
}

#[test]
fn what_is_wrong_with_credentials_is_said_without_them() {
    for (text, expected) in [
        ("", "it names no principal"),
        ("a", "line 1 is not a principal and a secret"),
        ("a b\nc d e", "line 2 is not a principal and a secret"),
        ("{}", "its JSON has no list 'credentials'"),
        (r#"{"credentials":[{"principal":"a"}]}"#, "each of 'credentials' has"),
    ] {
        let told = Credentials::parse(text).expect_err("bad");
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn only_the_right_secret_opens_a_realm() {
    let credentials = Credentials::parse("a x").expect("good");
    let guard = Authentication::new(credentials, [Realm::ReadOnly]);
    let admit = |realm, header: Option<&str>| guard.admit(realm, header);
    let right = basic("a:x");
    assert_eq!(admit(Some(Realm::ReadOnly), Some(&right)), Ok(Some("a".into())));
    for wrong in ["a:y", "a:", "a", "b:x", "a:xx"] {
        assert_eq!(admit(Some(Realm::ReadOnly), Some(&basic(wrong))), Err(Realm::ReadOnly));
    }
    for wrong in ["", "Basic", "Basic %%", "Bearer a:x"] {
        assert_eq!(admit(Some(Realm::ReadOnly), Some(wrong)), Err(Realm::ReadOnly));
    }
    assert_eq!(admit(Some(Realm::ReadOnly), None), Err(Realm::ReadOnly));
    assert_eq!(admit(Some(Realm::ReadWrite), None), Ok(None), "nobody asks there");
    assert_eq!(admit(None, None), Ok(None));
}

#[test]
fn a_credential_is_read_in_both_forms() {
    let expected = Credential { principal: "a".to_owned(), secret: "x".to_owned() };
    for good in [r#"{"principal": "a", "secret": "x"}"#, "a x\n"] {
        assert_eq!(Credential::given(good).as_ref(), Ok(&expected));
    }
    assert_eq!(format!("{expected:?}"), r#"Credential("a")"#, "the secret is not printed");
    for (bad, told) in [
        ("", "it is neither JSON nor one principal and its secret"),
        ("a x y", "it is neither JSON nor one principal and its secret"),
        (r#"{"principal": "a"}"#, "its JSON has no 'principal' and 'secret'"),
        ("/nowhere/at/all", "cannot read /nowhere/at/all: "),
    ] {
        let error = Credential::given(bad).expect_err("bad");
        assert!(error.starts_with(told), "{error}");
    }
}
