//! Stamps the build, for `/version`.

use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let time = std::env::var("SOURCE_DATE_EPOCH").unwrap_or_else(|_| now.to_string());
    let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
    println!("cargo::rustc-env=TEU_BUILD_TIME={time}");
    println!("cargo::rustc-env=TEU_BUILD_USER={user}");
}
