//! How much of its cores a worker has. The Engine is asked beside all else: no freeze, thaw or end waits for its answer.

use std::future::pending;

use nightjar_core::host::WorkerEvent;
use nightjar_core::settings::Sharing;
use tokio_util::task::AbortOnDropHandle;

use crate::engine::Engine;

/// So much of so many cores at most; `None`: all of them.
#[derive(Clone, Copy)]
pub(super) struct Wish {
    pub cores: u32,
    pub sharing: Option<Sharing>,
}

struct Asked {
    wish: Wish,
    answer: AbortOnDropHandle<Result<(), String>>,
    /// A freeze came meanwhile.
    is_overtaken: bool,
}

impl Asked {
    fn ask(wish: Wish, engine: &Engine, worker: &str) -> Self {
        let (engine, worker) = (engine.clone(), worker.to_owned());
        let percent = wish.sharing.map_or(100, |sharing| sharing.cpu_percent);
        let call = async move {
            let limited = engine.limit_cpus(&worker, wish.cores, percent).await;
            limited.map_err(|refused| refused.to_string())
        };
        Self { wish, answer: AbortOnDropHandle::new(tokio::spawn(call)), is_overtaken: false }
    }
}

/// One question at a time, and only the last wish waits.
#[derive(Default)]
pub(super) struct Restraint {
    asked: Option<Asked>,
    waits: Option<Wish>,
}

impl Restraint {
    pub fn want(&mut self, wish: Wish) {
        self.waits = Some(wish);
    }

    pub fn note_freeze(&mut self) {
        if let Some(asked) = &mut self.asked {
            asked.is_overtaken = true;
        }
    }

    /// Comes back with the Engine's answer; never, where nothing is to be asked. One that is broken off goes on where it was.
    ///
    /// While it is frozen nothing is asked: what gVisor is made of may be frozen with it, and answers no Engine. A refusal
    /// from then says nothing of a worker that runs, and one of a wish that was replaced says nothing of the next.
    pub async fn settle(&mut self, engine: &Engine, worker: &str, is_frozen: bool) -> WorkerEvent {
        loop {
            let asked = match &mut self.asked {
                Some(asked) => asked,
                None => match self.waits.take_if(|_| !is_frozen) {
                    Some(wish) => self.asked.insert(Asked::ask(wish, engine, worker)),
                    None => return pending().await,
                },
            };
            let answer = (&mut asked.answer).await.unwrap_or_else(|error| Err(error.to_string()));
            let (Wish { sharing, .. }, again) = (asked.wish, asked.is_overtaken.then_some(asked.wish));
            self.asked = None;
            let Err(cause) = answer else { return WorkerEvent::Restrained { sharing } };
            self.waits = self.waits.or(again);
            if self.waits.is_none() {
                return WorkerEvent::RestrainFailed { sharing, cause };
            }
            tracing::debug!("the worker was not limited, and is asked for again: {cause}");
        }
    }
}
