//! Distribution inspect: what a registry has under a name, without pulling it.

use super::error::RegistryError;
use super::manifest::{Manifest as Kind, platforms};
use super::repository::Repository;
use super::session::{Access, Mirrors, hosts};
use super::{AuthConfig, Platform, Registry};
use crate::{Digest, ImageConfig, Reference};

/// Engine API DistributionInspect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    /// What it can run on.
    pub platforms: Vec<Platform>,
}

impl Registry {
    /// Asks a registry about a reference; without tag and digest `latest` is meant.
    ///
    /// # Errors
    /// As for a pull.
    pub async fn inspect(
        &self,
        reference: &Reference,
        auth: &AuthConfig,
    ) -> Result<Inspected, RegistryError> {
        let reference = reference.clone().or_latest();
        let mut failed = None;
        for host in hosts(&self.config, reference.domain(), Mirrors::First).await? {
            let result = async {
                let repository =
                    Repository::connect(&self.config, &host, &reference, auth, Access::Pull)
                        .await?;
                inspect_from(&repository, &reference).await
            }
            .await;
            match result {
                Err(error) if host.mirror => failed = Some(error),
                result => return result,
            }
        }
        Err(failed.expect("the registry itself is always tried"))
    }
}

async fn inspect_from(
    repository: &Repository,
    reference: &Reference,
) -> Result<Inspected, RegistryError> {
    let fetched = repository.manifest(reference).await?;
    let manifest = &fetched.manifest;
    let platforms =
        match Kind::parse(&manifest.bytes, &manifest.media_type, &reference.to_string())? {
            Kind::Index(entries) => platforms(&entries),
            Kind::Image(image) => {
                let config =
                    ImageConfig::parse(&repository.small_blob(&image.config, "config").await?)?;
                vec![Platform {
                    architecture: config.architecture,
                    os: config.os,
                    variant: config.variant,
                }]
            }
        };
    Ok(Inspected {
        media_type: manifest.media_type.clone(),
        digest: fetched.digest,
        size: manifest.bytes.len() as u64,
        platforms,
    })
}
