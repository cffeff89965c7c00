//! Which cards a machine has and what happens to it when, from a TOML file or a list of models.
//!
//! ```toml
//! driver_version = "570.124.06"
//! room_celsius = 24.0
//!
//! [[card]]
//! model = "rtx4090"
//!
//! [[event]]
//! at_ms = 5000
//! do = "external_load"
//! card = 0
//! pid = 4242
//! util_percent = 80.0
//! vram_mib = 6000
//! graphics = true
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use serde::Deserialize;

use crate::control;
use crate::model::CardModel;
use crate::wire::Control;

const DRIVER_VERSION: &str = "570.124.06";
const ROOM_CELSIUS: f64 = 22.0;
const MOST_CARDS: usize = 16;
const MOST_EVENTS: usize = 10_000;

/// Scenarios that come with the stand-in: what can become of a card's heat, by name.
pub const NAMED: [(&str, &str); 8] = [
    ("hot-room", include_str!("../scenarios/hot-room.toml")),
    ("dusty-fan", include_str!("../scenarios/dusty-fan.toml")),
    ("dead-fan-sensor", include_str!("../scenarios/dead-fan-sensor.toml")),
    ("blocked-fan", include_str!("../scenarios/blocked-fan.toml")),
    ("silent-thermometer", include_str!("../scenarios/silent-thermometer.toml")),
    ("stuck-thermometer", include_str!("../scenarios/stuck-thermometer.toml")),
    ("blind-and-blocked", include_str!("../scenarios/blind-and-blocked.toml")),
    ("laptop-in-bed", include_str!("../scenarios/laptop-in-bed.toml")),
];

/// One card of the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct CardSetup {
    pub model: &'static CardModel,
    /// Whether a monitor is connected; by default to the first card alone.
    pub display_connected: Option<bool>,
}

/// A whole machine and its future.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    pub driver_version: String,
    pub room_celsius: f64,
    pub cards: Vec<CardSetup>,
    events: VecDeque<(Duration, Control)>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            driver_version: DRIVER_VERSION.to_owned(),
            room_celsius: ROOM_CELSIUS,
            cards: Vec::new(),
            events: VecDeque::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    driver_version: Option<String>,
    room_celsius: Option<f64>,
    #[serde(default)]
    card: Vec<FileCard>,
    #[serde(default)]
    event: Vec<FileEvent>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileCard {
    model: String,
    display_connected: Option<bool>,
}

#[derive(Deserialize)]
struct FileEvent {
    at_ms: u64,
    #[serde(flatten)]
    control: Control,
}

impl Scenario {
    /// A quiet machine with these cards, in this order: `["rtx4090", "rtx3060"]`.
    pub fn with_cards<S: AsRef<str>>(keys: &[S]) -> Result<Self, String> {
        let cards = keys
            .iter()
            .map(|key| Ok(CardSetup { model: CardModel::find(key.as_ref())?, display_connected: None }))
            .collect::<Result<Vec<_>, String>>()?;
        Self { cards, ..Self::default() }.checked()
    }

    /// One of [`NAMED`].
    pub fn named(name: &str) -> Result<Self, String> {
        let known = || NAMED.map(|(name, _)| name).join(", ");
        let found = NAMED.iter().find(|(known, _)| *known == name);
        let (_, text) =
            found.ok_or_else(|| format!("there is no scenario {name:?}: choose from {}", known()))?;
        Self::parse(text)
    }

    /// Reads a scenario file's text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File =
            toml::from_str(text).map_err(|error| format!("the scenario cannot be read: {error}"))?;
        let cards = file
            .card
            .into_iter()
            .map(|card| {
                let model = CardModel::find(&card.model)?;
                Ok(CardSetup { model, display_connected: card.display_connected })
            })
            .collect::<Result<Vec<_>, String>>()?;
        let mut events: Vec<(Duration, Control)> =
            file.event.into_iter().map(|event| (Duration::from_millis(event.at_ms), event.control)).collect();
        events.sort_by_key(|(at, _)| *at);
        let default = Self::default();
        Self {
            driver_version: file.driver_version.unwrap_or(default.driver_version),
            room_celsius: file.room_celsius.unwrap_or(default.room_celsius),
            cards,
            events: events.into(),
        }
        .checked()
    }

    fn checked(self) -> Result<Self, String> {
        if self.cards.len() > MOST_CARDS || self.events.len() > MOST_EVENTS {
            return Err(format!("a scenario has at most {MOST_CARDS} cards and {MOST_EVENTS} events"));
        }
        control::check(&Control::SetRoomTemp { celsius: self.room_celsius }, 0)?;
        control::check(&Control::Driver { version: self.driver_version.clone() }, 0)?;
        for (at, event) in &self.events {
            control::check(event, self.cards.len())
                .map_err(|why| format!("event at {} ms: {why}", at.as_millis()))?;
        }
        Ok(self)
    }

    /// The next event, if its moment has come.
    pub fn take_due(&mut self, now: Duration) -> Option<(Duration, Control)> {
        if self.events.front()?.0 <= now { self.events.pop_front() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_in_the_order_of_time() {
        let mut scenario = Scenario::parse(
            "room_celsius = 30.0\n[[card]]\nmodel = \"rtx3060\"\n\
             [[event]]\nat_ms = 900\ndo = \"unplug\"\ncard = 0\n\
             [[event]]\nat_ms = 100\ndo = \"fail\"\ncall = \"nvmlInit_v2\"\ncode = 18\n",
        )
        .unwrap();
        assert_eq!(scenario.cards[0].model.key, "rtx3060");
        assert_eq!(scenario.take_due(Duration::from_millis(99)), None);
        let (at, control) = scenario.take_due(Duration::from_secs(1)).unwrap();
        assert_eq!(at, Duration::from_millis(100));
        assert!(matches!(control, Control::Fail { code: Some(18), .. }));
        assert_eq!(scenario.take_due(Duration::from_secs(1)).unwrap().1, Control::Unplug { card: 0 });
    }

    #[test]
    fn what_comes_with_it_can_be_read() {
        for (name, _) in NAMED {
            assert_eq!(Scenario::named(name).unwrap().cards.len(), 1, "{name}");
        }
        assert!(Scenario::named("volcano").unwrap_err().contains("hot-room"));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(Scenario::with_cards(&["rtx9090"]).unwrap_err().contains("rtx4090"));
        let unknown = "[[event]]\nat_ms = 1\ndo = \"unplug\"\ncard = 3\n";
        assert!(Scenario::parse(unknown).unwrap_err().contains("no card 3"));
        assert!(Scenario::parse("rooms = 2").is_err());
    }
}
