//! One blob on its way from the registry to the disk.

use std::io;
use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::{mpsc, watch};

use super::blobs::{Blobs, Growing};
use super::pace::Pace;
use super::registry::{Blob, Registry, Trouble, innermost};

/// What a blob on its way says.
pub(super) enum News {
    /// So many bytes more.
    Got(usize),
    /// The registry sends it only from its beginning.
    Anew,
    /// It is on its way no longer.
    Ended(End),
}

pub(super) enum End {
    /// It is on the disk, and its digest is right.
    Whole,
    /// The owner is back.
    Held,
    Trouble(Trouble),
    Disk(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

pub(super) struct Fetch {
    pub registry: Arc<Registry>,
    pub blobs: Blobs,
    pub pace: Arc<Pace>,
    pub hold: watch::Receiver<bool>,
    /// With the blob's digest.
    pub news: mpsc::Sender<(String, News)>,
    pub digest: String,
    pub size_bytes: u64,
}

impl Fetch {
    /// Until it ended, which is the last of its news.
    pub async fn run(mut self) {
        let end = self.fetch().await.unwrap_or_else(|end| end);
        self.tell(News::Ended(end)).await;
    }

    async fn tell(&self, news: News) {
        // Whoever wanted it may be gone.
        let _ = self.news.send((self.digest.clone(), news)).await;
    }

    async fn fetch(&mut self) -> Result<End, End> {
        let mut growing = self.blobs.go_on(&self.digest).await?;
        if growing.have_bytes() < self.size_bytes {
            let asked = tokio::select! {
                biased;
                () = changes(&mut self.hold) => return Ok(End::Held),
                asked = self.registry.blob(&self.digest, growing.have_bytes()) => asked,
            };
            let blob = asked.map_err(End::Trouble)?;
            if !blob.is_from_there {
                // This registry knows no ranges: what there is, is of no use.
                drop(growing);
                self.blobs.throw_away(&self.digest).await?;
                self.tell(News::Anew).await;
                growing = self.blobs.go_on(&self.digest).await?;
            }
            if let Some(end) = self.grow(&mut growing, blob).await? {
                growing.pause().await?;
                return Ok(end);
            }
        }
        // Longer than it says is another content, too.
        let is_right = growing.have_bytes() == self.size_bytes;
        if growing.finish(&self.digest).await? && is_right {
            return Ok(End::Whole);
        }
        Ok(End::Trouble(Trouble::Corrupt { digest: self.digest.clone() }))
    }

    /// Gives why it is not all here, if so.
    async fn grow(&mut self, growing: &mut Growing, mut blob: Blob) -> io::Result<Option<End>> {
        while growing.have_bytes() < self.size_bytes {
            let piece = tokio::select! {
                biased;
                // The owner comes first; the connection ends with this.
                () = changes(&mut self.hold) => return Ok(Some(End::Held)),
                piece = blob.bytes.next() => piece,
            };
            let piece = match piece {
                Some(Ok(piece)) => piece,
                Some(Err(error)) => return Ok(Some(End::Trouble(Trouble::Cut(innermost(&error))))),
                None => {
                    let detail = "the registry ended in the middle of it".to_owned();
                    return Ok(Some(End::Trouble(Trouble::Cut(detail))));
                }
            };
            self.pace.note(piece.len());
            growing.add(&piece).await?;
            self.tell(News::Got(piece.len())).await;
            tokio::select! {
                biased;
                () = changes(&mut self.hold) => return Ok(Some(End::Held)),
                () = self.pace.fit(piece.len()) => {}
            }
        }
        Ok(None)
    }
}

/// Waits for another word on whether anything may be fetched.
pub(super) async fn changes(hold: &mut watch::Receiver<bool>) {
    if hold.changed().await.is_err() {
        // Whoever could let it go on is gone; so is this, soon.
        std::future::pending::<()>().await;
    }
}
