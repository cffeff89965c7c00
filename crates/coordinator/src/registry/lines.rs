//! Whose line is measured: one host at a time, so that hosts do not share what is measured, nor crowd the market's own
//! line. A host that was asked has a ticket for one connection.

use nightjar_core::line_check::{CHECK_WITHIN_MS, COMES_WITHIN_MS, LineFigures};
use nightjar_core::time::Timestamp;
use nightjar_protocol::host_session::ToHost;

use super::Registry;

/// The one that is asked or measured now.
#[derive(Debug)]
pub(super) struct Turn {
    host_id: String,
    ticket: String,
    /// It has come with its ticket.
    is_taken: bool,
    /// Then it is somebody else's turn in any case.
    until: Timestamp,
}

impl Registry {
    /// Hosts on offer for which no time was drawn.
    pub(crate) fn undrawn_lines(&self) -> Vec<String> {
        let sessions = self.lock();
        let undrawn =
            sessions.by_host.iter().filter(|(_, entry)| entry.line_at.is_none() && !entry.offers.is_empty());
        undrawn.map(|(host_id, _)| host_id.clone()).collect()
    }

    pub(crate) fn draw_line(&self, host_id: &str, at: Timestamp) {
        if let Some(entry) = self.lock().by_host.get_mut(host_id) {
            entry.line_at = Some(at);
        }
    }

    /// A host on offer whose time has come, the first of them, while it is nobody's turn. Its next time is drawn anew.
    pub(crate) fn due_line(&self, now: Timestamp) -> Option<String> {
        let mut sessions = self.lock();
        if sessions.line_turn.as_ref().is_some_and(|turn| now < turn.until) {
            return None;
        }
        let due = sessions.by_host.iter().filter(|(_, entry)| !entry.offers.is_empty());
        let due = due.filter_map(|(host_id, entry)| {
            entry.line_at.filter(|at| *at <= now).map(|at| (at, host_id.clone()))
        });
        let (_, host_id) = due.min()?;
        if let Some(entry) = sessions.by_host.get_mut(&host_id) {
            entry.line_at = None;
        }
        Some(host_id)
    }

    /// It is this host's turn.
    pub(crate) fn ask_line(&self, host_id: &str, ticket: String, now: Timestamp) {
        self.lock().line_turn = Some(Turn {
            host_id: host_id.to_owned(),
            ticket: ticket.clone(),
            is_taken: false,
            until: now.plus_ms(COMES_WITHIN_MS),
        });
        self.send(host_id, ToHost::CheckLine { ticket });
    }

    /// Whose ticket it is, once.
    pub(crate) fn take_line_ticket(&self, ticket: &str, now: Timestamp) -> Option<String> {
        let mut sessions = self.lock();
        let turn = sessions.line_turn.as_mut()?;
        if turn.is_taken || turn.ticket != ticket || now >= turn.until {
            return None;
        }
        turn.is_taken = true;
        turn.until = now.plus_ms(CHECK_WITHIN_MS);
        Some(turn.host_id.clone())
    }

    /// What was measured of a host's line, for whoever asks while the host is connected.
    pub(crate) fn set_line(&self, host_id: &str, figures: LineFigures) {
        if let Some(entry) = self.lock().by_host.get_mut(host_id) {
            entry.line = Some(figures);
        }
    }

    pub(crate) fn line_of(&self, host_id: &str, now: Timestamp) -> Option<LineFigures> {
        let sessions = self.lock();
        sessions.by_host.get(host_id)?.line.filter(|figures| figures.is_fresh(now))
    }

    /// The turn with this ticket is over.
    pub(crate) fn end_line(&self, ticket: &str) {
        self.lock().line_turn.take_if(|turn| turn.ticket == ticket);
    }
}
