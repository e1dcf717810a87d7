//! Names that legacy links give, in paths: clients write `/containers/web/db/json`, with the slash of
//! the name as it is.

use axum::http::{Method, Uri, uri::PathAndQuery};

/// The path with its two words of a name as one; `None` for every other path.
pub(crate) fn as_one_name(method: &Method, uri: &Uri) -> Option<Uri> {
    let words: Vec<&str> = uri.path().strip_prefix("/containers/")?.split('/').collect();
    let path = match words.as_slice() {
        // What has three words of its own.
        [_, "attach", "ws"] | [_, "checkpoints", _] => return None,
        [parent, alias] if method == Method::DELETE => format!("{parent}%2F{alias}"),
        [parent, alias, operation] => format!("{parent}%2F{alias}/{operation}"),
        _ => return None,
    };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(format!("/containers/{path}{query}")).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_words_of_a_name_become_one() {
        let check = |method: Method, path: &str| {
            let uri: Uri = path.parse().unwrap();
            as_one_name(&method, &uri).map(|uri| uri.to_string())
        };
        for (method, path, named) in [
            (Method::DELETE, "/containers/web/db?link=1", Some("/containers/web%2Fdb?link=1")),
            (Method::GET, "/containers/web/db/json", Some("/containers/web%2Fdb/json")),
            (Method::GET, "/containers/web/json", None),
            (Method::DELETE, "/containers/web", None),
            (Method::GET, "/containers/web/attach/ws", None),
            (Method::DELETE, "/containers/web/checkpoints/a", None),
            (Method::GET, "/networks/a/b/c", None),
        ] {
            assert_eq!(check(method, path).as_deref(), named, "{path}");
        }
    }
}
