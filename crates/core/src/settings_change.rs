//! What a front end changed in the settings, apart from what it only had before it.
//!
//! Several front ends can be open at once (the window, the tray, a browser, a terminal), and each draws settings that may be
//! a second old. So a save says from what to what it changes them, and only the difference is carried over.

use serde_json::{Map, Value};

use crate::settings::Settings;

/// The two changes do not go together: what would come of them are no settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overtaken;

impl Settings {
    /// These settings after the change from `before` to `after`. Of a field that was changed elsewhere since `before`, and
    /// is changed again by this, the later word counts; of lists of names each name is a field of its own.
    ///
    /// # Errors
    /// [`Overtaken`] when the outcome cannot be read as settings. Whether they are in their bounds is for
    /// [`Settings::check`].
    pub fn changed(&self, before: &Self, after: &Self) -> Result<Self, Overtaken> {
        let tree = |settings: &Self| serde_json::to_value(settings).map_err(|_| Overtaken);
        let outcome = carried(&tree(self)?, &tree(before)?, &tree(after)?);
        serde_json::from_value(outcome).map_err(|_| Overtaken)
    }
}

fn carried(now: &Value, before: &Value, after: &Value) -> Value {
    if before == after {
        return now.clone();
    }
    match (now, before, after) {
        (Value::Object(now), Value::Object(before), Value::Object(after)) => {
            Value::Object(carried_fields(now, before, after))
        }
        (Value::Array(now), Value::Array(before), Value::Array(after))
            if [now, before, after].iter().all(|list| is_of_names(list)) =>
        {
            let stays = |name: &&Value| !before.contains(name) || after.contains(name);
            let is_new = |name: &&Value| !before.contains(name) && !now.contains(name);
            Value::Array(now.iter().filter(stays).chain(after.iter().filter(is_new)).cloned().collect())
        }
        _ => after.clone(),
    }
}

fn carried_fields(
    now: &Map<String, Value>,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> Map<String, Value> {
    let mut outcome = now.clone();
    for name in before.keys().filter(|name| !after.contains_key(*name)) {
        outcome.remove(name);
    }
    for (name, wanted) in after {
        let value = match (now.get(name), before.get(name)) {
            (_, Some(before)) if before == wanted => continue,
            (Some(now), Some(before)) => carried(now, before, wanted),
            _ => wanted.clone(),
        };
        outcome.insert(name.clone(), value);
    }
    outcome
}

/// Each once: in another list a place may mean something.
fn is_of_names(list: &[Value]) -> bool {
    list.iter().enumerate().all(|(place, name)| name.is_string() && !list[..place].contains(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gpu::GpuUuid;
    use crate::images::TaskKind;
    use crate::settings::{CardRule, EgressMode};

    type Change = fn(&mut Settings);

    fn after(change: Change, settings: &Settings) -> Settings {
        let mut changed = settings.clone();
        change(&mut changed);
        changed
    }

    const CHANGES: [Change; 9] = [
        |s| s.egress = EgressMode::Open,
        |s| s.temperature_ceiling_celsius = 75,
        |s| s.heat.target_celsius = 70,
        |s| s.network.day.up_kbit = 5_000,
        |s| s.network.monthly_cap_mib = Some(1_000),
        |s| {
            s.images.consents.insert(TaskKind::Training);
        },
        |s| {
            s.images.consents.remove(&TaskKind::Interactive);
        },
        |s| s.games.push("one.exe".into()),
        |s| {
            s.cards.insert(GpuUuid("GPU-0".into()), CardRule { lend: false, while_here: true });
        },
    ];

    #[test]
    fn two_changes_of_different_things_hold_both_whichever_comes_first() {
        let seen = Settings::default();
        for (i, first) in CHANGES.iter().enumerate() {
            for (j, second) in CHANGES.iter().enumerate().filter(|(j, _)| *j != i) {
                // Both front ends saw the same; the second does not know of the first.
                let both = after(*first, &seen).changed(&seen, &after(*second, &seen)).unwrap();
                assert_eq!(both, after(*second, &after(*first, &seen)), "{i} and then {j}");
            }
        }
    }

    #[test]
    fn of_one_field_the_later_word_counts() {
        let seen = Settings::default();
        let first = after(|s| s.temperature_ceiling_celsius = 60, &seen);
        let second = after(|s| s.temperature_ceiling_celsius = 75, &seen);
        assert_eq!(first.changed(&seen, &second).unwrap(), second);
    }

    #[test]
    fn a_name_that_both_add_is_there_once_and_one_that_one_takes_out_is_gone() {
        let seen = after(|s| s.games = vec!["old".into()], &Settings::default());
        let first = after(|s| s.games = vec!["old".into(), "new".into()], &seen);
        let second = after(|s| s.games = vec!["new".into()], &seen);
        assert_eq!(first.changed(&seen, &second).unwrap().games, ["new"]);
    }

    proptest! {
        #[test]
        fn a_change_of_what_is_in_force_is_that_change(picked in prop::collection::vec(0..CHANGES.len(), 0..6), at in 0_usize..6) {
            let make = |some: &[usize]| {
                some.iter().fold(Settings::default(), |settings, index| after(CHANGES[*index], &settings))
            };
            let (before, wanted) = (make(&picked[..at.min(picked.len())]), make(&picked));
            prop_assert_eq!(before.changed(&before, &wanted), Ok(wanted.clone()));
            // And none of it is brought back by who changes nothing.
            prop_assert_eq!(wanted.changed(&before, &before), Ok(wanted));
        }
    }
}
