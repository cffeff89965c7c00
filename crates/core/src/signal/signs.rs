//! All signs together, with the time that each has been seen: a sign counts after its grace and until it has been gone
//! for long enough, so that a twitch makes one change and not ten.

use std::collections::BTreeMap;

use super::{Sign, SignalKind, SignalRules, Standing};
use crate::time::Timestamp;

/// More sensors than any PC has; what a front end is shown stays bounded.
const MOST_SENSORS: usize = 64;
/// Longest name that is kept.
const LONGEST_NAME: usize = 120;
/// The load must fall by this much below its threshold before it no longer counts.
const CPU_HYSTERESIS_PERCENT: u32 = 10;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Seen, and not for long enough.
    Pending {
        since: Timestamp,
    },
    Counted,
    /// No longer seen, and still counted.
    Lingering {
        until: Timestamp,
    },
}

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    by_sensor: BTreeMap<(SignalKind, String), Standing>,
    /// With the last name that was seen.
    phases: BTreeMap<SignalKind, (Phase, String)>,
}

impl Signs {
    /// Takes a sensor's word. It has no effect before [`Signs::settle`].
    pub fn take(&mut self, sign: Sign) {
        let Sign { kind, mut source, standing } = sign;
        source.truncate(source.floor_char_boundary(LONGEST_NAME));
        let standing = match standing {
            Standing::Seen { mut name } => {
                name.retain(|c| !c.is_control());
                name.truncate(name.floor_char_boundary(LONGEST_NAME));
                Standing::Seen { name }
            }
            other => other,
        };
        let key = (kind, source);
        if self.by_sensor.len() < MOST_SENSORS || self.by_sensor.contains_key(&key) {
            self.by_sensor.insert(key, standing);
        }
    }

    /// What every sensor last said, for the owner who asks.
    #[must_use]
    pub fn list(&self) -> Vec<Sign> {
        let sensors = self.by_sensor.iter();
        sensors
            .map(|((kind, source), standing)| Sign {
                kind: *kind,
                source: source.clone(),
                standing: standing.clone(),
            })
            .collect()
    }

    /// Brings every kind in line with what is seen and with the time.
    pub fn settle(&mut self, rules: &SignalRules, cpu_busy_percent: u32, now: Timestamp) {
        let kinds: Vec<SignalKind> = self.by_sensor.keys().map(|(kind, _)| *kind).collect();
        for kind in kinds {
            let rule = rules.of(kind);
            let counts =
                matches!(self.phases.get(&kind), Some((Phase::Counted | Phase::Lingering { .. }, _)));
            let seen = self.seen(kind, cpu_busy_percent, counts).filter(|_| rule.on);
            let next = match (seen, self.phases.remove(&kind)) {
                (Some(name), None) => Some((Phase::Pending { since: now }, name)),
                (Some(name), Some((Phase::Lingering { .. }, _))) => Some((Phase::Counted, name)),
                (Some(name), Some((phase, _))) => Some((phase, name)),
                (None, Some((Phase::Counted, name))) if rule.on => {
                    Some((Phase::Lingering { until: now.plus_ms(rule.linger_ms) }, name))
                }
                (None, Some((Phase::Lingering { until }, name))) if rule.on => {
                    Some((Phase::Lingering { until }, name))
                }
                (None, _) => None,
            };
            let next = next.and_then(|(phase, name)| match phase {
                Phase::Pending { since } if now >= since.plus_ms(rule.grace_ms) => {
                    Some((Phase::Counted, name))
                }
                Phase::Lingering { until } if now >= until => None,
                phase => Some((phase, name)),
            });
            if let Some(next) = next {
                self.phases.insert(kind, next);
            }
        }
    }

    /// The name of what counts now, and until when at least, where only time is waited for.
    #[must_use]
    pub fn counted(&self, kind: SignalKind) -> Option<(&str, Option<Timestamp>)> {
        match self.phases.get(&kind)? {
            (Phase::Pending { .. }, _) => None,
            (Phase::Counted, name) => Some((name, None)),
            (Phase::Lingering { until }, name) => Some((name, Some(*until))),
        }
    }

    /// Whether any sensor sees it now, whatever the owner's rule says of it.
    #[must_use]
    pub fn is_seen(&self, kind: SignalKind) -> bool {
        let mut of_kind = self.by_sensor.iter().filter(|((of, _), _)| *of == kind);
        of_kind.any(|(_, standing)| matches!(standing, Standing::Seen { .. }))
    }

    /// When time alone changes what counts.
    #[must_use]
    pub fn next_change(&self, rules: &SignalRules) -> Option<Timestamp> {
        let moments = self.phases.iter().filter_map(|(kind, (phase, _))| match phase {
            Phase::Pending { since } => Some(since.plus_ms(rules.of(*kind).grace_ms)),
            Phase::Counted => None,
            Phase::Lingering { until } => Some(*until),
        });
        moments.min()
    }

    fn seen(&self, kind: SignalKind, cpu_busy_percent: u32, counts: bool) -> Option<String> {
        let mut names = self.by_sensor.iter().filter_map(|((of, _), standing)| match standing {
            Standing::Seen { name } if *of == kind => Some(name),
            _ => None,
        });
        if kind != SignalKind::ForeignCpu {
            return names.next().cloned();
        }
        let threshold =
            if counts { cpu_busy_percent.saturating_sub(CPU_HYSTERESIS_PERCENT) } else { cpu_busy_percent };
        let loads = names.filter_map(|percent| percent.parse::<u32>().ok());
        loads.max().filter(|percent| *percent >= threshold).map(|percent| percent.to_string())
    }
}
