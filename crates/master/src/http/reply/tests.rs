use http_body_util::BodyExt;

use super::*;

#[tokio::test]
async fn a_long_answer_is_handed_over_in_pieces() {
    for length in [0, 1, PIECE, PIECE + 1, 3 * PIECE - 1] {
        let content: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
        let mut body = text("text/plain", content.clone()).into_body();
        let hint = hyper::body::Body::size_hint(&body);
        assert_eq!(hint.exact(), Some(length as u64), "its length is told before");
        let mut whole = Vec::new();
        while let Some(frame) = body.frame().await {
            let piece = frame.unwrap().into_data().unwrap();
            assert!(piece.len() <= PIECE);
            whole.extend_from_slice(&piece);
        }
        assert_eq!(whole, content);
        assert!(hyper::body::Body::is_end_stream(&body));
    }
}

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
