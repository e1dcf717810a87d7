//! Login: do these credentials work?

use reqwest::Method;

use super::challenge::Challenge;
use super::error::RegistryError;
use super::session::{Access, Mirrors, Session, hosts};
use super::{AuthConfig, Registry};

/// A registry took the credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct LoggedIn {
    /// To be kept in place of the password; empty if the registry gives none.
    pub identity_token: String,
}

/// Secrets stay out of logs.
impl std::fmt::Debug for LoggedIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoggedIn").finish_non_exhaustive()
    }
}

impl Registry {
    /// Checks credentials against a registry: `host[:port]`, a URL of it, or empty for Docker Hub.
    ///
    /// # Errors
    /// `Unauthorized` kind when they are wrong, `Unavailable` when the registry does not answer.
    pub async fn login(
        &self,
        server_address: &str,
        auth: &AuthConfig,
    ) -> Result<LoggedIn, RegistryError> {
        let domain = domain(server_address)?;
        let hosts = hosts(&self.config, &domain, Mirrors::Never).await?;
        let host = hosts.first().expect("the registry itself is always there");
        let session = Session::connect(&self.config, host, auth, Access::Pull).await?;
        let mut identity_token = String::new();
        if let Some(Challenge::Bearer(challenge)) = session.authorizer.challenge() {
            identity_token = session.authorizer.login(&challenge).await?.refresh_token;
        }
        let response = session.send(Method::GET, &session.url(""), "", |request| request).await?;
        if response.status().is_success() {
            return Ok(LoggedIn { identity_token });
        }
        Err(session.refusal("GET", response).await)
    }
}

/// Takes the registry out of what a client has stored: `https://index.docker.io/v1/` is Docker Hub's old name.
fn domain(server_address: &str) -> Result<String, RegistryError> {
    let address = server_address.trim();
    let address = address
        .strip_prefix("https://")
        .or_else(|| address.strip_prefix("http://"))
        .unwrap_or(address);
    let domain = address.split('/').next().unwrap_or_default();
    match domain {
        "" | "docker.io" | "index.docker.io" | "registry-1.docker.io" => Ok("docker.io".to_owned()),
        domain if domain.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]_".contains(&b)) => {
            Ok(domain.to_owned())
        }
        _ => Err(RegistryError::InvalidRequest {
            message: format!("{server_address:?} is no registry address"),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::domain;

    #[test]
    fn addresses_become_domains() {
        for (address, expected) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("docker.io", "docker.io"),
            ("https://reg.example:5000/v2/", "reg.example:5000"),
            ("127.0.0.1:5000", "127.0.0.1:5000"),
        ] {
            assert_eq!(domain(address).unwrap(), expected);
        }
        assert!(domain("a b").is_err());
        assert!(domain("u@h").is_err());
    }
}
