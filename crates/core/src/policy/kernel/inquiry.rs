//! When the kernel under an Engine is asked what it has, and what the last answer is worth: once for each Engine, kernel
//! and gateway's image, and never beside a job.

use super::{KernelFacts, KernelHome, KernelPart};
use crate::policy::Job;
use crate::time::Timestamp;

/// What is missing may have been mended since, and who did not answer may do now.
const ASK_AGAIN_MS: u64 = 300_000;

/// What an answer holds for. Another of them may know or have something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelQuestion {
    /// The Engine's name for itself.
    pub engine: Option<String>,
    /// The kernel's release, e.g. `6.1.0-18-amd64`.
    pub kernel: Option<String>,
    /// Of the gateway's image, by which is asked.
    pub image_id: String,
}

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KernelAnswer {
    Lacks(Vec<KernelPart>),
    /// By an image from before the question.
    NotKnown,
    /// The Engine's trouble, not the kernel's.
    Failed,
}

/// What is known of the kernel, and since when.
#[derive(Clone, Debug, Default)]
pub struct KernelInquiry {
    question: Option<KernelQuestion>,
    answer: Option<(KernelAnswer, Timestamp)>,
}

impl KernelInquiry {
    /// What is known of the kernel that this question is about; what was known of another is forgotten.
    pub fn facts(&mut self, question: KernelQuestion, job: Job) -> KernelFacts {
        if self.question.as_ref() != Some(&question) {
            *self = Self { question: Some(question.clone()), answer: None };
        }
        match (&self.answer, job) {
            (Some((KernelAnswer::Lacks(lacks), _)), _) => {
                let home = KernelHome::of_release(question.kernel.as_deref().unwrap_or_default());
                KernelFacts::Told { lacks: lacks.clone(), home }
            }
            // A job that runs says that there is enough of it for one.
            (None, Job::Held) | (Some(_), _) => KernelFacts::Unasked,
            (None, Job::None) => KernelFacts::Asking,
        }
    }

    /// There is no gateway that could ask.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// What is to be asked; `None` while it is not the time for it.
    #[must_use]
    pub fn due(&self, job: Job, now: Timestamp) -> Option<&KernelQuestion> {
        let question = self.question.as_ref().filter(|_| job == Job::None)?;
        let is_due = match &self.answer {
            None => true,
            Some((KernelAnswer::NotKnown, _)) => false,
            Some((KernelAnswer::Failed, at)) => now.since_ms(*at) >= ASK_AGAIN_MS,
            Some((KernelAnswer::Lacks(lacks), at)) => {
                let told = KernelFacts::Told { lacks: lacks.clone(), home: KernelHome::Linux };
                !told.in_the_way().is_empty() && now.since_ms(*at) >= ASK_AGAIN_MS
            }
        };
        is_due.then_some(question)
    }

    /// An answer to a question that is not asked any more is worth nothing.
    pub fn take(&mut self, question: &KernelQuestion, answer: KernelAnswer, now: Timestamp) {
        if self.question.as_ref() == Some(question) {
            self.answer = Some((answer, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    fn question(kernel: &str, image: &str) -> KernelQuestion {
        KernelQuestion { engine: Some("E".into()), kernel: Some(kernel.into()), image_id: image.into() }
    }

    fn told(lacks: &[KernelPart]) -> KernelFacts {
        KernelFacts::Told { lacks: lacks.to_vec(), home: KernelHome::Linux }
    }

    #[test]
    fn each_engine_kernel_and_image_is_asked_once_and_never_beside_a_job() {
        let mut kernel = KernelInquiry::default();
        assert_eq!(kernel.due(Job::None, NOW), None, "there is nothing to ask by");
        assert_eq!(kernel.facts(question("6.1", "a"), Job::Held), KernelFacts::Unasked);
        assert_eq!(kernel.due(Job::Held, NOW), None);
        assert_eq!(kernel.facts(question("6.1", "a"), Job::None), KernelFacts::Asking);
        assert_eq!(kernel.due(Job::None, NOW), Some(&question("6.1", "a")));
        kernel.take(&question("6.0", "a"), KernelAnswer::Lacks(vec![KernelPart::Htb]), NOW);
        assert_eq!(kernel.facts(question("6.1", "a"), Job::None), KernelFacts::Asking, "that was another's");
        kernel.take(&question("6.1", "a"), KernelAnswer::Lacks(vec![KernelPart::FqCodel]), NOW);
        assert_eq!(kernel.facts(question("6.1", "a"), Job::None), told(&[KernelPart::FqCodel]));
        assert_eq!(kernel.due(Job::None, NOW.plus_ms(ASK_AGAIN_MS)), None);
        for other in [question("6.2", "a"), question("6.1", "b")] {
            assert_eq!(kernel.facts(other.clone(), Job::None), KernelFacts::Asking);
            assert_eq!(kernel.due(Job::None, NOW), Some(&other));
        }
        kernel.forget();
        assert_eq!(kernel.due(Job::None, NOW), None);
    }

    #[test]
    fn what_was_missing_is_asked_for_again_after_a_while_and_an_old_image_is_not() {
        for (answer, facts, is_again) in [
            (KernelAnswer::Lacks(vec![KernelPart::Htb]), told(&[KernelPart::Htb]), true),
            (KernelAnswer::Failed, KernelFacts::Unasked, true),
            (KernelAnswer::NotKnown, KernelFacts::Unasked, false),
            (KernelAnswer::Lacks(vec![]), told(&[]), false),
        ] {
            let mut kernel = KernelInquiry::default();
            kernel.facts(question("6.1", "a"), Job::None);
            kernel.take(&question("6.1", "a"), answer.clone(), NOW);
            assert_eq!(kernel.facts(question("6.1", "a"), Job::None), facts, "{answer:?}");
            assert_eq!(kernel.due(Job::None, NOW.plus_ms(ASK_AGAIN_MS - 1)), None, "{answer:?} at once");
            let later = NOW.plus_ms(ASK_AGAIN_MS);
            assert_eq!(kernel.due(Job::None, later).is_some(), is_again, "{answer:?}");
            assert_eq!(kernel.due(Job::Held, later), None);
        }
    }

    proptest! {
        #[test]
        fn beside_a_job_nothing_is_asked_and_what_is_missing_is_never_forgotten(
            lacks in prop::collection::vec(prop::sample::select(&KernelPart::ALL[..]), 0..12),
            later in 0..10 * ASK_AGAIN_MS,
        ) {
            let mut kernel = KernelInquiry::default();
            kernel.facts(question("6.1", "a"), Job::None);
            kernel.take(&question("6.1", "a"), KernelAnswer::Lacks(lacks.clone()), NOW);
            prop_assert_eq!(kernel.due(Job::Held, NOW.plus_ms(later)), None);
            prop_assert_eq!(kernel.facts(question("6.1", "a"), Job::Held), told(&lacks));
        }
    }
}
