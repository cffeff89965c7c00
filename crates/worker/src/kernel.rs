//! Has the kernel under the Engine what a gateway is made of? It is asked by the gateway's own image, with a gateway's
//! rights and without a network, once for each Engine, kernel and image, and never beside a job.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bollard::models::{SystemInfo, SystemVersion};
use nightjar_core::policy::{KernelAnswer, KernelFacts, KernelInquiry, KernelQuestion};
use nightjar_protocol::guest::{GuestEvent, KernelLack};
use tokio::time::{sleep, timeout};

use crate::engine::{Engine, how_it_ended};
use crate::line::Line;
use crate::spec;
use crate::steady::Steady;
use crate::workers::Busy;

/// From the container's making to its answer.
const WITHIN: Duration = Duration::from_secs(30);
/// How soon a job that begins meanwhile ends it.
const LOOK_FOR_JOBS: Duration = Duration::from_millis(50);
/// How process 1 ends that does not know the word.
const USAGE: i64 = 2;

/// What is known, and whether it is being asked.
pub(crate) struct Kernel {
    inquiry: Mutex<KernelInquiry>,
    clock: Steady,
    /// Held while there is a container of it.
    container: tokio::sync::Mutex<()>,
}

impl Kernel {
    pub fn new() -> Self {
        Self { inquiry: Mutex::default(), clock: Steady::begin(), container: tokio::sync::Mutex::default() }
    }

    fn inquiry(&self) -> MutexGuard<'_, KernelInquiry> {
        self.inquiry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the kernel under this Engine.
    pub fn facts(
        &self,
        version: &SystemVersion,
        info: &SystemInfo,
        image_id: String,
        busy: Busy,
    ) -> KernelFacts {
        let (engine, kernel) = (info.id.clone(), version.kernel_version.clone());
        self.inquiry().facts(KernelQuestion { engine, kernel, image_id }, busy.job())
    }

    /// There is no gateway that could ask.
    pub fn forget(&self) {
        self.inquiry().forget();
    }

    fn due(&self, busy: Busy) -> Option<KernelQuestion> {
        self.inquiry().due(busy.job(), self.clock.now()).cloned()
    }

    /// Whether it is time to ask.
    pub fn is_due(&self, busy: Busy) -> bool {
        self.due(busy).is_some()
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
        let Some(question) = self.due(busy()) else { return };
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
        self.inquiry().take(&question, answer, self.clock.now());
    }
}

fn failed(why: &str) -> KernelAnswer {
    tracing::warn!("what the kernel under the Engine has is not known: {why}");
    KernelAnswer::Failed
}

fn name(host: &str) -> String {
    format!("nightjar-probe-{host}")
}

async fn job(busy: &impl Fn() -> Busy) {
    while busy() == Busy::Idle {
        sleep(LOOK_FOR_JOBS).await;
    }
}

async fn answer(
    engine: &Engine,
    host: &str,
    name: &str,
    question: &KernelQuestion,
) -> Result<KernelAnswer, String> {
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
            Some(GuestEvent::Kernel { lacks }) => return Ok(told(&lacks)),
            Some(GuestEvent::Failed { what, why }) => return Err(format!("{what}: {why}")),
            Some(_) => {}
            None => break,
        }
    }
    let found = engine.inspect(name).await.map_err(said)?;
    let code = found.as_ref().and_then(|found| found.state.as_ref()?.exit_code);
    if code == Some(USAGE) {
        return Ok(KernelAnswer::NotKnown);
    }
    Err(found.as_ref().and_then(how_it_ended).unwrap_or_else(|| "the line to it was cut".to_owned()))
}

fn told(lacks: &[KernelLack]) -> KernelAnswer {
    for KernelLack { part, why } in lacks {
        tracing::warn!(module = part.module(), "the kernel under the Engine lacks it: {why}");
    }
    KernelAnswer::Lacks(lacks.iter().map(|lack| lack.part).collect())
}
