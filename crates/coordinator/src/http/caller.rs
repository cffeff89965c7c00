//! Who asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use nightjar_protocol::error::ErrorCode;

use super::Shared;
use crate::market::Failure;
use crate::secret;
use crate::store::renters::{self, Renter};

/// Requests that one renter has open at a time.
const MOST_EACH: usize = 32;
/// Longest token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 256;

/// How many requests each renter has open.
#[derive(Debug, Default)]
pub(super) struct Callers {
    open: Mutex<HashMap<String, usize>>,
}

impl Callers {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A renter whose token is known, counted while the request lasts.
pub(super) struct Caller {
    renter: Renter,
    callers: Arc<Callers>,
}

impl Caller {
    pub(super) fn renter(&self) -> &Renter {
        &self.renter
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let mut open = self.callers.lock();
        if let Some(count) = open.get_mut(&self.renter.id) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.renter.id);
            }
        }
    }
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Failure> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let token = header.and_then(|value| value.split_once(' ')).and_then(|(scheme, token)| {
            (scheme.eq_ignore_ascii_case("bearer") && token.len() <= MAX_TOKEN_BYTES).then_some(token.trim())
        });
        let token = token.ok_or_else(|| {
            Failure::refused(
                ErrorCode::Unauthorized,
                "a renter's token is wanted: Authorization: Bearer TOKEN; the operator of the market gives one",
            )
        })?;
        let known = renters::by_token_hash(shared.market.store.reader(), &secret::hash(token)).await?;
        let renter = known.ok_or_else(|| {
            Failure::refused(
                ErrorCode::Unauthorized,
                "this token is not known here; was it for another market?",
            )
        })?;
        let callers = Arc::clone(&shared.callers);
        {
            let mut open = callers.lock();
            let count = open.entry(renter.id.clone()).or_default();
            if *count >= MOST_EACH {
                let detail = format!("a renter may have {MOST_EACH} requests open at a time; end some first");
                return Err(Failure::refused(ErrorCode::TooMany, detail));
            }
            *count += 1;
        }
        Ok(Self { renter, callers })
    }
}
