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

fn challenge(denied: Result<Option<Who>, Denied>) -> String {
    denied.expect_err("denied").challenge
}

#[test]
fn only_the_right_secret_opens_a_realm() {
    let guard = Authentication {
        process: "master",
        credentials: Some(Credentials::parse("a x").expect("good")),
        key: None,
        asking: [Realm::ReadOnly].into(),
    };
    let admit = |realm, header: Option<&str>| guard.admit(realm, header, 0);
    let right = basic("a:x");
    assert_eq!(admit(Some(Realm::ReadOnly), Some(&right)), Ok(Some(Who::Principal("a".into()))));
    let asks = "Basic realm=\"mesos-master-readonly\"";
    for wrong in ["a:y", "a:", "a", "b:x", "a:xx"] {
        assert_eq!(challenge(admit(Some(Realm::ReadOnly), Some(&basic(wrong)))), asks);
    }
    for wrong in ["", "Basic", "Basic %%", "Bearer a:x"] {
        assert_eq!(challenge(admit(Some(Realm::ReadOnly), Some(wrong))), asks);
    }
    assert_eq!(challenge(admit(Some(Realm::ReadOnly), None)), asks);
    assert_eq!(admit(Some(Realm::ReadWrite), None), Ok(None), "nobody asks there");
    assert_eq!(admit(None, None), Ok(None));
}

#[test]
fn only_a_token_of_the_key_opens_a_realm_of_tokens() {
    let key = Key::given("key").expect("good");
    let guard = Authentication {
        process: "agent",
        credentials: None,
        key: Some(key.clone()),
        asking: [Realm::Executor].into(),
    };
    let admit = |header: Option<&str>| guard.admit(Some(Realm::Executor), header, 0);
    let claims: Claims = [("fid".to_owned(), "f".to_owned())].into();
    let token = key.sign(&claims);
    let who = admit(Some(&format!("Bearer {token}"))).expect("let in").expect("asked");
    assert_eq!(who.to_string(), r#"{"claims":{"fid":"f"}}"#);
    assert_eq!(who, Who::Claims(claims));
    let asks = "Bearer realm=\"mesos-agent-executor\"";
    assert_eq!(challenge(admit(None)), asks);
    let invalid =
        |why: &str| format!("{asks}, error=\"invalid_token\", error_description=\"{why}\"");
    let nothing = format!("Bearer {}", key.sign(&Claims::new()));
    let other = format!("Bearer {}", Key::given("other").expect("good").sign(&Claims::new()));
    for (wrong, why) in [
        ("Bearer", "Malformed 'Authorization' header"),
        (&*basic("a:x"), "Scheme 'Basic' unsupported"),
        (&*nothing, "JWT claims missing"),
        (&*other, "Invalid JWT: Token signature does not match"),
    ] {
        assert_eq!(challenge(admit(Some(wrong))), invalid(why));
    }
}

#[test]
fn a_realm_of_both_takes_either_and_names_both() {
    let key = Key::given("key").expect("good");
    let guard = Authentication {
        process: "agent",
        credentials: Some(Credentials::parse("a x").expect("good")),
        key: Some(key.clone()),
        asking: [Realm::ReadWrite].into(),
    };
    let admit = |header: Option<&str>| guard.admit(Some(Realm::ReadWrite), header, 0);
    assert_eq!(admit(Some(&basic("a:x"))), Ok(Some(Who::Principal("a".into()))));
    let claims: Claims = [("fid".to_owned(), "f".to_owned())].into();
    let token = format!("Bearer {}", key.sign(&claims));
    assert_eq!(admit(Some(&token)), Ok(Some(Who::Claims(claims))));
    let denied = admit(None).expect_err("denied");
    let realm = "realm=\"mesos-agent-readwrite\"";
    assert_eq!(denied.challenge, format!("Basic {realm},Bearer {realm}"));
    assert_eq!(
        denied.text,
        "\"Basic\" authenticator returned:\n401 Unauthorized.\n\n\
         \"Bearer\" authenticator returned:\n401 Unauthorized."
    );
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
