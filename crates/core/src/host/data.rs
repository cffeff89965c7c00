//! What was carried in a month, and what the owner is told of it.

use crate::network::{CapLevel, Standing};
use crate::time::Timestamp;

use super::effect::{Effect, Notice, Outbox};
use super::{Host, NetworkView};

impl Host {
    /// The first count after a start tells nothing: what it shows was told when it came about.
    pub(super) fn take_data(&mut self, bytes: u64, resets_at: Timestamp, out: &mut Outbox) {
        let is_first = self.snapshot.data_used.is_none();
        self.snapshot.data_used = Some((bytes, resets_at));
        let before = self.cap_level;
        self.note_cap();
        if is_first || self.cap_level <= before {
            return;
        }
        let network = &self.settings.network;
        let cap_mib = network.monthly_cap_mib.unwrap_or_default();
        out.push(Effect::Notify(match self.cap_level {
            CapLevel::Free => return,
            CapLevel::Near => Notice::DataCapNear { used_mib: bytes >> 20, cap_mib },
            CapLevel::Reached => {
                Notice::DataCapReached { cap_mib, stops: network.at_cap == crate::network::AtCap::Stop }
            }
        }));
    }

    /// Whoever sets a cap sees right there what it means.
    pub(super) fn note_cap(&mut self) {
        self.cap_level = self.cap_level();
    }

    fn cap_level(&self) -> CapLevel {
        match (self.snapshot.data_used, self.settings.network.cap_bytes()) {
            (Some((bytes, _)), Some(cap)) => CapLevel::of(bytes, cap),
            _ => CapLevel::Free,
        }
    }

    pub(super) fn network_view(&self, now: Timestamp) -> NetworkView {
        let standing: Standing = self.settings.network.standing_at(now, self.hours.zone());
        let (used_bytes, resets_at) = self.snapshot.data_used.unzip();
        NetworkView { standing, used_bytes, resets_at, measured: self.line }
    }
}

#[cfg(test)]
mod tests {
    use crate::host::{Effect, Host, Input, Notice, UserCommand};
    use crate::network::{AtCap, NetworkSettings};
    use crate::settings::Settings;
    use crate::time::Timestamp;

    fn told(host: &mut Host, mib: u64) -> Vec<Notice> {
        let input = Input::DataUsed { bytes: mib << 20, resets_at: Timestamp(99_000) };
        let notices = host.handle(input, Timestamp(1_000)).into_iter();
        notices
            .filter_map(|effect| if let Effect::Notify(notice) = effect { Some(notice) } else { None })
            .collect()
    }

    fn capped(at_cap: AtCap) -> Settings {
        let network = NetworkSettings { monthly_cap_mib: Some(1_000), at_cap, ..NetworkSettings::default() };
        Settings { network, ..Settings::default() }
    }

    #[test]
    fn a_cap_is_told_once_near_it_and_once_at_it_and_anew_the_next_month() {
        let mut host = Host::new(capped(AtCap::Stop));
        for _ in 0..2 {
            assert!(told(&mut host, 799).is_empty());
            assert_eq!(told(&mut host, 800), [Notice::DataCapNear { used_mib: 800, cap_mib: 1_000 }]);
            assert!(told(&mut host, 900).is_empty());
            assert_eq!(told(&mut host, 1_000), [Notice::DataCapReached { cap_mib: 1_000, stops: true }]);
            assert!(told(&mut host, 1_200).is_empty());
            assert!(told(&mut host, 0).is_empty());
        }
    }

    #[test]
    fn what_was_told_before_a_restart_is_not_told_again() {
        let mut host = Host::new(capped(AtCap::Finish));
        assert!(told(&mut host, 900).is_empty());
        assert!(told(&mut host, 910).is_empty());
    }

    #[test]
    fn a_cap_that_is_set_below_what_was_used_is_not_told_by_a_notice() {
        let mut host = Host::new(Settings::default());
        assert!(told(&mut host, 5_000).is_empty());
        let settings = Box::new(capped(AtCap::Finish));
        host.handle(Input::User(UserCommand::Save { settings, base: None }), Timestamp(2_000));
        assert!(told(&mut host, 5_001).is_empty());
    }
}
