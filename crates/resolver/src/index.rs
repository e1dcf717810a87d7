//! Names and addresses of the networks that a container is in, ready to be looked up.

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::names::{NameEntry, NetworkNames};

/// Digits of a container's id that are a name of it.
const SHORT_ID: usize = 12;

/// One network as one container sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NetworkIndex {
    /// A dot and the network's name: everybody's names end so as well.
    suffix: String,
    places: Vec<Place>,
    /// Sorted; a name that several have is there several times.
    names: Vec<(Box<str>, u32)>,
    /// The container's own links, sorted, which come before names.
    links: Vec<(Box<str>, u32)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    name: Box<str>,
    ipv4: Option<Ipv4Addr>,
    ipv6: Option<Ipv6Addr>,
}

/// Where a name leads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) ipv4: Vec<Ipv4Addr>,
    pub(crate) ipv6: Vec<Ipv6Addr>,
}

impl NetworkIndex {
    pub(crate) fn new(names: &NetworkNames, container_id: &str) -> Self {
        let mut index = Self {
            suffix: format!(".{}", names.network_name.to_ascii_lowercase()),
            ..Self::default()
        };
        for (entry, number) in names.entries.iter().zip(0_u32..) {
            index.places.push(Place {
                name: entry.name.as_str().into(),
                ipv4: entry.ipv4,
                ipv6: entry.ipv6,
            });
            index.names.extend(names_of(entry).map(|name| (name, number)));
        }
        index.names.sort_unstable();
        let own = names.entries.iter().filter(|entry| entry.container_id == container_id);
        for (alias, target) in own.flat_map(|entry| &entry.links) {
            let by_id = names.entries.iter().zip(0_u32..);
            let by_id = by_id.filter(|(entry, _)| entry.container_id == *target);
            let mut targets: Vec<u32> = by_id.map(|(_, number)| number).collect();
            if targets.is_empty() {
                targets.extend(Self::numbers(&index.names, &folded(target)));
            }
            index.links.extend(targets.into_iter().map(|number| (folded(alias), number)));
        }
        for list in [&mut index.names, &mut index.links] {
            list.sort_unstable();
            list.dedup();
            list.shrink_to_fit();
        }
        index
    }

    /// Finds a name in lower case: a link, a name, or a name with the network's own behind it.
    pub(crate) fn find(&self, name: &str) -> Option<Found> {
        let plain = name.strip_suffix(self.suffix.as_str());
        [Some(name), plain].into_iter().flatten().find_map(|name| {
            self.collect(&self.links, name).or_else(|| self.collect(&self.names, name))
        })
    }

    fn collect(&self, list: &[(Box<str>, u32)], name: &str) -> Option<Found> {
        let mut found = None;
        for number in Self::numbers(list, name) {
            let place = usize::try_from(number).ok().and_then(|number| self.places.get(number));
            let found = found.get_or_insert_with(Found::default);
            found.ipv4.extend(place.and_then(|place| place.ipv4));
            found.ipv6.extend(place.and_then(|place| place.ipv6));
        }
        found
    }

    /// Who is called so, in a sorted list.
    fn numbers<'a>(
        list: &'a [(Box<str>, u32)],
        name: &'a str,
    ) -> impl Iterator<Item = u32> + use<'a> {
        let first = list.partition_point(|(known, _)| &**known < name);
        let same = list[first..].iter().take_while(move |(known, _)| &**known == name);
        same.map(|(_, number)| *number)
    }

    /// The full name of whoever has the address.
    pub(crate) fn name_of(&self, ip: IpAddr) -> Option<String> {
        let has = |place: &&Place| match ip {
            IpAddr::V4(ip) => place.ipv4 == Some(ip),
            IpAddr::V6(ip) => place.ipv6 == Some(ip),
        };
        self.places.iter().find(has).map(|place| format!("{}{}", place.name, self.suffix))
    }
}

fn names_of(entry: &NameEntry) -> impl Iterator<Item = Box<str>> + '_ {
    let short_id = entry.container_id.get(..SHORT_ID);
    let own = [Some(entry.name.as_str()), short_id, entry.hostname.as_deref()];
    let all = own.into_iter().flatten().chain(entry.aliases.iter().map(String::as_str));
    all.filter(|name| !name.is_empty()).map(folded)
}

/// As names are compared: without regard to case, or to a dot at the end.
fn folded(name: &str) -> Box<str> {
    name.trim_end_matches('.').to_ascii_lowercase().into()
}
