//! What is pressed on a notification. A desktop keeps what it has shown, and its owner may come hours later: a button counts
//! as long as its notification is there.

use notify_rust::{Notification, NotificationResponse};
pub use platform::{Waiting, answer};

/// So many are listened to at a time: each costs a connection to the session's bus, or a thread.
const MOST: usize = 8;

#[cfg(target_os = "linux")]
mod platform {
    use std::collections::VecDeque;

    use tokio::sync::oneshot;

    use super::{MOST, Notification, NotificationResponse};

    /// Gives way when it is another's turn.
    pub type Place = oneshot::Receiver<()>;

    /// The notifications that nobody has answered, the oldest first.
    #[derive(Default)]
    pub struct Waiting {
        shown: VecDeque<oneshot::Sender<()>>,
    }

    impl Waiting {
        /// For one more. Where there are too many, the oldest is taken off the desktop: one that stays has its buttons.
        pub fn place(&mut self) -> Option<Place> {
            self.shown.retain(|place| !place.is_closed());
            while self.shown.len() >= MOST {
                self.shown.pop_front();
            }
            let (given, place) = oneshot::channel();
            self.shown.push_back(given);
            Some(place)
        }
    }

    /// Shows it, and returns what its owner does with it.
    ///
    /// # Errors
    /// When it is not shown.
    pub async fn answer(
        notice: Notification,
        place: Option<Place>,
    ) -> anyhow::Result<Option<NotificationResponse>> {
        let handle = notice.show_async().await?;
        let Some(place) = place else { return Ok(None) };
        let mut response = None;
        let heard = handle.wait_for_action_async(|said| response = Some(said.clone()));
        if !is_heard(heard, place).await {
            handle.close_async().await;
        }
        Ok(response)
    }

    async fn is_heard(heard: impl Future<Output = ()>, place: Place) -> bool {
        tokio::select! {
            biased;
            () = heard => true,
            _ = place => false,
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[tokio::test(start_paused = true)]
        async fn a_button_counts_however_late_and_the_oldest_of_too_many_gives_way() {
            let mut waiting = Waiting::default();
            let mut place = || waiting.place().unwrap();
            let (oldest, second, answered) = (place(), place(), place());
            let hours = std::time::Duration::from_secs(10 * 3_600);
            assert!(is_heard(tokio::time::sleep(hours), answered).await, "nobody else wanted the place");
            let kept: Vec<Place> = (2..MOST).map(|_| place()).collect();
            assert!(is_heard(tokio::time::sleep(hours), second).await, "an answered one takes no place");
            drop(place());
            let newest = place();
            assert!(is_heard(std::future::ready(()), newest).await);
            assert_eq!(kept.len() + 2, MOST);
            let newer = (place(), place());
            assert!(!is_heard(std::future::pending(), oldest).await);
            drop((kept, newer));
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use std::sync::Arc;

    use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

    use super::{MOST, Notification, NotificationResponse};

    pub type Place = OwnedSemaphorePermit;

    /// How many more threads may wait.
    pub struct Waiting(Arc<Semaphore>);

    impl Default for Waiting {
        fn default() -> Self {
            Self(Arc::new(Semaphore::new(MOST)))
        }
    }

    impl Waiting {
        /// For one more. A thread that waits for the system's word cannot be ended, so one too many gets no buttons.
        pub fn place(&mut self) -> Option<Place> {
            self.0.clone().try_acquire_owned().ok()
        }
    }

    /// Shows it, and returns what its owner does with it.
    ///
    /// # Errors
    /// When it is not shown.
    pub async fn answer(
        notice: Notification,
        place: Option<Place>,
    ) -> anyhow::Result<Option<NotificationResponse>> {
        // The system answers at once, and with a toast of the thread that asks.
        let handle = tokio::task::spawn_blocking(move || notice.show()).await??;
        let Some(place) = place else { return Ok(None) };
        let (chosen, answer) = oneshot::channel();
        std::thread::spawn(move || {
            let heard = |response: &NotificationResponse| drop(chosen.send(response.clone()));
            if let Err(error) = handle.wait_for_response(heard) {
                tracing::warn!("the buttons of a notification were not heard: {error}");
            }
            drop(place);
        });
        Ok(answer.await.ok())
    }
}
