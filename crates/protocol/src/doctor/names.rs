//! What the doctor says of name servers: whom tenants ask, where that is not whom this PC asks.

use nightjar_core::network::public_name_servers;
use nightjar_core::policy::{Runtime, Sandboxing, Snapshot};
use nightjar_core::power::HelperStanding;
use nightjar_core::settings::{EgressMode, Settings};

use super::{Check, CheckStanding, Doctor};

impl Doctor<'_> {
    /// Under runc and with a list it is the Engine that asks, from outside the container, where this PC's own answers.
    pub(super) fn names(
        &self,
        snapshot: &Snapshot,
        settings: &Settings,
        helper: &HelperStanding,
    ) -> Option<Check> {
        let Runtime::Ready { engine, .. } = &snapshot.runtime else { return None };
        if engine.own_name_servers.is_empty() {
            return None;
        }
        let key = match (settings.egress, snapshot.sandboxing(settings, helper)) {
            (EgressMode::Open, _) => "check-names-open",
            (EgressMode::Curated, Sandboxing::Used(_)) => "check-names-gvisor",
            _ => return None,
        };
        let pays_in = snapshot.market_currency.unwrap_or(settings.price_per_hour.currency);
        let asked: Vec<String> =
            public_name_servers(&[], &[], pays_in).iter().map(ToString::to_string).collect();
        let values = [("own", self.texts.list(&engine.own_name_servers)), ("list", self.texts.list(&asked))];
        Some(self.check("names", CheckStanding::Optional, self.texts.with(key, &values)))
    }
}
