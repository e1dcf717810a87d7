//! Who is let in, and where.

use std::sync::Arc;

use endpoints::authentication::{Authentication, Who, now_secs};
use endpoints::firewall::Firewall;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HeaderMap};

use super::reply::{Response, error, not_found, unauthorized};
use super::route::{self, Endpoint};
use crate::options::Options;

/// What a request has to pass before anybody answers it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate {
    pub(crate) authentication: Authentication,
    pub(crate) firewall: Firewall,
}

impl Gate {
    pub(crate) fn of(options: &Options) -> Self {
        Self { authentication: options.authentication.clone(), firewall: options.firewall.clone() }
    }

    /// What a path means, and who asks for it.
    ///
    /// # Errors
    /// The answer, if it may not be asked for.
    pub(crate) fn admit(
        &self,
        path: &str,
        authorization: Option<&str>,
    ) -> Result<(Endpoint, Option<Arc<str>>), Box<Response>> {
        let found = route::find(path).ok_or_else(|| Box::new(not_found()))?;
        if let Some(text) = self.firewall.forbids(found.process, found.path) {
            return Err(Box::new(error(StatusCode::FORBIDDEN, text)));
        }
        match self.authentication.admit(found.endpoint.realm(), authorization, now_secs()) {
            Ok(who) => Ok((found.endpoint, who.and_then(Who::principal))),
            Err(denied) => Err(Box::new(unauthorized(denied))),
        }
    }
}

/// What a request shows of who makes it.
pub(crate) fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(AUTHORIZATION)?.to_str().ok()
}
