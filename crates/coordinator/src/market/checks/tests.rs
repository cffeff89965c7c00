use nightjar_core::market::{CardOffer, WaitReason};
use nightjar_core::money::{Currency, Money};
use nightjar_core::proof::{self, Proof};
use nightjar_core::settings::EgressMode;
use nightjar_core::standing::{ANSWER_WITHIN_MS, CardStanding};
use nightjar_protocol::host_session::ToHost;

use super::*;
use crate::market::sweep::tests::market;
use crate::registry::Seat;
use crate::store::hosts;

/// Longer than a card that never proved itself waits for its first question.
const FIRST_MS: u64 = 60_000;

/// A market with a clock that a test moves, and hosts that say what a test says.
struct Rig {
    market: Market,
    now: Timestamp,
    _folder: tempfile::TempDir,
}

struct Host {
    id: String,
    seat: Seat,
}

impl Rig {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let market = market(folder.path()).await;
        let now = market.clock.now();
        Self { market, now, _folder: folder }
    }

    async fn enrolled(&self, name: &str) -> String {
        let mut tx = self.market.store.write().await.unwrap();
        let id = hosts::enter(tx.connection(), name, name, self.now).await.unwrap();
        tx.commit().await.unwrap();
        id
    }

    fn connect(&self, id: &str, gpus: &[&str]) -> Host {
        let seat = self.market.registry.enter(id, &self.market.closing);
        let host = Host { id: id.to_owned(), seat };
        self.offer(&host, gpus);
        host
    }

    fn offer(&self, host: &Host, gpus: &[&str]) {
        let offers = gpus.iter().map(|gpu| card(gpu)).collect();
        self.market.registry.set_offers(&host.id, host.seat.id, "home".into(), offers);
    }

    async fn host(&self, name: &str, gpu: &str) -> Host {
        let id = self.enrolled(name).await;
        self.connect(&id, &[gpu])
    }

    /// Time passes, with a look at its beginning and its end.
    async fn pass(&mut self, ms: u64) {
        self.market.check_cards(self.now).await.unwrap();
        self.now = self.now.plus_ms(ms);
        self.market.check_cards(self.now).await.unwrap();
    }

    async fn says(&self, host: &Host, gpu: &str, answer: CheckAnswer, signed: bool) {
        let teller = Teller { host_id: &host.id, session: host.seat.id, opened_at: self.now };
        self.market.take_checked(teller, &GpuUuid(gpu.into()), answer, signed).await.unwrap();
    }

    async fn proves(&self, host: &Host, asked: &(GpuUuid, Nonce)) {
        self.says(host, &asked.0.0, CheckAnswer::Proof(answer(&asked.0, &asked.1)), true).await;
    }

    async fn standing(&self, host: &Host, gpu: &str) -> CardStanding {
        let mut db = self.market.store.reader().acquire().await.unwrap();
        standings::of_card(&mut db, &host.id, &GpuUuid(gpu.into())).await.unwrap()
    }

    /// Whose cards renters can get.
    async fn lendable(&self) -> Vec<String> {
        let mut db = self.market.store.reader().acquire().await.unwrap();
        let listings = self.market.lendable(&mut db, self.now).await.unwrap();
        let mut hosts: Vec<String> = listings.into_iter().map(|listing| listing.host_id).collect();
        hosts.sort();
        hosts
    }
}

impl Host {
    /// All that it was told since it was last looked.
    fn heard(&mut self) -> Vec<ToHost> {
        std::iter::from_fn(|| self.seat.orders.try_recv().ok()).collect()
    }

    fn asked(&mut self) -> Option<(GpuUuid, Nonce)> {
        self.heard().into_iter().find_map(|order| match order {
            ToHost::Check { gpu, nonce, within_ms } => {
                assert_eq!(within_ms, ANSWER_WITHIN_MS);
                Some((gpu, nonce))
            }
            _ => None,
        })
    }
}

fn card(gpu: &str) -> CardOffer {
    CardOffer {
        gpu: GpuUuid(gpu.into()),
        model: "NVIDIA GeForce RTX 3060".into(),
        vram_mib: 12_288,
        driver: "550.54".into(),
        price_per_hour: Money::new(600_000, Currency::CNY),
        images: vec!["pytorch-cuda:lite".into()],
        egress: EgressMode::Curated,
        root_inside: false,
        sandbox: false,
        volume: Default::default(),
    }
}

fn answer(gpu: &GpuUuid, nonce: &Nonce) -> Proof {
    let [a, b] = proof::matrices(proof::seed(nonce, gpu));
    Proof {
        nonce: nonce.clone(),
        gpu: gpu.clone(),
        device_name: "GeForce RTX 3060".into(),
        vram_mib: 12_288,
        answer: proof::answer(&proof::product(&a, &b)),
        gflops: 12_000,
        memory_mib_per_s: 300_000,
        to_card_mib_per_s: 10_000,
        from_card_mib_per_s: 10_000,
        vram_checked_mib: 11_000,
        disk_write_mib_per_s: 0,
    }
}

#[tokio::test]
async fn peers_19_fakes_that_copy_repeat_or_keep_silent_get_no_job_whoever_lets_them_in() {
    let mut rig = Rig::new().await;
    // All of them have the operator's word: one token that went round lets in as many as come.
    let mut honest = rig.host("honest", "GPU-h").await;
    let mut copies = rig.host("copies", "GPU-c").await;
    let mut stale = rig.host("stale", "GPU-s").await;
    let mut silent = rig.host("silent", "GPU-n").await;
    let mut unsigned = rig.host("unsigned", "GPU-u").await;
    assert_eq!(
        rig.lendable().await.len(),
        5,
        "a lease brings its own question, so a new card may be rented at once"
    );
    rig.pass(FIRST_MS).await;
    let asked = honest.asked().unwrap();
    rig.proves(&honest, &asked).await;
    let true_answer = answer(&asked.0, &asked.1);
    // Another's answer, under its own name or under the other's.
    let (gpu, nonce) = copies.asked().unwrap();
    assert!(nonce.is_whole() && nonce != asked.1, "each has a question of its own");
    let copy = Proof { gpu: gpu.clone(), nonce: nonce.clone(), ..true_answer.clone() };
    rig.says(&copies, "GPU-c", CheckAnswer::Proof(copy), true).await;
    // An answer to the question before.
    stale.asked().unwrap();
    let old = answer(&GpuUuid("GPU-s".into()), &Nonce::of([7; 16]));
    rig.says(&stale, "GPU-s", CheckAnswer::Proof(old), true).await;
    let asked = unsigned.asked().unwrap();
    rig.says(&unsigned, "GPU-u", CheckAnswer::Proof(answer(&asked.0, &asked.1)), false).await;
    silent.asked().unwrap();
    rig.pass(ANSWER_WITHIN_MS - 1).await;
    assert_eq!(rig.lendable().await, ["honest", "silent"], "it has its time");
    rig.pass(1).await;
    assert_eq!(rig.lendable().await, ["honest"]);
    let why = |standing: CardStanding| standing.failed.map(|failed| failed.why);
    assert_eq!(why(rig.standing(&copies, "GPU-c").await), Some(ProofFault::Answer));
    assert_eq!(why(rig.standing(&stale, "GPU-s").await), Some(ProofFault::OtherQuestion));
    assert_eq!(why(rig.standing(&unsigned, "GPU-u").await), Some(ProofFault::Unsigned));
    assert_eq!(why(rig.standing(&silent, "GPU-n").await), Some(ProofFault::Missing));
    // The owner reads it.
    rig.market.tell_waiting(rig.now).await.unwrap();
    let told = WaitReason::CheckFailed { why: ProofFault::Missing };
    let told = ToHost::Waiting { cards: vec![(GpuUuid("GPU-n".into()), told)] };
    assert!(silent.heard().contains(&told));
    // It is asked again when its time out is over, and no sooner.
    let until = rig.standing(&silent, "GPU-n").await.out_until();
    rig.pass(until.since_ms(rig.now) - 1).await;
    assert_eq!(silent.asked(), None);
    rig.pass(1).await;
    let asked = silent.asked().unwrap();
    rig.proves(&silent, &asked).await;
    assert!(rig.lendable().await.contains(&"silent".to_owned()));
}

#[tokio::test]
async fn peers_19_one_card_or_one_key_in_two_hosts_is_one_card() {
    let mut rig = Rig::new().await;
    let mut first = rig.host("first", "GPU-x").await;
    let mut second = rig.host("second", "GPU-x").await;
    assert_eq!(rig.lendable().await, [""; 0], "nobody has shown it yet");
    rig.pass(FIRST_MS).await;
    let asked = second.asked().unwrap();
    rig.proves(&second, &asked).await;
    assert_eq!(rig.lendable().await, ["second"]);
    // That the other can answer too changes nothing: it may be asking the first.
    let asked = first.asked().unwrap();
    rig.proves(&first, &asked).await;
    assert_eq!(rig.lendable().await, ["second"]);
    rig.market.tell_waiting(rig.now).await.unwrap();
    let told = WaitReason::CheckFailed { why: ProofFault::SameCard };
    assert!(first.heard().contains(&ToHost::Waiting { cards: vec![(asked.0, told)] }));
    // A card that has moved on to another PC is there.
    rig.offer(&second, &[]);
    assert_eq!(rig.lendable().await, ["first"]);

    // Two programs with one key are one host: the later session is its only one, and the earlier one's question is void.
    let mut copy = rig.connect(&first.id, &["GPU-y"]);
    assert!(first.seat.end.is_cancelled() && !copy.seat.end.is_cancelled());
    rig.pass(FIRST_MS).await;
    let asked = copy.asked().unwrap();
    rig.says(&first, &asked.0.0, CheckAnswer::Proof(answer(&asked.0, &asked.1)), true).await;
    assert_eq!(rig.standing(&copy, "GPU-y").await.passed_at, None, "it was another session's question");
    rig.proves(&copy, &asked).await;
    assert!(rig.standing(&copy, "GPU-y").await.passed_at.is_some());
}

#[tokio::test]
async fn who_cannot_now_or_goes_away_is_not_blamed_and_asked_again_soon() {
    let mut rig = Rig::new().await;
    let mut host = rig.host("host", "GPU-a").await;
    rig.pass(FIRST_MS).await;
    host.asked().unwrap();
    rig.says(&host, "GPU-a", CheckAnswer::NotNow, false).await;
    rig.pass(300_000).await;
    assert_eq!(host.asked(), None, "not at once");
    assert_eq!(rig.lendable().await, ["host"]);
    rig.pass(300_000).await;
    host.asked().unwrap();
    // The line breaks before it has answered.
    rig.market.registry.leave(&host.id, host.seat.id);
    rig.pass(ANSWER_WITHIN_MS).await;
    let mut host = rig.connect("host", &["GPU-a"]);
    assert_eq!(rig.standing(&host, "GPU-a").await.failed, None);
    // A late answer is one to no question.
    rig.says(&host, "GPU-a", CheckAnswer::Failed { cause: "old".into() }, false).await;
    rig.pass(600_000).await;
    let asked = host.asked().unwrap();
    rig.proves(&host, &asked).await;
    let standing = rig.standing(&host, "GPU-a").await;
    assert_eq!((standing.asked_at, standing.failed), (None, None));
    assert_eq!(standing.last.map(|last| (last.kind, last.passed)), Some((CheckKind::Waiting, true)));
    // Then it is left in peace for a while, however often it comes and goes.
    for _ in 0..30 {
        rig.offer(&host, &[]);
        rig.offer(&host, &["GPU-a"]);
        rig.pass(60_000).await;
    }
    assert_eq!(host.asked(), None);
    // Within weeks it is asked for sure, and then again.
    for _ in 0..2 {
        rig.pass(50 * 86_400_000).await;
        let asked = host.asked().unwrap();
        rig.proves(&host, &asked).await;
    }
}

#[tokio::test]
async fn a_job_takes_the_question_back() {
    let mut rig = Rig::new().await;
    let mut host = rig.host("host", "GPU-a").await;
    rig.pass(FIRST_MS).await;
    let asked = host.asked().unwrap();
    let terms = crate::market::sweep::tests::lease_in(nightjar_core::lease::LeaseState::Offered, "host");
    let terms = nightjar_core::lease::LeaseTerms { gpu: asked.0.clone(), ..terms.terms() };
    rig.market.registry.send("host", ToHost::Offer(terms));
    rig.pass(ANSWER_WITHIN_MS).await;
    assert_eq!(rig.standing(&host, "GPU-a").await.failed, None, "nobody waits for that answer");
    rig.says(&host, "GPU-a", CheckAnswer::Failed { cause: "it was ended".into() }, false).await;
    assert_eq!(rig.standing(&host, "GPU-a").await.failed, None);
}

#[test]
fn a_standing_from_before_this_was_kept_is_known_since_it_last_passed() {
    let old = r#"{"passed_at":5,"known":null,"failed":null}"#;
    let old: CardStanding = serde_json::from_str(old).unwrap();
    assert_eq!((old.known_since(), old.last, old.asked_at), (Some(Timestamp(5)), None, None));
}
