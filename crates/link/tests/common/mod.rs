//! A relay, a host with one lease, a worker that echoes: all on loopback, all gone when dropped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nightjar_link::{
    Admission, HostLink, LinkError, LinkOptions, Refusal, RelayInfo, RelayServer, RelayServerConfig,
    RenterLink, public_key,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const HOST_KEY: [u8; 32] = [7; 32];
pub const RENTER_KEY: [u8; 32] = [9; 32];
pub const STRANGER_KEY: [u8; 32] = [11; 32];
pub const LEASE: &str = "lease-1";

/// Echoes; counts the connections that it ever got.
pub struct Worker {
    pub address: SocketAddr,
    pub connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Worker {
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let (mut from, mut to) = tcp.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Self { address, connections, task }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Who has which lease, as the agent would answer.
#[derive(Clone, Default)]
pub struct Leases(Arc<Mutex<Vec<Entry>>>);

/// Lease, renter, worker.
type Entry = (String, [u8; 32], SocketAddr);

impl Leases {
    pub fn add(&self, lease: &str, renter: [u8; 32], worker: SocketAddr) {
        self.0.lock().unwrap().push((lease.to_owned(), renter, worker));
    }

    pub fn remove(&self, lease: &str) {
        self.0.lock().unwrap().retain(|(name, ..)| name != lease);
    }

    pub fn ask(&self, renter: &[u8; 32], lease: &str, service: &str) -> Result<SocketAddr, Refusal> {
        if !["ssh", "jupyter"].contains(&service) {
            return Err(Refusal::UnknownService);
        }
        let table = self.0.lock().unwrap();
        let found = table.iter().find(|(name, key, _)| name == lease && key == renter);
        found.map(|(_, _, worker)| *worker).ok_or(Refusal::NotYours)
    }
}

pub fn v4() -> LinkOptions {
    LinkOptions { bind: vec![(Ipv4Addr::LOCALHOST, 0).into()], ask_router: false }
}

/// An endpoint on the other address family has no direct path to one of [`v4`].
pub fn v6() -> LinkOptions {
    LinkOptions { bind: vec![(Ipv6Addr::LOCALHOST, 0).into()], ask_router: false }
}

pub async fn relay(folder: &tempfile::TempDir, admission: Admission) -> RelayServer {
    RelayServer::start(relay_config(folder, 0, admission)).await.unwrap()
}

pub fn relay_config(folder: &tempfile::TempDir, port: u16, admission: Admission) -> RelayServerConfig {
    RelayServerConfig {
        listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port),
        quic_port: 0,
        public_host: "127.0.0.1".to_owned(),
        public_port: None,
        data_dir: folder.path().to_owned(),
        admission,
        client_bytes_per_second: None,
    }
}

pub async fn host(relay: &RelayInfo, leases: &Leases, options: &LinkOptions) -> HostLink {
    let leases = leases.clone();
    let gate = move |renter: &[u8; 32], lease: &str, service: &str| leases.ask(renter, lease, service);
    let host = HostLink::start(&HOST_KEY, relay, Arc::new(gate), options).await.unwrap();
    host.online(Duration::from_secs(20)).await.unwrap();
    host
}

pub async fn dial(key: &[u8; 32], relay: &RelayInfo, options: &LinkOptions) -> Result<RenterLink, LinkError> {
    RenterLink::dial(key, &public_key(&HOST_KEY), relay, options).await
}

/// A relay, a worker, a host with [`LEASE`] for [`RENTER_KEY`].
pub struct Scene {
    pub folder: tempfile::TempDir,
    pub relay: RelayServer,
    pub worker: Worker,
    pub leases: Leases,
    pub host: HostLink,
}

impl Scene {
    pub async fn new(host_options: &LinkOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let relay = relay(&folder, Admission::Everyone).await;
        let worker = Worker::start().await;
        let leases = Leases::default();
        leases.add(LEASE, public_key(&RENTER_KEY), worker.address);
        let host = host(relay.info(), &leases, host_options).await;
        Self { folder, relay, worker, leases, host }
    }

    pub async fn renter(&self, options: &LinkOptions) -> RenterLink {
        dial(&RENTER_KEY, self.relay.info(), options).await.unwrap()
    }
}

pub async fn echoes(
    stream: &mut (impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin),
    text: &[u8],
) -> std::io::Result<()> {
    stream.write_all(text).await?;
    let mut back = vec![0; text.len()];
    stream.read_exact(&mut back).await?;
    assert_eq!(back, text);
    Ok(())
}
