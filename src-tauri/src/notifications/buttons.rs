//! What is pressed on a notification. A desktop keeps what it has shown, and its owner may come hours later: a button counts
//! as long as its notification is there.

use notify_rust::{Notification, NotificationResponse};
pub use platform::{Waiting, answer};

/// So many are listened to at a time: each costs a connection to the session's bus, or a thread.
const MOST: usize = 8;

#[cfg(target_os = "linux")]
mod platform {
    use std::collections::{HashMap, VecDeque};
    use std::pin::{Pin, pin};

    use tokio::sync::oneshot;
    use zbus::export::futures_core::Stream;
    use zbus::fdo::DBusProxy;
    use zbus::message::Type;
    use zbus::zvariant::Value;
    use zbus::{Connection, MatchRule, Message, MessageStream};

    use super::{MOST, Notification, NotificationResponse};

    /// The name of what shows notifications, and of what it understands and says.
    const DAEMON: &str = "org.freedesktop.Notifications";
    const PATH: &str = "/org/freedesktop/Notifications";

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
        let gone = daemon_gone(&bus).await?;
        Ok(answer_over(&bus, gone, &notice, place).await?)
    }

    /// One connection shows and listens: some daemons tell nobody but the one that asked.
    async fn answer_over(
        bus: &Connection,
        gone: impl Future<Output = ()>,
        notice: &Notification,
        place: Place,
    ) -> zbus::Result<Option<NotificationResponse>> {
        // A button may be pressed before the daemon has answered with the notification's number.
        let words = words(bus).await?;
        let number = show(bus, notice).await?;
        let mut response = None;
        let heard = async { response = first_word(words, number).await };
        if end(heard, gone, place).await == End::Displaced {
            // One that is not there any more need not be closed.
            let _ = bus.call_method(Some(DAEMON), PATH, Some(DAEMON), "CloseNotification", &number).await;
        }
        Ok(response)
    }

    /// What is said of notifications, this program's and others', from now on.
    async fn words(bus: &Connection) -> zbus::Result<MessageStream> {
        let rule = MatchRule::builder().msg_type(Type::Signal).path(PATH)?.interface(DAEMON)?.build();
        MessageStream::for_match_rule(rule, bus, None).await
    }

    /// As `notify_rust` shows one without hints, but it takes a connection of its own for that. Returns its number.
    async fn show(bus: &Connection, notice: &Notification) -> zbus::Result<u32> {
        let Notification { appname, icon, summary, body, actions, timeout, .. } = notice;
        let hints: HashMap<&str, Value<'_>> = HashMap::new();
        let (replaced, timeout) = (0_u32, i32::from(*timeout));
        let asked = (appname, replaced, icon, summary, body, actions, hints, timeout);
        bus.call_method(Some(DAEMON), PATH, Some(DAEMON), "Notify", &asked).await?.body().deserialize()
    }

    /// The first that is said of this one; nothing, where the bus is gone.
    async fn first_word(mut words: MessageStream, number: u32) -> Option<NotificationResponse> {
        while let Ok(word) = std::future::poll_fn(|context| Pin::new(&mut words).poll_next(context)).await? {
            let response = response(&word, number);
            if response.is_some() {
                return response;
            }
        }
        None
    }

    fn response(word: &Message, number: u32) -> Option<NotificationResponse> {
        let (header, body) = (word.header(), word.body());
        let (of, response) = match header.member()?.as_str() {
            "ActionInvoked" => {
                let (of, button): (u32, String) = body.deserialize().ok()?;
                let is_beside = button == "default";
                let pressed = NotificationResponse::Action(button);
                (of, if is_beside { NotificationResponse::Default } else { pressed })
            }
            "NotificationClosed" => {
                let (of, why): (u32, u32) = body.deserialize().ok()?;
                (of, NotificationResponse::Closed(why.into()))
            }
            _ => return None,
        };
        (of == number).then_some(response)
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

        use tokio::net::UnixStream;
        use zbus::connection::Builder;

        use super::*;

        /// What a notification is shown with.
        type Asked<'a> =
            (&'a str, u32, &'a str, &'a str, &'a str, Vec<&'a str>, HashMap<&'a str, Value<'a>>, i32);

        /// A daemon is asked for one notification, and says these words of notifications before it answers with its number.
        async fn says(
            daemon: &Connection,
            mut asked: MessageStream,
            words: &[(&str, u32, &str)],
            number: u32,
        ) -> Message {
            let notify = std::future::poll_fn(|context| Pin::new(&mut asked).poll_next(context)).await;
            let notify = notify.unwrap().unwrap();
            assert_eq!(notify.header().member().unwrap(), "Notify");
            for (member, of, button) in words {
                match *member {
                    "ActionInvoked" => {
                        daemon.emit_signal(None::<&str>, PATH, DAEMON, *member, &(of, button)).await
                    }
                    _ => daemon.emit_signal(None::<&str>, PATH, DAEMON, *member, &(of, 2_u32)).await,
                }
                .unwrap();
            }
            daemon.reply(&notify.header(), &number).await.unwrap();
            notify
        }

        #[tokio::test]
        async fn a_button_that_is_pressed_before_the_daemon_has_answered_counts() {
            let (ours, theirs) = UnixStream::pair().unwrap();
            let daemon = Builder::unix_stream(theirs).server(zbus::Guid::generate()).unwrap().p2p().build();
            let (bus, daemon) = tokio::join!(Builder::unix_stream(ours).p2p().build(), daemon);
            let mut notice = Notification::new();
            notice.appname("Nightjar").summary("A title").body("A body").action("open", "Open");
            let words = [
                ("NotificationClosed", 6, ""),
                ("ActionInvoked", 6, "another's"),
                ("ActionInvoked", 7, "open"),
                ("NotificationClosed", 7, ""),
            ];
            let mut waiting = Waiting::default();
            let (bus, daemon, place) = (bus.unwrap(), daemon.unwrap(), waiting.place().unwrap());
            let daemon_says = says(&daemon, MessageStream::from(&daemon), &words, 7);
            let answer = tokio::time::timeout(
                std::time::Duration::from_secs(20),
                answer_over(&bus, pending(), &notice, place),
            );
            let (answer, shown) = tokio::join!(answer, daemon_says);
            let answer = answer.expect("what was said before the answer is lost");
            assert_eq!(answer.unwrap(), Some(NotificationResponse::Action(String::from("open"))));
            let shown = shown.body();
            let (appname, _, _, title, body, actions, _, timeout): Asked<'_> = shown.deserialize().unwrap();
            assert_eq!((appname, title, body, timeout), ("Nightjar", "A title", "A body", -1));
            assert_eq!(actions, ["open", "Open"]);
        }

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
