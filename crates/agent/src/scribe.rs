//! The task that writes: the journal in order, and the latest settings, off the host's loop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nightjar_core::books::{Books, Span, Takings};
use nightjar_core::host::{Input, JournalEntry, Notice};
use nightjar_core::lease::{Epoch, LeaseId};
use nightjar_core::meter::UsageRefusal;
use nightjar_core::money::Currency;
use nightjar_core::notify::week_is_told;
use nightjar_core::settings::Settings;
use nightjar_core::time::{Timestamp, WallWatch};
use nightjar_protocol::view::Earnings;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, sleep_until};

use crate::clock::{Awake, Clock, local_midnight, span_start};
use crate::journal::Journal;
use crate::journal::night::BEAT_MS;
use crate::owner::Message;
use crate::settings_file;

/// How long to wait before a write is tried again (the disk was full, say).
const RETRY: Duration = Duration::from_secs(2);
/// The longest that the settings wait for the next try.
const RETRY_SELDOM: Duration = Duration::from_secs(60);

pub(crate) enum Writing {
    Entry(Box<JournalEntry>),
    Acknowledge {
        lease: LeaseId,
        epoch: Epoch,
        sequence: u64,
    },
    /// The market at this address will never book the record.
    Refuse {
        lease: LeaseId,
        epoch: Epoch,
        sequence: u64,
        market: String,
        why: UsageRefusal,
    },
    Settings(Box<Settings>),
    /// The owner was shown last week's sum, which would have been old then.
    WeekTold {
        old_at: Timestamp,
    },
    /// Answers once every entry before it is on the disk, and the settings where they can be.
    Flush(oneshot::Sender<()>),
}

/// The owner's last word, while it cannot be written. It waits beside the queue: a folder that can never be written must
/// hold up no record of money.
pub(crate) struct Unsaved {
    settings: Box<Settings>,
    again_at: Instant,
    pause: Duration,
}

pub(crate) struct Scribe {
    pub journal: Journal,
    pub settings_path: PathBuf,
    pub unsaved: Option<Unsaved>,
    pub clock: Clock,
    pub currency: Currency,
    /// Told when a record waits to be sent.
    pub usage_waits: Arc<Notify>,
    /// Told when a lease has moved on.
    pub leases_changed: Arc<Notify>,
    pub owner: mpsc::UnboundedSender<Message>,
}

impl Scribe {
    pub(crate) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Writing>) {
        self.tell_earnings().await;
        let mut midnight = local_midnight(self.clock.now());
        // The Monday whose week was made known in this run; whether its owner saw it, is written down.
        let mut summed = None;
        let mut has_begun = false;
        let mut awake = Awake::start(&self.clock);
        let mut wall = WallWatch::default();
        let mut minute = tokio::time::interval(Duration::from_millis(BEAT_MS));
        minute.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let again_at = self.unsaved.as_ref().map(|unsaved| unsaved.again_at);
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => {
                        let changes_today = is_of_the_day(&order);
                        self.write(order).await;
                        if changes_today && orders.is_empty() {
                            self.tell_today(midnight).await;
                        }
                    }
                    None => return self.end().await,
                },
                () = sleep_until(again_at.unwrap_or_else(Instant::now)), if again_at.is_some() => {
                    self.save_again();
                }
                _ = minute.tick() => {
                    self.beat(awake.has_slept(&self.clock)).await;
                    self.look_at_the_wall(&mut wall);
                    let now = local_midnight(self.clock.now());
                    if now != midnight {
                        midnight = now;
                        self.begin_day().await;
                    }
                    self.tell_today(midnight).await;
                    // The first beat is the start itself: nobody listens yet.
                    if std::mem::replace(&mut has_begun, true) {
                        self.tell_week(&mut summed).await;
                    }
                }
            }
        }
    }

    async fn end(&mut self) {
        self.save_again();
        if let Err(error) = self.journal.end(self.clock.now()).await {
            tracing::warn!("the end of this run was not written down: {error:#}");
        }
        self.journal.close().await;
    }

    async fn beat(&self, has_slept: bool) {
        if let Err(error) = self.journal.beat(self.clock.now(), has_slept).await {
            tracing::warn!("it was not written down that this program runs: {error:#}");
        }
    }

    fn look_at_the_wall(&self, watch: &mut WallWatch) {
        let (wall, own) = (Clock::wall(), self.clock.now());
        let Some(is_off) = watch.take(wall, own) else { return };
        if is_off {
            let seconds = wall.0.saturating_sub(own.0) / 1_000;
            tracing::warn!(seconds, "this PC's clock was set after the start");
        }
        // Only there a program can take its own place.
        if cfg!(unix) {
            let _ = self.owner.send(Message::Input(Input::ClockOff { is_off }));
        }
    }

    async fn begin_day(&self) {
        self.tell_earnings().await;
        if let Err(error) = self.journal.drop_old(self.clock.now()).await {
            tracing::warn!("old entries of the journal were not dropped: {error:#}");
        }
    }

    /// Once a run and week, until its owner has seen it: at the first beat after Monday began, also where no host ran at that
    /// moment or the one that ran ended too soon.
    async fn tell_week(&self, summed: &mut Option<Timestamp>) {
        let monday = span_start(Span::Week, self.clock.now());
        if *summed == Some(monday) {
            return;
        }
        // Whatever the clock on the wall did: a moment of the week before, and of the one after.
        let last = span_start(Span::Week, Timestamp(monday.0 - 3 * 86_400_000));
        let read = async {
            if week_is_told(self.journal.week_told().await?, monday) {
                return Ok(None);
            }
            let slices = self.journal.slices(last, monday).await?;
            anyhow::Ok(Some((slices, self.journal.check_costs(last, monday).await?)))
        };
        match read.await {
            Ok(None) => *summed = Some(monday),
            Ok(Some((slices, checks))) => {
                *summed = Some(monday);
                let books = Books::of(&slices, &checks, last, monday, self.currency, usize::MAX);
                let jobs = u32::try_from(books.jobs.len()).unwrap_or(u32::MAX);
                let Takings { net, running_ms, .. } = books.total;
                if jobs > 0 {
                    let old_at = span_start(Span::Week, Timestamp(monday.0 + 10 * 86_400_000));
                    let notice = Notice::WeekOver { net, running_ms, jobs, old_at };
                    let _ = self.owner.send(Message::Notice(notice));
                }
            }
            Err(error) => tracing::warn!("last week's books cannot be read: {error:#}"),
        }
    }

    async fn tell_today(&self, midnight: Timestamp) {
        match self.journal.account(midnight, self.clock.now()).await {
            Ok(account) => drop(self.owner.send(Message::Today(account))),
            Err(error) => tracing::warn!("where today's time went cannot be read: {error:#}"),
        }
    }

    async fn write(&mut self, order: Writing) {
        match order {
            Writing::Entry(entry) => {
                self.insist(&entry).await;
                if matches!(*entry, JournalEntry::Usage { .. }) {
                    self.usage_waits.notify_one();
                }
                if matches!(*entry, JournalEntry::Usage { .. } | JournalEntry::CheckCost { .. }) {
                    self.tell_earnings().await;
                }
                if matches!(*entry, JournalEntry::Lease { .. }) {
                    self.leases_changed.notify_one();
                }
            }
            Writing::Acknowledge { lease, epoch, sequence } => {
                if let Err(error) = self.journal.acknowledge(&lease, epoch, sequence).await {
                    // It is sent again, and the coordinator books it once.
                    tracing::warn!(%error, "an acknowledgement was not written down");
                }
            }
            Writing::Refuse { lease, epoch, sequence, market, why } => {
                match self.journal.refuse((&lease, epoch, sequence), &market, why).await {
                    Ok(()) => self.tell_earnings().await,
                    // It is sent again with the next session, and refused again.
                    Err(error) => tracing::warn!("a market's refusal was not written down: {error:#}"),
                }
            }
            Writing::Settings(settings) => {
                self.currency = settings.price_per_hour.currency;
                self.save(settings, None);
            }
            Writing::WeekTold { old_at } => {
                if let Err(error) = self.journal.tell_week(old_at).await {
                    tracing::warn!("it was not written down that last week's sum was shown: {error:#}");
                }
            }
            Writing::Flush(done) => {
                self.save_again();
                let _ = done.send(());
            }
        }
    }

    /// Nothing is lost because a disk is full for a while: what cannot be written is tried again, and what comes after
    /// it waits, so that the order holds.
    async fn insist(&self, entry: &JournalEntry) {
        for attempt in 1_u32.. {
            let Err(error) = self.journal.write(entry).await else { return };
            tracing::error!(attempt, "the journal cannot be written, tried again in 2 s: {error:#}");
            // A record that is already there, or whose lease is not, will not become right by waiting.
            if is_about_content(&error) {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn save_again(&mut self) {
        if let Some(Unsaved { settings, pause, .. }) = &self.unsaved {
            self.save(settings.clone(), Some(*pause));
        }
    }

    /// In place of what could not be written before. `pause` is how long was waited since the last try of the same, of
    /// which the owner was told.
    fn save(&mut self, settings: Box<Settings>, pause: Option<Duration>) {
        let Err(error) = settings_file::save(&self.settings_path, &settings) else {
            if self.unsaved.take().is_some() {
                tracing::info!("the settings are saved now");
                self.tell_saved(None);
            }
            return;
        };
        if pause.is_none() {
            let detail = format!("{}: {error}", self.settings_path.display());
            tracing::error!("the settings cannot be written and are tried again: {detail}");
            self.tell_saved(Some(detail));
        }
        let pause = pause.map_or(RETRY, |pause| (pause * 2).min(RETRY_SELDOM));
        self.unsaved = Some(Unsaved { settings, again_at: Instant::now() + pause, pause });
    }

    fn tell_saved(&self, trouble: Option<String>) {
        let _ = self.owner.send(Message::Input(Input::SettingsSaved { trouble }));
    }

    async fn tell_earnings(&self) {
        let now = self.clock.now();
        let midnight = local_midnight(now);
        let read = async {
            let today = self.journal.earned_since(midnight, self.currency).await?;
            let all = self.journal.earned_since(Timestamp(0), self.currency).await?;
            let slices = self.journal.slices(midnight, now).await?;
            let checks = self.journal.check_costs(midnight, now).await?;
            let net = Books::of(&slices, &checks, midnight, now, self.currency, 0).total.net;
            anyhow::Ok(Earnings { today, today_net: net, all })
        };
        match read.await {
            Ok(earnings) => drop(self.owner.send(Message::Earned(earnings))),
            Err(error) => tracing::warn!("earnings cannot be read: {error:#}"),
        }
    }
}

/// Where the day's time goes may be told differently after this.
fn is_of_the_day(order: &Writing) -> bool {
    use JournalEntry as E;
    let Writing::Entry(entry) = order else { return false };
    matches!(**entry, E::Verdict { .. } | E::Lease { .. } | E::Waiting { .. } | E::Proving { .. })
}

fn is_about_content(error: &anyhow::Error) -> bool {
    error.downcast_ref::<sqlx::Error>().is_none_or(|error| match error {
        sqlx::Error::Database(database) => {
            database.is_unique_violation() || database.is_foreign_key_violation()
        }
        sqlx::Error::RowNotFound => true,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightjar_core::gpu::GpuUuid;

    /// A file stands where the settings' folder would be, which root cannot write either.
    #[tokio::test]
    async fn settings_that_cannot_be_written_hold_up_no_entry_and_are_saved_once_they_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let in_the_way = folder.path().join("config");
        std::fs::write(&in_the_way, "").unwrap();
        let settings_path = in_the_way.join("settings.toml");
        let journal = Journal::open(folder.path()).await.unwrap();
        let (owner, mut told) = mpsc::unbounded_channel();
        let (orders, inbox) = mpsc::unbounded_channel();
        let scribe = Scribe {
            journal: journal.clone(),
            settings_path: settings_path.clone(),
            unsaved: None,
            clock: Clock::start(),
            currency: Currency::CNY,
            usage_waits: Arc::new(Notify::new()),
            leases_changed: Arc::new(Notify::new()),
            owner,
        };
        let writing = tokio::spawn(scribe.run(inbox));
        let settings = |idle_after_ms| Box::new(Settings { idle_after_ms, ..Settings::default() });
        let mut trouble = async || loop {
            if let Message::Input(Input::SettingsSaved { trouble }) = told.recv().await.unwrap() {
                return trouble;
            }
        };
        for idle_after_ms in [42_000, 43_000] {
            orders.send(Writing::Settings(settings(idle_after_ms))).unwrap();
            let detail = trouble().await.unwrap();
            assert!(detail.contains(settings_path.to_str().unwrap()), "{detail}");
        }
        let electricity = nightjar_core::money::Money::new(7, Currency::CNY);
        let (gpu, at) = (GpuUuid("GPU-0".into()), Timestamp(5));
        let energy = Default::default();
        let cost = JournalEntry::CheckCost { gpu, at, energy, overhead_millijoules: 0, electricity };
        orders.send(Writing::Entry(Box::new(cost))).unwrap();
        let (done, flushed) = oneshot::channel();
        orders.send(Writing::Flush(done)).unwrap();
        flushed.await.unwrap();
        assert_eq!(journal.check_costs(Timestamp(0), Timestamp(9)).await.unwrap().len(), 1);

        std::fs::remove_file(&in_the_way).unwrap();
        assert_eq!(trouble().await, None);
        let saved = settings_file::load(&settings_path);
        assert_eq!(saved, settings_file::Loaded::Read(settings(43_000)), "the latest word counts");
        drop(orders);
        writing.await.unwrap();
    }
}
