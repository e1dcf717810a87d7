//! The files endpoints. A master has no file to show: its log goes to standard error, and
//! sandboxes are the agents'. Clients are told so as Mesos tells of a path that is not there.

use hyper::StatusCode;

use super::Whole;
use super::forms::Fields;
use super::reply::{self, Response, bad_request};
use super::route::Get;

/// Answers for a path.
pub(super) fn answer(get: Get, request: &Whole) -> Response {
    if get == Get::FilesDebug {
        return reply::json("{}".to_owned());
    }
    match Fields::parse(request.query()).get("path") {
        None => bad_request("Expecting 'path=value' in query.\n"),
        Some(_) => reply::text_with(StatusCode::NOT_FOUND, ""),
    }
}
