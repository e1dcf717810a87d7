//! Names of images: finding and giving them.

use super::database::{self, IMAGES, Read};
use super::register::put_name;
use super::{Store, now};
use crate::{Error, ImageId, Reference, Result};

impl Store {
    /// Finds an image by name, name and tag, name and digest, id or unique prefix of an id; in that
    /// order, as Docker does, so that a name that looks like an id wins.
    ///
    /// # Errors
    /// `NoSuchImage`, `Ambiguous`, `InvalidReference`.
    pub fn resolve(&self, name: &str) -> Result<ImageId> {
        let read = self.read()?;
        let hex = name.strip_prefix("sha256:").unwrap_or(name);
        if hex.len() == 64
            && let Ok(id) = format!("sha256:{hex}").parse::<ImageId>()
        {
            let known = read.image(&id)?.map(|_| id);
            return known.ok_or_else(|| Error::NoSuchImage(format!("sha256:{hex}")));
        }
        let reference = Reference::parse(name);
        if let Ok(reference) = &reference
            && let Some(id) = named(&read, reference)?
        {
            return Ok(id);
        }
        if let Some(id) = by_prefix(&read, hex)? {
            return Ok(id);
        }
        Err(Error::NoSuchImage(reference?.or_latest().to_string()))
    }

    /// Gives an image a name; it moves if another image had it.
    ///
    /// # Errors
    /// `NoSuchImage`, `InvalidParameter` for a reference with a digest, `Database`.
    pub fn tag(&self, id: &ImageId, reference: &Reference) -> Result<()> {
        if reference.digest().is_some() {
            return Err(Error::InvalidParameter(
                "refusing to create a tag with a digest reference".to_owned(),
            ));
        }
        let write = self.write()?;
        let mut record = write.image(id)?.ok_or_else(|| Error::NoSuchImage(id.to_string()))?;
        record.last_tag_time = Some(now());
        put_name(&write, id, reference)?;
        database::put_record(&write, IMAGES, &id.to_string(), &record)?;
        write.commit().map_err(Error::database)
    }
}

/// Finds the image of a parsed name. A digest decides alone; a tag beside it is only decoration.
pub(crate) fn named(read: &impl Read, reference: &Reference) -> Result<Option<ImageId>> {
    let name = match reference.digest() {
        Some(digest) => reference.with_digest(digest),
        None => reference.clone().or_latest(),
    };
    read.named(&name.canonical())
}

fn by_prefix(read: &impl Read, prefix: &str) -> Result<Option<ImageId>> {
    if prefix.is_empty() || !prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(None);
    }
    let found = read.all(IMAGES, &format!("sha256:{prefix}"))?;
    match found.as_slice() {
        [] => Ok(None),
        [(id, _)] => id.parse().map(Some),
        _ => Err(Error::Ambiguous(prefix.to_owned())),
    }
}
