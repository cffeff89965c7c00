//! Has the kernel under the Engine what a gateway is made of? It is asked by the gateway's own image, with a gateway's
//! rights and without a network, once for each Engine, kernel and image, and never beside a job.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bollard::models::{SystemInfo, SystemVersion};
use nightjar_core::policy::{KernelFacts, KernelHome};
use nightjar_protocol::guest::{GuestEvent, KernelLack};
use tokio::time::{sleep, timeout};

use crate::engine::{Engine, how_it_ended};
use crate::line::Line;
use crate::spec;
use crate::workers::Busy;

/// From the container's making to its answer.
const WITHIN: Duration = Duration::from_secs(30);
/// What is missing may have been mended since, and who did not answer may do now.
const ASK_AGAIN: Duration = Duration::from_secs(300);
/// How soon a job that begins meanwhile ends it.
const LOOK_FOR_JOBS: Duration = Duration::from_millis(50);
/// How process 1 ends that does not know the word.
const USAGE: i64 = 2;

/// What an answer holds for. Another of them may know or have something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    engine: Option<String>,
    kernel: Option<String>,
    /// Of the gateway's image.
    image_id: String,
    home: KernelHome,
}

impl Question {
    pub fn new(version: &SystemVersion, info: &SystemInfo, image_id: String) -> Self {
        let kernel = version.kernel_version.clone();
        let home = home(kernel.as_deref().unwrap_or_default());
        Self { engine: info.id.clone(), kernel, image_id, home }
    }
}

fn home(kernel: &str) -> KernelHome {
    let kernel = kernel.to_ascii_lowercase();
    match () {
        () if kernel.contains("wsl2") || kernel.contains("microsoft") => KernelHome::Wsl,
        () if kernel.contains("linuxkit") => KernelHome::DockerDesktop,
        () => KernelHome::Linux,
    }
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Told(KernelFacts),
    /// By an image from before the question.
    NotKnown,
    /// The Engine's trouble, not the kernel's.
    Failed,
}

#[derive(Default)]
struct Known {
    question: Option<Question>,
    answer: Option<Answer>,
    asked_at: Option<Instant>,
}

/// What is known, and whether it is being asked.
#[derive(Default)]
pub(crate) struct Kernel {
    known: Mutex<Known>,
    /// Held while there is a container of it.
    container: tokio::sync::Mutex<()>,
}

impl Kernel {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the kernel that this question is about.
    pub fn facts(&self, question: Question, busy: Busy) -> KernelFacts {
        let mut known = self.known();
        if known.question.as_ref() != Some(&question) {
            *known = Known { question: Some(question), ..Known::default() };
        }
        match (&known.answer, busy) {
            (Some(Answer::Told(facts)), _) => facts.clone(),
            // A job that runs says that there is enough of it for one.
            (None, Busy::WithJobs) | (Some(_), _) => KernelFacts::Unasked,
            (None, Busy::Idle) => KernelFacts::Asking,
        }
    }

    /// There is no gateway that could ask.
    pub fn forget(&self) {
        *self.known() = Known::default();
    }

    /// Whether it is time to ask.
    pub fn is_due(&self, busy: Busy) -> bool {
        let known = self.known();
        if busy == Busy::WithJobs || known.question.is_none() {
            return false;
        }
        let is_to_be_asked_again = match &known.answer {
            None => return true,
            Some(Answer::Told(facts)) => !facts.in_the_way().is_empty(),
            Some(Answer::Failed) => true,
            Some(Answer::NotKnown) => false,
        };
        is_to_be_asked_again && known.asked_at.is_none_or(|at| at.elapsed() >= ASK_AGAIN)
    }

    /// What an earlier run left is removed, unless it is this one's.
    pub async fn sweep(&self, engine: &Engine, host: &str) {
        let Ok(_none) = self.container.try_lock() else { return };
        if let Err(error) = engine.remove(&name(host)).await {
            tracing::warn!("what asked the kernel cannot be removed: {error}");
        }
    }

    /// Asks, unless a job begins first; nothing of it is left then.
    pub async fn ask(&self, engine: &Engine, host: &str, busy: &impl Fn() -> Busy) {
        let Some(question) = self.known().question.clone() else { return };
        let _one = self.container.lock().await;
        let name = name(host);
        let answer = tokio::select! {
            biased;
            () = job(busy) => None,
            answer = timeout(WITHIN, answer(engine, host, &name, &question)) => Some(answer),
        };
        if let Err(error) = engine.remove(&name).await {
            tracing::warn!("what asked the kernel is not removed yet: {error}");
        }
        let answer = match answer {
            None => return,
            Some(Ok(Ok(answer))) => answer,
            Some(Ok(Err(why))) => failed(&why),
            Some(Err(_)) => failed(&format!("there was no answer within {} s", WITHIN.as_secs())),
        };
        tracing::info!(?answer, "the kernel under the Engine was asked what a gateway needs");
        let mut known = self.known();
        if known.question == Some(question) {
            (known.answer, known.asked_at) = (Some(answer), Some(Instant::now()));
        }
    }
}

fn failed(why: &str) -> Answer {
    tracing::warn!("what the kernel under the Engine has is not known: {why}");
    Answer::Failed
}

fn name(host: &str) -> String {
    format!("nightjar-probe-{host}")
}

async fn job(busy: &impl Fn() -> Busy) {
    while busy() == Busy::Idle {
        sleep(LOOK_FOR_JOBS).await;
    }
}

async fn answer(engine: &Engine, host: &str, name: &str, question: &Question) -> Result<Answer, String> {
    let said = |error: crate::EngineError| error.to_string();
    engine.remove(name).await.map_err(said)?;
    let body = spec::kernel_probe(host, question.image_id.clone());
    // Seen through: a container that appears after its removal would stay.
    let (making, own_name) = (engine.clone(), name.to_owned());
    let made = tokio::spawn(async move { making.create(&own_name, body).await });
    made.await.map_err(|error| error.to_string())?.map_err(said)?;
    let mut line = Line::take_up(engine.attach(name).await.map_err(said)?);
    engine.start(name).await.map_err(said)?;
    loop {
        match line.next().await {
            Some(GuestEvent::Kernel { lacks }) => return Ok(Answer::Told(told(&lacks, question.home))),
            Some(GuestEvent::Failed { what, why }) => return Err(format!("{what}: {why}")),
            Some(_) => {}
            None => break,
        }
    }
    let found = engine.inspect(name).await.map_err(said)?;
    let code = found.as_ref().and_then(|found| found.state.as_ref()?.exit_code);
    if code == Some(USAGE) {
        return Ok(Answer::NotKnown);
    }
    Err(found.as_ref().and_then(how_it_ended).unwrap_or_else(|| "the line to it was cut".to_owned()))
}

fn told(lacks: &[KernelLack], home: KernelHome) -> KernelFacts {
    for KernelLack { part, why } in lacks {
        tracing::warn!(module = part.module(), "the kernel under the Engine lacks it: {why}");
    }
    KernelFacts::Told { lacks: lacks.iter().map(|lack| lack.part).collect(), home }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nightjar_core::policy::KernelPart;

    fn question(kernel: &str, image: &str) -> Question {
        let version = SystemVersion { kernel_version: Some(kernel.into()), ..SystemVersion::default() };
        Question::new(&version, &SystemInfo { id: Some("E".into()), ..SystemInfo::default() }, image.into())
    }

    fn give(kernel: &Kernel, answer: Answer) {
        let mut known = kernel.known();
        (known.answer, known.asked_at) = (Some(answer), Some(Instant::now()));
    }

    fn lacking() -> Answer {
        Answer::Told(KernelFacts::Told { lacks: vec![KernelPart::Htb], home: KernelHome::Linux })
    }

    #[test]
    fn each_engine_kernel_and_image_is_asked_once_and_never_beside_a_job() {
        let kernel = Kernel::default();
        assert!(!kernel.is_due(Busy::Idle), "there is nothing to ask by");
        assert_eq!(kernel.facts(question("6.1", "a"), Busy::WithJobs), KernelFacts::Unasked);
        assert!(!kernel.is_due(Busy::WithJobs));
        assert_eq!(kernel.facts(question("6.1", "a"), Busy::Idle), KernelFacts::Asking);
        assert!(kernel.is_due(Busy::Idle));
        let whole = KernelFacts::Told { lacks: vec![KernelPart::FqCodel], home: KernelHome::Linux };
        give(&kernel, Answer::Told(whole.clone()));
        assert_eq!(kernel.facts(question("6.1", "a"), Busy::Idle), whole);
        assert!(!kernel.is_due(Busy::Idle));
        for other in [question("6.2", "a"), question("6.1", "b")] {
            assert_eq!(kernel.facts(other, Busy::Idle), KernelFacts::Asking);
            assert!(kernel.is_due(Busy::Idle));
        }
        kernel.forget();
        assert!(!kernel.is_due(Busy::Idle));
    }

    #[test]
    fn what_was_missing_is_asked_for_again_after_a_while_and_an_old_image_is_not() {
        let kernel = Kernel::default();
        let ago = Instant::now().checked_sub(ASK_AGAIN);
        for (answer, facts_known, is_again) in [
            (lacking(), true, true),
            (Answer::Failed, false, true),
            (Answer::NotKnown, false, false),
            (Answer::Told(KernelFacts::Told { lacks: vec![], home: KernelHome::Linux }), true, false),
        ] {
            kernel.facts(question("6.1", "a"), Busy::Idle);
            give(&kernel, answer.clone());
            assert!(!kernel.is_due(Busy::Idle), "{answer:?} at once");
            let known = kernel.facts(question("6.1", "a"), Busy::Idle);
            assert_eq!(known != KernelFacts::Unasked, facts_known, "{answer:?}");
            // A machine that has just begun to count has no such instant.
            let Some(ago) = ago else { continue };
            kernel.known().asked_at = Some(ago);
            assert_eq!(kernel.is_due(Busy::Idle), is_again, "{answer:?}");
            assert!(!kernel.is_due(Busy::WithJobs));
        }
    }

    #[test]
    fn whose_kernel_it_is_is_read_from_its_release() {
        assert_eq!(home("5.15.167.4-microsoft-standard-WSL2"), KernelHome::Wsl);
        assert_eq!(home("6.10.14-linuxkit"), KernelHome::DockerDesktop);
        assert_eq!(home("6.1.0-18-amd64"), KernelHome::Linux);
    }
}
