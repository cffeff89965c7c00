//! What this PC can promise of what renters keep on it. Only a lease shows it.

use nightjar_core::settings::Language;
use nightjar_core::volume::Footing;

use super::{Check, CheckStanding, Doctor};
use crate::text::Texts;

/// One more check, by what the last leases found.
#[must_use]
pub fn kept_check(footing: Option<Footing>, language: Language) -> Check {
    let (standing, key) = match footing {
        None => (CheckStanding::Optional, "check-kept-not-yet"),
        Some(Footing { has_quota: true, is_encrypted: true, .. }) => (CheckStanding::Good, "check-kept-good"),
        Some(Footing { has_quota: true, is_encrypted: false, .. }) => {
            (CheckStanding::Warning, "check-kept-readable")
        }
        Some(Footing { has_quota: false, .. }) => (CheckStanding::Warning, "check-kept-folder"),
    };
    let texts = Texts::of(language);
    Doctor { texts, clock: &|_| String::new() }.check("kept", standing, texts.plain(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_pc_cannot_promise_is_told_in_both_languages() {
        let disk = |is_encrypted| Some(Footing { has_quota: true, is_encrypted, was_mended: false });
        for language in [Language::English, Language::SimplifiedChinese] {
            let found = [None, disk(true), disk(false), Some(Footing::FOLDER)];
            let found = found.map(|footing| kept_check(footing, language));
            use CheckStanding::{Good, Optional, Warning};
            assert_eq!(found.each_ref().map(|check| check.standing), [Optional, Good, Warning, Warning]);
            let told: std::collections::BTreeSet<&str> =
                found.iter().map(|check| check.sentence.as_str()).collect();
            assert!(told.len() == 4 && told.iter().all(|text| !text.starts_with("check-")), "{told:?}");
            assert!(!found[0].title.starts_with("check-"), "{:?}", found[0]);
        }
    }
}
