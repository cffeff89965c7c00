//! Which images make room for one that is wanted.

use crate::time::Timestamp;

/// An image that was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub name: String,
    pub size_bytes: u64,
    /// `None`: never since it was pulled.
    pub last_used_at: Option<Timestamp>,
    pub pulled_at: Timestamp,
    /// A container is made of it.
    pub in_use: bool,
    /// Every job needs it: it makes room for nothing.
    pub is_needed: bool,
}

impl Held {
    fn stays(&self) -> bool {
        self.in_use || self.is_needed
    }

    fn touched_at(&self) -> Timestamp {
        self.last_used_at.map_or(self.pulled_at, |used| used.max(self.pulled_at))
    }
}

/// There is no room for it, whatever goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "it takes {needed_mib} MiB, of the {quota_mib} MiB for images {used_mib} MiB are in use; raise the quota with `nightjar \
     images quota GIB`"
)]
pub struct OverQuota {
    pub needed_mib: u64,
    pub quota_mib: u64,
    /// By images that stay.
    pub used_mib: u64,
}

/// Names of the images that go, the one that was used longest ago first, so that `wanted` with its `needed_bytes` fits.
/// None of them is in use or needed by every job, and `wanted` is never among them.
///
/// # Errors
/// When it would not fit even then; nothing needs to go in that case.
pub fn evictions(
    held: &[Held],
    wanted: &str,
    needed_bytes: u64,
    quota_bytes: u64,
) -> Result<Vec<String>, OverQuota> {
    let others: Vec<&Held> = held.iter().filter(|image| image.name != wanted).collect();
    let sum = |images: &mut dyn Iterator<Item = &Held>| {
        images.fold(0_u64, |sum, image| sum.saturating_add(image.size_bytes))
    };
    let staying = sum(&mut others.iter().copied().filter(|image| image.stays()));
    if staying.saturating_add(needed_bytes) > quota_bytes {
        return Err(OverQuota {
            needed_mib: needed_bytes >> 20,
            quota_mib: quota_bytes >> 20,
            used_mib: staying >> 20,
        });
    }
    let mut used = sum(&mut others.iter().copied());
    let mut idle: Vec<&Held> = others.into_iter().filter(|image| !image.stays()).collect();
    idle.sort_by(|one, two| (one.touched_at(), &one.name).cmp(&(two.touched_at(), &two.name)));
    let mut gone = Vec::new();
    for image in idle {
        if used.saturating_add(needed_bytes) <= quota_bytes {
            break;
        }
        used = used.saturating_sub(image.size_bytes);
        gone.push(image.name.clone());
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn held(name: &str, size_bytes: u64, used: Option<i64>, in_use: bool) -> Held {
        Held {
            name: name.into(),
            size_bytes,
            last_used_at: used.map(Timestamp),
            pulled_at: Timestamp(10),
            in_use,
            is_needed: false,
        }
    }

    #[test]
    fn what_every_job_needs_makes_room_for_nothing_however_long_it_was_not_used() {
        let needed = Held { is_needed: true, ..held("gateway", 30, None, false) };
        let images = [needed, held("a", 40, Some(30), false)];
        assert_eq!(evictions(&images, "b", 50, 100), Ok(vec!["a".to_owned()]));
        assert!(evictions(&images, "b", 80, 100).is_err());
    }

    #[test]
    fn the_one_that_was_used_longest_ago_goes_first() {
        let images =
            [held("a", 40, Some(30), false), held("b", 40, None, false), held("c", 10, Some(5), false)];
        // One that was pulled after it was last used counts from its pull, as one that was never used does.
        assert_eq!(evictions(&images, "d", 10, 100), Ok(vec![]));
        assert_eq!(evictions(&images, "d", 20, 100), Ok(vec!["b".to_owned()]));
        assert_eq!(evictions(&images, "d", 60, 100), Ok(vec!["b".to_owned(), "c".into()]));
        assert_eq!(evictions(&images, "a", 60, 100), Ok(vec!["b".to_owned()]));
    }

    #[test]
    fn what_is_in_use_stays_and_the_refusal_says_how_much_that_is() {
        let mib = 1 << 20;
        let images = [held("a", 60 * mib, Some(1), true), held("b", 10 * mib, Some(2), false)];
        assert_eq!(evictions(&images, "c", 40 * mib, 100 * mib), Ok(vec!["b".to_owned()]));
        let refused = OverQuota { needed_mib: 41, quota_mib: 100, used_mib: 60 };
        assert_eq!(evictions(&images, "c", 41 * mib, 100 * mib), Err(refused));
    }

    proptest! {
        #[test]
        fn what_is_left_fits_and_no_more_goes_than_must(
            sizes in prop::collection::vec((0_u64..100, prop::option::of(0_i64..50), any::<bool>()), 0..12),
            needed in 0_u64..150,
            quota in 0_u64..400,
        ) {
            let images: Vec<Held> = sizes
                .iter()
                .enumerate()
                .map(|(index, (size, used, in_use))| held(&index.to_string(), *size, *used, *in_use))
                .collect();
            let Ok(gone) = evictions(&images, "0", needed, quota) else {
                let stuck: u64 = images.iter().skip(1).filter(|image| image.in_use).map(|i| i.size_bytes).sum();
                prop_assert!(stuck + needed > quota);
                return Ok(());
            };
            let left = |gone: &[String]| -> u64 {
                images.iter().filter(|image| image.name != "0" && !gone.contains(&image.name)).map(|i| i.size_bytes).sum()
            };
            prop_assert!(left(&gone) + needed <= quota);
            for image in &images {
                prop_assert!(!(gone.contains(&image.name) && (image.in_use || image.name == "0")));
            }
            if let Some((_, kept)) = gone.split_last() {
                prop_assert!(left(kept) + needed > quota, "the last one went for nothing");
            }
        }
    }
}
