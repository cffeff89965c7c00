//! The task that writes: journal and settings, in order, off the host's loop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nightjar_core::host::JournalEntry;
use nightjar_core::lease::{Epoch, LeaseId};
use nightjar_core::money::Currency;
use nightjar_core::settings::Settings;
use nightjar_core::time::Timestamp;
use nightjar_protocol::view::Earnings;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::clock::{Clock, local_midnight};
use crate::journal::Journal;
use crate::owner::Message;
use crate::settings_file;

/// How long to wait before a write is tried again (the disk was full, say).
const RETRY: Duration = Duration::from_secs(2);

pub(crate) enum Writing {
    Entry(JournalEntry),
    Acknowledge {
        lease: LeaseId,
        epoch: Epoch,
        sequence: u64,
    },
    Settings(Box<Settings>),
    /// Answers once everything before it is on the disk.
    Flush(oneshot::Sender<()>),
}

/// What must be written, however long it takes.
enum Writable<'a> {
    Entry(&'a JournalEntry),
    Settings(&'a Settings),
}

impl Writable<'_> {
    fn name(&self) -> &'static str {
        match self {
            Self::Entry(_) => "the journal",
            Self::Settings(_) => "the settings",
        }
    }
}

pub(crate) struct Scribe {
    pub journal: Journal,
    pub settings_path: PathBuf,
    pub clock: Clock,
    pub currency: Currency,
    /// Told when a record waits to be sent.
    pub usage_waits: Arc<Notify>,
    pub owner: mpsc::UnboundedSender<Message>,
}

impl Scribe {
    pub(crate) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Writing>) {
        self.tell_earnings().await;
        loop {
            let midnight = self.until_midnight();
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.write(order).await,
                    None => return self.journal.close().await,
                },
                () = tokio::time::sleep(midnight) => self.tell_earnings().await,
            }
        }
    }

    async fn write(&mut self, order: Writing) {
        match order {
            Writing::Entry(entry) => {
                self.insist(&Writable::Entry(&entry)).await;
                if matches!(entry, JournalEntry::Usage { .. }) {
                    self.usage_waits.notify_one();
                    self.tell_earnings().await;
                }
            }
            Writing::Acknowledge { lease, epoch, sequence } => {
                if let Err(error) = self.journal.acknowledge(&lease, epoch, sequence).await {
                    // It is sent again, and the coordinator books it once.
                    tracing::warn!(%error, "an acknowledgement was not written down");
                }
            }
            Writing::Settings(settings) => {
                self.currency = settings.price_per_hour.currency;
                self.insist(&Writable::Settings(&settings)).await;
            }
            Writing::Flush(done) => {
                let _ = done.send(());
            }
        }
    }

    /// Nothing is lost because a disk is full for a while: what cannot be written is tried again, and what comes after
    /// it waits, so that the order holds.
    async fn insist(&self, what: &Writable<'_>) {
        for attempt in 1_u32.. {
            let written = match what {
                Writable::Entry(entry) => self.journal.write(entry).await,
                Writable::Settings(settings) => {
                    settings_file::save(&self.settings_path, settings).map_err(anyhow::Error::from)
                }
            };
            let Err(error) = written else { return };
            tracing::error!(attempt, "{} cannot be written, tried again in 2 s: {error:#}", what.name());
            // A record that is already there, or whose lease is not, will not become right by waiting.
            if is_about_content(&error) {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn tell_earnings(&self) {
        let midnight = local_midnight(self.clock.now());
        let today = self.journal.earned_since(midnight, self.currency).await;
        let all = self.journal.earned_since(Timestamp(0), self.currency).await;
        match (today, all) {
            (Ok(today), Ok(all)) => {
                let _ = self.owner.send(Message::Earned(Earnings { today, all }));
            }
            (Err(error), _) | (_, Err(error)) => tracing::warn!("earnings cannot be read: {error:#}"),
        }
    }

    fn until_midnight(&self) -> Duration {
        let now = self.clock.now();
        // 25 hours on from the last midnight is past the next one, whatever the clocks do.
        let next = local_midnight(local_midnight(now).plus_ms(25 * 3_600_000 + 60_000));
        self.clock.until(next).max(Duration::from_secs(60))
    }
}

fn is_about_content(error: &anyhow::Error) -> bool {
    error.downcast_ref::<sqlx::Error>().is_none_or(|error| match error {
        sqlx::Error::Database(database) => {
            database.is_unique_violation() || database.is_foreign_key_violation()
        }
        sqlx::Error::RowNotFound => true,
        _ => false,
    }) && error.downcast_ref::<std::io::Error>().is_none()
}
