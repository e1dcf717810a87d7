use http_body_util::BodyExt;

use super::*;

#[tokio::test]
async fn an_answer_in_pieces_is_one_text() {
    let text = || vec!["[1,".to_owned(), String::new(), "2]".to_owned()];
    for (function, expected) in [(None, "[1,2]"), (Some("f"), "f([1,2])")] {
        let body = jsonp_in_pieces(text(), function).into_body();
        let length = hyper::body::Body::size_hint(&body).exact();
        assert_eq!(length, Some(expected.len() as u64), "its length is told before");
        assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
    }
}
