//! What the window may ask for. Each is three lines: find the host, ask it, answer.

use nightjar_agent::EnrolError;
use nightjar_core::host::UserCommand;
use nightjar_protocol::control::Refusal;
use nightjar_protocol::error::ErrorCode;
use nightjar_protocol::view::ViewModel;
use nightjar_protocol::window::{EnrolRefusal, StartFailure};
use tauri::State;

use crate::engine::Engine;

#[tauri::command]
pub async fn view(engine: State<'_, Engine>) -> Result<ViewModel, StartFailure> {
    let host = engine.host().await?;
    let view = host.view().borrow().clone();
    Ok((*view).clone())
}

#[tauri::command]
pub async fn command(engine: State<'_, Engine>, command: UserCommand) -> Result<(), Refusal> {
    let not_started =
        |failure| Refusal::Unreadable { detail: format!("the host did not start: {failure:?}") };
    engine.host().await.map_err(not_started)?.command(command).await
}

#[tauri::command]
pub async fn enrol(
    engine: State<'_, Engine>,
    coordinator_url: String,
    pairing_code: String,
) -> Result<(), EnrolRefusal> {
    let not_started =
        |failure| EnrolRefusal::Failed { detail: format!("the host did not start: {failure:?}") };
    let host = engine.host().await.map_err(not_started)?;
    host.enrol(coordinator_url.trim(), pairing_code.trim()).await.map_err(refusal)
}

fn refusal(error: EnrolError) -> EnrolRefusal {
    match error {
        EnrolError::Unreachable { url, detail } => EnrolRefusal::Unreachable { url, detail },
        EnrolError::Refused(body) if body.code == ErrorCode::PairingCode => EnrolRefusal::PairingCode,
        EnrolError::Refused(body) => EnrolRefusal::Refused { code: body.code, detail: body.detail },
        EnrolError::Storage(_) | EnrolError::Ending => EnrolRefusal::Failed { detail: error.to_string() },
    }
}
