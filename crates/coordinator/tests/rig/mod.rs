//! A real coordinator on loopback, and a host that does what a test says. What a host says and hears is a line or two each,
//! and is looked for here by its name.
#![allow(dead_code, reason = "each test file uses its own part of the rig")]
#![expect(clippy::unwrap_used, reason = "a rig that fails is a test that fails")]

mod line;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use iroh_base::SecretKey;
use nightjar_coordinator::operator::Operator;
use nightjar_coordinator::{Config, Coordinator, Running};
use nightjar_core::demand::DemandFigures;
use nightjar_core::gpu::GpuUuid;
use nightjar_core::host::{CheckAnswer, Report};
use nightjar_core::lease::{EndReason, Epoch, LeaseId, LeaseState, LeaseTerms, WorkerAccess};
use nightjar_core::market::{CardOffer, HostAccount, WaitReason};
use nightjar_core::meter::{UsageRecord, UsageRefusal};
use nightjar_core::money::{Currency, Money};
use nightjar_core::parting::Cause;
use nightjar_core::proof::{self, Nonce, Proof};
use nightjar_core::settings::EgressMode;
use nightjar_core::volume::{Footing, NoRoom};
use nightjar_protocol::error::{ErrorBody, ErrorCode};
use nightjar_protocol::host_session::{
    HOST_SESSION_VERSION, SignedReport, SignedUsage, ToCoordinator, ToHost, enrol_signing_bytes,
    hello_signing_bytes,
};
use nightjar_protocol::market_api::{Account, Enrol, Enrolled, Lease, RentRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub const IMAGE: &str = "pytorch-cuda:lite";
pub const SSH_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH renter@test";
const SOON: Duration = Duration::from_secs(5);

/// One market in a folder of its own.
pub struct Rig {
    pub folder: tempfile::TempDir,
    pub running: Running,
    pub operator: Operator,
    pub http: reqwest::Client,
}

impl Rig {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let running = Coordinator::start(config(&folder)).await.unwrap();
        let operator = Operator::open(&folder.path().join("data"), None).await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { folder, running, operator, http }
    }

    /// Ends the coordinator and starts it again on the same database.
    pub async fn restart(self) -> Self {
        let Self { folder, running, operator, http } = self;
        running.shutdown().await;
        let running = Coordinator::start(config(&folder)).await.unwrap();
        Self { folder, running, operator, http }
    }

    /// Drops the coordinator as a crash would, and starts it again.
    pub async fn crash(self) -> Self {
        let Self { folder, running, operator, http } = self;
        drop(running);
        let running = Coordinator::start(config(&folder)).await.unwrap();
        Self { folder, running, operator, http }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.running.http_addr())
    }

    pub async fn renter(&self, name: &str, balance: &str) -> Renter {
        let token = self.operator.add_renter(name, balance).await.unwrap().token;
        Renter { http: self.http.clone(), token }
    }

    pub async fn enrol(&self, body: &Enrol) -> Result<Enrolled, ErrorBody> {
        answer(self.http.post(self.url("/v1/hosts/enrol")).json(body)).await
    }

    /// A host that is enrolled, connected, and offers one card.
    pub async fn host(&self, gpu: &str, price_micros: i64) -> Host {
        let key = SecretKey::generate();
        let code = self.operator.pairing_code().await.unwrap().code;
        let id = self.enrol(&enrolment(&key, &code)).await.unwrap().host_id;
        let mut host = Host { key, id, socket: None, waiting: VecDeque::new(), checks: VecDeque::new() };
        host.connect(self).await;
        host.list(vec![]).await;
        host.offer(vec![card(gpu, price_micros)]).await;
        host
    }

    pub async fn ledger_is_right(&self) {
        let ledger = self.operator.ledger(None, 1_000).await.unwrap();
        assert!(ledger.balanced, "{:?}", ledger.faults);
        assert_eq!(ledger.sum.micros, 0);
    }

    /// What is booked on hosts, all together.
    pub async fn earned_micros(&self) -> i64 {
        use nightjar_core::ledger::Account;
        let ledger = self.operator.ledger(None, 0).await.unwrap();
        let hosts = ledger.accounts.iter().filter(|entry| matches!(entry.account, Account::Host { .. }));
        hosts.map(|entry| entry.balance.micros).sum()
    }

    /// Makes a lease look as if it had been started this much earlier.
    pub async fn started_earlier(&self, lease: &LeaseId, by_ms: i64) {
        let query = sqlx::query("UPDATE leases SET started_at = started_at - ? WHERE id = ?");
        self.change(query.bind(by_ms).bind(&lease.0)).await;
    }

    /// Makes the end of a lease look as if it had been decided this much earlier, and its start with it.
    pub async fn ended_earlier(&self, lease: &LeaseId, by_ms: i64) {
        let query = sqlx::query(
            "UPDATE leases SET started_at = started_at - ?1, closed_at = closed_at - ?1, state_since = state_since - ?1
             WHERE id = ?2",
        );
        self.change(query.bind(by_ms).bind(&lease.0)).await;
    }

    /// Makes every failed check look as if it had been this much earlier.
    pub async fn failed_earlier(&self, by_ms: i64) {
        let text = "UPDATE card_standings SET standing =
            json_set(standing, '$.failed.at', json_extract(standing, '$.failed.at') - ?)
            WHERE json_extract(standing, '$.failed') IS NOT NULL";
        self.change(sqlx::query(text).bind(by_ms)).await;
    }

    async fn change<'q>(
        &self,
        query: sqlx::query::Query<'q, sqlx::Sqlite, <sqlx::Sqlite as sqlx::Database>::Arguments>,
    ) {
        let path = self.folder.path().join("data").join("market.sqlite");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        assert!(query.execute(&pool).await.unwrap().rows_affected() > 0);
        pool.close().await;
    }
}

fn config(folder: &tempfile::TempDir) -> Config {
    Config { relay_listen: None, ..Config::local(folder.path().join("data")) }
}

pub fn enrolment(key: &SecretKey, code: &str) -> Enrol {
    let host_key = hex::encode(key.public().as_bytes());
    let signature = hex::encode(key.sign(&enrol_signing_bytes(code, &host_key)).to_bytes());
    Enrol { pairing_code: code.to_owned(), host_key, signature }
}

pub fn card(gpu: &str, price_micros: i64) -> CardOffer {
    CardOffer {
        gpu: GpuUuid(format!("GPU-{gpu}")),
        model: "NVIDIA GeForce RTX 3060 (simulated)".into(),
        vram_mib: 12_288,
        driver: "550.54".into(),
        price_per_hour: Money::new(price_micros, Currency::CNY),
        images: vec![IMAGE.into()],
        egress: EgressMode::Curated,
        root_inside: false,
        sandbox: false,
        volume: Default::default(),
    }
}

pub fn access() -> WorkerAccess {
    WorkerAccess {
        ssh_host_key: SSH_KEY.into(),
        jupyter_token: "abc123".into(),
        device_name: "NVIDIA GeForce RTX 3060 (simulated)".into(),
        proof: None,
        volume: Some(Footing { has_quota: true, is_encrypted: true, was_mended: false }),
    }
}

/// What a sound card answers to the question in `terms`.
pub fn proof(terms: &LeaseTerms) -> Proof {
    proof_of(&terms.gpu, &terms.nonce)
}

pub fn proof_of(gpu: &GpuUuid, nonce: &Nonce) -> Proof {
    let [a, b] = proof::matrices(proof::seed(nonce, gpu));
    Proof {
        nonce: nonce.clone(),
        gpu: gpu.clone(),
        device_name: access().device_name,
        vram_mib: 12_288,
        answer: proof::answer(&proof::product(&a, &b)),
        gflops: 12_000,
        memory_mib_per_s: 300_000,
        to_card_mib_per_s: 10_000,
        from_card_mib_per_s: 10_000,
        vram_checked_mib: 11_000,
        disk_write_mib_per_s: 500,
    }
}

pub fn rent_request() -> RentRequest {
    RentRequest {
        requirements: Default::default(),
        image: IMAGE.into(),
        renter_key: hex::encode(SecretKey::generate().public().as_bytes()),
        ssh_public_key: SSH_KEY.into(),
        after_interruption: Default::default(),
        volume_secret: None,
    }
}

pub async fn answer<T: DeserializeOwned>(request: reqwest::RequestBuilder) -> Result<T, ErrorBody> {
    let response = timeout(Duration::from_secs(40), request.send()).await.unwrap().unwrap();
    if response.status().is_success() {
        return Ok(response.json().await.unwrap());
    }
    Err(response.json().await.unwrap())
}

pub struct Renter {
    http: reqwest::Client,
    pub token: String,
}

impl Renter {
    pub async fn get<T: DeserializeOwned>(&self, rig: &Rig, path: &str) -> Result<T, ErrorBody> {
        answer(self.http.get(rig.url(path)).bearer_auth(&self.token)).await
    }

    pub async fn post<T: DeserializeOwned>(
        &self,
        rig: &Rig,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ErrorBody> {
        answer(self.http.post(rig.url(path)).bearer_auth(&self.token).json(body)).await
    }

    pub async fn rent(&self, rig: &Rig) -> Lease {
        self.post(rig, "/v1/leases", &rent_request()).await.unwrap()
    }

    pub async fn stop(&self, rig: &Rig, lease: &LeaseId) -> Lease {
        self.post(rig, &format!("/v1/leases/{lease}/stop"), &()).await.unwrap()
    }

    pub async fn lease(&self, rig: &Rig, lease: &LeaseId) -> Lease {
        self.get(rig, &format!("/v1/leases/{lease}")).await.unwrap()
    }

    pub async fn balance_micros(&self, rig: &Rig) -> i64 {
        self.get::<Account>(rig, "/v1/account").await.unwrap().balance.micros
    }

    /// Waits for a lease to be as `wanted`.
    pub async fn sees(&self, rig: &Rig, lease: &LeaseId, wanted: impl Fn(&Lease) -> bool) -> Lease {
        let look = async {
            loop {
                let lease = self.lease(rig, lease).await;
                if wanted(&lease) {
                    return lease;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let seen = timeout(SOON, look).await;
        match seen {
            Ok(lease) => lease,
            Err(_) => panic!("not seen; it is {:?}", self.lease(rig, lease).await),
        }
    }

    pub async fn sees_state(&self, rig: &Rig, lease: &LeaseId, state: LeaseState) -> Lease {
        self.sees(rig, lease, |lease| lease.state == state).await
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub struct Host {
    pub key: SecretKey,
    pub id: String,
    socket: Option<Socket>,
    /// Words on why no job comes that were heard while another answer was waited for: each is said once.
    waiting: VecDeque<Vec<(GpuUuid, WaitReason)>>,
    /// Questions without a lease that were heard in the same way.
    checks: VecDeque<(GpuUuid, Nonce)>,
}

/// Opens a session and answers the challenge with what `hello` makes of it.
pub async fn greet(rig: &Rig, hello: impl FnOnce(String) -> ToCoordinator) -> (Socket, ToHost) {
    let address = rig.url("/v1/hosts/session").replace("http://", "ws://");
    let (mut socket, _) = connect_async(address).await.unwrap();
    let Some(ToHost::Challenge { nonce }) = next_word(&mut socket).await else { panic!("no challenge") };
    socket.send(Message::text(serde_json::to_string(&hello(nonce)).unwrap())).await.unwrap();
    let first = next_word(&mut socket).await.unwrap();
    (socket, first)
}

/// The next message, whatever it is; `None` when the session is over.
async fn next_word(socket: &mut Socket) -> Option<ToHost> {
    loop {
        match timeout(SOON, socket.next()).await.expect("nothing was said in time") {
            Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            _ => return None,
        }
    }
}

pub fn hello(key: &SecretKey, nonce: &str) -> ToCoordinator {
    let host_key = hex::encode(key.public().as_bytes());
    let signature = hex::encode(key.sign(&hello_signing_bytes(nonce, &host_key)).to_bytes());
    ToCoordinator::Hello {
        session_version: HOST_SESSION_VERSION,
        app_version: "test".into(),
        host_key,
        signature,
    }
}

impl Host {
    pub async fn connect(&mut self, rig: &Rig) {
        let (socket, first) = greet(rig, |nonce| hello(&self.key, &nonce)).await;
        let ToHost::Welcome { host_id, terms: Some(terms), seen_from, .. } = first else {
            panic!("{first:?}")
        };
        assert_eq!(seen_from, Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(host_id, self.id);
        assert_eq!((terms.currency, terms.fee_basis_points), (Currency::CNY, 500));
        self.socket = Some(socket);
        self.waiting.clear();
        self.checks.clear();
    }

    pub async fn disconnect(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            let _ = socket.close(None).await;
        }
    }

    pub async fn say(&mut self, message: ToCoordinator) {
        let text = serde_json::to_string(&message).unwrap();
        self.socket.as_mut().unwrap().send(Message::text(text)).await.unwrap();
    }

    pub async fn say_raw(&mut self, text: String) {
        // The other end may hang up while a long text is on its way.
        let _ = self.socket.as_mut().unwrap().send(Message::text(text)).await;
    }

    /// The next message that is an answer or an order; `None` when the session is over. What is told in between is left
    /// to `hears_waiting`, `hears_account` and `hears_check`.
    pub async fn hear(&mut self) -> Option<ToHost> {
        loop {
            match next_word(self.socket.as_mut().unwrap()).await? {
                ToHost::Waiting { cards } => self.waiting.push_back(cards),
                ToHost::Check { gpu, nonce, .. } => self.checks.push_back((gpu, nonce)),
                ToHost::Heartbeat
                | ToHost::Account(_)
                | ToHost::Demand { .. }
                | ToHost::CheckLine { .. }
                | ToHost::Line(_) => {}
                other => return Some(other),
            }
        }
    }

    pub async fn hears_nothing_for(&mut self, time: Duration) {
        let heard = timeout(time, self.hear()).await;
        assert!(heard.is_err(), "{heard:?}");
    }

    pub async fn offer(&mut self, offers: Vec<CardOffer>) {
        self.say(ToCoordinator::Report(Report::Offers { region: "home".into(), offers })).await;
        self.settle().await;
    }

    pub async fn list(&mut self, leases: Vec<(LeaseId, Epoch, LeaseState)>) {
        self.say(ToCoordinator::Report(Report::Leases { leases })).await;
    }

    /// Returns when everything that was said before has been taken: messages are taken one after the other, and this one
    /// is answered.
    pub async fn settle(&mut self) {
        let lease = LeaseId("00000000-0000-4000-8000-000000000000".into());
        let state = LeaseState::Running;
        self.say(ToCoordinator::Report(Report::Lease {
            lease: lease.clone(),
            epoch: Epoch(9),
            state,
            cause: None,
        }))
        .await;
        let heard = self.hear().await;
        let superseded = ToHost::End { lease, epoch: Epoch(9), reason: EndReason::Superseded };
        assert_eq!(heard, Some(superseded));
    }

    /// The next word on why no job comes, heard already or not; what else is said meanwhile is passed over.
    pub async fn hears_waiting(&mut self) -> Vec<(GpuUuid, WaitReason)> {
        if let Some(cards) = self.waiting.pop_front() {
            return cards;
        }
        loop {
            let word = next_word(self.socket.as_mut().unwrap()).await;
            match word.expect("the session is over") {
                ToHost::Waiting { cards } => return cards,
                ToHost::Check { gpu, nonce, .. } => self.checks.push_back((gpu, nonce)),
                _ => {}
            }
        }
    }

    /// The next word on the demand for its first card; what else is said meanwhile is passed over.
    pub async fn hears_demand(&mut self) -> DemandFigures {
        loop {
            match next_word(self.socket.as_mut().unwrap()).await.expect("the session is over") {
                ToHost::Demand { cards } => return cards[0].1,
                ToHost::Waiting { cards } => self.waiting.push_back(cards),
                ToHost::Check { gpu, nonce, .. } => self.checks.push_back((gpu, nonce)),
                _ => {}
            }
        }
    }

    /// The next question to a card without a lease, heard already or not; what else is said meanwhile is passed over.
    pub async fn hears_check(&mut self) -> (GpuUuid, Nonce) {
        if let Some(asked) = self.checks.pop_front() {
            return asked;
        }
        loop {
            match next_word(self.socket.as_mut().unwrap()).await.expect("the session is over") {
                ToHost::Check { gpu, nonce, .. } => return (gpu, nonce),
                ToHost::Waiting { cards } => self.waiting.push_back(cards),
                _ => {}
            }
        }
    }

    /// What came of a question without a lease, signed where it holds a proof.
    pub async fn answers(&mut self, gpu: &GpuUuid, answer: CheckAnswer) {
        let report = Report::Checked { gpu: gpu.clone(), answer };
        let message = match report.proof() {
            None => ToCoordinator::Report(report),
            Some(proof) => {
                let signature = hex::encode(self.key.sign(&proof.signing_bytes()).to_bytes());
                ToCoordinator::Proven(SignedReport { report, signature })
            }
        };
        self.say(message).await;
        self.settle().await;
    }

    /// The cards of which this is said.
    pub async fn hears_waiting_for(&mut self, wanted: &WaitReason) -> Vec<GpuUuid> {
        loop {
            let cards = self.hears_waiting().await;
            let of = |(gpu, why): &(GpuUuid, WaitReason)| (why == wanted).then(|| gpu.clone());
            let named: Vec<GpuUuid> = cards.iter().filter_map(of).collect();
            if !named.is_empty() {
                return named;
            }
        }
    }

    /// The next word on the owner's money; what else is said meanwhile is passed over.
    pub async fn hears_account(&mut self) -> HostAccount {
        loop {
            match next_word(self.socket.as_mut().unwrap()).await.expect("the session is over") {
                ToHost::Account(account) => return account,
                ToHost::Waiting { cards } => self.waiting.push_back(cards),
                _ => {}
            }
        }
    }

    pub async fn hears_offer(&mut self) -> LeaseTerms {
        match self.hear().await {
            Some(ToHost::Offer(terms)) => terms,
            other => panic!("an offer was expected, not {other:?}"),
        }
    }

    pub async fn tell(&mut self, terms: &LeaseTerms, state: LeaseState) {
        let (lease, epoch) = (terms.lease.clone(), terms.epoch);
        self.say(ToCoordinator::Report(Report::Lease { lease, epoch, state, cause: None })).await;
    }

    /// It is frozen or ends for a cause.
    pub async fn tell_why(&mut self, terms: &LeaseTerms, state: LeaseState, cause: Cause) {
        let (lease, epoch) = (terms.lease.clone(), terms.epoch);
        let report = Report::Lease { lease, epoch, state, cause: Some(cause) };
        self.say(ToCoordinator::Report(report)).await;
    }

    pub async fn decline(&mut self, terms: &LeaseTerms) {
        let (lease, epoch) = (terms.lease.clone(), terms.epoch);
        self.say(ToCoordinator::Report(Report::Declined { lease, epoch, reasons: vec![], no_room: None }))
            .await;
    }

    pub async fn decline_for_room(&mut self, terms: &LeaseTerms, no_room: NoRoom) {
        let (lease, epoch) = (terms.lease.clone(), terms.epoch);
        let report = Report::Declined { lease, epoch, reasons: vec![], no_room: Some(no_room) };
        self.say(ToCoordinator::Report(report)).await;
    }

    pub async fn ready(&mut self, terms: &LeaseTerms) {
        self.ready_with(terms, proof(terms)).await;
    }

    pub async fn ready_with(&mut self, terms: &LeaseTerms, proof: Proof) {
        let signature = hex::encode(self.key.sign(&proof.signing_bytes()).to_bytes());
        let report = ready_report(terms, Some(proof));
        self.say(ToCoordinator::Proven(SignedReport { report, signature })).await;
    }

    /// Accepts, prepares, is started, runs.
    pub async fn run(&mut self) -> LeaseTerms {
        let terms = self.hears_offer().await;
        self.tell(&terms, LeaseState::Accepted).await;
        self.tell(&terms, LeaseState::Preparing).await;
        self.ready(&terms).await;
        let started = ToHost::Start { lease: terms.lease.clone(), epoch: terms.epoch };
        assert_eq!(self.hear().await, Some(started));
        self.tell(&terms, LeaseState::Running).await;
        terms
    }

    pub async fn use_up(&mut self, record: &UsageRecord) {
        let signature = hex::encode(self.key.sign(&record.signing_bytes()).to_bytes());
        self.say(ToCoordinator::Usage(SignedUsage { record: record.clone(), signature })).await;
    }

    pub async fn hears_stored(&mut self, record: &UsageRecord) {
        self.hears_answer(record, None).await;
    }

    /// It is never booked, for this reason.
    pub async fn hears_refused(&mut self, record: &UsageRecord, why: UsageRefusal) {
        self.hears_answer(record, Some(why)).await;
    }

    async fn hears_answer(&mut self, record: &UsageRecord, refused: Option<UsageRefusal>) {
        let stored = ToHost::UsageStored {
            lease: record.lease.clone(),
            epoch: record.epoch,
            sequence: record.sequence,
            refused,
        };
        assert_eq!(self.hear().await, Some(stored));
    }
}

pub fn ready_report(terms: &LeaseTerms, proof: Option<Proof>) -> Report {
    let (lease, epoch) = (terms.lease.clone(), terms.epoch);
    Report::Ready { lease, epoch, access: WorkerAccess { proof, ..access() } }
}

/// Record number `sequence` of a lease whose records are all `each_ms` long.
pub fn record(terms: &LeaseTerms, sequence: u64, each_ms: u64) -> UsageRecord {
    let from = terms.offered_at.plus_ms((sequence - 1) * each_ms);
    UsageRecord {
        lease: terms.lease.clone(),
        epoch: terms.epoch,
        sequence,
        from,
        to: from.plus_ms(each_ms),
        running_ms_total: sequence * each_ms,
        millijoules: 1_000,
    }
}

pub fn code<T: std::fmt::Debug>(result: Result<T, ErrorBody>) -> ErrorCode {
    result.expect_err("this should have been refused").code
}

impl Host {
    /// A host that is enrolled and not connected.
    pub fn of(key: SecretKey, id: String) -> Self {
        Self { key, id, socket: None, waiting: VecDeque::new(), checks: VecDeque::new() }
    }
}
