//! What the page may ask for. Each is three lines: ask the app, take its answer, give it.

use nightjar_core::host::UserCommand;
use nightjar_desktop::wire::{Answer, Ask};
use nightjar_protocol::control::Refusal;
use nightjar_protocol::view::ViewModel;
use nightjar_protocol::window::{EnrolRefusal, Question, QuestionRefusal, Reply, StartFailure};
use tauri::State;

use crate::page::HostLine;

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

#[cfg(test)]
mod tests {
    use serde_json::Value;

    /// What the page may do is listed here once more, so that nothing is added unseen.
    #[test]
    fn the_one_window_has_these_rights_and_no_others() {
        let capability: Value =
            serde_json::from_str(include_str!("../../../capabilities/main.json")).unwrap();
        assert_eq!(capability["windows"], serde_json::json!(["main"]));
        assert!(capability.get("remote").is_none(), "no page from elsewhere has any right");
        assert_eq!(
            capability["permissions"],
            serde_json::json!([
                "core:event:allow-listen",
                "core:event:allow-unlisten",
                // How large the page is drawn, which is all that it sets.
                "core:webview:allow-set-webview-zoom",
                "allow-view",
                "allow-command",
                "allow-enrol",
                "allow-ask"
            ])
        );
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/capabilities")).unwrap();
        assert_eq!(files.count(), 1);
    }

    #[test]
    fn the_page_can_ask_nothing_of_a_network() {
        let settings: Value = serde_json::from_str(include_str!("../../../tauri.conf.json")).unwrap();
        let security = &settings["app"]["security"];
        assert_eq!(security["capabilities"], serde_json::json!(["main"]));
        assert_eq!(settings["app"]["withGlobalTauri"], false);
        let policy = security["csp"].as_object().unwrap();
        assert_eq!(policy["default-src"], "'none'");
        for (directive, sources) in policy {
            for source in sources.as_str().unwrap().split(' ') {
                // The page's own files, pictures in a document, and the bridge to the app.
                let own = ["'none'", "'self'", "data:", "ipc:", "http://ipc.localhost"].contains(&source);
                assert!(own, "{directive} lets in {source}");
            }
        }
    }
}
