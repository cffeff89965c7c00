//! What a page of the window asks for: from the journal, the cards' past and the owner's state.

use nightjar_core::books::{Books, NightTakings, Span};
use nightjar_core::images::ImageTrouble;
use nightjar_core::lease::{LeaseState, LeaseTerms};
use nightjar_core::time::Timestamp;
use nightjar_core::volume::{Volume, VolumeTrouble};
use nightjar_protocol::components::components;
use nightjar_protocol::control::Refusal;
use nightjar_protocol::doctor::{Check, Findings, Lending, kept_check};
use nightjar_protocol::text::Texts;
use nightjar_protocol::window::{ImageLine, Question, QuestionRefusal, Reply, StepLine};
use tokio::sync::oneshot;

use crate::clock::{local_midnight, nights_of_month, span_start};
use crate::handle::AgentHandle;
use crate::owner::Message;
use crate::pulls::{ImagesOrder, PullOrder};

/// Jobs that a page lists; a table for a spreadsheet has them all.
const SHOWN_JOBS: usize = 200;
const SHOWN_STEPS: u32 = 200;
/// Months that a calendar goes back.
const MOST_MONTHS_AGO: u32 = 600;

impl AgentHandle {
    /// The answer to a page's question, as far as the host has it and not a desktop around it. A report ends with `log`.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, question: Question, log: Vec<String>) -> Result<Reply, QuestionRefusal> {
        let failed = |error: anyhow::Error| QuestionRefusal::Failed { detail: format!("{error:#}") };
        self.find(question, log).await.map_err(failed)
    }

    async fn find(&self, question: Question, log: Vec<String>) -> anyhow::Result<Reply> {
        Ok(match question {
            Question::History { since_ms, points } => {
                Reply::History(self.history(since_ms, points).await.map_err(anyhow::Error::msg)?)
            }
            Question::Books { span } => Reply::Books(self.books(span, SHOWN_JOBS).await?),
            Question::Nights { months_ago } => Reply::Nights(self.nights(months_ago).await?),
            Question::Night { since, until } => Reply::Night(Box::new(self.why(since, Some(until)).await?)),
            Question::SaveBooks { span } => self.save_books(span).await?,
            Question::Checks => Reply::Checks(self.findings().await?),
            Question::Repair { repair } => Reply::Repaired(self.repairs.run(repair).await?),
            Question::Images => Reply::Images(self.images().await?),
            Question::PulledImages => self.pulled_images(ImagesOrder::List).await?,
            Question::PullImage { name } => self.pulled_images(ImagesOrder::Pull { name }).await?,
            Question::FreeImage { name } => self.pulled_images(ImagesOrder::Free { name }).await?,
            Question::Steps => Reply::Steps(self.steps().await?),
            Question::Volumes => Reply::Volumes(self.volumes().await.map_err(anyhow::Error::msg)?),
            Question::WipeVolume { name } => {
                self.wipe_volume(&name).await.map_err(anyhow::Error::msg)?;
                Reply::Volumes(self.volumes().await.map_err(anyhow::Error::msg)?)
            }
            Question::Components => Reply::Components(components()),
            Question::Report => self.write_report(log).await?,
            Question::SaveReport => self.save_report()?,
            Question::Invitation => Reply::Invitation(None),
            Question::Desktop | Question::SetAutostart { .. } | Question::SetLinks { .. } => {
                anyhow::bail!("this host runs without a desktop")
            }
            Question::Quit => {
                let host = self.clone();
                tokio::spawn(async move { host.shutdown().await });
                Reply::Done
            }
        })
    }

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
        let checks = self.journal.check_costs(since, now).await.map_err(unreadable)?;
        Ok(Books::of(&slices, &checks, since, now, self.currency().await, most_jobs))
    }

    /// The nights of a month on the wall, noon to noon, up to the one that lasts now.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn nights(&self, months_ago: u32) -> Result<Vec<NightTakings>, Refusal> {
        let edges = nights_of_month(self.clock.now(), months_ago.min(MOST_MONTHS_AGO));
        self.journal.nights(&edges, self.currency().await).await.map_err(unreadable)
    }

    async fn findings(&self) -> Result<Findings, Refusal> {
        let checks = self.checks().await?;
        let language = self.view.borrow().language;
        Ok(Findings { lending: Lending::of(&checks, language), checks })
    }

    /// What the doctor says of this PC.
    ///
    /// # Errors
    /// When the host is ending.
    pub async fn checks(&self) -> Result<Vec<Check>, Refusal> {
        let ending = || Refusal::Unreadable { detail: String::from("the host is ending") };
        let (answer, answered) = oneshot::channel();
        let texts = Texts::of(self.view.borrow().language);
        let odd = self.workers.odd_containers().await;
        let odd = odd.map_err(|error| texts.engine_trouble(&error.trouble()));
        self.messages.send(Message::Checks(odd, answer)).map_err(|_| ending())?;
        let mut checks = answered.await.map_err(|_| ending())?;
        match self.volumes.footing().await {
            Ok(footing) => checks.push(kept_check(footing, self.view.borrow().language)),
            // Whatever is broken, the rest is told.
            Err(error) => tracing::warn!("what renters' volumes stand on is not known: {error:#}"),
        }
        let can_repair = self.repairs.are_possible();
        for check in &mut checks {
            let by_hand = check.repair.and_then(|repair| self.repairs.by_hand(repair));
            check.command = check.command.take().or(by_hand);
            check.repair = check.repair.filter(|_| can_repair);
        }
        Ok(checks)
    }

    /// The images that this host may start, and which of them are here.
    ///
    /// # Errors
    /// When the host is ending.
    pub async fn images(&self) -> Result<Vec<ImageLine>, Refusal> {
        let (answer, answered) = oneshot::channel();
        let ending = || Refusal::Unreadable { detail: String::from("the host is ending") };
        self.messages.send(Message::Images(answer)).map_err(|_| ending())?;
        let present = answered.await.map_err(|_| ending())?;
        let texts = Texts::of(self.view.borrow().language);
        let gateway = self.workers.catalogue().gateway();
        let first = ImageLine {
            name: gateway.source.key.clone(),
            title: texts.plain("image-gateway"),
            size_mib: gateway.source.size_mib,
            licence: gateway.licence.clone(),
            task_kinds: Vec::new(),
            is_present: present.contains(&gateway.source.key),
            can_be_pulled: gateway.source.digest.is_some(),
            is_needed: true,
        };
        let lines = self.workers.catalogue().images().iter().map(|image| ImageLine {
            name: image.key(),
            title: texts.image_title(&image.key(), &image.title),
            size_mib: image.size_mib,
            licence: image.licence.clone(),
            task_kinds: image.task_kinds.clone(),
            is_present: present.contains(&image.key()),
            can_be_pulled: image.digest.is_some(),
            is_needed: false,
        });
        Ok(std::iter::once(first).chain(lines).collect())
    }

    /// The last steps of every job's container, the newest first.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn steps(&self) -> Result<Vec<StepLine>, Refusal> {
        let texts = Texts::of(self.view.borrow().language);
        let steps = self.journal.last_steps(SHOWN_STEPS).await.map_err(unreadable)?;
        let line = |(at, terms, state): (Timestamp, LeaseTerms, LeaseState)| StepLine {
            at,
            lease: terms.lease,
            image: terms.image,
            renter: terms.renter,
            sentence: texts.lease_state(&state),
        };
        Ok(steps.into_iter().map(line).collect())
    }

    /// Lists, fetches or removes images from a registry, and says what is here after that.
    async fn pulled_images(&self, order: ImagesOrder) -> anyhow::Result<Reply> {
        let (answer, answered) = oneshot::channel();
        let asked = self.pulls.send(PullOrder::Ask { order, answer });
        let said = match asked {
            Ok(()) => answered.await.unwrap_or(Err(ImageTrouble::HostEnding)),
            Err(_) => Err(ImageTrouble::HostEnding),
        };
        let texts = Texts::of(self.view.borrow().language);
        let pulled = said.map_err(|trouble| anyhow::Error::msg(texts.image_trouble(&trouble)))?;
        Ok(Reply::PulledImages(pulled))
    }

    /// What renters keep on this PC, the next to be wiped first.
    ///
    /// # Errors
    /// When the Engine or the journal does not answer; why, in the owner's language.
    pub async fn volumes(&self) -> Result<Vec<Volume>, String> {
        self.volumes.list().await.map_err(|trouble| self.said(&trouble))
    }

    /// Deletes one of them with all that is on it.
    ///
    /// # Errors
    /// When there is no such volume, or a lease uses it; why, in the owner's language.
    pub async fn wipe_volume(&self, name: &str) -> Result<(), String> {
        self.volumes.wipe(name).await.map_err(|trouble| self.said(&trouble))
    }

    fn said(&self, trouble: &VolumeTrouble) -> String {
        Texts::of(self.view.borrow().language).volume_trouble(trouble)
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
