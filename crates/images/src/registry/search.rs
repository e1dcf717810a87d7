//! Search: an API that only Docker Hub and registries of version 1 have.

use reqwest::Method;
use serde::Deserialize;

use super::error::RegistryError;
use super::http::read_capped;
use super::session::{Access, Mirrors, Session, hosts};
use super::{AuthConfig, Registry};

/// Longest reply that is read; a hundred results are a tenth of it.
const MAX_REPLY: u64 = 4 << 20;

/// One repository found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Found {
    pub name: String,
    pub description: String,
    pub star_count: u64,
    pub is_official: bool,
    pub is_automated: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Reply {
    results: Vec<Found>,
}

impl Registry {
    /// Searches for `term`, which may begin with a registry as references do.
    ///
    /// # Errors
    /// `InvalidRequest` for a term that names a scheme, `Unreachable`; `Api` when the registry has
    /// no search, as those of version 2.
    pub async fn search(
        &self,
        term: &str,
        limit: u32,
        auth: &AuthConfig,
    ) -> Result<Vec<Found>, RegistryError> {
        let (domain, query) = split(term)?;
        let hosts = hosts(&self.config, &domain, Mirrors::Never).await?;
        let host = hosts.first().expect("the registry itself is always there");
        let session = Session::connect(&self.config, host, auth, Access::Pull).await?;
        let mut url = session.v1_url("search");
        url.query_pairs_mut().append_pair("q", query).append_pair("n", &limit.to_string());
        let response = session.send(Method::GET, &url, "", |request| request).await?;
        if !response.status().is_success() {
            return Err(session.refusal("GET", response).await);
        }
        let body = read_capped(response, MAX_REPLY, "the search's reply").await?;
        let reply: Reply =
            serde_json::from_slice(&body).map_err(|error| RegistryError::Invalid {
                what: "the search's reply",
                reference: term.to_owned(),
                message: error.to_string(),
            })?;
        Ok(reply.results)
    }
}

/// Splits a term into the registry and what to search for there.
fn split(term: &str) -> Result<(String, &str), RegistryError> {
    let invalid = |message: &str| RegistryError::InvalidRequest { message: message.to_owned() };
    if term.contains("://") {
        return Err(invalid(
            "invalid repository name: repository name must not include a scheme, such as http://",
        ));
    }
    let is_domain = |first: &str| first == "localhost" || first.contains(['.', ':']);
    let (domain, query) = match term.split_once('/') {
        Some((first, rest)) if is_domain(first) && first != "docker.io" => (first, rest),
        Some(("docker.io", rest)) => ("index.docker.io", rest),
        _ => ("index.docker.io", term),
    };
    // Docker Hub's own images are found without their prefix.
    let query = match domain {
        "index.docker.io" => query.strip_prefix("library/").unwrap_or(query),
        _ => query,
    };
    if query.is_empty() {
        return Err(invalid("a search needs a term"));
    }
    Ok((domain.to_owned(), query))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn terms_may_name_a_registry() {
        for (term, domain, query) in [
            ("debian", "index.docker.io", "debian"),
            ("me/debian", "index.docker.io", "me/debian"),
            ("library/debian", "index.docker.io", "debian"),
            ("docker.io/debian", "index.docker.io", "debian"),
            ("localhost:5000/a/b", "localhost:5000", "a/b"),
            ("reg.example/x", "reg.example", "x"),
        ] {
            assert_eq!(split(term).unwrap(), (domain.to_owned(), query), "{term}");
        }
        for term in ["http://a/b", "", "reg.example/"] {
            assert!(split(term).is_err(), "{term}");
        }
    }
}
