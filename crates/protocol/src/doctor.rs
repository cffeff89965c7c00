//! What the doctor says of this PC: each thing that lending needs, whether it is there, and how to mend it.

mod gvisor;
mod kept;
mod names;

use nightjar_core::policy::{
    BlockReason, GatewayImage, ImagesLent, KernelFacts, KernelHome, KernelPart, MIN_DRIVER_MAJOR, Market,
    OddContainer, Presence, Runtime, Snapshot, Toolkit,
};
use nightjar_core::power::HelperStanding;
use nightjar_core::settings::{Language, Settings};
use nightjar_core::signal::Standing;
use nightjar_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use ts_rs::TS;

pub use kept::kept_check;

use crate::text::{Texts, modprobe};
use crate::view::power_note;

/// How one thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum CheckStanding {
    Good,
    /// Nothing is lent until it is mended.
    Bad,
    /// Lending goes on, but it is not as it should be.
    Warning,
    /// Lending works without it.
    Optional,
    /// It was not looked at yet.
    Unknown,
}

impl CheckStanding {
    /// For a terminal and a report, where each is told from the others without colour.
    #[must_use]
    pub const fn mark(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Bad => "BAD",
            Self::Warning => "WARN",
            Self::Optional => "--",
            Self::Unknown => "??",
        }
    }

    #[must_use]
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Good)
    }

    /// It was looked at, and nothing needs to be done.
    #[must_use]
    pub const fn is_well(self) -> bool {
        matches!(self, Self::Good | Self::Optional)
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Check {
    /// Short and stable, e.g. `driver`.
    pub id: String,
    pub standing: CheckStanding,
    pub title: String,
    pub sentence: String,
    /// The command that mends it, for a terminal.
    pub command: Option<String>,
    /// What mends it by itself, where this PC lets an owner do that.
    pub repair: Option<Repair>,
    /// What the owner may accept knowingly instead, as the settings name it.
    pub accepts: Option<String>,
}

/// All that was looked at, and what it comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Findings {
    pub checks: Vec<Check>,
    pub lending: Lending,
}

/// Whether this PC can lend its card. Which market it belongs to is no part of that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Lending {
    /// Never [`CheckStanding::Optional`].
    pub standing: CheckStanding,
    pub sentence: String,
}

impl Lending {
    /// What was not looked at yet comes before what only should be mended: nobody can say yes without it.
    #[must_use]
    pub fn of(checks: &[Check], language: Language) -> Self {
        let texts = Texts::of(language);
        let of = |standing| -> Vec<&str> {
            let found = checks.iter().filter(|check| check.standing == standing && check.id != "market");
            let mut titles: Vec<&str> = Vec::new();
            for check in found {
                if !titles.contains(&check.title.as_str()) {
                    titles.push(&check.title);
                }
            }
            titles
        };
        let worst = [
            (CheckStanding::Bad, "lending-bad"),
            (CheckStanding::Unknown, "lending-unknown"),
            (CheckStanding::Warning, "lending-warning"),
        ];
        for (standing, key) in worst {
            let titles = of(standing);
            if !titles.is_empty() {
                return Self { standing, sentence: texts.with(key, &[("list", texts.list(&titles))]) };
            }
        }
        Self { standing: CheckStanding::Good, sentence: texts.plain("lending-good") }
    }
}

/// What the doctor can mend by itself. A page names one of these and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// Install and start the Engine, and let the owner use it.
    Docker,
    /// Install what hands a card to a container.
    Toolkit,
    /// Bring the Engine and what belongs to it up to date.
    Versions,
    /// Start the helper.
    HelperSocket,
    /// Let the owner use the helper.
    HelperGroup,
}

impl Repair {
    pub const ALL: [Self; 5] =
        [Self::Docker, Self::Toolkit, Self::Versions, Self::HelperSocket, Self::HelperGroup];

    /// What the programme that mends is told.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Toolkit => "toolkit",
            Self::Versions => "versions",
            Self::HelperSocket => "helper-socket",
            Self::HelperGroup => "helper-group",
        }
    }
}

/// What became of a repair. What the programme said is in English.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum RepairOutcome {
    Done {
        output: String,
    },
    Failed {
        output: String,
    },
    /// The owner gave no password.
    Declined,
    /// Nobody could be asked for it here.
    Unavailable {
        detail: String,
    },
}

/// All of it, in the order in which a PC is set up. `odd` are containers that are not as ours are, or why nobody could look.
#[must_use]
pub fn checks(
    snapshot: &Snapshot,
    odd: &Result<Vec<OddContainer>, String>,
    helper: &HelperStanding,
    settings: &Settings,
    language: Language,
    clock: &dyn Fn(Timestamp) -> String,
) -> Vec<Check> {
    let texts = Texts::of(language);
    let doctor = Doctor { texts, clock };
    let mut checks = vec![doctor.driver(snapshot), doctor.engine(&snapshot.runtime)];
    checks.extend(doctor.toolkit(&snapshot.runtime));
    checks.extend(doctor.sleep(snapshot));
    checks.extend(doctor.versions(&snapshot.runtime, settings));
    checks.extend(doctor.walls(&snapshot.runtime));
    checks.extend(doctor.gvisor(snapshot, settings, helper));
    checks.extend(doctor.names(snapshot, settings, helper));
    checks.extend(doctor.kernel(snapshot));
    match odd {
        Ok(odd) => checks.extend(odd.iter().map(|container| doctor.odd(container))),
        Err(detail) => checks.push(doctor.unlooked(detail)),
    }
    checks.push(doctor.images(snapshot));
    checks.push(doctor.presence(snapshot, settings));
    checks.extend(doctor.signs(snapshot));
    checks.push(doctor.disk(snapshot, settings));
    checks.push(doctor.market(&snapshot.market));
    checks.push(doctor.helper(helper, settings));
    if let Some(detail) = &snapshot.settings_trouble {
        let reason = BlockReason::SettingsUnreadable { detail: detail.clone() };
        checks.insert(0, doctor.blocked("settings", &reason));
    } else if let Some(detail) = &snapshot.settings_unsaved {
        let sentence = texts.with("check-settings-unsaved", &[("detail", detail.clone())]);
        checks.insert(0, doctor.check("settings", CheckStanding::Bad, sentence));
    }
    checks
}

/// All of it in one sentence.
#[must_use]
pub fn summary(checks: &[Check], language: Language) -> String {
    let has = |standing| checks.iter().any(|check| check.standing == standing);
    let key = match () {
        () if has(CheckStanding::Bad) => "doctor-bad",
        () if has(CheckStanding::Warning) => "doctor-warning",
        () if has(CheckStanding::Unknown) => "doctor-unknown",
        () => "doctor-good",
    };
    Texts::of(language).plain(key)
}

struct Doctor<'a> {
    texts: &'a Texts,
    clock: &'a dyn Fn(Timestamp) -> String,
}

impl Doctor<'_> {
    fn check(&self, id: &str, standing: CheckStanding, sentence: String) -> Check {
        let title = self.texts.plain(&format!("check-{id}"));
        Check { id: id.to_owned(), standing, title, sentence, command: None, repair: None, accepts: None }
    }

    fn blocked(&self, id: &str, reason: &BlockReason) -> Check {
        self.check(id, CheckStanding::Bad, self.texts.reason(reason, self.clock))
    }

    fn driver(&self, snapshot: &Snapshot) -> Check {
        if let Some(trouble) = &snapshot.gpu_trouble {
            return self.blocked("driver", &BlockReason::NoGpu { trouble: trouble.clone() });
        }
        let Some(driver) = &snapshot.driver else {
            return self.check("driver", CheckStanding::Unknown, self.texts.plain("check-not-yet"));
        };
        let major = driver.version.split('.').next().and_then(|major| major.parse::<u32>().ok());
        if major.is_some_and(|major| major < MIN_DRIVER_MAJOR) {
            let reason =
                BlockReason::DriverTooOld { found: driver.version.clone(), needed: MIN_DRIVER_MAJOR };
            return self.blocked("driver", &reason);
        }
        let sentence = self.texts.with("check-driver-good", &[("version", driver.version.clone())]);
        self.check("driver", CheckStanding::Good, sentence)
    }

    /// Where the system does not tell that a card sleeps, a question to the card may keep it awake.
    fn sleep(&self, snapshot: &Snapshot) -> Option<Check> {
        let is_blind = snapshot.power_states_told == Some(false) && snapshot.driver.is_some();
        is_blind.then(|| self.check("sleep", CheckStanding::Optional, self.texts.plain("check-sleep-untold")))
    }

    fn engine(&self, runtime: &Runtime) -> Check {
        match runtime {
            Runtime::Unknown => {
                self.check("engine", CheckStanding::Unknown, self.texts.plain("check-not-yet"))
            }
            Runtime::Missing { why } => {
                let check = self.blocked("engine", &BlockReason::no_docker(why));
                let command =
                    cfg!(target_os = "linux").then(|| "sudo systemctl enable --now docker".to_owned());
                Check { command, repair: Some(Repair::Docker), ..check }
            }
            Runtime::Ready { .. } => {
                self.check("engine", CheckStanding::Good, self.texts.plain("check-engine-good"))
            }
        }
    }

    /// Where it is missing, no job starts; that it is missing is a guess, so it stands in nobody's way.
    fn toolkit(&self, runtime: &Runtime) -> Option<Check> {
        let Runtime::Ready { engine, .. } = runtime else { return None };
        let say = |standing, key| self.check("toolkit", standing, self.texts.plain(key));
        match engine.toolkit {
            Toolkit::Unknown => None,
            Toolkit::Present => Some(say(CheckStanding::Good, "check-toolkit-good")),
            Toolkit::Missing => {
                let command = Some(
                    "sudo apt install nvidia-container-toolkit && sudo systemctl restart docker".to_owned(),
                );
                let check = say(CheckStanding::Warning, "check-toolkit-missing");
                Some(Check { command, repair: Some(Repair::Toolkit), ..check })
            }
        }
    }

    fn versions(&self, runtime: &Runtime, settings: &Settings) -> Vec<Check> {
        let Runtime::Ready { unsafe_versions, .. } = runtime else { return Vec::new() };
        if unsafe_versions.is_empty() {
            return vec![self.check(
                "versions",
                CheckStanding::Good,
                self.texts.plain("check-versions-good"),
            )];
        }
        let found = unsafe_versions.iter().map(|version| {
            let check = self.blocked("versions", &BlockReason::UnsafeVersion { version: version.clone() });
            if settings.accepted_versions.contains(&version.key()) {
                let values = [("name", version.key())];
                let sentence = self.texts.with("check-versions-accepted", &values);
                return Check { standing: CheckStanding::Optional, sentence, ..check };
            }
            Check { repair: Some(Repair::Versions), accepts: Some(version.key()), ..check }
        });
        found.collect()
    }

    /// What stands between a tenant and this PC beside the fence itself.
    fn walls(&self, runtime: &Runtime) -> Vec<Check> {
        let Runtime::Ready { engine, .. } = runtime else { return Vec::new() };
        let say = |id: &str, standing, key: &str| self.check(id, standing, self.texts.plain(key));
        let mut found = Vec::new();
        if engine.is_open_to_network {
            found.push(say("socket", CheckStanding::Warning, "check-socket-open"));
        }
        found.push(match engine.maps_users {
            true => say("users", CheckStanding::Good, "check-users-mapped"),
            false => say("users", CheckStanding::Optional, "check-users-plain"),
        });
        if engine.is_unfiltered {
            found.push(say("defaults", CheckStanding::Warning, "check-defaults-unfiltered"));
        }
        if engine.has_other_runtime {
            found.push(say("defaults", CheckStanding::Warning, "check-defaults-runtime"));
        }
        if cfg!(windows) {
            let command = Some("wsl --shutdown; wsl --manage docker-desktop --set-sparse true".to_owned());
            let check = say("wsl", CheckStanding::Optional, "check-wsl-reclaim");
            found.push(Check { command, ..check });
        }
        found
    }

    /// Nothing is said of it while there is no gateway that could ask.
    fn kernel(&self, snapshot: &Snapshot) -> Option<Check> {
        let Runtime::Ready { engine, .. } = &snapshot.runtime else { return None };
        if engine.gateway != GatewayImage::Present {
            return None;
        }
        let (standing, sentence) = match (&engine.kernel, snapshot.kernel_reason()) {
            (KernelFacts::Told { home, .. }, Some(reason)) => {
                let command = match home {
                    KernelHome::Linux => Some(modprobe(&engine.kernel.in_the_way())),
                    KernelHome::Wsl => Some("wsl --update; wsl --shutdown".to_owned()),
                    KernelHome::DockerDesktop => None,
                };
                return Some(Check { command, ..self.blocked("kernel", &reason) });
            }
            (_, Some(asking)) => (CheckStanding::Unknown, self.texts.reason(&asking, self.clock)),
            (KernelFacts::Told { .. }, None) => self.reduced(&engine.kernel.made_up_for()),
            (_, None) => (CheckStanding::Optional, self.texts.plain("check-kernel-unasked")),
        };
        Some(self.check("kernel", standing, sentence))
    }

    fn reduced(&self, parts: &[KernelPart]) -> (CheckStanding, String) {
        if parts.is_empty() {
            return (CheckStanding::Good, self.texts.plain("check-kernel-good"));
        }
        let listed = |name: fn(KernelPart) -> &'static str| {
            let names: Vec<&str> = parts.iter().map(|part| name(*part)).collect();
            self.texts.list(&names)
        };
        let values = [("modules", listed(KernelPart::module)), ("options", listed(KernelPart::option))];
        (CheckStanding::Optional, self.texts.with("check-kernel-reduced", &values))
    }

    /// A container that we did not make so.
    fn odd(&self, container: &OddContainer) -> Check {
        let (key, name, image) = match container {
            OddContainer::Privileged { name } => ("check-containers-privileged", name, String::new()),
            OddContainer::UnknownImage { name, image } => ("check-containers-unknown", name, image.clone()),
        };
        let sentence = self.texts.with(key, &[("name", name.clone()), ("image", image)]);
        let command = Some(format!("docker stop {name}"));
        Check { command, ..self.check("containers", CheckStanding::Warning, sentence) }
    }

    /// Nobody knows whether there is one: that is not the same as none.
    fn unlooked(&self, detail: &str) -> Check {
        let sentence = self.texts.with("check-containers-unlooked", &[("detail", detail.to_owned())]);
        self.check("containers", CheckStanding::Warning, sentence)
    }

    fn images(&self, snapshot: &Snapshot) -> Check {
        match snapshot.gateway_reason() {
            Some(coming @ BlockReason::GatewayComing) => {
                let sentence = self.texts.reason(&coming, self.clock);
                return self.check("images", CheckStanding::Warning, sentence);
            }
            Some(reason) => return self.blocked("images", &reason),
            None => {}
        }
        match &snapshot.runtime {
            Runtime::Ready { .. } if snapshot.images_lent == ImagesLent::NoneAgreed => {
                self.blocked("images", &BlockReason::NoImageLent)
            }
            Runtime::Ready { .. } if snapshot.images_lent == ImagesLent::Coming => {
                let sentence = self.texts.reason(&BlockReason::ImageComing, self.clock);
                self.check("images", CheckStanding::Warning, sentence)
            }
            Runtime::Ready { images, .. } if images.is_empty() => {
                self.check("images", CheckStanding::Bad, self.texts.plain("check-images-none"))
            }
            Runtime::Ready { images, .. } => {
                let sentence = self.texts.with("check-images-good", &[("list", self.texts.list(images))]);
                self.check("images", CheckStanding::Good, sentence)
            }
            _ => self.check("images", CheckStanding::Unknown, self.texts.plain("check-not-yet")),
        }
    }

    fn presence(&self, snapshot: &Snapshot, settings: &Settings) -> Check {
        match &snapshot.presence {
            _ if settings.without_presence => {
                self.check("presence", CheckStanding::Optional, self.texts.plain("check-presence-without"))
            }
            Presence::Unknown { detail } if detail.is_empty() => {
                self.check("presence", CheckStanding::Unknown, self.texts.plain("check-not-yet"))
            }
            Presence::Unknown { detail } => {
                self.blocked("presence", &BlockReason::PresenceUnknown { detail: detail.clone() })
            }
            _ => self.check("presence", CheckStanding::Good, self.texts.plain("check-presence-good")),
        }
    }

    /// Those that this desktop does not tell, in one line.
    fn signs(&self, snapshot: &Snapshot) -> Option<Check> {
        let mut names: Vec<String> = Vec::new();
        for sign in snapshot.signs.list() {
            let name = self.texts.signal(sign.kind);
            let seen_elsewhere = || {
                let others = snapshot.signs.list();
                others.iter().any(|other| {
                    other.kind == sign.kind && !matches!(other.standing, Standing::Unavailable { .. })
                })
            };
            if matches!(sign.standing, Standing::Unavailable { .. })
                && !seen_elsewhere()
                && !names.contains(&name)
            {
                names.push(name);
            }
        }
        if names.is_empty() {
            return None;
        }
        let sentence = self.texts.with("check-signs-missing", &[("list", self.texts.list(&names))]);
        Some(self.check("signs", CheckStanding::Optional, sentence))
    }

    fn disk(&self, snapshot: &Snapshot, settings: &Settings) -> Check {
        if let Some(reason) = snapshot.files.as_ref().and_then(BlockReason::files_low) {
            return self.blocked("disk", &reason);
        }
        match &snapshot.disk {
            None => self.check("disk", CheckStanding::Unknown, self.texts.plain("check-not-yet")),
            Some(disk) if disk.free_mib < settings.disk_reserve_mib => {
                self.blocked("disk", &BlockReason::disk_low(disk, settings.disk_reserve_mib))
            }
            Some(disk) => {
                let values = [("free", (disk.free_mib / 1_024).to_string())];
                self.check("disk", CheckStanding::Good, self.texts.with("check-disk-good", &values))
            }
        }
    }

    fn market(&self, market: &Market) -> Check {
        match market {
            Market::Connected => {
                self.check("market", CheckStanding::Good, self.texts.plain("check-market-good"))
            }
            Market::NotEnrolled => self.blocked("market", &BlockReason::NotEnrolled),
            Market::Unreachable { since, detail } => {
                let (since, detail) = (*since, detail.clone());
                self.blocked("market", &BlockReason::CoordinatorUnreachable { since, detail })
            }
        }
    }

    fn helper(&self, helper: &HelperStanding, settings: &Settings) -> Check {
        let note = power_note(helper, settings, self.texts);
        let standing = if note.can_be_set { CheckStanding::Good } else { CheckStanding::Optional };
        let repair = match helper {
            HelperStanding::NotInstalled | HelperStanding::NotAnswering { .. } => Some(Repair::HelperSocket),
            HelperStanding::NotAllowed => Some(Repair::HelperGroup),
            _ => None,
        };
        Check { command: note.command, repair, ..self.check("helper", standing, note.sentence) }
    }
}

#[cfg(test)]
mod tests;
