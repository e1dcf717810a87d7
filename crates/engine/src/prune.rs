//! Removal of what nobody uses any more. Images are in [`crate::image_ops`].

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::container::{ListFilter, RemoveOptions, Status};
use crate::event::{Event, EventType};
use crate::filter::{FilterError, Filters};
use crate::volume::Pruned;
use crate::{Engine, ErrorKind, Result};

impl Engine {
    /// Removes containers that do not run. Filters: `until`, `label`, `label!`.
    ///
    /// # Errors
    /// InvalidParameter for other filters.
    pub async fn container_prune(&self, filters: Filters) -> Result<Pruned> {
        filters.check_names(&["label", "label!", "until"])?;
        let until = until(&filters)?;
        let mut pruned = Pruned::default();
        let list = ListFilter { all: true, ..ListFilter::default() };
        for snapshot in self.container_list(list).await? {
            let record = &snapshot.record;
            let ended =
                matches!(record.state.status, Status::Created | Status::Exited | Status::Dead);
            if !ended
                || until.is_some_and(|until| record.created_at >= until)
                || !filters.labels(&record.config.labels)
            {
                continue;
            }
            let id = record.id.to_string();
            let (images, container) = (self.inner.images.clone(), id.clone());
            // The size is news, not a reason to keep the container.
            let size = crate::blocking(move || Ok(images.rw_size(&container).unwrap_or(0))).await?;
            match self.container_remove(&id, RemoveOptions::default()).await {
                Ok(()) => {
                    pruned.deleted.push(id);
                    pruned.space_reclaimed += size;
                }
                // Started or removed meanwhile.
                Err(error) if is_race(error.kind()) => {}
                Err(error) => tracing::warn!(container_id = id, %error, "container not pruned"),
            }
        }
        self.prune_event(EventType::Container, pruned.space_reclaimed);
        Ok(pruned)
    }

    /// Removes anonymous volumes that no container mounts; with the filter `all=true` named ones
    /// too. Filters: `all`, `label`, `label!`.
    ///
    /// # Errors
    /// InvalidParameter for other filters.
    pub async fn volume_prune(&self, filters: Filters) -> Result<Pruned> {
        filters.check_names(&["all", "label", "label!"])?;
        let all = filters.bool_or("all", false)?;
        let used = self.used_volumes().await?;
        let engine = self.clone();
        let pruned = crate::blocking(move || {
            let mut pruned = Pruned::default();
            for volume in engine.inner.volumes.list(&Filters::new(), &BTreeSet::new())? {
                if used.contains_key(&volume.name)
                    || !(all || volume.anonymous)
                    || !filters.labels(&volume.labels)
                {
                    continue;
                }
                let size = crate::info::tree_size(&volume.mountpoint);
                match engine.inner.volumes.remove(&volume.name) {
                    Ok(()) => {
                        engine.volume_event("destroy", &volume.name);
                        pruned.deleted.push(volume.name);
                        pruned.space_reclaimed += size;
                    }
                    Err(error) if is_race(error.kind()) => {}
                    Err(error) => {
                        tracing::warn!(volume = volume.name, %error, "volume not pruned");
                    }
                }
            }
            Ok(pruned)
        })
        .await?;
        self.prune_event(EventType::Volume, pruned.space_reclaimed);
        Ok(pruned)
    }

    fn prune_event(&self, kind: EventType, reclaimed: u64) {
        let event = Event::new(kind, "prune", "").with("reclaimed", reclaimed.to_string());
        self.inner.events.publish(event);
    }
}

fn is_race(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::Conflict)
}

/// Reads the filter `until`: a duration back from now, seconds since the epoch, or a time.
pub(crate) fn until(filters: &Filters) -> Result<Option<Timestamp>, FilterError> {
    let mut values = filters.values("until");
    let Some(text) = values.next() else { return Ok(None) };
    let time = if values.next().is_some() { None } else { parse_time(text, Timestamp::now()) };
    time.map(Some).ok_or_else(|| filters.bad_value("until"))
}

fn parse_time(text: &str, now: Timestamp) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let (secs, fraction) = text.split_once('.').unwrap_or((text, ""));
    if let Ok(secs) = secs.parse::<i64>() {
        let digits = format!("{fraction:0<9}");
        return Timestamp::new(secs, digits.get(..9)?.parse().ok()?).ok();
    }
    if let Ok(age) = text.parse::<SignedDuration>() {
        return now.checked_sub(age).ok();
    }
    // Without a zone: this machine's.
    let local = text.parse::<jiff::civil::DateTime>().ok()?;
    local.to_zoned(jiff::tz::TimeZone::system()).ok().map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn until_has_several_forms() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let at = |text: &str| parse_time(text, now).map(|time| time.to_string());
        assert_eq!(at("1h30m").as_deref(), Some("2026-01-01T10:30:00Z"));
        assert_eq!(at("24h").as_deref(), Some("2025-12-31T12:00:00Z"));
        assert_eq!(at("1700000000").as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(at("1700000000.5").as_deref(), Some("2023-11-14T22:13:20.5Z"));
        assert_eq!(at("2025-06-01T00:00:00+02:00").as_deref(), Some("2025-05-31T22:00:00Z"));
        assert!(at("2025-06-01T00:00:00").is_some() && at("2025-06-01").is_some());
        assert_eq!(at("yesterday"), None);
        let filters: Filters = [("until", "soon")].into_iter().collect();
        assert_eq!(until(&filters).unwrap_err().to_string(), "invalid filter 'until=soon'");
    }
}
