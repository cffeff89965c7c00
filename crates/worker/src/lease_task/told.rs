//! What is said down a lease's lines, and said again where one was cut.

use nightjar_core::network::Rates;
use nightjar_core::parting::Parting;
use nightjar_protocol::guest::{GuestCommand, Notice};

use super::Order;
use crate::line::Line;
use crate::preparation::Lines;

/// Both containers hear it: one keeps the file, the other the address.
pub(super) fn tell(lines: &Lines, command: &GuestCommand) {
    lines.gateway.send(command);
    lines.worker.send(command);
}

/// What was last said down the lines. One that was cut may have lost it, so who takes it up again says it again.
#[derive(Default)]
pub(super) struct Told {
    limits: Option<GuestCommand>,
    notice: Option<GuestCommand>,
}

impl Told {
    /// Says what is only to be said; `true` where nothing else is to be done. Before a freeze, which does not wait for it, the
    /// tenant is told: a worker that is frozen first reads it when it goes on.
    pub fn take(&mut self, lines: &Lines, order: &Order) -> bool {
        match order {
            Order::Bandwidth(Rates { up_kbit, down_kbit }) => {
                let limits = GuestCommand::SetBandwidth { up_kbit: *up_kbit, down_kbit: *down_kbit };
                lines.gateway.send(&limits);
                self.limits = Some(limits);
                true
            }
            Order::Notice(parting) => {
                self.notice(lines, parting.as_ref());
                true
            }
            Order::Freeze { parting, .. } => {
                self.notice(lines, Some(parting));
                false
            }
            Order::Thaw | Order::Restrain { .. } => false,
        }
    }

    pub fn notice(&mut self, lines: &Lines, parting: Option<&Parting>) {
        let notice =
            parting.map_or(GuestCommand::NoticeOver, |parting| GuestCommand::Notice(Notice::of(parting)));
        tell(lines, &notice);
        self.notice = Some(notice);
    }

    pub fn again_to_worker(&self, line: Line) -> Line {
        self.notice.iter().for_each(|notice| line.send(notice));
        line
    }

    pub fn again_to_gateway(&self, line: Line) -> Line {
        self.limits.iter().for_each(|limits| line.send(limits));
        self.again_to_worker(line)
    }
}
