//! What a page asks for: from the host, and from the desktop around it.

use nightjar_agent::AgentHandle;
use nightjar_desktop::log;
use nightjar_protocol::text::Texts;
use nightjar_protocol::window::{DesktopFacts, OpenedLink, Question, QuestionRefusal, Reply};

use crate::app::App;
use crate::{autostart, links, tray};

/// # Errors
/// Why there is no answer.
pub async fn answer(app: &App, host: &AgentHandle, question: Question) -> Result<Reply, QuestionRefusal> {
    match question {
        Question::Desktop => Ok(Reply::Desktop(DesktopFacts {
            has_tray: tray::is_shown(app).await,
            starts_at_login: autostart::is_on(),
            opens_links: links::is_on(),
        })),
        Question::SetAutostart { on } => done(autostart::set(on)),
        Question::SetLinks { on } => done(links::set(on)),
        Question::Invitation => {
            let texts = Texts::of(host.view().borrow().language);
            let shown = |read| match read {
                Ok(invitation) => OpenedLink::Market(invitation),
                Err(error) => OpenedLink::Refused { sentence: texts.link_fault(error) },
            };
            Ok(Reply::Invitation(app.take_link().map(shown)))
        }
        Question::Report => host.ask(Question::Report, log::recent()).await,
        other => host.ask(other, Vec::new()).await,
    }
}

fn done(what: anyhow::Result<()>) -> Result<Reply, QuestionRefusal> {
    what.map(|()| Reply::Done).map_err(|error| QuestionRefusal::Failed { detail: format!("{error:#}") })
}
