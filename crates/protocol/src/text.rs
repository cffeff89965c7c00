//! Every sentence that people read, in both languages, from `locales/*.ftl` (Fluent). The window reads the same files.

mod amount;
mod demand;
mod renter;

use std::sync::OnceLock;

use fluent_bundle::concurrent::FluentBundle;
use fluent_bundle::{FluentArgs, FluentResource};
use nightjar_core::gpu::GpuTrouble;
use nightjar_core::lease::{EndReason, LeaseState};
use nightjar_core::parting::{Cause, Step};
use nightjar_core::policy::{BlockReason, EngineTrouble, KernelHome, KernelPart, UnsafeVersion};
use nightjar_core::proof::ProofFault;
use nightjar_core::settings::Language;
use nightjar_core::signal::{SignalKind, Standing};
use nightjar_core::sweep::WorkKind;
use nightjar_core::thermal::Doubt;
use nightjar_core::time::Timestamp;
use nightjar_core::volume::VolumeTrouble;

use crate::invitation::InvitationError;
use crate::network::traffic_gb;

/// Source of the English messages.
pub const ENGLISH: &str = include_str!("../locales/en.ftl");
/// Source of the Simplified Chinese messages.
pub const SIMPLIFIED_CHINESE: &str = include_str!("../locales/zh-CN.ftl");

/// The messages of one language.
pub struct Texts {
    language: Language,
    bundle: FluentBundle<FluentResource>,
}

impl Texts {
    /// Parsed once a process.
    #[must_use]
    pub fn of(language: Language) -> &'static Self {
        static EN: OnceLock<Texts> = OnceLock::new();
        static ZH: OnceLock<Texts> = OnceLock::new();
        match language {
            Language::English => EN.get_or_init(|| Self::parse(language, "en", ENGLISH)),
            Language::SimplifiedChinese => {
                ZH.get_or_init(|| Self::parse(language, "zh-CN", SIMPLIFIED_CHINESE))
            }
        }
    }

    fn parse(language: Language, tag: &str, source: &str) -> Self {
        let mut bundle = FluentBundle::new_concurrent(vec![tag.parse().unwrap_or_default()]);
        // The marks around each value are for mixed writing directions, which neither language has; menus of the
        // desktop would show them as boxes.
        bundle.set_use_isolating(false);
        // Messages that are wrong are left out, and a test over both files fails then.
        let resource = FluentResource::try_new(source.to_owned()).unwrap_or_else(|(resource, _)| resource);
        let _ = bundle.add_resource(resource);
        Self { language, bundle }
    }

    /// A message without values. A key that is not there shows as itself, which a test rules out.
    #[must_use]
    pub fn plain(&self, key: &str) -> String {
        self.with(key, &[])
    }

    /// A message with values in their places.
    #[must_use]
    pub fn with(&self, key: &str, values: &[(&str, String)]) -> String {
        let Some(pattern) = self.bundle.get_message(key).and_then(|message| message.value()) else {
            return key.to_owned();
        };
        let mut args = FluentArgs::new();
        for (name, value) in values {
            // Numbers go in as numbers, so that plural rules apply.
            match value.parse::<i64>() {
                Ok(number) => args.set(*name, number),
                Err(_) => args.set(*name, value.clone()),
            }
        }
        self.bundle.format_pattern(pattern, Some(&args), &mut Vec::new()).into_owned()
    }

    /// Several, as one writes them after each other.
    #[must_use]
    pub fn list(&self, names: &[impl AsRef<str>]) -> String {
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        names.join(&self.plain("list-comma"))
    }

    /// Why a link that was opened is none to a market.
    #[must_use]
    pub fn link_fault(&self, error: InvitationError) -> String {
        use InvitationError as E;
        let named = |key: &str, name: &str| self.with(key, &[("name", name.to_owned())]);
        let why = match error {
            E::Long => self.plain("link-long"),
            E::Form => self.plain("link-form"),
            E::Missing(name) => named("link-missing", name),
            E::Twice(name) => named("link-twice", name),
            E::Address => self.plain("link-address"),
            E::Unsafe => self.plain("link-unsafe"),
            E::Credentials => self.plain("link-credentials"),
            E::Code => self.plain("link-code"),
        };
        self.with("link-refused", &[("why", why)])
    }

    /// Why a card does not earn, as a sentence that says what to do where something can be done.
    #[must_use]
    pub fn reason(&self, reason: &BlockReason, clock: &dyn Fn(Timestamp) -> String) -> String {
        use BlockReason as R;
        let name = |key: &str, name: &str| self.with(key, &[("name", name.to_owned())]);
        match reason {
            R::TurnedOff => self.plain("reason-turned-off"),
            R::Snoozed { until } => self.with("reason-snoozed", &[("time", clock(*until))]),
            R::AfterLastJob { until } => self.with("reason-last-job", &[("time", clock(*until))]),
            R::SettingsUnreadable { detail } => {
                self.with("reason-settings-unreadable", &[("detail", detail.clone())])
            }
            R::OutsideSchedule { opens_at: Some(at) } => {
                self.with("reason-outside-schedule", &[("time", clock(*at))])
            }
            R::OutsideSchedule { opens_at: None } => self.plain("reason-outside-schedule-closed"),
            R::UserHere { idle_ms, needed_ms } => {
                let seconds = |ms: u64| (ms / 1_000).to_string();
                if *needed_ms >= 120_000 {
                    let minutes = |ms: u64| (ms / 60_000).to_string();
                    let values = [("idle", minutes(*idle_ms)), ("needed", minutes(*needed_ms))];
                    self.with("reason-user-here", &values)
                } else {
                    let values = [("idle", seconds(*idle_ms)), ("needed", seconds(*needed_ms))];
                    self.with("reason-user-here-seconds", &values)
                }
            }
            R::PresenceUnknown { detail } => {
                self.with("reason-presence-unknown", &[("detail", detail.clone())])
            }
            R::GameRunning { name: game } => name("reason-game", game),
            R::FullScreen { name: app } => name("reason-full-screen", app),
            R::IdleInhibited { by } => name("reason-inhibited", by),
            R::RemoteSession { name: session } => name("reason-remote", session),
            R::OtherAccount { name: account } => name("reason-other-account", account),
            R::ControllerInUse { name: controller } => name("reason-controller", controller),
            R::GpuBusy { process } => name("reason-gpu-busy", process),
            R::CpuBusy { percent } => self.with("reason-cpu-busy", &[("percent", percent.to_string())]),
            R::OnBattery => self.plain("reason-battery"),
            R::MeteredNetwork => self.plain("reason-metered"),
            R::SandboxUnwanted => self.plain("reason-sandbox-unwanted"),
            R::TooHot { celsius, ceiling_celsius } => {
                let values = [("celsius", celsius.to_string()), ("ceiling", ceiling_celsius.to_string())];
                self.with("reason-too-hot", &values)
            }
            _ => self.trouble(reason, clock),
        }
    }

    fn trouble(&self, reason: &BlockReason, clock: &dyn Fn(Timestamp) -> String) -> String {
        use BlockReason as R;
        match reason {
            R::CoolingDown { celsius, resume_celsius } => {
                let values = [("celsius", celsius.to_string()), ("resume", resume_celsius.to_string())];
                self.with("reason-cooling-down", &values)
            }
            R::TemperatureUnknown { doubt } => self.plain(match doubt {
                Doubt::Silent => "reason-thermometer-silent",
                Doubt::Stuck => "reason-thermometer-stuck",
                Doubt::Impossible => "reason-thermometer-impossible",
            }),
            R::TooHotForGood { trips, until } => self
                .with("reason-too-hot-for-good", &[("trips", trips.to_string()), ("until", clock(*until))]),
            R::DiskLow { free_mib, needed_mib, folder } => {
                let gib = |mib: u64| format!("{:.1}", mib as f64 / 1_024.0);
                let (free, needed) = (("free", gib(*free_mib)), ("needed", gib(*needed_mib)));
                match folder.as_str() {
                    "" => self.with("reason-disk-low", &[free, needed]),
                    folder => self.with("reason-disk-low-at", &[free, needed, ("folder", folder.to_owned())]),
                }
            }
            R::FilesLow { free, needed, folder } => {
                let values =
                    [("free", free.to_string()), ("needed", needed.to_string()), ("folder", folder.clone())];
                self.with("reason-files-low", &values)
            }
            R::DataCapReached { cap_mib, stops, .. } => {
                let key = if *stops { "reason-data-cap-stops" } else { "reason-data-cap" };
                self.with(key, &[("cap", traffic_gb(*cap_mib))])
            }
            R::NoDocker { detail, why } => self.no_docker(detail, why.as_ref()),
            R::GatewayComing => self.plain("reason-gateway-coming"),
            R::GatewayFailed { why, again_at } => {
                let values = [("why", self.image_trouble(why)), ("time", clock(*again_at))];
                self.with("reason-gateway-failed", &values)
            }
            R::NoGateway { reference } => self.with("reason-no-gateway", &[("reference", reference.clone())]),
            R::KernelAsked => self.plain("reason-kernel-asked"),
            R::KernelLacks { parts, home } => self.kernel_lacks(parts, *home),
            R::UnsafeVersion { version } => self.unsafe_version(version),
            R::DriverTooOld { found, needed } => {
                self.with("reason-driver-old", &[("found", found.clone()), ("needed", needed.to_string())])
            }
            R::NoGpu { trouble } => self.gpu_trouble(trouble),
            R::CoordinatorUnreachable { since, detail } => {
                let values = [("time", clock(*since)), ("detail", detail.clone())];
                self.with("reason-coordinator", &values)
            }
            R::NotEnrolled => self.plain("reason-not-enrolled"),
            R::NotVerified => self.plain("reason-not-verified"),
            R::OtherCurrency { market, own } => {
                let values = [("market", market.to_string()), ("own", own.to_string())];
                self.with("reason-other-currency", &values)
            }
            R::BelowMinimumPrice { minimum } => {
                self.with("reason-price", &[("minimum", self.money(*minimum))])
            }
            R::UpdateWaiting => self.plain("reason-update"),
            R::Suspending => self.plain("reason-suspending"),
            R::CardNotLent => self.plain("reason-card-not-lent"),
            R::ImageNotLent => self.plain("reason-image-not-lent"),
            R::NoImage => self.plain("reason-no-image"),
            R::ImageComing => self.plain("reason-image-coming"),
            R::NoImageLent => self.plain("reason-no-image-lent"),
            R::VramScarce { free_mib, needed_mib } => {
                let values = [("free", free_mib.to_string()), ("needed", needed_mib.to_string())];
                self.with("reason-vram-scarce", &values)
            }
            // `reason` has said the others.
            _ => self.plain("state-yours"),
        }
    }

    fn unsafe_version(&self, version: &UnsafeVersion) -> String {
        let values = [
            ("component", version.component.clone()),
            ("found", format!("v{}", version.found)),
            ("floor", format!("v{}", version.floor)),
            ("advisory", version.advisory.clone()),
        ];
        self.with("reason-unsafe-version", &values)
    }

    fn no_docker(&self, detail: &str, why: Option<&EngineTrouble>) -> String {
        match why {
            Some(why) => self.engine_trouble(why),
            None if detail.is_empty() => self.plain("reason-docker-looked-for"),
            None => self.with("reason-no-docker", &[("detail", detail.to_owned())]),
        }
    }

    /// Why Docker does not do what it is asked to, and what mends it.
    #[must_use]
    pub fn engine_trouble(&self, trouble: &EngineTrouble) -> String {
        use EngineTrouble as T;
        match trouble {
            T::Silent { address, detail } => {
                let values = [("address", address.clone()), ("detail", detail.clone())];
                self.with("engine-silent", &values)
            }
            T::NotAllowed { address } => self.with("engine-not-allowed", &[("address", address.clone())]),
            T::Slow { within_ms } => {
                let seconds = format!("{:.1}", *within_ms as f64 / 1_000.0);
                self.with("engine-slow", &[("seconds", seconds)])
            }
            T::DiskFull { detail } => self.with("engine-disk-full", &[("detail", detail.clone())]),
            T::Refused { detail } => self.with("engine-refused", &[("detail", detail.clone())]),
        }
    }

    /// What the kernel lacks, what that means, and where another comes from.
    fn kernel_lacks(&self, parts: &[KernelPart], home: KernelHome) -> String {
        let key = match home {
            KernelHome::Linux => "reason-kernel-lacks-linux",
            KernelHome::Wsl => "reason-kernel-lacks-wsl",
            KernelHome::DockerDesktop => "reason-kernel-lacks-desktop",
        };
        let listed = |name: fn(KernelPart) -> &'static str| {
            let names: Vec<&str> = parts.iter().map(|part| name(*part)).collect();
            self.list(&names)
        };
        let values = [
            ("modules", listed(KernelPart::module)),
            ("options", listed(KernelPart::option)),
            ("command", modprobe(parts)),
        ];
        self.with(key, &values)
    }

    /// Why volumes cannot be told of, or one is not wiped.
    #[must_use]
    pub fn volume_trouble(&self, trouble: &VolumeTrouble) -> String {
        use VolumeTrouble as T;
        let of = |key: &str, name: &str, value: &str| self.with(key, &[(name, value.to_owned())]);
        match trouble {
            T::Unknown { name } => of("volume-trouble-unknown", "name", name),
            T::InUse { name } => of("volume-trouble-in-use", "name", name),
            T::Engine { why } => of("volume-trouble-engine", "detail", &self.engine_trouble(why)),
            T::Journal { detail } => of("volume-trouble-journal", "detail", detail),
        }
    }

    /// What a sensor watches.
    #[must_use]
    pub fn signal(&self, kind: SignalKind) -> String {
        self.plain(match kind {
            SignalKind::Game => "signal-game",
            SignalKind::FullScreen => "signal-full-screen",
            SignalKind::IdleInhibitor => "signal-inhibitor",
            SignalKind::RemoteSession => "signal-remote",
            SignalKind::OtherAccount => "signal-other-account",
            SignalKind::Controller => "signal-controller",
            SignalKind::ForeignCpu => "signal-cpu",
            SignalKind::OnBattery => "signal-battery",
            SignalKind::MeteredNetwork => "signal-metered",
            SignalKind::ScreenLocked => "signal-locked",
            SignalKind::Suspending => "signal-suspending",
        })
    }

    /// What a sensor says.
    #[must_use]
    pub fn standing(&self, standing: &Standing) -> String {
        match standing {
            Standing::Quiet => self.plain("standing-quiet"),
            Standing::Seen { name } if name.is_empty() => self.plain("standing-seen"),
            Standing::Seen { name } => self.with("standing-seen-name", &[("name", name.clone())]),
            Standing::Unavailable { detail } => {
                self.with("standing-unavailable", &[("detail", detail.clone())])
            }
        }
    }

    fn gpu_trouble(&self, trouble: &GpuTrouble) -> String {
        match trouble {
            GpuTrouble::LibraryMissing => self.plain("gpu-library-missing"),
            GpuTrouble::DriverNotLoaded => self.plain("gpu-driver-not-loaded"),
            GpuTrouble::VersionMismatch => self.plain("gpu-version-mismatch"),
            GpuTrouble::NoCard => self.plain("gpu-no-card"),
            GpuTrouble::Lost => self.plain("gpu-lost"),
            GpuTrouble::Other { detail } => self.with("gpu-other", &[("detail", detail.clone())]),
        }
    }

    /// What an image is. `title` is the catalogue's own, in English: shown where the messages know no such image, or
    /// another one of that name.
    #[must_use]
    pub fn image_title(&self, name: &str, title: &str) -> String {
        let key: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
            .collect();
        let key = format!("image-{key}");
        let is_meant = Self::of(Language::English).plain(&key) == title;
        if is_meant { self.plain(&key) } else { title.to_owned() }
    }

    #[must_use]
    pub fn work_kind(&self, kind: WorkKind) -> String {
        self.plain(match kind {
            WorkKind::Compute => "work-compute",
            WorkKind::Memory => "work-memory",
        })
    }

    #[must_use]
    pub fn lease_state(&self, state: &LeaseState) -> String {
        match state {
            LeaseState::Offered | LeaseState::Accepted | LeaseState::Preparing => {
                self.plain("lease-preparing")
            }
            LeaseState::Ready => self.plain("lease-ready"),
            LeaseState::Running => self.plain("lease-running"),
            LeaseState::Yielded => self.plain("lease-yielded"),
            LeaseState::Ending { reason } => {
                self.with("lease-ending", &[("reason", self.end_reason(reason))])
            }
            LeaseState::Ended { reason } => self.with("lease-ended", &[("reason", self.end_reason(reason))]),
        }
    }

    /// Why a card is taken back, for whoever rents it: the class, and nothing of the owner.
    #[must_use]
    pub fn cause(&self, cause: Cause) -> String {
        self.plain(match cause {
            Cause::OwnerBack => "cause-owner-back",
            Cause::Game => "cause-game",
            Cause::ScheduleClosed => "cause-schedule-closed",
            Cause::TooHot => "cause-too-hot",
            Cause::OwnerStopped => "cause-owner-stopped",
            Cause::HostClosing => "cause-host-closing",
            Cause::RenterStopped => "cause-renter-stopped",
            Cause::BalanceExhausted => "cause-balance",
            Cause::VramReserve => "cause-vram-reserve",
            Cause::DiskLimit => "cause-disk-limit",
            Cause::Mining => "cause-mining",
            Cause::Trouble => "cause-trouble",
        })
    }

    /// What the tenant itself reads before it is frozen or ended.
    #[must_use]
    pub fn parting(&self, step: Step, cause: Cause) -> String {
        let cause = self.cause(cause);
        match step {
            Step::Freeze => self.with("parting-freeze", &[("cause", cause)]),
            Step::End => self.with("parting-end", &[("cause", cause)]),
        }
    }

    /// Why a market does not take what was measured of a card; no sentence of its own.
    #[must_use]
    pub fn proof_fault(&self, why: ProofFault) -> String {
        use ProofFault as F;
        let slower = |key: &str, found: u64, before: u64| {
            self.with(key, &[("found", found.to_string()), ("before", before.to_string())])
        };
        let memory = |key: &str, found: u64, offered: u64| {
            self.with(key, &[("found", found.to_string()), ("offered", offered.to_string())])
        };
        match why {
            F::Missing => self.plain("proof-missing"),
            F::Unsigned => self.plain("proof-unsigned"),
            F::OtherQuestion => self.plain("proof-other-question"),
            F::Late => self.plain("proof-late"),
            F::OtherCard => self.plain("proof-other-card"),
            F::OtherModel => self.plain("proof-other-model"),
            F::OtherMemory { found_mib, offered_mib } => memory("proof-other-memory", found_mib, offered_mib),
            F::Answer => self.plain("proof-answer"),
            F::Vram { checked_mib, offered_mib } => memory("proof-vram", checked_mib, offered_mib),
            F::Slower { found, before } => slower("proof-slower", found, before),
            F::SlowerMemory { found, before } => slower("proof-slower-memory", found, before),
            F::OwnCheck => self.plain("proof-own-check"),
            F::SameCard => self.plain("proof-same-card"),
        }
    }

    #[must_use]
    pub fn end_reason(&self, reason: &EndReason) -> String {
        let cause = |key: &str, cause: &str| self.with(key, &[("cause", cause.to_owned())]);
        match reason {
            EndReason::Declined => self.plain("end-declined"),
            EndReason::OfferExpired => self.plain("end-offer-expired"),
            EndReason::RenterStopped => self.plain("end-renter-stopped"),
            EndReason::OwnerStopped => self.plain("end-owner-stopped"),
            EndReason::OwnerReturned => self.plain("end-owner-returned"),
            EndReason::FrozenTooLong => self.plain("end-frozen-too-long"),
            EndReason::BalanceExhausted => self.plain("end-balance"),
            EndReason::SelfCheckFailed { cause: text } => cause("end-self-check", text),
            EndReason::PreparationFailed { cause: text } => cause("end-preparation", text),
            EndReason::ProofRefused { why } => {
                self.with("end-proof-refused", &[("why", self.proof_fault(*why))])
            }
            EndReason::WorkerDied { cause: text } => cause("end-worker-died", text),
            EndReason::HostRestarted => self.plain("end-host-restarted"),
            EndReason::HostLost => self.plain("end-host-lost"),
            EndReason::Superseded => self.plain("end-superseded"),
        }
    }
}

/// What loads these parts of the kernel, for a terminal.
pub(crate) fn modprobe(parts: &[KernelPart]) -> String {
    let modules: Vec<&str> = parts.iter().map(|part| part.module()).collect();
    format!("sudo modprobe -a {}", modules.join(" "))
}

#[cfg(test)]
mod tests;
