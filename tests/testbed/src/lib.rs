//! Real parts for tests, demo and benches, each started privately and ended by process id: a Docker Engine, a desktop
//! session, a market, a host, a renter. Only the card may be a stand-in, and says so in its name.

pub mod base;
pub mod boinc;
pub mod catalogue;
pub mod desktop;
pub mod energy;
pub mod engine;
pub mod escapes;
pub mod figures;
pub mod footprint;
pub mod freezer;
pub mod gvisor;
pub mod heat;
pub mod helper;
pub mod host;
pub mod images;
pub mod internet;
pub mod line;
pub mod look;
pub mod market;
pub mod meddler;
pub mod night;
pub mod notebook;
pub mod package;
pub mod panel;
pub mod place;
pub mod process;
pub mod processor;
pub mod registry;
pub mod renter;
pub mod screen;
pub mod stage;
pub mod timeline;
pub mod tray;
pub mod webdriver;
