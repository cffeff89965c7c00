//! What is said on one connection, whatever carries it: one answer a request, and the first one must be a `Hello`.

use std::sync::Arc;

use nightjar_protocol::helper::{
    ContainerId, HELPER_VERSION, HelperAnswer, HelperErrorCode, HelperRefusal, HelperRequest,
    OLDEST_APP_VERSION,
};

use crate::desk::Desk;
use crate::limits::Connection;

/// The containers of this system, as far as the helper reaches them.
pub trait Containers {
    /// One of the requests that name a container.
    ///
    /// # Errors
    /// Why it was not done.
    fn handle(&self, request: &HelperRequest, by: Connection) -> Result<HelperAnswer, HelperRefusal>;

    /// What a connection guards.
    fn of(&self, by: Connection) -> Vec<ContainerId>;
}

/// One connection.
pub struct Conversation<C> {
    desk: Arc<Desk>,
    containers: C,
    by: Connection,
    /// Who asks, for the log.
    who: String,
    is_greeted: bool,
}

impl<C: Containers> Conversation<C> {
    #[must_use]
    pub fn new(desk: Arc<Desk>, containers: C, by: Connection, who: String) -> Self {
        Self { desk, containers, by, who, is_greeted: false }
    }

    /// Before that it is cut off after its answer.
    #[must_use]
    pub fn is_greeted(&self) -> bool {
        self.is_greeted
    }

    /// Answers a request, and writes down who asked for what.
    pub fn take(&mut self, request: &HelperRequest) -> HelperAnswer {
        let answer = match (self.is_greeted, request) {
            (false, HelperRequest::Hello { protocol_version: OLDEST_APP_VERSION..=HELPER_VERSION, .. }) => {
                self.is_greeted = true;
                Ok(HelperAnswer::Welcome {
                    protocol_version: HELPER_VERSION,
                    helper_version: env!("CARGO_PKG_VERSION").to_owned(),
                })
            }
            (false, _) => Err(HelperRefusal::new(
                HelperErrorCode::Version,
                format!(
                    "this helper speaks version {HELPER_VERSION} and wants `hello` first; install app and helper of one version"
                ),
            )),
            (true, _) => request.check().and_then(|()| self.answer(request)),
        };
        match &answer {
            Ok(_) => tracing::info!(who = self.who, connection = self.by.0, ?request, "done"),
            Err(refusal) => {
                tracing::warn!(who = self.who, connection = self.by.0, ?request, "refused: {refusal}");
            }
        }
        answer.unwrap_or_else(HelperAnswer::Refused)
    }

    fn answer(&self, request: &HelperRequest) -> Result<HelperAnswer, HelperRefusal> {
        let by = self.by;
        match request {
            HelperRequest::Hello { .. } => Err(HelperRefusal::new(
                HelperErrorCode::BadRequest,
                "`hello` comes first and once; go on with a request",
            )),
            HelperRequest::SetPowerLimit { gpu_uuid, watts } => self.desk.set(gpu_uuid, *watts, by),
            HelperRequest::Confirm { gpu_uuid } => {
                self.desk.confirm(gpu_uuid, by).map(|()| HelperAnswer::Done)
            }
            HelperRequest::Restore { gpu_uuid } => {
                self.desk.restore(gpu_uuid.as_ref());
                Ok(HelperAnswer::Done)
            }
            HelperRequest::Status => {
                Ok(HelperAnswer::Status { cards: self.desk.list(), guarded: self.containers.of(by) })
            }
            HelperRequest::Guard { .. }
            | HelperRequest::Release { .. }
            | HelperRequest::FreezeContainer { .. }
            | HelperRequest::ThawContainer { .. }
            | HelperRequest::EndContainer { .. } => self.containers.handle(request, by),
        }
    }
}
