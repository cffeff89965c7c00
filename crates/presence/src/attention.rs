//! How closely that is watched which no event tells of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// While a tenant has the card a game must be seen within a moment; else a look every few seconds is enough and costs
/// nothing. Clones are the same. A change takes effect at the next look.
#[derive(Clone, Debug, Default)]
pub struct Attention(Arc<AtomicBool>);

impl Attention {
    /// `close` while a tenant has a card.
    pub fn set(&self, close: bool) {
        self.0.store(close, Ordering::Relaxed);
    }

    pub(crate) fn is_close(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
