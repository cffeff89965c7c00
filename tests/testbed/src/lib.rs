//! Real parts for tests, demo and benches, each started privately and ended by process id: a Docker Engine, a desktop
//! session, a market, a host, a renter. Only the card may be a stand-in, and says so in its name.

pub mod desktop;
pub mod host;
pub mod market;
pub mod place;
pub mod process;
pub mod renter;
pub mod tray;
pub mod webdriver;
