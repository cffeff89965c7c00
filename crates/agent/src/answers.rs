//! What a page of the window asks for: from the journal, the cards' past and the owner's state.

use nightjar_core::books::{Books, NightTakings, Span};
use nightjar_core::time::Timestamp;
use nightjar_protocol::control::Refusal;
use nightjar_protocol::doctor::Check;
use nightjar_protocol::window::ImageLine;
use nightjar_worker::catalogue::Catalogue;
use tokio::sync::oneshot;

use crate::clock::{local_midnight, nights_of_month, span_start};
use crate::handle::AgentHandle;
use crate::owner::Message;

/// Months that a calendar goes back.
const MOST_MONTHS_AGO: u32 = 600;

impl AgentHandle {
    /// What a span brought, with at most so many of its jobs.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn books(&self, span: Span, most_jobs: usize) -> Result<Books, Refusal> {
        let now = self.clock.now();
        let since = match span {
            Span::Today => local_midnight(now),
            other => span_start(other, now),
        };
        let slices = self.journal.slices(since, now).await.map_err(unreadable)?;
        Ok(Books::of(&slices, since, now, self.currency().await, most_jobs))
    }

    /// The nights of a month on the wall, noon to noon, up to the one that lasts now.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn nights(&self, months_ago: u32) -> Result<Vec<NightTakings>, Refusal> {
        let edges = nights_of_month(self.clock.now(), months_ago.min(MOST_MONTHS_AGO));
        self.journal.nights(&edges, self.currency().await).await.map_err(unreadable)
    }

    /// What the doctor says of this PC.
    ///
    /// # Errors
    /// When the host is ending.
    pub async fn checks(&self) -> Result<Vec<Check>, Refusal> {
        let ending = || Refusal::Unreadable { detail: String::from("the host is ending") };
        let (answer, answered) = oneshot::channel();
        self.messages.send(Message::Checks(answer)).map_err(|_| ending())?;
        answered.await.map_err(|_| ending())
    }

    /// The images that this host may start, and which of them are here.
    ///
    /// # Errors
    /// When the catalogue of this build cannot be read.
    pub async fn images(&self) -> anyhow::Result<Vec<ImageLine>> {
        let (answer, answered) = oneshot::channel();
        let _ = self.messages.send(Message::Images(answer));
        let present = answered.await.unwrap_or_default();
        let catalogue = Catalogue::shipped()?;
        let lines = catalogue.images().iter().map(|image| ImageLine {
            name: image.key(),
            title: image.title.clone(),
            size_mib: image.size_mib,
            licence: image.licence.clone(),
            is_present: present.contains(&image.key()),
        });
        Ok(lines.collect())
    }

    /// The currency of the owner's price.
    async fn currency(&self) -> nightjar_core::money::Currency {
        let settings = self.settings().await.unwrap_or_default();
        settings.price_per_hour.currency
    }

    /// The moment it is for the host.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn unreadable(error: anyhow::Error) -> Refusal {
    Refusal::Journal { detail: format!("{error:#}") }
}
