//! What is pressed on a notification. A desktop keeps what it has shown, and its owner may come hours later: a button counts
//! as long as its notification is there.

use notify_rust::{Notification, NotificationResponse};
pub use platform::{Waiting, answer};

/// So many are listened to at a time: each costs two connections to the session's bus, or a thread.
const MOST: usize = 8;

#[cfg(target_os = "linux")]
mod platform {
    use std::collections::VecDeque;
    use std::pin::pin;

    use tokio::sync::oneshot;
    use zbus::Connection;
    use zbus::export::futures_core::Stream;
    use zbus::fdo::DBusProxy;

    use super::{MOST, Notification, NotificationResponse};

    /// The name of what shows notifications.
    const DAEMON: &str = "org.freedesktop.Notifications";

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
        let Some(place) = place else {
            notice.show_async().await?;
            return Ok(None);
        };
        let bus = Connection::session().await?;
        // From before it is shown, so that no end is missed.
        let gone = pin!(daemon_gone(&bus).await?);
        let handle = notice.show_async().await?;
        let mut response = None;
        let heard = handle.wait_for_action_async(|said| response = Some(said.clone()));
        if end(heard, gone, place).await == End::Displaced {
            handle.close_async().await;
        }
        Ok(response)
    }

    /// Comes when what has shown the notification is gone, and the notification with it. Who comes in its place counts from
    /// one again: a click on another program's notification would be taken for one on ours, and ours would close another's.
    async fn daemon_gone(bus: &Connection) -> zbus::Result<impl Future<Output = ()>> {
        let changes = DBusProxy::new(bus).await?.receive_name_owner_changed_with_args(&[(0, DAEMON)]).await?;
        Ok(async move {
            let mut changes = pin!(changes);
            while let Some(change) = std::future::poll_fn(|context| changes.as_mut().poll_next(context)).await
            {
                // The first comes when it is wanted, from nobody to somebody.
                if change.args().is_ok_and(|args| args.old_owner.is_some()) {
                    return;
                }
            }
        })
    }

    /// Why nothing is waited for any more.
    #[derive(Debug, PartialEq, Eq)]
    enum End {
        Heard,
        /// There is nothing left to hear, or to close.
        Gone,
        /// It is another's turn.
        Displaced,
    }

    async fn end(heard: impl Future<Output = ()>, gone: impl Future<Output = ()>, place: Place) -> End {
        tokio::select! {
            biased;
            () = gone => End::Gone,
            () = heard => End::Heard,
            _ = place => End::Displaced,
        }
    }

    #[cfg(test)]
    mod tests {
        use std::future::{pending, ready};

        use super::*;

        #[tokio::test(start_paused = true)]
        async fn a_button_counts_however_late_and_the_oldest_of_too_many_gives_way() {
            let mut waiting = Waiting::default();
            let mut place = || waiting.place().unwrap();
            let (oldest, second, answered) = (place(), place(), place());
            let hours = std::time::Duration::from_secs(10 * 3_600);
            let is_heard = async |heard, place| end(heard, pending(), place).await == End::Heard;
            assert!(is_heard(tokio::time::sleep(hours), answered).await, "nobody else wanted the place");
            let kept: Vec<Place> = (2..MOST).map(|_| place()).collect();
            assert!(is_heard(tokio::time::sleep(hours), second).await, "an answered one takes no place");
            drop(place());
            let newest = place();
            assert_eq!(end(ready(()), pending(), newest).await, End::Heard);
            assert_eq!(kept.len() + 2, MOST);
            let newer = (place(), place());
            assert_eq!(end(pending(), pending(), oldest).await, End::Displaced);
            drop((kept, newer));
        }

        #[tokio::test]
        async fn a_notification_that_went_with_its_daemon_is_neither_heard_nor_closed() {
            let mut waiting = Waiting::default();
            assert_eq!(end(pending(), ready(()), waiting.place().unwrap()).await, End::Gone);
            // The next daemon's first notification has the same number.
            assert_eq!(end(ready(()), ready(()), waiting.place().unwrap()).await, End::Gone);
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
