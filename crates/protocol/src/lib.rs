//! What goes over a wire or to a front end: types, versions, error codes, sentences. No I/O.
//!
//! | module | between |
//! | --- | --- |
//! | [`host_session`] | host and coordinator (WebSocket) |
//! | [`line_session`] | host and coordinator, while the line between them is measured (WebSocket) |
//! | [`market_api`] | renter and coordinator (HTTP) |
//! | [`control`] | front ends and a running host (local socket) |
//! | [`guest`] | agent and process 1 of a container (its standard input and output) |
//! | [`images`] | front ends and the puller: what is here, what is on its way |
//! | [`helper`] | the host and the privileged helper (local socket) |
//! | [`night`] | the journal and whoever asks where the time went |
//! | [`view`] | the agent and everything that is shown |
//! | [`doctor`], [`report`], [`tray`] | parts of what is shown |
//! | [`invitation`] | an operator and an owner: the link with which a host joins a market |
//! | [`window`] | the app and its window, beside the two above |
//! | [`relay`] | where the tunnel's relay is |

pub mod bindings;
pub mod components;
pub mod control;
pub mod doctor;
pub mod error;
pub mod guest;
pub mod helper;
pub mod host_session;
pub mod images;
pub mod invitation;
pub mod line_session;
pub mod local_time;
pub mod market_api;
pub mod network;
pub mod night;
pub mod relay;
pub mod report;
pub mod text;
pub mod tray;
pub mod view;
pub mod window;
