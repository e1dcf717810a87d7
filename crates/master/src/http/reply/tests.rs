use http_body_util::BodyExt;

use super::*;

#[tokio::test]
async fn an_answer_in_pieces_is_one_text() {
    for function in [None, Some("f")] {
        for pieces in [vec!["[1,2]"], vec!["[1", ",2]"], vec!["[", "1", ",", "2", "]"]] {
            let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
            pieces.iter().for_each(|piece| sender.send((*piece).to_owned()).unwrap());
            drop(sender);
            let body = jsonp_in_pieces(receiver, function).await.into_body();
            let expected = if function.is_some() { "f([1,2])" } else { "[1,2]" };
            let length = (pieces.len() == 1).then_some(expected.len() as u64);
            assert_eq!(hyper::body::Body::size_hint(&body).exact(), length);
            assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
        }
    }
}
