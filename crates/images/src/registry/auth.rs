//! Answering a registry's challenge: basic credentials, or a token from the token server it names.
//!
//! Tokens live as long as one session, that is one pull or push, so that no user ever uses another's.
//! Source of truth: distribution specification, "Token Authentication" and "OAuth2".

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;

use super::challenge::{BearerChallenge, Challenge};
use super::error::{ApiError, RegistryError};
use super::http::{describe, read_capped, request_name};

const MAX_TOKEN_REPLY: u64 = 256 * 1024;

/// Credentials for one registry, as the API's `X-Registry-Auth` brings them. Empty texts mean "not given".
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthConfig {
    pub username: String,
    pub password: String,
    /// A refresh token of an earlier login; goes to the token server in place of the password.
    pub identity_token: String,
    /// A bearer token to send to the registry as it is.
    pub registry_token: String,
}

/// Secrets stay out of logs.
impl fmt::Debug for AuthConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthConfig").field("username", &self.username).finish_non_exhaustive()
    }
}

impl AuthConfig {
    pub(crate) fn is_anonymous(&self) -> bool {
        self.username.is_empty() && self.identity_token.is_empty() && self.registry_token.is_empty()
    }

    fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("{}:{}", self.username, self.password)))
    }

    /// The refresh token; clients may also send it as the password of the user `<token>`.
    fn refresh_token(&self) -> Option<&str> {
        match () {
            () if !self.identity_token.is_empty() => Some(&self.identity_token),
            () if self.username == "<token>" => Some(&self.password),
            () => None,
        }
    }
}

/// Knows how one registry wants to be spoken to, and holds the tokens got so far.
#[derive(Debug)]
pub(crate) struct Authorizer {
    http: Client,
    credentials: AuthConfig,
    /// Whether the registry itself was reached safely; then credentials must not leave over plain HTTP.
    secure: bool,
    /// Held for lookups only, never across an await.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    challenge: Option<Challenge>,
    /// By scope.
    tokens: HashMap<String, Token>,
}

#[derive(Clone)]
struct Token {
    value: String,
    expires: Instant,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// What a token server answers.
#[derive(Deserialize)]
struct TokenReply {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    #[serde(default)]
    refresh_token: String,
    #[serde(default)]
    expires_in: serde_json::Value,
}

/// An access token, and the refresh token if one was asked for and given.
pub(crate) struct Granted {
    token: Token,
    pub(crate) refresh_token: String,
}

impl Authorizer {
    pub(crate) fn new(http: Client, credentials: AuthConfig, secure: bool) -> Self {
        Self { http, credentials, secure, state: Mutex::default() }
    }

    /// Takes note of what the registry asks for. The first challenge we can answer counts.
    pub(crate) fn challenged(&self, challenges: Vec<Challenge>) {
        if let Some(challenge) = challenges.into_iter().next() {
            self.state().challenge = Some(challenge);
        }
    }

    pub(crate) fn challenge(&self) -> Option<Challenge> {
        self.state().challenge.clone()
    }

    /// Forgets the token for a scope: the registry no longer takes it.
    pub(crate) fn forget(&self, scope: &str) {
        self.state().tokens.remove(scope);
    }

    /// Returns the `Authorization` header for requests in `scope`, or `None` if the registry asked for none.
    pub(crate) async fn authorization(
        &self,
        scope: &str,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        if !self.credentials.registry_token.is_empty() {
            return header(&format!("Bearer {}", self.credentials.registry_token)).map(Some);
        }
        let (challenge, token) = {
            let state = self.state();
            (state.challenge.clone(), state.tokens.get(scope).cloned())
        };
        match challenge {
            None => Ok(None),
            Some(Challenge::Basic) if self.credentials.username.is_empty() => Ok(None),
            Some(Challenge::Basic) => header(&self.credentials.basic()).map(Some),
            Some(Challenge::Bearer(challenge)) => {
                let token = match token.filter(|token| token.expires > Instant::now()) {
                    Some(token) => token,
                    None => {
                        let token = self.fetch(&challenge, scope, Offline::No).await?.token;
                        self.state().tokens.insert(scope.to_owned(), token.clone());
                        token
                    }
                };
                header(&format!("Bearer {}", token.value)).map(Some)
            }
        }
    }

    /// Asks the token server for a token, with a refresh token for later logins if it gives one.
    pub(crate) async fn login(
        &self,
        challenge: &BearerChallenge,
    ) -> Result<Granted, RegistryError> {
        let granted = self.fetch(challenge, "", Offline::Yes).await?;
        self.state().tokens.insert(String::new(), granted.token.clone());
        Ok(granted)
    }

    async fn fetch(
        &self,
        challenge: &BearerChallenge,
        scope: &str,
        offline: Offline,
    ) -> Result<Granted, RegistryError> {
        let mut realm = Url::parse(&challenge.realm)
            .map_err(|error| bad_realm(&challenge.realm, &error.to_string()))?;
        if !matches!(realm.scheme(), "http" | "https") {
            return Err(bad_realm(&challenge.realm, "not an http or https URL"));
        }
        if self.secure && realm.scheme() == "http" && !self.credentials.is_anonymous() {
            return Err(bad_realm(&challenge.realm, "credentials would be sent over plain http"));
        }
        let mut params: Vec<(&str, &str)> = Vec::new();
        if let Some(service) = &challenge.service {
            params.push(("service", service));
        }
        // What the registry asks for wins when we have no wish of our own.
        let wish =
            if scope.is_empty() { challenge.scope.as_deref().unwrap_or_default() } else { scope };
        let request = match self.credentials.refresh_token() {
            Some(refresh_token) => {
                params.extend([
                    ("grant_type", "refresh_token"),
                    ("client_id", "teu"),
                    ("refresh_token", refresh_token),
                ]);
                if !wish.is_empty() {
                    params.push(("scope", wish));
                }
                self.http
                    .post(realm.clone())
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(form(&params))
            }
            None => {
                params.extend(wish.split_whitespace().map(|scope| ("scope", scope)));
                if !self.credentials.username.is_empty() {
                    params.push(("account", &self.credentials.username));
                }
                if offline == Offline::Yes {
                    params.extend([("offline_token", "true"), ("client_id", "teu")]);
                }
                realm.query_pairs_mut().extend_pairs(params);
                let request = self.http.get(realm.clone());
                if self.credentials.username.is_empty() {
                    request
                } else {
                    request.header(AUTHORIZATION, header(&self.credentials.basic())?)
                }
            }
        };
        granted(request, &realm).await
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Offline {
    Yes,
    No,
}

async fn granted(request: RequestBuilder, realm: &Url) -> Result<Granted, RegistryError> {
    let server = realm.host_str().unwrap_or_default().to_owned();
    let response = request.send().await.map_err(|error| RegistryError::Transport {
        action: "getting a token",
        registry: server.clone(),
        message: describe(&error),
    })?;
    let status = response.status();
    let name = request_name("GET", response.url());
    let body = read_capped(response, MAX_TOKEN_REPLY, "the token server's reply").await?;
    if !status.is_success() {
        return Err(ApiError::from_body(status, name, &body).into());
    }
    let invalid = |message: &str| RegistryError::Invalid {
        what: "token",
        reference: server.clone(),
        message: message.to_owned(),
    };
    let reply: TokenReply =
        serde_json::from_slice(&body).map_err(|error| invalid(&error.to_string()))?;
    let value = if reply.token.is_empty() { reply.access_token } else { reply.token };
    if value.is_empty() {
        return Err(invalid("the token server's reply has no token"));
    }
    // The specification's default and least is 60 s. The cap keeps the clock's arithmetic in range.
    let lifetime = reply.expires_in.as_u64().unwrap_or_default().clamp(60, 24 * 3600);
    let expires = Instant::now() + Duration::from_secs(lifetime);
    Ok(Granted { token: Token { value, expires }, refresh_token: reply.refresh_token })
}

fn bad_realm(realm: &str, why: &str) -> RegistryError {
    RegistryError::Invalid {
        what: "authentication realm",
        reference: super::error::printable(realm),
        message: why.to_owned(),
    }
}

fn header(text: &str) -> Result<HeaderValue, RegistryError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| RegistryError::InvalidRequest {
        message: "the credentials hold characters that cannot be sent to a registry".to_owned(),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn form(params: &[(&str, &str)]) -> String {
    let mut url = Url::parse("http://form").expect("a constant URL parses");
    url.query_pairs_mut().extend_pairs(params);
    url.query().unwrap_or_default().to_owned()
}
