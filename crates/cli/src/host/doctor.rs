//! `nightjar doctor`: what lending needs on this PC, how each of it stands, and what mends it.

use std::fmt::Write as _;
use std::time::Duration;

use nightjar_core::settings::Language;
use nightjar_protocol::control::{ControlAnswer, ControlRequest};
use nightjar_protocol::doctor::{Check, Findings, summary};
use nightjar_protocol::text::Texts;
use nightjar_protocol::window::{Question, QuestionRefusal, Reply};
use serde_json::json;

use crate::arguments::HostPlace;
use crate::failure::{Exit, Failure};
use crate::output::{Output, printable};

use super::grip::{Grip, view};

/// It looks at each container of the Engine's, which may be slow to answer.
const LOOKED_WITHIN: Duration = Duration::from_secs(60);

/// The exit code says whether all is well.
///
/// # Errors
/// When no host runs, or it cannot look.
pub async fn doctor(place: &HostPlace, output: Output) -> Result<u8, Failure> {
    let mut grip = Grip::connect(place).await?;
    let language = view(grip.ask(ControlRequest::Status).await?)?.language;
    let answer = grip.ask_within(ControlRequest::Ask(Question::Checks), LOOKED_WITHIN).await?;
    let something_else = || Failure::failed("the host answered with something else");
    let ControlAnswer::Reply(reply) = answer else { return Err(something_else()) };
    let reply = reply.map_err(|QuestionRefusal::Failed { detail }| Failure::failed(detail))?;
    let Reply::Checks(Findings { checks, .. }) = *reply else { return Err(something_else()) };
    let is_well = checks.iter().all(|check| check.standing.is_well());
    output.print(&json!({ "well": is_well, "checks": checks }), &words(&checks, language))?;
    Ok(if is_well { 0 } else { Exit::Failed as u8 })
}

fn words(checks: &[Check], language: Language) -> String {
    let texts = Texts::of(language);
    let mut text = String::new();
    for check in checks {
        let (title, sentence) = (printable(&check.title), printable(&check.sentence));
        let _ = writeln!(text, "{:<5} {title}: {sentence}", check.standing.mark());
        // A command stands alone on its line, so that it can be copied.
        if let Some(command) = check.command.as_ref().filter(|_| !check.standing.is_good()) {
            let _ = writeln!(text, "        {}", printable(command));
        }
        if let Some(name) = &check.accepts {
            let accept = texts.with("doctor-accept", &[("name", name.clone())]);
            let _ = writeln!(text, "      {}", printable(&accept));
        }
    }
    text + &summary(checks, language)
}

#[cfg(test)]
mod tests {
    use nightjar_protocol::doctor::CheckStanding;

    use super::*;

    #[test]
    fn each_check_has_its_standing_and_what_mends_it() {
        let check = |id: &str, standing, sentence: &str, command: Option<&str>| Check {
            id: id.into(),
            standing,
            title: id.into(),
            sentence: sentence.into(),
            command: command.map(str::to_owned),
            repair: None,
            accepts: None,
        };
        let hole = check("versions", CheckStanding::Bad, "runc 1.1.5 has a hole.", None);
        let checks = [
            check("engine", CheckStanding::Good, "It answers.", Some("never shown")),
            Check { accepts: Some("runc 1.1.5".into()), ..hole },
            check("containers", CheckStanding::Warning, "by-hand\u{1b}[2J", Some("docker stop by-hand")),
            check("helper", CheckStanding::Optional, "Not installed.", Some("sudo systemctl start it")),
        ];
        insta::assert_snapshot!(words(&checks, Language::English));
    }
}
