//! How each kind of part begins, and what it does while it lasts.

use std::collections::BTreeSet;

use super::*;

/// Until a host is told again of what it could not do: at first, and at most.
const RETRY: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(60)];

impl Inner {
    /// What the disk says, ready to begin.
    pub(super) fn idle(&self, record: Record) -> Result<Idle> {
        match &record.part {
            PartRecord::Joining { .. } => Ok(Idle::Joining(record)),
            PartRecord::Worker { node_id, .. } => {
                let (worker, pending) = self.worker(node_id.clone(), record);
                Ok(Idle::Worker(worker, pending))
            }
            PartRecord::Manager { node_id, control_address } => {
                let (store, books) = Store::open(self.disk.dir())?;
                let manager =
                    self.manager(node_id.clone(), control_address.clone(), &record, store, books)?;
                Ok(Idle::Manager(manager, record))
            }
        }
    }

    fn worker(
        &self,
        node_id: String,
        record: Record,
    ) -> (Arc<Worker>, tokio::sync::mpsc::Receiver<Pending>) {
        let shared = Shared {
            disk: self.disk.clone(),
            account: self.account.clone(),
            view: self.view.clone(),
            host: self.host.clone(),
        };
        Worker::new(node_id, record, shared)
    }

    fn manager(
        &self,
        own_node: String,
        control_address: String,
        record: &Record,
        store: Store,
        books: Books,
    ) -> Result<Arc<Manager>> {
        let authority = Authority::load(
            &self.disk.read(File::RootCertificate)?,
            &self.disk.read(File::RootKey)?,
        )?;
        let vtep = record.data_path.or(record.advertise).ok_or_else(|| {
            Error::new(Code::Internal, "a manager's address is missing in its state")
        })?;
        Ok(Arc::new(Manager::new(Parts {
            own_node,
            reach: Reach { control_address, vtep },
            authority,
            store,
            books,
            view: self.view.clone(),
            host: self.host.clone(),
        })))
    }

    /// Makes a swarm.
    pub(super) fn make_manager(&self, init: &Init) -> Result<Arc<Manager>> {
        let (node_id, store, books) = self.make_swarm(init)?;
        let record = manager_record(node_id.clone(), init);
        let control_address = init.advertise.to_string();
        let manager = self.manager(node_id, control_address, &record, store, books)?;
        self.disk.keep_record(&record)?;
        Ok(manager)
    }

    /// Keeps other addresses of the manager, and goes by them.
    pub(super) fn move_record(&self, manager: &Manager, init: &Init) -> Result<()> {
        self.disk.keep_record(&manager_record(manager.own_node.clone(), init))?;
        manager.set_reach(Reach {
            control_address: init.advertise.to_string(),
            vtep: init.data_path.unwrap_or(init.advertise.ip()),
        });
        self.enter_own_node(manager)
    }

    fn make_swarm(&self, init: &Init) -> Result<(String, Store, Books)> {
        self.disk.begin()?;
        let now = SystemTime::now();
        let (root, root_key) = Authority::generate(now)?;
        let key = NodeKey::generate()?;
        let request = key.request()?;
        let created = Timestamp::now();
        let cluster = Cluster {
            id: crate::id::random_id(),
            version: 1,
            created,
            updated: created,
            spec: init.spec.clone(),
            pools: init.pools.clone(),
            subnet_size: init.subnet_size,
            data_path_port: init.data_path_port,
            worker_secret: Secret::random(),
            manager_secret: Secret::random(),
        };
        let node = Node {
            id: crate::id::random_id(),
            version: 2,
            created,
            updated: created,
            spec: NodeSpec {
                name: String::new(),
                labels: std::collections::BTreeMap::new(),
                role: Role::Manager,
                availability: init.availability,
            },
            description: NodeDescription::default(),
            vtep: None,
            key: crate::ca::key_of_request(&request)?,
        };
        let identity = Identity {
            node_id: node.id.clone(),
            role: Role::Manager,
            cluster_id: cluster.id.clone(),
        };
        let life = Duration::from_nanos(cluster.spec.cert_expiry_nanos);
        let certificate =
            Authority::load(&root, &root_key)?.sign(&request, &identity, now, life)?;
        for (file, text) in [
            (File::RootCertificate, &root),
            (File::RootKey, &root_key),
            (File::NodeCertificate, &certificate),
            (File::NodeKey, &key.pem()),
        ] {
            self.disk.write(file, text)?;
        }
        let (store, mut books) = Store::create(self.disk.dir(), cluster)?;
        let change = crate::books::Change::Node(Box::new(node.clone()));
        store.commit(std::slice::from_ref(&change))?;
        books.apply(change);
        Ok((node.id, store, books))
    }

    /// Begins to serve; without a listener it is made, as soon as the address is there.
    pub(super) fn begin_manager(
        self: &Arc<Self>,
        manager: Arc<Manager>,
        listen: SocketAddr,
        listener: Option<tokio::net::TcpListener>,
    ) -> Part {
        let running = Running::default();
        let part = Part::Manager(manager.clone(), running.clone());
        running.tasks.spawn(expire(manager.clone(), running.stop.clone()));
        let (own, inner) = (running.clone(), self.clone());
        running.tasks.spawn(async move {
            let stop = own.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                served = inner.serve(manager, listen, listener, &own) => {
                    if let Err(error) = served {
                        tracing::error!(%error, "the swarm's control port is not served");
                        own.set_problem(error.to_string());
                    }
                }
            }
        });
        part
    }

    async fn serve(
        self: Arc<Self>,
        manager: Arc<Manager>,
        listen: SocketAddr,
        listener: Option<tokio::net::TcpListener>,
        running: &Running,
    ) -> Result<()> {
        let listener = match listener {
            Some(listener) => listener,
            None => {
                let (inner, own) = (self.clone(), manager.clone());
                blocking(move || inner.enter_own_node(&own)).await?;
                bound(listen, running).await
            }
        };
        let [certificate, key, root] = self.certificates()?;
        let shown = Shown::new(&certificate, &key, &root)?;
        let config = tls::server(shown.clone(), &root)?;
        let renewing = renew(self, manager.clone(), shown);
        let serving = server::serve(manager, listener, config, running.stop.clone());
        tokio::select! {
            () = serving => Ok(()),
            never = renewing => match never {},
        }
    }

    /// The manager's own node says of itself what others say in their sessions.
    pub(super) fn enter_own_node(&self, manager: &Manager) -> Result<()> {
        let Some(host) = self.host.get() else { return Ok(()) };
        manager.describe(&manager.own_node, host.describe(), manager.reach().vtep)?;
        let held = self.account.all(host.attachments());
        manager.announce(&manager.own_node, &held)
    }

    /// The node's certificate, its key, and the root's certificate.
    fn certificates(&self) -> Result<[String; 3]> {
        let read = |file| self.disk.read(file);
        Ok([read(File::NodeCertificate)?, read(File::NodeKey)?, read(File::RootCertificate)?])
    }

    /// Keeps what a joining node needs to try again after a restart.
    pub(super) fn prepare_joining(
        &self,
        token: JoinToken,
        join: Join,
    ) -> Result<(Joining, Record)> {
        self.disk.begin()?;
        let key = NodeKey::generate()?;
        self.disk.write(File::NodeKey, &key.pem())?;
        let remotes: Vec<String> = join.remotes.iter().map(|remote| with_port(remote)).collect();
        let record = Record {
            part: PartRecord::Joining {
                token: join.token,
                remotes: remotes.clone(),
                availability: join.availability,
            },
            listen: join.listen,
            advertise: join.advertise,
            data_path: join.data_path,
        };
        self.disk.keep_record(&record)?;
        let joining = Joining::new(token, remotes, join.availability, self.hostname(), &key)?;
        Ok((joining, record))
    }

    /// Takes up what [`Inner::prepare_joining`] has kept.
    pub(super) async fn resume_joining(self: &Arc<Self>, record: &Record) -> Result<Joining> {
        let PartRecord::Joining { token, remotes, availability } = record.part.clone() else {
            return Err(Error::new(Code::Internal, "this host does not join"));
        };
        let inner = self.clone();
        blocking(move || {
            let key = NodeKey::from_pem(&inner.disk.read(File::NodeKey)?)?;
            let token = JoinToken::parse(&token)
                .map_err(|error| Error::new(Code::Internal, error.to_string()))?;
            Joining::new(token, remotes, availability, inner.hostname(), &key)
        })
        .await
    }

    fn hostname(&self) -> String {
        self.host.get().map(|host| host.describe().hostname).unwrap_or_default()
    }

    pub(super) async fn join_until_done(
        self: Arc<Self>,
        joining: Arc<Joining>,
        record: Record,
        stop: CancellationToken,
    ) -> Result<()> {
        let joined = joining.run(stop.clone()).await;
        // Whoever leaves holds the lock, and waits for this task.
        let _changing = tokio::select! {
            () = stop.cancelled() => {
                return Err(Error::new(Code::Unavailable, "the attempt to join was ended"));
            }
            changing = self.changing.lock() => changing,
        };
        let (inner, outcome) = (self.clone(), joined);
        let begun = blocking(move || match outcome {
            Ok((remote, membership)) => inner.enter_membership(&remote, &membership, record),
            Err(error) => {
                inner.disk.clear()?;
                *inner.part() = Part::Outside;
                Err(error)
            }
        })
        .await;
        let (worker, pending) = match begun {
            Ok(worker) => worker,
            Err(error) => {
                tracing::warn!(%error, "joining a swarm failed");
                return Err(error);
            }
        };
        let mut sessions = worker.sessions.subscribe();
        *self.part() = Self::begin_worker(worker, pending);
        drop(_changing);
        // The sender is the worker's, which lasts as long as its part.
        let _ = sessions.wait_for(|sessions| *sessions > 0).await;
        Ok(())
    }

    fn enter_membership(
        &self,
        remote: &str,
        membership: &Membership,
        record: Record,
    ) -> Result<(Arc<Worker>, tokio::sync::mpsc::Receiver<Pending>)> {
        let der = from_pem(&membership.certificate, "this node's certificate")?;
        let identity = identity_of(&der)?;
        self.disk.write(File::RootCertificate, &membership.root)?;
        self.disk.write(File::NodeCertificate, &membership.certificate)?;
        let record = Record {
            part: PartRecord::Worker {
                node_id: identity.node_id.clone(),
                managers: vec![(String::new(), remote.to_owned())],
                address: None,
                data_path_port: crate::model::DEFAULT_DATA_PATH_PORT,
            },
            ..record
        };
        self.disk.keep_record(&record)?;
        Ok(self.worker(identity.node_id, record))
    }

    pub(super) fn begin_worker(
        worker: Arc<Worker>,
        pending: tokio::sync::mpsc::Receiver<Pending>,
    ) -> Part {
        let running = Running::default();
        running.tasks.spawn(worker.clone().run(pending, running.stop.clone()));
        Part::Worker(worker, running)
    }

    /// Tells the host of networks that are others than before, as long as the daemon runs.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut receiver = self.view.subscribe();
        let mut before = Arc::new(View::new());
        // What the host could not do, and is told again.
        let mut owed: BTreeSet<String> = BTreeSet::new();
        let [first, longest] = RETRY;
        let mut retry = first;
        loop {
            let now = receiver.borrow_and_update().clone();
            let news = server::difference(&before, &now);
            let has_news = !news.changed.is_empty() || !news.gone.is_empty();
            let changed = news.changed.iter().map(|network| network.network.id.clone());
            owed.extend(changed.chain(news.gone));
            if !owed.is_empty() {
                let (inner, view) = (self.clone(), now.clone());
                let ids: Vec<String> = owed.iter().cloned().collect();
                let told = blocking(move || {
                    if has_news {
                        inner.keep_view(&view);
                    }
                    let host = inner.host.get();
                    Ok(host.map(|host| host.networks_changed(&ids)).unwrap_or_default())
                });
                match told.await {
                    Ok(failed) => owed = failed.into_iter().collect(),
                    Err(error) => {
                        tracing::error!(%error, "the host was not told of its networks");
                    }
                }
            }
            before = now;
            retry = if owed.is_empty() { first } else { (retry * 2).min(longest) };
            tokio::select! {
                () = self.stop.cancelled() => return,
                changed = receiver.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(retry), if !owed.is_empty() => {}
            }
        }
    }

    fn keep_view(&self, view: &View) {
        if !matches!(&*self.part(), Part::Worker(..)) {
            return;
        }
        if let Err(error) = self.disk.keep_networks(view) {
            // Until the manager tells again, a restart knows what was kept before.
            tracing::warn!(%error, "the swarm's networks are not kept");
        }
    }
}

fn manager_record(node_id: String, init: &Init) -> Record {
    Record {
        part: PartRecord::Manager { node_id, control_address: init.advertise.to_string() },
        listen: init.listen,
        advertise: Some(init.advertise.ip()),
        data_path: init.data_path,
    }
}

/// Marks silent nodes until `stop`.
async fn expire(manager: Arc<Manager>, stop: CancellationToken) {
    loop {
        let next = manager.expire();
        let until_next = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = manager.presence_changed.notified() => {}
            () = until_next => {}
        }
    }
}

/// Binds the control port as soon as that is possible.
async fn bound(listen: SocketAddr, running: &Running) -> tokio::net::TcpListener {
    loop {
        match bind(listen).await {
            Ok(listener) => {
                running.set_problem(String::new());
                return listener;
            }
            Err(error) => {
                if running.problem().is_empty() {
                    tracing::warn!(%error, "the swarm's control port is tried again");
                }
                running.set_problem(error.to_string());
                tokio::time::sleep(BIND_PAUSE).await;
            }
        }
    }
}

/// Renews the manager's own certificate when half its life is over.
async fn renew(
    inner: Arc<Inner>,
    manager: Arc<Manager>,
    shown: Arc<Shown>,
) -> std::convert::Infallible {
    loop {
        let (own, manager, shown) = (inner.clone(), manager.clone(), shown.clone());
        let renewed = blocking(move || {
            let [certificate, key, root] = own.certificates()?;
            let (made, to) = validity(&certificate)?;
            if !is_half_over(made, to, SystemTime::now()) {
                return Ok(());
            }
            let request = NodeKey::from_pem(&key)?.request()?;
            let renewed = manager.renew(&manager.own_node, &request)?;
            own.disk.write(File::NodeCertificate, &renewed)?;
            shown.replace(&renewed, &key, &root)?;
            tracing::info!("this manager's certificate is renewed");
            Ok(())
        });
        if let Err(error) = renewed.await {
            tracing::warn!(%error, "this manager's certificate is not renewed");
        }
        tokio::time::sleep(RENEWAL_CHECK).await;
    }
}

/// The control port of managers unless another is named.
fn with_port(remote: &str) -> String {
    const PORT: u16 = 2377;
    let remote = remote.trim();
    if let Ok(address) = remote.parse::<IpAddr>() {
        return SocketAddr::new(address, PORT).to_string();
    }
    match remote.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => remote.to_owned(),
        _ => format!("{remote}:{PORT}"),
    }
}
