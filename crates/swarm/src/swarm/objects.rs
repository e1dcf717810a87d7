//! What clients and the host's networks ask of a swarm.

use super::*;
use crate::model::{AttachRequest, Network, NetworkRequest, NetworkView, NodeStatus, Peer};

impl Swarm {
    /// What this host is, and how it is.
    pub fn status(&self) -> Status {
        let status = |state| Status {
            state,
            node_id: String::new(),
            node_address: String::new(),
            is_manager: false,
            error: String::new(),
            managers: Vec::new(),
            cluster: None,
        };
        match &*self.0.part() {
            Part::Outside => status(LocalState::Inactive),
            Part::Broken(error) => Status { error: error.to_string(), ..status(LocalState::Error) },
            Part::Idle(_) => status(LocalState::Pending),
            Part::Joining(joining, _) => {
                Status { error: joining.problem(), ..status(LocalState::Pending) }
            }
            Part::Worker(worker, _) => {
                let (error, is_final) = worker.problem();
                let state = if is_final { LocalState::Error } else { LocalState::Active };
                let address = worker.address().map(|address| address.to_string());
                Status {
                    node_id: worker.node_id.clone(),
                    node_address: address.unwrap_or_default(),
                    error,
                    managers: worker.managers(),
                    ..status(state)
                }
            }
            Part::Manager(manager, running) => {
                let nodes = manager.nodes();
                let is_manager = |status: &&NodeStatus| status.node.spec.role == Role::Manager;
                let managers = nodes.iter().filter(is_manager).count();
                let own = nodes.iter().find(|status| status.node.id == manager.own_node);
                Status {
                    node_id: manager.own_node.clone(),
                    node_address: own.map(|own| own.address.clone()).unwrap_or_default(),
                    is_manager: true,
                    error: running.problem(),
                    managers: vec![(manager.own_node.clone(), manager.reach().control_address)],
                    cluster: Some((manager.cluster(), nodes.len(), managers)),
                    ..status(LocalState::Active)
                }
            }
        }
    }

    /// The swarm's root certificate.
    ///
    /// # Errors
    /// If this host is no manager.
    pub fn trust_root(&self) -> Result<TrustRoot> {
        let manager = self.manager()?;
        let (issuer_subject, issuer_public_key) = manager.authority().issuer_parts()?;
        let certificate = manager.authority().pem().to_owned();
        Ok(TrustRoot { certificate, issuer_subject, issuer_public_key })
    }

    /// The swarm.
    ///
    /// # Errors
    /// If this host is no manager.
    pub fn cluster(&self) -> Result<Cluster> {
        Ok(self.manager()?.cluster())
    }

    /// The tokens by which workers and managers join, in this order.
    ///
    /// # Errors
    /// If this host is no manager.
    pub fn tokens(&self) -> Result<(String, String)> {
        let (worker, manager) = self.manager()?.tokens();
        Ok((worker.to_string(), manager.to_string()))
    }

    /// Changes the swarm. Blocks.
    ///
    /// # Errors
    /// If this host is no manager, or what is asked for cannot be.
    pub fn update_cluster(&self, update: ClusterUpdate) -> Result<()> {
        self.manager()?.update_cluster(update)
    }

    /// All nodes.
    ///
    /// # Errors
    /// If this host is no manager.
    pub fn nodes(&self) -> Result<Vec<NodeStatus>> {
        Ok(self.manager()?.nodes())
    }

    /// Changes a node. Blocks.
    ///
    /// # Errors
    /// If this host is no manager, or what is asked for cannot be.
    pub fn update_node(&self, id: &str, version: u64, spec: NodeSpec) -> Result<()> {
        self.manager()?.update_node(id, version, spec)
    }

    /// Takes a node out. Blocks.
    ///
    /// # Errors
    /// If this host is no manager, or the node is a manager, or it is not down and `force` is not set.
    pub fn remove_node(&self, id: &str, force: bool) -> Result<()> {
        self.manager()?.remove_node(id, force)
    }

    /// The own node's id; `None` while this host is in no swarm.
    pub fn node_id(&self) -> Option<String> {
        match &*self.0.part() {
            Part::Idle(Idle::Worker(worker, _)) | Part::Worker(worker, _) => {
                Some(worker.node_id.clone())
            }
            Part::Idle(Idle::Manager(manager, _)) | Part::Manager(manager, _) => {
                Some(manager.own_node.clone())
            }
            _ => None,
        }
    }

    /// Where this host takes VXLAN packets, address and port; `None` while it is in no swarm.
    pub fn vtep(&self) -> Option<(IpAddr, u16)> {
        match &*self.0.part() {
            Part::Idle(Idle::Worker(worker, _)) | Part::Worker(worker, _) => worker.vtep(),
            Part::Idle(Idle::Manager(manager, _)) | Part::Manager(manager, _) => {
                Some((manager.reach().vtep, manager.cluster().data_path_port))
            }
            _ => None,
        }
    }

    /// All networks, as far as this host knows. Answers from memory.
    pub fn networks(&self) -> Vec<Arc<NetworkView>> {
        self.0.view.borrow().values().cloned().collect()
    }

    /// Who is in a network on other nodes.
    pub fn peers(&self, network_id: &str) -> Vec<Peer> {
        let own = self.node_id().unwrap_or_default();
        let view = self.0.view.borrow();
        let peers = view.get(network_id).map(|network| network.peers.iter());
        peers.into_iter().flatten().filter(|peer| peer.node_id != own).cloned().collect()
    }

    /// Makes a network. Blocks.
    ///
    /// # Errors
    /// If this host is no manager, or what is asked for cannot be.
    pub fn create_network(&self, request: NetworkRequest) -> Result<Network> {
        self.manager()?.create_network(request)
    }

    /// Removes a network. Blocks.
    ///
    /// # Errors
    /// If this host is no manager, or somebody is in the network.
    pub fn remove_network(&self, id: &str) -> Result<()> {
        self.manager()?.remove_network(id)
    }

    /// Gives a container of this host an address, the one it has if it has one. Blocks, for at most 20
    /// seconds.
    ///
    /// # Errors
    /// If the network is not there or not open to such containers, the address is taken or none is
    /// left, or the manager does not answer.
    pub fn attach(&self, request: AttachRequest) -> Result<std::net::Ipv4Addr> {
        let member = self.member()?;
        let account = &self.0.account;
        let before = account.ask(&request);
        let is_new = before.is_none();
        let answer = match &member {
            Member::Manager(manager) => {
                let attached = manager.attach(&manager.own_node, None, request.clone());
                attached.map(|attached| attached.ipv4)
            }
            Member::Worker(worker) => worker.attach(request.clone()),
        };
        match &answer {
            Ok(ipv4) => account.answered(&request, *ipv4),
            // The manager may have heard it, or may hear it yet.
            Err(error) if error.code == Code::DeadlineExceeded && is_new => {
                self.detach(&request.network_id, &request.container_id);
            }
            Err(_) => account.refused(&request, before),
        }
        answer
    }

    /// Says what a container of this host that has an address is called now. Waits for no manager on
    /// another host: one that is away is told at the beginning of the next session.
    ///
    /// # Errors
    /// If this host is in no swarm, or is the manager and cannot write it down.
    pub fn rename(&self, request: AttachRequest) -> Result<()> {
        let member = self.member()?;
        self.0.account.rename(&request);
        match member {
            Member::Manager(manager) => manager.attach(&manager.own_node, None, request).map(drop),
            Member::Worker(worker) => {
                worker.rename(request);
                Ok(())
            }
        }
    }

    /// Gives an address back. A manager that cannot be reached hears of it later; one that is there is
    /// waited for, for at most a second.
    pub fn detach(&self, network_id: &str, container_id: &str) {
        // What a host had went when it left.
        let Ok(member) = self.member() else { return };
        self.0.account.release(network_id, container_id);
        match member {
            Member::Manager(manager) => {
                match manager.detach(&manager.own_node, None, network_id, container_id) {
                    Ok(()) => {
                        self.0.account.heard(&(network_id.to_owned(), container_id.to_owned()));
                    }
                    // What this host has is announced again at the next start.
                    Err(error) => {
                        tracing::warn!(network = network_id, %error, "an address is not given back");
                    }
                }
            }
            Member::Worker(worker) => worker.detach(network_id, container_id),
        }
    }

    fn manager(&self) -> Result<Arc<Manager>> {
        match &*self.0.part() {
            Part::Manager(manager, _) | Part::Idle(Idle::Manager(manager, _)) => {
                Ok(manager.clone())
            }
            Part::Worker(..) | Part::Idle(Idle::Worker(..)) => {
                Err(Error::new(Code::Unavailable, IS_WORKER))
            }
            Part::Broken(error) => Err(error.clone()),
            Part::Outside | Part::Joining(..) | Part::Idle(Idle::Joining(_)) => {
                Err(Error::new(Code::Unavailable, NO_MANAGER))
            }
        }
    }

    fn member(&self) -> Result<Member> {
        match &*self.0.part() {
            Part::Manager(manager, _) | Part::Idle(Idle::Manager(manager, _)) => {
                Ok(Member::Manager(manager.clone()))
            }
            Part::Worker(worker, _) | Part::Idle(Idle::Worker(worker, _)) => {
                Ok(Member::Worker(worker.clone()))
            }
            Part::Broken(error) => Err(error.clone()),
            Part::Outside | Part::Joining(..) | Part::Idle(Idle::Joining(_)) => {
                Err(Error::new(Code::Unavailable, IS_IN_NONE))
            }
        }
    }
}

enum Member {
    Manager(Arc<Manager>),
    Worker(Arc<Worker>),
}

impl Init {
    /// Bounds of what a swarm can be.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::new(Code::InvalidArgument, text));
        crate::books::check_spec(&self.spec)?;
        if !(1024..=49151).contains(&self.data_path_port) {
            return refuse(format!(
                "Datapath port number is not in valid range (1024-49151) : {}",
                self.data_path_port
            ));
        }
        if self.advertise.ip().is_unspecified() {
            return refuse(
                "advertise address must be a non-zero IP address or network interface (with \
                 optional port number)"
                    .to_owned(),
            );
        }
        if !(1..=29).contains(&self.subnet_size) {
            return refuse(format!("subnet size is out of range: {}", self.subnet_size));
        }
        for (index, pool) in self.pools.iter().enumerate() {
            if pool.prefix() > self.subnet_size {
                return refuse(format!(
                    "subnet size {} is larger than the pool {pool}",
                    self.subnet_size
                ));
            }
            if let Some(other) = self.pools[..index].iter().find(|other| other.overlaps(*pool)) {
                return refuse(format!("default address pools {other} and {pool} overlap"));
            }
        }
        Ok(())
    }
}
