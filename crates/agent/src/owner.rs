//! The one task that owns the host's state. Every cause comes in through one `select!`, every effect goes out through one
//! `match`; nothing in here waits for a network, a disk or a window.

use std::net::IpAddr;
use std::sync::Arc;

use nightjar_core::gpu::GpuUuid;
use nightjar_core::host::{Effect, Host, Input, Notice, Report, UserCommand};
use nightjar_core::images::ImageSettings;
use nightjar_core::lease::LeaseId;
use nightjar_core::network::{NetworkSettings, Teller};
use nightjar_core::night::Account;
use nightjar_core::policy::{BlockReason, GatewayImage, OddContainer, Presence, Runtime};
use nightjar_core::settings::Settings;
use nightjar_core::time::Timestamp;
use nightjar_presence::{Attention, SleepGuard};
use nightjar_protocol::control::Refusal;
use nightjar_protocol::doctor::{Check, checks};
use nightjar_protocol::images::{PullNow, PullState};
use nightjar_protocol::local_time::LocalTime;
use nightjar_protocol::network::NetworkNow;
use nightjar_protocol::relay::RelayInfo;
use nightjar_protocol::text::Texts;
use nightjar_protocol::view::{Earnings, Surroundings, ViewModel, view_model};
use nightjar_worker::catalogue::GATEWAY;
use nightjar_worker::{LoadWish, Work, WorkerReport, Workers};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::clock::{self, Clock};
use crate::gate::Gate;
use crate::line_check::LineOrder;
use crate::power::PowerOrder;
use crate::pulls::PullOrder;
use crate::scribe::Writing;
use crate::sensors::{Sampling, Watched};

/// How long the system's time zone is taken for what it was.
const ZONE_INTERVAL_MS: u64 = 3_600_000;

/// What reaches the owner beside the workers' reports.
pub(crate) enum Message {
    Input(Input),
    Command(UserCommand, oneshot::Sender<Result<(), Refusal>>),
    /// `None`: the file cannot be read.
    Settings(oneshot::Sender<Option<Box<Settings>>>),
    /// Something that is no change of the host's.
    Notice(Notice),
    /// What the doctor says, of these containers among other things, or of why nobody could look for them.
    Checks(Result<Vec<OddContainer>, String>, oneshot::Sender<Vec<Check>>),
    /// The images that are here, the gateway's among them.
    Images(oneshot::Sender<Vec<String>>),
    /// Images on their way here.
    Pulls(Arc<Vec<PullNow>>),
    Relay(Option<RelayInfo>),
    /// Where the session with the market comes from, as that sees it.
    SeenFrom(IpAddr),
    Earned(Earnings),
    /// What is shaped and carried at this moment.
    Network(Arc<NetworkNow>),
    /// Where the time since local midnight went.
    Today(Account),
    /// Answered once it is shown.
    Enrolled {
        coordinator: String,
        shown: oneshot::Sender<()>,
    },
    WindowOpen(bool),
    /// The owner was shown last week's sum, which would have been old then.
    WeekTold(Timestamp),
    /// End all jobs; the answer comes when the last one is over.
    Close(oneshot::Sender<()>),
}

/// What the tunnel is told.
pub(crate) enum LinkOrder {
    Relay(Option<RelayInfo>),
    CloseLease(LeaseId),
}

/// All ways out of the owner.
pub(crate) struct Hands {
    pub workers: Workers,
    pub gate: Gate,
    pub link: mpsc::UnboundedSender<LinkOrder>,
    pub scribe: mpsc::UnboundedSender<Writing>,
    pub reports: mpsc::UnboundedSender<Report>,
    pub notices: broadcast::Sender<Notice>,
    /// Whether somebody is there.
    pub presence: watch::Sender<Presence>,
    pub sampling: watch::Sender<Sampling>,
    /// What the sensors of signs are to look for.
    pub watched: watch::Sender<Watched>,
    /// What makes the PC wait with its sleep until no job runs.
    pub sleep: SleepGuard,
    /// How closely the sensors of signs look.
    pub attention: Attention,
    pub metrics_port: watch::Sender<Option<u16>>,
    pub network: watch::Sender<NetworkSettings>,
    pub images: watch::Sender<ImageSettings>,
    /// Why nothing is fetched from a registry now.
    pub pull_hold: watch::Sender<Option<BlockReason>>,
    pub pulls: mpsc::UnboundedSender<PullOrder>,
    pub coordinator: watch::Sender<Option<String>>,
    pub line: mpsc::UnboundedSender<LineOrder>,
    pub power: mpsc::UnboundedSender<PowerOrder>,
    /// Back to the owner itself. Weak: the owner ends when nobody else can reach it.
    pub own: mpsc::WeakUnboundedSender<Message>,
}

pub(crate) struct Owner {
    pub host: Host,
    pub clock: Clock,
    pub hands: Hands,
    pub around: Surroundings,
    pub view: watch::Sender<Arc<ViewModel>>,
    /// How many are open.
    pub windows: usize,
    /// When the system's time zone is looked at again.
    pub zone_again_at: Timestamp,
    pub closing: Option<oneshot::Sender<()>>,
}

impl Owner {
    /// Runs until every sender of messages is gone or the last job has ended after `Close`.
    pub(crate) async fn run(
        mut self,
        mut presence: mpsc::UnboundedReceiver<Input>,
        mut messages: mpsc::UnboundedReceiver<Message>,
        mut reports: mpsc::UnboundedReceiver<WorkerReport>,
    ) {
        let mut presence_lives = true;
        loop {
            if !self.host.has_jobs()
                && let Some(done) = self.closing.take()
            {
                let _ = done.send(());
                return;
            }
            let deadline = self.host.next_deadline();
            let wait = deadline.map(|(at, _)| self.clock.until(at));
            tokio::select! {
                // The owner's hand on the mouse comes before everything else.
                biased;
                input = presence.recv(), if presence_lives => match input {
                    Some(input) => self.take(input),
                    None => presence_lives = false,
                },
                Some(report) = reports.recv() => {
                    let WorkerReport { lease, epoch, event } = report;
                    self.take(Input::Worker { lease, epoch, event });
                }
                message = messages.recv() => match message {
                    Some(message) => self.message(message),
                    None => return,
                },
                () = tokio::time::sleep(wait.unwrap_or_default()), if wait.is_some() => self.take(Input::Deadline),
            }
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::Input(input) => return self.take(input),
            Message::Command(command, answer) => {
                let checked = self.host.check_command(&command).map_err(Refusal::Command);
                if checked.is_ok() {
                    self.take(Input::User(command));
                }
                let _ = answer.send(checked);
                return;
            }
            Message::Settings(answer) => {
                let readable = self.host.snapshot().settings_trouble.is_none();
                let _ = answer.send(readable.then(|| Box::new(self.host.settings().clone())));
                return;
            }
            Message::Notice(notice) => return self.perform(Effect::Notify(notice)),
            Message::Checks(odd, answer) => return drop(answer.send(self.checks(&odd))),
            Message::Images(answer) => {
                let present = match &self.host.snapshot().runtime {
                    Runtime::Ready { images, engine, .. } => {
                        let gateway = (engine.gateway == GatewayImage::Present).then(|| GATEWAY.to_owned());
                        images.iter().cloned().chain(gateway).collect()
                    }
                    _ => Vec::new(),
                };
                return drop(answer.send(present));
            }
            Message::Relay(relay) => {
                let _ = self.hands.link.send(LinkOrder::Relay(relay));
                return;
            }
            Message::SeenFrom(address) => {
                return self.hands.workers.hear_own_address(Teller::Market, address);
            }
            Message::Earned(earnings) => self.around.earnings = earnings,
            Message::Pulls(pulls) => {
                let had = image_comes(&self.around.pulls);
                self.around.pulls.clone_from(&pulls);
                let is_coming = image_comes(&pulls);
                if is_coming != had {
                    return self.take(Input::ImageComing { is_coming });
                }
            }
            Message::Network(now) => self.around.network = (*now).clone(),
            Message::Today(account) => self.around.today = Some(account),
            Message::Enrolled { coordinator, shown } => {
                self.around.identity.coordinator = Some(coordinator.clone());
                let _ = self.hands.coordinator.send(Some(coordinator));
                self.show();
                let _ = shown.send(());
                return;
            }
            Message::WindowOpen(open) => {
                self.windows =
                    if open { self.windows.saturating_add(1) } else { self.windows.saturating_sub(1) };
                self.adapt_sampling();
            }
            Message::WeekTold(old_at) => return drop(self.hands.scribe.send(Writing::WeekTold { old_at })),
            Message::Close(done) => {
                self.closing = Some(done);
                return self.take(Input::Closing);
            }
        }
        self.show();
    }

    fn checks(&self, odd: &Result<Vec<OddContainer>, String>) -> Vec<Check> {
        let view = self.host.view(self.clock.now());
        let language = view.settings.language.unwrap_or(self.around.system_language);
        let clock = |at| self.around.local_time.moment(at, view.at, Texts::of(language));
        checks(self.host.snapshot(), odd, &view.helper, &view.settings, language, &clock)
    }

    fn take(&mut self, input: Input) {
        let now = self.clock.now();
        self.follow_zone(now);
        let chosen = matches!(input, Input::User(_));
        let is_of_the_engine = matches!(input, Input::Runtime(_));
        for effect in self.host.handle(input, now) {
            self.perform(effect);
        }
        let there = &self.host.snapshot().presence;
        self.hands.presence.send_if_modified(|known| {
            let differs = known != there;
            known.clone_from(there);
            differs
        });
        if chosen {
            self.adapt_watched();
            let network = self.host.settings().network;
            self.hands.network.send_if_modified(|known| std::mem::replace(known, network) != network);
            let images = &self.host.settings().images;
            self.hands.images.send_if_modified(|known| {
                let differs = known != images;
                known.clone_from(images);
                differs
            });
        }
        let hold = self.host.pull_hold(now);
        self.hands.pull_hold.send_if_modified(|known| {
            let differs = *known != hold;
            *known = hold;
            differs
        });
        if is_of_the_engine {
            let _ = self.hands.pulls.send(PullOrder::Look);
        }
        if !self.host.has_jobs() {
            // Heeded only when the PC is about to sleep.
            self.hands.sleep.release();
        }
        self.adapt_sampling();
        self.show();
    }

    fn perform(&self, effect: Effect) {
        let hands = &self.hands;
        // A receiver that is gone means that the program is ending; there is nobody left to tell.
        match effect {
            Effect::Freeze { lease, parting } => hands.workers.freeze(&lease, parting),
            Effect::Stop { lease, how, parting } => hands.workers.stop(&lease, how, parting),
            Effect::Thaw { lease } => hands.workers.thaw(&lease),
            Effect::Warn { lease, parting } => hands.workers.tell(&lease, Some(parting)),
            Effect::Unwarn { lease } => hands.workers.tell(&lease, None),
            Effect::Restrain { lease, gpu: _, sharing } => {
                hands.workers.restrain(&lease, self.host.settings().limits.cpu_cores, sharing);
            }
            Effect::SetPowerLimit { gpu, watts } => drop(hands.power.send(PowerOrder::Set { gpu, watts })),
            Effect::RestorePowerLimit { gpu } => drop(hands.power.send(PowerOrder::Restore { gpu })),
            Effect::StartLoad { gpu, kind, image } => self.start_load(gpu, Work::Steady(kind), image),
            Effect::StartCheck { gpu, nonce, image } => self.start_load(gpu, Work::Check(nonce), image),
            Effect::CheckLine { ticket } => drop(hands.line.send(LineOrder::Check { ticket })),
            Effect::StopLineCheck => drop(hands.line.send(LineOrder::Stop)),
            Effect::StopLoad { gpu } => hands.workers.stop_load(&gpu),
            Effect::Prepare { terms, sandbox } => {
                let used = PullOrder::Used { name: terms.image.clone(), at: self.clock.now() };
                let _ = hands.pulls.send(used);
                hands.workers.prepare(terms, sandbox, self.host.settings());
            }
            Effect::Adopt { terms } => hands.workers.adopt(terms),
            Effect::OpenGate { lease, renter_key } => hands.gate.open(&lease, &renter_key),
            Effect::CloseGate { lease } => {
                hands.gate.close(&lease);
                let _ = hands.link.send(LinkOrder::CloseLease(lease));
            }
            Effect::Sweep { keep } => {
                let workers = hands.workers.clone();
                tokio::spawn(async move { workers.sweep(&keep).await });
            }
            Effect::Journal(entry) => drop(hands.scribe.send(Writing::Entry(Box::new(entry)))),
            Effect::Tell(report) => drop(hands.reports.send(report)),
            Effect::Notify(notice) => drop(hands.notices.send(notice)),
            Effect::SaveSettings(settings) => {
                let port = settings.metrics_port;
                hands.metrics_port.send_if_modified(|known| std::mem::replace(known, port) != port);
                drop(hands.scribe.send(Writing::Settings(settings)));
            }
        }
    }

    fn start_load(&self, gpu: GpuUuid, work: Work, image: String) {
        let wish = LoadWish { card: gpu.clone(), work, image };
        let own = self.hands.own.clone();
        self.hands.workers.start_load(wish, move |event| {
            if let Some(own) = own.upgrade() {
                let _ = own.send(Message::Input(Input::Load { gpu: gpu.clone(), event }));
            }
        });
    }

    /// A laptop travels. The clock counts on through sleep, so the first input after it looks too.
    fn follow_zone(&mut self, now: Timestamp) {
        if now >= self.zone_again_at {
            self.zone_again_at = now.plus_ms(ZONE_INTERVAL_MS);
            self.host.set_zone(clock::zone());
        }
    }

    /// A card is asked each second only while somebody looks or a job runs on it.
    fn adapt_sampling(&self) {
        let wanted = if self.host.awaits_memory() {
            Sampling::Urgent
        } else if self.windows > 0 || self.host.has_jobs() || self.host.is_in_doubt() {
            Sampling::Close
        } else {
            Sampling::Seldom
        };
        self.hands.sampling.send_if_modified(|current| std::mem::replace(current, wanted) != wanted);
        self.hands.attention.set(self.host.has_jobs());
    }

    fn adapt_watched(&self) {
        let wanted = Watched::of(self.host.settings());
        self.hands.watched.send_if_modified(|current| {
            let differs = *current != wanted;
            *current = wanted;
            differs
        });
    }

    fn show(&mut self) {
        let now = self.clock.now();
        self.around.local_time = LocalTime { zone: clock::zone() };
        let mut fresh = view_model(&self.host.view(now), &self.around);
        // Whoever looks would be cut off: a page in a browser for good, since its link was used.
        fresh.restart_due &= self.windows == 0;
        self.view.send_if_modified(|shown| {
            let same = ViewModel { at: shown.at, ..fresh.clone() } == **shown;
            if !same {
                *shown = Arc::new(fresh);
            }
            !same
        });
    }
}

/// Whether one of them is for renters, and nothing but a hold is in its way.
fn image_comes(pulls: &[PullNow]) -> bool {
    pulls.iter().any(|pull| pull.name != GATEWAY && !matches!(pull.state, PullState::Failed { .. }))
}
