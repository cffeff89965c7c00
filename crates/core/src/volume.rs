//! What a renter keeps on a host between leases: how much, how long, and by which key it is unreadable meanwhile.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use ts_rs::TS;

use crate::lease::{EndReason, LeaseState, LeaseTerms};
use crate::policy::EngineTrouble;
use crate::time::Timestamp;

/// Characters of the renter's key in a volume's name: public and random, a part of it is name enough.
const KEY_CHARS: usize = 32;

/// What a host grants: in its settings, in its offers and in the terms of each lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[serde(default, deny_unknown_fields)]
pub struct VolumeTerms {
    /// How much a renter may keep.
    #[ts(type = "number")]
    pub quota_mib: u64,
    /// How long it is kept after the last use; then it is wiped.
    #[ts(type = "number")]
    pub keep_ms: u64,
}

impl Default for VolumeTerms {
    fn default() -> Self {
        Self { quota_mib: 51_200, keep_ms: 14 * 86_400_000 }
    }
}

impl VolumeTerms {
    /// When a volume that was last used at `used_at` is wiped.
    #[must_use]
    pub fn expires_at(&self, used_at: Timestamp) -> Timestamp {
        used_at.plus_ms(self.keep_ms)
    }
}

/// What renters were promised that they may keep here, by their volumes' names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promises(BTreeMap<String, u64>);

/// Another promise would be more than the owner gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error(
    "what renters may keep on this host is given out: {} of {} GiB, and a new renter would need {} GiB; rent another \
     host, or ask again later", gib(*.promised_mib), gib(*.most_mib), gib(*.asked_mib)
)]
pub struct NoRoom {
    pub promised_mib: u64,
    pub most_mib: u64,
    pub asked_mib: u64,
}

fn gib(mib: u64) -> String {
    format!("{}.{}", mib / 1_024, mib % 1_024 * 10 / 1_024)
}

impl Promises {
    pub fn new(kept: impl IntoIterator<Item = (String, u64)>) -> Self {
        let mut all = Self::default();
        kept.into_iter().for_each(|(name, quota_mib)| all.add(name, quota_mib));
        all
    }

    #[must_use]
    pub fn of(volumes: &[Volume]) -> Self {
        Self::new(volumes.iter().map(|volume| (volume.name.clone(), volume.quota_mib)))
    }

    /// A volume never becomes smaller.
    pub fn add(&mut self, name: String, quota_mib: u64) {
        let known = self.0.entry(name).or_default();
        *known = (*known).max(quota_mib);
    }

    #[must_use]
    pub fn total_mib(&self) -> u64 {
        self.0.values().fold(0, |sum, quota_mib| sum.saturating_add(*quota_mib))
    }

    /// How much the volume of that name may have. Who keeps something here already is never turned away: where there is no
    /// room for more, it stays as it is.
    ///
    /// # Errors
    /// When there is no room for a new one.
    pub fn grant(&self, name: &str, asked_mib: u64, most_mib: u64) -> Result<u64, NoRoom> {
        let (known, promised_mib) = (self.0.get(name).copied(), self.total_mib());
        let others_mib = promised_mib - known.unwrap_or_default();
        match known {
            _ if others_mib.saturating_add(asked_mib) <= most_mib => Ok(asked_mib),
            Some(known) => Ok(known.min(asked_mib)),
            None => Err(NoRoom { promised_mib, most_mib, asked_mib }),
        }
    }
}

/// What a volume is encrypted with: 64 hexadecimal digits. It comes with a lease's offer, goes to the container that
/// opens the volume, and is written down nowhere on the host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeKey(String);

/// A text that is no key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a volume's key is 64 hexadecimal digits")]
pub struct NoVolumeKey;

impl VolumeKey {
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for VolumeKey {
    type Error = NoVolumeKey;

    fn try_from(text: String) -> Result<Self, NoVolumeKey> {
        let is_one = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_one.then_some(Self(text)).ok_or(NoVolumeKey)
    }
}

impl From<VolumeKey> for String {
    fn from(key: VolumeKey) -> Self {
        key.0
    }
}

impl std::fmt::Debug for VolumeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("VolumeKey")
    }
}

/// What a volume stands on, as its host found when it was brought up for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
#[ts(rename = "VolumeFooting")]
pub struct Footing {
    /// It cannot become larger than was agreed.
    pub has_quota: bool,
    /// Names and contents are unreadable without the lease's key.
    pub is_encrypted: bool,
    /// Its file system was damaged and was mended, which may have cost files.
    #[serde(default)]
    pub was_mended: bool,
}

impl Footing {
    /// A folder of the Engine's: what is left where its machine has no loop devices.
    pub const FOLDER: Self = Self { has_quota: false, is_encrypted: false, was_mended: false };
}

/// The name of a renter's volume. Named by the key that opens the tunnel, so that nobody else's lease meets it. An
/// ordinary user could do nothing with files of root's, so a renter who is root inside has another.
#[must_use]
pub fn name(renter_key: &str, root_inside: bool) -> String {
    let renter: String = renter_key.to_ascii_lowercase().chars().take(KEY_CHARS).collect();
    let mode = if root_inside { "-root" } else { "-user" };
    format!("nightjar-{renter}{mode}")
}

/// What it was called before the tenant had a number of its own. No lease meets it any more, and what was promised of it
/// holds to its end.
fn former_name(name: &str) -> Option<&str> {
    name.strip_suffix("-user")
}

/// One lease of the journal, as far as a volume is concerned.
#[derive(Clone, Debug, PartialEq)]
pub struct Use {
    pub terms: LeaseTerms,
    pub is_over: bool,
    /// Its last step.
    pub at: Timestamp,
    /// `None` where the volume was not brought up for it.
    pub footing: Option<Footing>,
    /// It came to no worker, so that nothing was kept: a volume that cannot be brought up is not kept for longer by trying.
    pub is_void: bool,
}

impl Use {
    /// Whether that is how a lease in this state is.
    #[must_use]
    pub fn is_void_in(state: &LeaseState) -> bool {
        let LeaseState::Ended { reason } = state else { return false };
        matches!(reason, EndReason::PreparationFailed { .. } | EndReason::SelfCheckFailed { .. })
    }
}

/// A volume that is on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, TS)]
pub struct Volume {
    pub name: String,
    /// The renter's pseudonym, as the last lease told it.
    pub renter: String,
    pub root_inside: bool,
    /// A lease uses it now.
    pub in_use: bool,
    pub used_at: Timestamp,
    /// `None` while a lease uses it.
    pub expires_at: Option<Timestamp>,
    #[ts(type = "number")]
    pub quota_mib: u64,
    /// As of the last lease that brought it up; `None` where no journal tells.
    #[serde(default)]
    pub footing: Option<Footing>,
}

/// How the last volume stood that was brought up on this host; one that was encrypted counts before one that was not,
/// since a lease without a key says nothing of the host. `None` before the first.
#[must_use]
pub fn footing_here(uses: &[Use]) -> Option<Footing> {
    let known =
        uses.iter().filter_map(|used| used.footing.map(|footing| (footing.is_encrypted, used.at, footing)));
    known.max_by_key(|(is_encrypted, at, _)| (*is_encrypted, *at)).map(|(_, _, footing)| footing)
}

/// The volumes of `names`, by what the journal knows of their leases. One that it knows nothing of (another journal's,
/// say) counts as used at `now`, so that nothing is wiped that was not looked at for its whole time; `seen` remembers
/// when that was.
#[must_use]
pub fn volumes(
    names: &[String],
    uses: &[Use],
    seen: &mut BTreeMap<String, Timestamp>,
    now: Timestamp,
) -> Vec<Volume> {
    let mut latest: BTreeMap<String, (&Use, bool)> = BTreeMap::new();
    let mut footings: BTreeMap<String, (Timestamp, Footing)> = BTreeMap::new();
    for used in uses {
        let key = name(&used.terms.renter_key, used.terms.root_inside);
        if let Some(footing) = used.footing {
            let known = footings.entry(key.clone()).or_insert((used.at, footing));
            if used.at >= known.0 {
                *known = (used.at, footing);
            }
        }
        let (last, in_use) = latest.entry(key).or_insert((used, false));
        *in_use |= !used.is_over;
        // One that brought nothing counts only where there is no other.
        if (!used.is_void, used.at) >= (!last.is_void, last.at) {
            *last = used;
        }
    }
    for key in latest.keys().filter(|key| former_name(key).is_some()).cloned().collect::<Vec<_>>() {
        let former = former_name(&key).unwrap_or_default().to_owned();
        if let Some(footing) = footings.get(&key).copied() {
            footings.insert(former.clone(), footing);
        }
        if let Some(last) = latest.get(&key).copied() {
            latest.insert(former, last);
        }
    }
    seen.retain(|name, _| names.contains(name));
    let known = |name: &String| match latest.get(name) {
        Some((last, in_use)) => Volume {
            name: name.clone(),
            renter: last.terms.renter.clone(),
            root_inside: last.terms.root_inside,
            in_use: *in_use,
            used_at: last.at,
            expires_at: (!in_use).then(|| last.terms.volume.expires_at(last.at)),
            quota_mib: last.terms.volume.quota_mib,
            footing: footings.get(name).map(|(_, footing)| *footing),
        },
        None => {
            let used_at = *seen.entry(name.clone()).or_insert(now);
            let terms = VolumeTerms::default();
            Volume {
                name: name.clone(),
                renter: String::new(),
                root_inside: name.ends_with("-root"),
                in_use: false,
                used_at,
                expires_at: Some(terms.expires_at(used_at)),
                quota_mib: terms.quota_mib,
                footing: None,
            }
        }
    };
    let mut volumes: Vec<Volume> = names.iter().map(known).collect();
    volumes.sort_by(|a, b| (a.expires_at, &a.name).cmp(&(b.expires_at, &b.name)));
    volumes
}

/// Why volumes cannot be told of, or one is not wiped. A closed set; a detail is Docker's word, or the journal's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeTrouble {
    #[error("there is no volume {name}")]
    Unknown { name: String },
    #[error("a lease uses {name} now")]
    InUse { name: String },
    #[error("the volumes cannot be listed or wiped: {why}")]
    Engine { why: EngineTrouble },
    #[error("the journal cannot be read: {detail}")]
    Journal { detail: String },
}

/// Whether its time is over.
#[must_use]
pub fn is_expired(volume: &Volume, now: Timestamp) -> bool {
    volume.expires_at.is_some_and(|at| at <= now)
}

/// The next moment at which one of these is to be wiped.
#[must_use]
pub fn next_expiry(volumes: &[Volume]) -> Option<Timestamp> {
    volumes.iter().filter_map(|volume| volume.expires_at).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::GpuUuid;
    use crate::lease::{Epoch, LeaseId};
    use crate::money::{Currency, Money};

    fn used(renter: &str, is_over: bool, at: i64, keep_ms: u64) -> Use {
        let terms = LeaseTerms {
            lease: LeaseId(format!("{renter}-{at}")),
            epoch: Epoch(1),
            gpu: GpuUuid("GPU-1".into()),
            image: "pytorch-cuda:lite".into(),
            renter: format!("{renter}-otter"),
            renter_key: renter.repeat(64),
            ssh_public_key: String::new(),
            root_inside: false,
            no_sandbox: false,
            serve_model: None,
            volume: VolumeTerms { quota_mib: 100, keep_ms },
            volume_key: None,
            price_per_hour: Money::new(0, Currency::CNY),
            fee_basis_points: 0,
            offered_at: Timestamp(0),
            nonce: Default::default(),
        };
        Use { terms, is_over, at: Timestamp(at), footing: None, is_void: false }
    }

    #[test]
    fn a_new_volume_that_there_is_no_room_for_is_refused_with_the_figures() {
        let promises = Promises::new([("a".to_owned(), 60), ("b".to_owned(), 30)]);
        assert_eq!(promises.grant("c", 10, 100), Ok(10));
        let refused = promises.grant("c", 11, 100).unwrap_err();
        assert_eq!(refused, NoRoom { promised_mib: 90, most_mib: 100, asked_mib: 11 });
        // Whoever has one comes back, and gets more only where there is more.
        assert_eq!((promises.grant("a", 70, 100), promises.grant("a", 71, 100)), (Ok(70), Ok(60)));
        assert_eq!((promises.grant("a", 60, 10), promises.grant("a", 20, 10)), (Ok(60), Ok(20)));
        let said = NoRoom { promised_mib: 204_800, most_mib: 204_800, asked_mib: 1_536 }.to_string();
        assert!(said.contains("200.0 of 200.0 GiB") && said.contains("1.5 GiB"), "{said}");
    }

    proptest::proptest! {
        #[test]
        fn what_is_promised_stays_within_what_the_owner_gives(
            kept in proptest::collection::vec((0_u8..6, 1_u64..100), 0..6),
            asked in proptest::collection::vec((0_u8..9, 1_u64..100), 0..40),
            most_mib in 0_u64..400,
        ) {
            let mut promises = Promises::new(kept.into_iter().map(|(name, quota)| (name.to_string(), quota)));
            let bound = most_mib.max(promises.total_mib());
            for (name, quota_mib) in asked {
                let name = name.to_string();
                let is_known = promises.0.contains_key(&name);
                match promises.grant(&name, quota_mib, most_mib) {
                    Ok(granted) => {
                        proptest::prop_assert!(granted <= quota_mib);
                        promises.add(name, granted);
                    }
                    Err(no_room) => {
                        proptest::prop_assert!(!is_known, "who keeps something here was turned away");
                        proptest::prop_assert!(no_room.promised_mib + quota_mib > most_mib);
                    }
                }
                proptest::prop_assert!(promises.total_mib() <= bound);
            }
        }
    }

    #[test]
    fn a_volume_is_kept_from_its_last_use_on_and_never_wiped_under_a_tenant() {
        let (a, b, c) = (name(&"a".repeat(64), false), name(&"B".repeat(64), false), "nightjar-x".to_owned());
        assert_eq!(b, format!("nightjar-{}-user", "b".repeat(32)));
        assert_ne!(a, name(&"a".repeat(64), true));
        let uses = [
            used("a", true, 1_000, 50),
            used("a", true, 2_000, 100),
            used("b", true, 9_000, 10),
            used("b", false, 100, 10),
        ];
        let mut seen = BTreeMap::new();
        let found = volumes(&[a.clone(), b.clone(), c.clone()], &uses, &mut seen, Timestamp(3_000));
        let of = |name: &str| found.iter().find(|volume| volume.name == *name).unwrap();
        assert_eq!((of(&a).expires_at, of(&a).renter.as_str()), (Some(Timestamp(2_100)), "a-otter"));
        assert!(is_expired(of(&a), Timestamp(2_100)) && !is_expired(of(&a), Timestamp(2_099)));
        assert!(of(&b).in_use && !is_expired(of(&b), Timestamp(i64::MAX)));
        // What it was called once holds for it too.
        let former = format!("nightjar-{}", "a".repeat(32));
        let known = volumes(std::slice::from_ref(&former), &uses, &mut BTreeMap::new(), Timestamp(3_000));
        assert_eq!((known[0].expires_at, known[0].quota_mib), (Some(Timestamp(2_100)), 100));
        // One of which nothing is known has its whole time from now on, however often it is looked at.
        let keep = VolumeTerms::default();
        let again = volumes(std::slice::from_ref(&c), &[], &mut seen, Timestamp(900_000));
        assert_eq!(again[0].expires_at, Some(keep.expires_at(Timestamp(3_000))));
        assert_eq!(next_expiry(&found), Some(Timestamp(2_100)));
        let _ = volumes(&[], &[], &mut seen, Timestamp(900_000));
        assert!(seen.is_empty());
    }

    #[test]
    fn a_volume_stands_as_the_last_lease_found_that_brought_it_up() {
        let stands = |used: Use, has_quota, is_encrypted| Use {
            footing: Some(Footing { has_quota, is_encrypted, was_mended: false }),
            ..used
        };
        let uses = [
            used("a", true, 4_000, 50),
            stands(used("a", true, 1_000, 50), true, true),
            stands(used("a", true, 3_000, 50), true, false),
            stands(used("b", true, 5_000, 50), false, false),
        ];
        let of = |letter: &str| {
            let name = name(&letter.repeat(64), false);
            volumes(&[name], &uses, &mut BTreeMap::new(), Timestamp(6_000)).remove(0).footing
        };
        assert_eq!(of("a"), Some(Footing { has_quota: true, ..Footing::FOLDER }));
        assert_eq!((of("b"), of("c")), (Some(Footing::FOLDER), None));
        // What this host can do: it did encrypt once, and a lease without a key does not undo that.
        assert_eq!(
            footing_here(&uses),
            Some(Footing { has_quota: true, is_encrypted: true, was_mended: false })
        );
        assert_eq!(footing_here(&uses[2..]), Some(Footing::FOLDER));
        assert_eq!(footing_here(&uses[..1]), None);
    }

    #[test]
    fn trying_a_volume_that_does_not_come_up_keeps_it_no_longer() {
        let failed = |at| Use { is_void: true, ..used("a", true, at, 50) };
        let name = name(&"a".repeat(64), false);
        let end = |uses: &[Use]| {
            let names = [name.clone()];
            volumes(&names, uses, &mut BTreeMap::new(), Timestamp(0)).remove(0).expires_at
        };
        assert_eq!(end(&[failed(9_000), used("a", true, 1_000, 50), failed(8_000)]), Some(Timestamp(1_050)));
        assert_eq!(end(&[used("a", false, 1_000, 50), failed(9_000)]), None);
        assert_eq!(end(&[failed(8_000), failed(9_000)]), Some(Timestamp(9_050)));
        let cause = String::from("x");
        let reason = EndReason::PreparationFailed { cause };
        assert!(Use::is_void_in(&LeaseState::Ended { reason: reason.clone() }));
        assert!(!Use::is_void_in(&LeaseState::Ending { reason }) && !Use::is_void_in(&LeaseState::Running));
        assert!(!Use::is_void_in(&LeaseState::Ended { reason: EndReason::OwnerReturned }));
    }

    #[test]
    fn a_key_is_checked_and_not_shown() {
        let key = VolumeKey::try_from("0f".repeat(32)).unwrap();
        assert_eq!(format!("{key:?}"), "VolumeKey");
        for wrong in ["", "0f", &"0g".repeat(32), &"é".repeat(32)] {
            assert_eq!(VolumeKey::try_from(wrong.to_owned()), Err(NoVolumeKey));
        }
    }
}
