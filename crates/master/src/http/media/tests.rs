use super::*;

#[test]
fn content_types_may_carry_parameters() {
    assert_eq!(Media::of("application/json"), Some(Media::Json));
    assert_eq!(Media::of("Application/JSON; charset=utf-8"), Some(Media::Json));
    assert_eq!(Media::of("application/x-protobuf"), Some(Media::Protobuf));
    assert_eq!(Media::of("text/plain"), None);
    assert_eq!(Media::of(""), None);
}

#[test]
fn what_is_accepted_is_found_and_json_comes_first() {
    let cases = [
        (None, Some(Media::Json)),
        (Some("*/*"), Some(Media::Json)),
        (Some("application/*"), Some(Media::Json)),
        (Some("application/x-protobuf"), Some(Media::Protobuf)),
        (Some("application/x-protobuf, application/json;q=0.5"), Some(Media::Json)),
        (Some("application/json;q=0, application/x-protobuf"), Some(Media::Protobuf)),
        (Some("text/html"), None),
        (Some("application/jsonx"), None),
    ];
    for (accept, expected) in cases {
        assert_eq!(Media::accepted(accept), expected, "{accept:?}");
    }
}
