//! The decisions of Nightjar, and nothing else.
//!
//! Everything here is a value or a state machine that takes its inputs and the time as arguments. No clock, no file, no
//! socket, no environment, no async: what runs the machines lives in `nightjar-agent` and `nightjar-coordinator`.

pub mod bandwidth;
pub mod books;
pub mod conduct;
pub mod demand;
pub mod economics;
pub mod energy;
pub mod gpu;
pub mod gpu_use;
pub mod history;
pub mod host;
pub mod images;
pub mod lease;
pub mod ledger;
pub mod line_check;
pub mod market;
pub mod meter;
pub mod money;
pub mod network;
pub mod night;
pub mod notify;
pub mod parting;
pub mod policy;
pub mod power;
pub mod preset;
pub mod proof;
pub mod schedule;
pub mod settings;
pub mod settings_change;
pub mod settings_fault;
pub mod signal;
pub mod standing;
pub mod sweep;
pub mod tariff;
pub mod thermal;
pub mod time;
pub mod volume;
pub mod week;
