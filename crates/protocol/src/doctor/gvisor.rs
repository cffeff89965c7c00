//! What the doctor says of gVisor: that tenants run in it, or why they do not.

use std::cmp::Reverse;

use nightjar_core::policy::{Gvisor, Runtime, Sandboxing, Snapshot};
use nightjar_core::power::HelperStanding;
use nightjar_core::settings::Settings;

use super::{Check, CheckStanding, Doctor};

/// Registers it under a name of its own: one that the owner's other containers use stays as it is. Without `directfs` the
/// sandbox opens no file of this PC's itself, and has no right to.
const REGISTER: &str = "sudo runsc install --runtime=runsc-nightjar -- --network=host --nvproxy --directfs=false \
     && sudo systemctl restart docker";
const MOST_DRIVERS_TOLD: usize = 3;

impl Doctor<'_> {
    /// Lending goes on without it, so nothing that is said here stands in its way.
    pub(super) fn gvisor(
        &self,
        snapshot: &Snapshot,
        settings: &Settings,
        helper: &HelperStanding,
    ) -> Option<Check> {
        let say = |key: &str| self.check("gvisor", CheckStanding::Optional, self.texts.plain(key));
        let register = || Some(REGISTER.to_owned());
        let registered_anew = |key| Check { command: register(), ..say(key) };
        Some(match snapshot.sandboxing(settings, helper) {
            Sandboxing::Absent => return None,
            Sandboxing::Used(_) => Check { standing: CheckStanding::Good, ..say("check-gvisor-used") },
            Sandboxing::TurnedOff => say("check-gvisor-turned-off"),
            Sandboxing::OwnNetwork => registered_anew("check-gvisor-own-network"),
            Sandboxing::NoCard => registered_anew("check-gvisor-no-card"),
            Sandboxing::Unsafe { flag } => {
                let values = [("flag", format!("--{flag}"))];
                let check = self.check(
                    "gvisor",
                    CheckStanding::Optional,
                    self.texts.with("check-gvisor-unsafe", &values),
                );
                Check { command: register(), ..check }
            }
            Sandboxing::NoHelper => say("check-gvisor-no-helper"),
            Sandboxing::Silent => say("check-gvisor-silent"),
            Sandboxing::Pending => say("check-gvisor-pending"),
            Sandboxing::UsersMapped => say("check-gvisor-users-mapped"),
            Sandboxing::CannotShare => say("check-gvisor-cannot-share"),
            Sandboxing::DriverUnknown { driver } => {
                let known = nearest(driver, drivers(snapshot));
                let values = [("driver", driver.to_owned()), ("list", self.texts.list(&known))];
                let key =
                    if known.is_empty() { "check-gvisor-silent" } else { "check-gvisor-driver-unknown" };
                self.check("gvisor", CheckStanding::Optional, self.texts.with(key, &values))
            }
        })
    }
}

fn drivers(snapshot: &Snapshot) -> &[String] {
    match &snapshot.runtime {
        Runtime::Ready { engine, .. } => match &engine.gvisor {
            Gvisor::Told(sandbox) => &sandbox.drivers,
            _ => &[],
        },
        _ => &[],
    }
}

/// Those that begin as this one does, the longest way first; of those that are as far, the later.
fn nearest<'a>(driver: &str, known: &'a [String]) -> Vec<&'a str> {
    let own = parts(driver);
    let mut found: Vec<&str> = known.iter().map(String::as_str).collect();
    found.sort_by_cached_key(|version| {
        let other = parts(version);
        let of = |parts: &[u64], place: usize| parts.get(place).copied().unwrap_or_default();
        let apart = (0..own.len().max(other.len())).find(|place| of(&own, *place) != of(&other, *place));
        let away = apart.map(|place| (Reverse(place), of(&own, place).abs_diff(of(&other, place))));
        (away, Reverse(other))
    });
    found.dedup();
    found.truncate(MOST_DRIVERS_TOLD);
    found
}

/// A word that is no number stands for 0: it is only looked at to say which are near.
fn parts(version: &str) -> Vec<u64> {
    version.split('.').map(|part| part.parse().unwrap_or_default()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_drivers_are_of_the_same_branch_where_it_has_any() {
        let known = ["535.183.01", "550.54.14", "550.54.15", "550.90.07", "560.35.03", "570.133.20"];
        let known = known.map(str::to_owned);
        assert_eq!(nearest("550.120", &known), ["550.90.07", "550.54.15", "550.54.14"]);
        assert_eq!(nearest("555.42.02", &known), ["560.35.03", "550.90.07", "550.54.15"]);
        assert_eq!(nearest("535.54.03", &known), ["535.183.01", "550.90.07", "550.54.15"]);
        assert_eq!(nearest("no number", &known[..1]), ["535.183.01"]);
        assert!(nearest("550.120", &[]).is_empty());
    }
}
