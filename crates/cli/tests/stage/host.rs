//! A host that takes every offer and starts nothing: its "worker" is whatever listens at the addresses it was given.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use iroh_base::SecretKey;
use nightjar_core::gpu::GpuUuid;
use nightjar_core::host::{CheckAnswer, Report};
use nightjar_core::lease::{LeaseState, LeaseTerms, WorkerAccess};
use nightjar_core::market::CardOffer;
use nightjar_core::money::{Currency, Money};
use nightjar_core::proof::{self, Nonce, Proof};
use nightjar_core::settings::EgressMode;
use nightjar_link::{HostLink, LinkOptions, Refusal};
use nightjar_protocol::host_session::{
    HOST_SESSION_VERSION, SignedReport, ToCoordinator, ToHost, enrol_signing_bytes, hello_signing_bytes,
};
use nightjar_protocol::market_api::Enrol;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;

use super::Stage;

/// What the worker would be.
#[derive(Clone)]
pub struct Worker {
    pub ssh: SocketAddr,
    pub jupyter: SocketAddr,
    pub ssh_host_key: String,
}

/// Ends with the test.
pub struct ScriptedHost {
    session: JoinHandle<()>,
    /// Of the last lease that it took.
    pub terms: Arc<Mutex<Option<LeaseTerms>>>,
}

impl Drop for ScriptedHost {
    fn drop(&mut self) {
        self.session.abort();
    }
}

impl ScriptedHost {
    /// Enrols, connects, offers one card.
    pub async fn start(stage: &Stage, worker: Worker) -> Self {
        let key = SecretKey::generate();
        let host_key = hex::encode(key.public().as_bytes());
        let code = stage.operator.pairing_code().await.unwrap().code;
        let signature = hex::encode(key.sign(&enrol_signing_bytes(&code, &host_key)).to_bytes());
        let enrol = Enrol { pairing_code: code, host_key, signature };
        let url = format!("{}/v1/hosts/enrol", stage.market.url());
        let answer =
            reqwest::Client::builder().no_proxy().build().unwrap().post(url).json(&enrol).send().await;
        assert!(answer.unwrap().status().is_success());

        let terms = Arc::new(Mutex::new(None));
        let address = format!("{}/v1/hosts/session", stage.market.url().replacen("http", "ws", 1));
        let session = tokio::spawn(serve(address, key, worker, Arc::clone(&terms)));
        Self { session, terms }
    }
}

async fn serve(address: String, key: SecretKey, worker: Worker, held: Arc<Mutex<Option<LeaseTerms>>>) {
    let (mut socket, _) = tokio_tungstenite::connect_async(&address).await.unwrap();
    let mut beat = tokio::time::interval(Duration::from_secs(1));
    let mut link = None;
    loop {
        let message = tokio::select! {
            _ = beat.tick(), if link.is_some() => {
                socket.send(frame(&ToCoordinator::Heartbeat)).await.unwrap();
                continue;
            }
            message = socket.next() => message,
        };
        let Some(Ok(message)) = message else { return };
        let Message::Text(text) = message else { continue };
        let answers = match serde_json::from_str(&text).unwrap() {
            ToHost::Challenge { nonce } => vec![hello(&key, &nonce)],
            ToHost::Welcome { relay, .. } => {
                link = Some(open_link(&key, &relay.unwrap(), &worker, &held).await);
                vec![offers()]
            }
            ToHost::Offer(terms) => {
                *held.lock().unwrap() = Some(terms.clone());
                take(&terms, &worker, &key)
            }
            ToHost::Check { gpu, nonce, .. } => vec![prove(gpu, &nonce, &key)],
            ToHost::Start { lease, epoch } => {
                vec![ToCoordinator::Report(Report::Lease {
                    lease,
                    epoch,
                    state: LeaseState::Running,
                    cause: None,
                })]
            }
            ToHost::End { lease, epoch, reason } => {
                *held.lock().unwrap() = None;
                if let Some(link) = &link {
                    link.close_lease(&lease.0);
                }
                [LeaseState::Ending { reason: reason.clone() }, LeaseState::Ended { reason }]
                    .map(|state| {
                        ToCoordinator::Report(Report::Lease {
                            lease: lease.clone(),
                            epoch,
                            state,
                            cause: None,
                        })
                    })
                    .into()
            }
            ToHost::Refused { code, detail } => panic!("{code:?}: {detail}"),
            ToHost::UsageStored { .. }
            | ToHost::Heartbeat
            | ToHost::Waiting { .. }
            | ToHost::Demand { .. }
            | ToHost::CheckLine { .. }
            | ToHost::Line(_)
            | ToHost::Account(_) => Vec::new(),
        };
        for answer in answers {
            socket.send(frame(&answer)).await.unwrap();
        }
    }
}

fn frame(message: &ToCoordinator) -> Message {
    Message::text(serde_json::to_string(message).unwrap())
}

fn hello(key: &SecretKey, nonce: &str) -> ToCoordinator {
    let host_key = hex::encode(key.public().as_bytes());
    let signature = hex::encode(key.sign(&hello_signing_bytes(nonce, &host_key)).to_bytes());
    ToCoordinator::Hello {
        session_version: HOST_SESSION_VERSION,
        app_version: String::from("test"),
        host_key,
        signature,
    }
}

fn offers() -> ToCoordinator {
    let card = CardOffer {
        gpu: GpuUuid(String::from("GPU-scripted")),
        model: String::from("NVIDIA GeForce RTX 4090"),
        vram_mib: 24_564,
        driver: String::from("550.54.14"),
        price_per_hour: Money::new(1_500_000, Currency::CNY),
        images: vec![String::from("pytorch-cuda:lite")],
        egress: EgressMode::Curated,
        root_inside: false,
        sandbox: false,
        volume: Default::default(),
    };
    ToCoordinator::Report(Report::Offers { region: String::from("cn-east"), offers: vec![card] })
}

fn take(terms: &LeaseTerms, worker: &Worker, key: &SecretKey) -> Vec<ToCoordinator> {
    let state = |state| Report::Lease { lease: terms.lease.clone(), epoch: terms.epoch, state, cause: None };
    let proof = proof_of(&terms.gpu, &terms.nonce);
    let access = WorkerAccess {
        ssh_host_key: worker.ssh_host_key.clone(),
        jupyter_token: "ab".repeat(32),
        device_name: String::from("NVIDIA GeForce RTX 4090"),
        proof: Some(proof.clone()),
        volume: None,
    };
    let report = Report::Ready { lease: terms.lease.clone(), epoch: terms.epoch, access };
    let signature = hex::encode(key.sign(&proof.signing_bytes()).to_bytes());
    let mut answers: Vec<ToCoordinator> =
        [LeaseState::Accepted, LeaseState::Preparing].map(state).map(ToCoordinator::Report).into();
    answers.push(ToCoordinator::Proven(SignedReport { report, signature }));
    answers
}

fn proof_of(gpu: &GpuUuid, nonce: &Nonce) -> Proof {
    let [a, b] = proof::matrices(proof::seed(nonce, gpu));
    Proof {
        nonce: nonce.clone(),
        gpu: gpu.clone(),
        device_name: String::from("NVIDIA GeForce RTX 4090"),
        vram_mib: 24_564,
        answer: proof::answer(&proof::product(&a, &b)),
        gflops: 80_000,
        memory_mib_per_s: 900_000,
        to_card_mib_per_s: 20_000,
        from_card_mib_per_s: 20_000,
        vram_checked_mib: 23_000,
        disk_write_mib_per_s: 500,
    }
}

/// The card proves itself while no lease is there.
fn prove(gpu: GpuUuid, nonce: &Nonce, key: &SecretKey) -> ToCoordinator {
    let proof = proof_of(&gpu, nonce);
    let signature = hex::encode(key.sign(&proof.signing_bytes()).to_bytes());
    let report = Report::Checked { gpu, answer: CheckAnswer::Proof(proof) };
    ToCoordinator::Proven(SignedReport { report, signature })
}

async fn open_link(
    key: &SecretKey,
    relay: &nightjar_link::RelayInfo,
    worker: &Worker,
    held: &Arc<Mutex<Option<LeaseTerms>>>,
) -> HostLink {
    let (held, worker) = (Arc::clone(held), worker.clone());
    let gate = move |renter: &[u8; 32], lease: &str, service: &str| {
        let held = held.lock().unwrap();
        let is_theirs =
            |terms: &&LeaseTerms| terms.lease.0 == lease && terms.renter_key == hex::encode(renter);
        held.as_ref().filter(is_theirs).ok_or(Refusal::NotYours)?;
        match service {
            "ssh" => Ok(worker.ssh),
            "jupyter" => Ok(worker.jupyter),
            _ => Err(Refusal::UnknownService),
        }
    };
    let options = LinkOptions { ask_router: false, ..LinkOptions::default() };
    let link = HostLink::start(&key.to_bytes(), relay, Arc::new(gate), &options).await.unwrap();
    link.online(Duration::from_secs(10)).await.unwrap();
    link
}
