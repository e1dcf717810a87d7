//! `rmi`.

use docker_api::{Request, encode_path};
use serde_json::Value as Json;

use crate::failure::{Failure, describe};
use crate::grammar::{Call, Outcome};

/// `rmi [OPTIONS] IMAGE [IMAGE...]`
pub(crate) async fn remove(call: Call<'_>) -> Outcome {
    let flags = &call.flags;
    let client = call.cli.client().await?;
    let (mut failed, mut missing_only) = (Vec::new(), true);
    for name in &call.args {
        let mut request = Request::delete(format!("/images/{}", encode_path(name)))
            .query_flag("force", flags.on("force"))
            .query_flag("noprune", flags.on("no-prune"));
        for platform in flags.split("platform") {
            request = request.query("platforms", super::list::platform_json(&platform));
        }
        let removed = match client.call(request).await {
            Ok(response) => response.json::<Vec<Json>>().await,
            Err(error) => Err(error),
        };
        match removed {
            Ok(items) => print_removed(&items),
            Err(error) => {
                missing_only &= error.is_not_found();
                failed.push(describe(&error));
            }
        }
    }
    if failed.is_empty() {
        return Ok(0);
    }
    if flags.on("force") && missing_only {
        eprintln!("{}", failed.join("\n"));
        return Ok(0);
    }
    Err(Failure::new(failed.join("\n")))
}

/// Prints what a removal did, line by line.
pub(crate) fn print_removed(items: &[Json]) {
    for item in items {
        if let Some(id) = item["Deleted"].as_str() {
            println!("Deleted: {id}");
        } else if let Some(name) = item["Untagged"].as_str() {
            println!("Untagged: {name}");
        }
    }
}
