//! How closely that is watched which no event tells of.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// While a tenant has the card a game must be seen within a moment; else a look every few seconds is enough and costs
/// nothing. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct Attention(Arc<(Mutex<bool>, Condvar)>);

impl Attention {
    /// `close` while a tenant has a card.
    pub fn set(&self, close: bool) {
        let (is_close, changed) = &*self.0;
        let before = std::mem::replace(&mut *is_close.lock().unwrap_or_else(PoisonError::into_inner), close);
        if before != close {
            changed.notify_all();
        }
    }

    pub(crate) fn is_close(&self) -> bool {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sleeps for `span`, or until this changes from `known` or `ends` is so and was told by [`Self::wake`].
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "what Windows tells is asked for in turns")
    )]
    pub(crate) fn sleep(&self, span: Duration, known: bool, ends: impl Fn() -> bool) {
        let (is_close, changed) = &*self.0;
        let now = is_close.lock().unwrap_or_else(PoisonError::into_inner);
        // What comes of it is asked for by the caller.
        drop(changed.wait_timeout_while(now, span, |now| *now == known && !ends()));
    }

    /// Whoever sleeps looks whether it is to end.
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "what Windows tells is asked for in turns")
    )]
    pub(crate) fn wake(&self) {
        let (is_close, changed) = &*self.0;
        // Nobody is between its question and its sleep while this is held.
        let held = is_close.lock().unwrap_or_else(PoisonError::into_inner);
        changed.notify_all();
        drop(held);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;

    /// Longer than any test waits.
    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn a_change_and_an_end_wake_a_sleeper_at_once() {
        let (attention, ended) = (Attention::default(), Arc::new(AtomicBool::new(false)));
        let began = Instant::now();
        let sleeper = std::thread::spawn({
            let (attention, ended) = (attention.clone(), Arc::clone(&ended));
            move || {
                attention.sleep(LONG, false, || ended.load(Ordering::SeqCst));
                assert!(attention.is_close(), "it was woken by something else");
                attention.sleep(LONG, true, || ended.load(Ordering::SeqCst));
            }
        });
        attention.set(true);
        ended.store(true, Ordering::SeqCst);
        attention.wake();
        sleeper.join().unwrap();
        assert!(began.elapsed() < LONG);
    }

    #[test]
    fn without_either_it_sleeps_for_its_span() {
        let span = Duration::from_millis(20);
        let began = Instant::now();
        Attention::default().sleep(span, false, || false);
        assert!(began.elapsed() >= span);
    }
}
