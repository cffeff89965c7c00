//! Which market this host belongs to. Written once a pairing code was taken.

use std::path::Path;
use std::time::Duration;

use iroh_base::SecretKey;
use nightjar_protocol::error::{ErrorBody, ErrorCode};
use nightjar_protocol::host_session::enrol_signing_bytes;
use nightjar_protocol::market_api::{Enrol, Enrolled};
use nightjar_protocol::window::EnrolRefusal;
use serde::{Deserialize, Serialize};

use crate::settings_file::write_atomically;

const FILE: &str = "market.json";
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    pub coordinator: String,
    pub host_id: String,
}

/// Why a host could not join a market.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    #[error("the market {url} cannot be reached: {detail}; check the address and the network")]
    Unreachable { url: String, detail: String },
    #[error("the market did not take this host: {0}")]
    Refused(ErrorBody),
    #[error("the enrolment cannot be written down: {0}")]
    Storage(#[from] std::io::Error),
    #[error("the host is ending")]
    Ending,
}

/// For a page, which makes its own sentence of it.
impl From<EnrolError> for EnrolRefusal {
    fn from(error: EnrolError) -> Self {
        match error {
            EnrolError::Unreachable { url, detail } => Self::Unreachable { url, detail },
            EnrolError::Refused(body) if body.code == ErrorCode::PairingCode => Self::PairingCode,
            EnrolError::Refused(body) => Self::Refused { code: body.code, detail: body.detail },
            EnrolError::Storage(_) | EnrolError::Ending => Self::Failed { detail: error.to_string() },
        }
    }
}

/// # Errors
/// When the file is there and cannot be read.
pub fn load(data_dir: &Path) -> anyhow::Result<Option<Enrolment>> {
    let path = data_dir.join(FILE);
    match std::fs::read(&path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).map_err(|error| {
            anyhow::anyhow!("{} cannot be read ({error}); move it away and pair again", path.display())
        })?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Shows the pairing code to the market and keeps its answer.
///
/// # Errors
/// See [`EnrolError`].
pub async fn enrol(data_dir: &Path, key: &SecretKey, url: &str, code: &str) -> Result<Enrolment, EnrolError> {
    let url = url.trim_end_matches('/').to_owned();
    let unreachable = |detail: String| EnrolError::Unreachable { url: url.clone(), detail };
    let host_key = hex::encode(key.public().as_bytes());
    let signature = hex::encode(key.sign(&enrol_signing_bytes(code, &host_key)).to_bytes());
    let body = Enrol { pairing_code: code.to_owned(), host_key, signature };
    let client = reqwest::Client::builder()
        .timeout(ANSWER_WITHIN)
        .build()
        .map_err(|error| unreachable(error.to_string()))?;
    let answer = client
        .post(format!("{url}/v1/hosts/enrol"))
        .json(&body)
        .send()
        .await
        .map_err(|error| unreachable(cause(&error)))?;
    if !answer.status().is_success() {
        let status = answer.status();
        let body = answer.json::<ErrorBody>().await;
        return Err(body.map_or_else(|_| unreachable(format!("it answers {status}")), EnrolError::Refused));
    }
    let enrolled: Enrolled = answer.json().await.map_err(|error| unreachable(cause(&error)))?;
    let enrolment = Enrolment { coordinator: url.clone(), host_id: enrolled.host_id };
    let bytes = serde_json::to_vec_pretty(&enrolment).map_err(std::io::Error::other)?;
    write_atomically(&data_dir.join(FILE), &bytes)?;
    Ok(enrolment)
}

/// The innermost cause, which is what helps.
fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
