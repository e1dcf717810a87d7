//! A file from a web server, such as an archive to import. Nothing of it is kept here.

use std::io;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use reqwest::Url;

use super::Registry;
use super::error::{ApiError, RegistryError};
use super::http::{self, Patience, Trust, describe, read_capped, request_name};

/// Longest error reply that is read.
const MAX_ERROR_BODY: u64 = 8 * 1024;

/// A file on its way.
pub struct Fetched {
    /// Where it comes from, without password and query.
    pub name: String,
    /// Its length, if the server tells.
    pub length: Option<u64>,
    /// When it was changed last, if the server tells, in seconds since the epoch.
    pub modified_at: Option<i64>,
    /// Its bytes. A pause beyond the idle time is an error.
    pub bytes: BoxStream<'static, io::Result<Bytes>>,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetched")
            .field("name", &self.name)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl Registry {
    /// Begins to download `url`, `http` or `https`; without a scheme `http` is meant, as in Docker.
    ///
    /// # Errors
    /// `InvalidRequest` for anything that is no such address, `Transport` when no server answers,
    /// `Api` when it refuses.
    pub async fn fetch(&self, url: &str) -> Result<Fetched, RegistryError> {
        let url = parse(url)?;
        let host = url.host_str().unwrap_or_default().to_owned();
        let client = http::client(&self.config, &host, Trust::Verified, Patience::Idle).await?;
        let name = request_name("GET", &url);
        let response = client.get(url).send().await.map_err(|error| RegistryError::Download {
            request: name.clone(),
            message: describe(&error),
        })?;
        if !response.status().is_success() {
            let status = response.status();
            // The status alone says enough if the body cannot be had.
            let body =
                read_capped(response, MAX_ERROR_BODY, "the error reply").await.unwrap_or_default();
            return Err(ApiError::from_body(status, name, &body).into());
        }
        let length = response.content_length();
        let modified_at = response
            .headers()
            .get(reqwest::header::LAST_MODIFIED)
            .and_then(|value| jiff::fmt::rfc2822::parse(value.to_str().ok()?).ok())
            .map(|time| time.timestamp().as_second());
        let failed = name.clone();
        let bytes = response
            .bytes_stream()
            .map_err(move |error| io::Error::other(format!("{failed}: {}", describe(&error))));
        Ok(Fetched {
            name: name.trim_start_matches("GET ").to_owned(),
            length,
            modified_at,
            bytes: bytes.boxed(),
        })
    }
}

fn parse(text: &str) -> Result<Url, RegistryError> {
    let invalid = |why: &str| RegistryError::InvalidRequest {
        message: format!("{:?} cannot be downloaded: {why}", super::error::printable(text)),
    };
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&with_scheme).map_err(|error| invalid(&error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(invalid("only http and https addresses are")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn addresses_are_those_of_web_servers() {
        for (text, url) in [
            ("http://a/b.tar", "http://a/b.tar"),
            ("https://u:p@a:8/b?c", "https://u:p@a:8/b?c"),
            ("a.example/b.tar", "http://a.example/b.tar"),
        ] {
            assert_eq!(parse(text).unwrap().as_str(), url);
        }
        for text in ["ftp://a/b", "file:///etc/passwd", "http://", "unix:///run/x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
