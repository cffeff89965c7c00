//! What goes on only while nothing holds it up.

use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// The same stream, of which no item comes out while it is held.
pub(super) fn while_free<S>(
    items: S,
    hold: watch::Receiver<bool>,
) -> impl Stream<Item = S::Item> + Send + use<S>
where
    S: Stream<Item: Send> + Send + 'static,
{
    stream::unfold((Box::pin(items), hold), |(mut items, mut hold)| async move {
        let item = items.next().await?;
        until(&mut hold, false).await;
        Some((item, (items, hold)))
    })
}

/// So long, not counting for how long it is held.
pub(super) async fn passed_free(time: Duration, mut hold: watch::Receiver<bool>) {
    let mut left = time;
    loop {
        until(&mut hold, false).await;
        let since = Instant::now();
        tokio::select! {
            () = sleep(left) => return,
            () = until(&mut hold, true) => left = left.saturating_sub(since.elapsed()),
        }
    }
}

async fn until(hold: &mut watch::Receiver<bool>, is_held: bool) {
    if hold.wait_for(|held| *held == is_held).await.is_err() {
        // Whoever could change it is gone; so is this, soon.
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_the_time_in_which_nothing_holds_it_counts() {
        let (hold, held) = watch::channel(false);
        let began = Instant::now();
        let passed = tokio::spawn(async move {
            passed_free(Duration::from_secs(100), held).await;
            began.elapsed()
        });
        for (seconds, is_held) in [(60, true), (5_000, false), (30, true), (10_000, false)] {
            sleep(Duration::from_secs(seconds)).await;
            assert!(!passed.is_finished());
            hold.send_replace(is_held);
        }
        assert_eq!(passed.await.unwrap().as_secs(), 15_100);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn an_engine_that_unpacks_starves_while_the_owner_is_there() {
        use crate::engine::Engine;
        use crate::engine::fake::FakeEngine;
        use tokio_util::bytes::Bytes;

        const PIECE: usize = 64 * 1_024;
        // As it comes: with its length before it, in hexadecimal, and an end of line after it.
        const FRAMED: usize = "10000\r\n".len() + PIECE + "\r\n".len();
        let fake = FakeEngine::start(|_| r#"{"stream":"Loaded image"}"#.into());
        let (hold, held) = watch::channel(false);
        let (pieces, inbox) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        let give = |count: usize| {
            (0..count).for_each(|_| pieces.send(Bytes::from(vec![7; PIECE])).unwrap());
        };
        let archive = stream::unfold(inbox, |mut inbox| async move {
            Some((Ok::<_, std::io::Error>(inbox.recv().await?), inbox))
        });
        let engine = Engine::new(fake.address());
        let (archive, too_long) = (while_free(archive, held.clone()), passed_free(Duration::MAX, held));
        let loading = tokio::spawn(async move { engine.load_image(archive, too_long).await });
        let mut given = fake.body();
        give(2);
        given.wait_for(|bytes| *bytes >= 2 * FRAMED).await.unwrap();
        hold.send_replace(true);
        give(2);
        let before = *given.borrow_and_update();
        let more = tokio::time::timeout(Duration::from_millis(300), given.changed()).await;
        assert!(more.is_err(), "{} bytes more were given to it", *given.borrow() - before);
        assert!(!loading.is_finished());
        hold.send_replace(false);
        drop(pieces);
        loading.await.unwrap().unwrap();
        assert!(*given.borrow() >= 4 * FRAMED);
    }
}
