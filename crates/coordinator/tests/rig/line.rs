//! What a host hears of its line. It takes longer than a market waits for a silent host, so the host goes on saying that it is
//! there.

use std::time::Duration;

use nightjar_core::line_check::LineFigures;
use nightjar_protocol::host_session::{ToCoordinator, ToHost};
use tokio::time::timeout;

use super::{Host, next_word};

/// Longer than a host waits for its turn.
const HEARD_WITHIN: Duration = Duration::from_secs(30);
const BEAT: Duration = Duration::from_secs(4);

impl Host {
    /// The next question to its line; what else is said meanwhile is passed over.
    pub async fn hears_line_check(&mut self) -> String {
        self.hears_of_line(|word| match word {
            ToHost::CheckLine { ticket } => Some(ticket),
            _ => None,
        })
        .await
    }

    /// The next word on what was measured of its line.
    pub async fn hears_line(&mut self) -> LineFigures {
        self.hears_of_line(|word| match word {
            ToHost::Line(figures) => Some(figures),
            _ => None,
        })
        .await
    }

    /// What comes of something that is done elsewhere, while this host stays in its session.
    pub async fn there_while<T>(&mut self, done: impl Future<Output = T>) -> T {
        tokio::pin!(done);
        loop {
            self.say(ToCoordinator::Heartbeat).await;
            if let Ok(came) = timeout(BEAT, &mut done).await {
                return came;
            }
        }
    }

    async fn hears_of_line<T>(&mut self, wanted: impl Fn(ToHost) -> Option<T>) -> T {
        let heard = async {
            loop {
                self.say(ToCoordinator::Heartbeat).await;
                let next = timeout(BEAT, next_word(self.socket.as_mut().unwrap())).await;
                if let Ok(word) = next
                    && let Some(found) = wanted(word.expect("the session is over"))
                {
                    return found;
                }
            }
        };
        timeout(HEARD_WITHIN, heard).await.expect("nothing was said of the line in time")
    }
}
