//! What the page may ask for. Each is three lines: ask the app, take its answer, give it.

use nightjar_core::host::UserCommand;
use nightjar_protocol::control::Refusal;
use nightjar_protocol::view::ViewModel;
use nightjar_protocol::window::{EnrolRefusal, Question, QuestionRefusal, Reply, StartFailure};
use tauri::State;

use crate::page::HostLine;
use crate::wire::{Answer, Ask};

#[tauri::command]
pub async fn view(host: State<'_, HostLine>) -> Result<ViewModel, StartFailure> {
    host.view().await
}

#[tauri::command]
pub async fn command(host: State<'_, HostLine>, command: UserCommand) -> Result<(), Refusal> {
    match host.ask(Ask::Command(command)).await {
        Ok(Answer::Command(answer)) => answer,
        Ok(other) => Err(Refusal::Unreadable { detail: format!("not an answer to a command: {other:?}") }),
        Err(error) => Err(Refusal::Unreadable { detail: format!("{error:#}") }),
    }
}

#[tauri::command]
pub async fn enrol(
    host: State<'_, HostLine>,
    coordinator_url: String,
    pairing_code: String,
) -> Result<(), EnrolRefusal> {
    let trimmed = |text: String| text.trim().to_owned();
    let ask = Ask::Enrol { coordinator_url: trimmed(coordinator_url), pairing_code: trimmed(pairing_code) };
    match host.ask(ask).await {
        Ok(Answer::Enrol(answer)) => answer,
        Ok(other) => Err(EnrolRefusal::Failed { detail: format!("not an answer to a pairing: {other:?}") }),
        Err(error) => Err(EnrolRefusal::Failed { detail: format!("{error:#}") }),
    }
}

#[tauri::command]
pub async fn ask(host: State<'_, HostLine>, question: Question) -> Result<Reply, QuestionRefusal> {
    match host.ask(Ask::Question(question)).await {
        Ok(Answer::Question(answer)) => answer,
        Ok(other) => {
            Err(QuestionRefusal::Failed { detail: format!("not an answer to a question: {other:?}") })
        }
        Err(error) => Err(QuestionRefusal::Failed { detail: format!("{error:#}") }),
    }
}
