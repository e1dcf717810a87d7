//! All that one container's answers are made of, as the files say at the moment.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use crate::config::{RESOLVER_FILE, ResolverConfig};
use crate::index::{Found, NetworkIndex};
use crate::names::NetworkNames;
use crate::watched::Watched;

/// Where the resolver itself answers, in every container.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";
/// As in a container without a resolver, where the host names nobody.
const FALLBACK: [Ipv4Addr; 2] = [Ipv4Addr::new(8, 8, 8, 8), Ipv4Addr::new(8, 8, 4, 4)];
/// More are not asked; the C library knows three as well.
const UPSTREAMS_MAX: usize = 3;

/// Somebody who is asked for names that are not ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Upstream {
    pub address: IpAddr,
    /// Asked from the host's network, whose loopback it listens on.
    pub on_host: bool,
}

/// Whom a container's resolver asks now.
#[must_use]
pub fn upstreams_of(config: &ResolverConfig) -> Vec<Upstream> {
    let host = std::fs::read_to_string(HOST_RESOLV_CONF).unwrap_or_default();
    upstreams(&config.upstreams, &nameservers(&host))
}

/// A container's names and upstreams.
#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) networks: Vec<Arc<NetworkIndex>>,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) forward: bool,
    pub(crate) forward_single_labels: bool,
}

impl View {
    pub(crate) fn find(&self, name: &str) -> Option<Found> {
        self.networks.iter().find_map(|network| network.find(name))
    }

    pub(crate) fn name_of(&self, ip: IpAddr) -> Option<String> {
        self.networks.iter().find_map(|network| network.name_of(ip))
    }
}

/// The files behind a [`View`].
#[derive(Debug)]
pub(crate) struct Files {
    config: Watched<Option<ResolverConfig>>,
    networks: Vec<Watched<Arc<NetworkIndex>>>,
    host: Watched<Vec<IpAddr>>,
}

impl Files {
    pub(crate) fn new(bundle: &Path) -> Self {
        Self {
            config: Watched::new(bundle.join(RESOLVER_FILE)),
            networks: Vec::new(),
            host: Watched::new(HOST_RESOLV_CONF.into()),
        }
    }

    /// Looks at every file and brings `view` up to date.
    pub(crate) fn refresh(&mut self, view: &mut View) {
        let is_new = self.config.refresh(|bytes| {
            let config: ResolverConfig = serde_json::from_slice(bytes).ok()?;
            (config.version == ResolverConfig::VERSION).then_some(Some(config))
        });
        let Some(config) = &self.config.value else {
            // The container is on its way out.
            *view = View::default();
            return;
        };
        if is_new {
            self.networks = config.networks.iter().cloned().map(Watched::new).collect();
        }
        let mut changed = is_new;
        for network in &mut self.networks {
            changed |= network.refresh(|bytes| {
                let names: NetworkNames = serde_json::from_slice(bytes).ok()?;
                (names.version == NetworkNames::VERSION)
                    .then(|| Arc::new(NetworkIndex::new(&names, &config.container_id)))
            });
        }
        if changed {
            view.networks =
                self.networks.iter().map(|network| Arc::clone(&network.value)).collect();
        }
        let host_changed = config.upstreams.is_empty() && self.host.refresh(parse_host);
        if is_new || host_changed {
            view.forward = config.forward;
            view.forward_single_labels = config.forward_single_labels;
            view.upstreams = upstreams(&config.upstreams, &self.host.value);
        }
    }
}

fn parse_host(bytes: &[u8]) -> Option<Vec<IpAddr>> {
    Some(nameservers(&String::from_utf8_lossy(bytes)))
}

/// The servers of a resolv.conf. One with a scope (`fe80::1%eth0`) is not among them.
fn nameservers(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.parse().ok()
    };
    text.lines().filter_map(server).collect()
}

fn upstreams(given: &[IpAddr], host: &[IpAddr]) -> Vec<Upstream> {
    let of_host = |&address: &IpAddr| Upstream { address, on_host: address.is_loopback() };
    let of_container = |&address: &IpAddr| Upstream { address, on_host: false };
    let mut upstreams: Vec<_> = if !given.is_empty() {
        // Asking itself would go on for ever.
        given.iter().filter(|address| **address != ADDRESS).map(of_container).collect()
    } else if !host.is_empty() {
        host.iter().map(of_host).collect()
    } else {
        FALLBACK.map(IpAddr::V4).iter().map(of_container).collect()
    };
    upstreams.truncate(UPSTREAMS_MAX);
    upstreams
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::NameEntry;
    use crate::write_atomically;

    #[test]
    fn the_hosts_own_loopback_is_asked_on_the_host() {
        let host = nameservers(
            "# x\nnameserver 127.0.0.53\nnameserver fe80::1%eth0\nsearch a\n\
                                nameserver 10.0.0.1\nnameserver\nnameserver ::1\nnameserver 1.1.1.1\n",
        );
        let list = |upstreams: Vec<Upstream>| -> Vec<(String, bool)> {
            upstreams.iter().map(|it| (it.address.to_string(), it.on_host)).collect()
        };
        let expected = [("127.0.0.53", true), ("10.0.0.1", false), ("::1", true)];
        let expected = expected.map(|(ip, on_host)| (ip.to_owned(), on_host));
        assert_eq!(list(upstreams(&[], &host)), expected);
        let given = ["127.0.0.11", "127.0.0.1", "9.9.9.9"].map(|ip| ip.parse().unwrap());
        let expected = [("127.0.0.1", false), ("9.9.9.9", false)];
        let expected = expected.map(|(ip, on_host)| (ip.to_owned(), on_host));
        assert_eq!(list(upstreams(&given, &host)), expected);
        assert_eq!(upstreams(&[], &[]).len(), 2);
    }

    #[test]
    fn a_view_follows_its_files() {
        let directory = tempfile::tempdir().unwrap();
        let [first, second] = ["n1", "n2"].map(|id| crate::names_path(directory.path(), id));
        let mut config = ResolverConfig {
            version: 1,
            container_id: "c1".to_owned(),
            networks: vec![first.clone()],
            upstreams: vec!["10.1.1.1".parse().unwrap()],
            forward: true,
            forward_single_labels: true,
        };
        let path = directory.path().join(RESOLVER_FILE);
        write_atomically(&path, &config).unwrap();
        let (mut files, mut view) = (Files::new(directory.path()), View::default());
        files.refresh(&mut view);
        assert_eq!((view.find("web"), view.upstreams.len(), view.forward), (None, 1, true));

        let mut names = NetworkNames::new("n1", "net1");
        let ipv4 = Some(Ipv4Addr::new(172, 18, 0, 2));
        names.entries = vec![NameEntry { name: "web".to_owned(), ipv4, ..NameEntry::default() }];
        write_atomically(&first, &names).unwrap();
        files.refresh(&mut view);
        assert!(view.find("web").is_some() && view.find("web.net1").is_some());

        names.network_name = "net2".to_owned();
        write_atomically(&second, &names).unwrap();
        config.networks.push(second);
        config.forward = false;
        write_atomically(&path, &config).unwrap();
        files.refresh(&mut view);
        assert!(view.find("web.net1").is_some() && view.find("web.net2").is_some());
        assert!(!view.forward);

        std::fs::remove_file(&first).unwrap();
        files.refresh(&mut view);
        assert!(view.find("web.net1").is_none() && view.find("web.net2").is_some());
        std::fs::remove_file(&path).unwrap();
        files.refresh(&mut view);
        assert!(view.find("web").is_none() && view.upstreams.is_empty());
    }
}
