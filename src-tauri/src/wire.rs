//! What the app that stays and its window say to each other over the window's standard input and output: one JSON object
//! a line. Both ends are always of one build, so nothing here has a version.

use nightjar_core::host::UserCommand;
use nightjar_protocol::control::Refusal;
use nightjar_protocol::view::ViewModel;
use nightjar_protocol::window::{EnrolRefusal, Question, QuestionRefusal, Reply, StartFailure};
use serde::{Deserialize, Serialize};

/// To the window. The first is a view or a failure, before which it may be told to stay hidden; the end of the line is the
/// end of the window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToWindow {
    View(Box<ViewModel>),
    /// There is no host, and there will be none.
    Failed(StartFailure),
    /// Somebody may look for the window soon: it is to be made, and not shown yet.
    Prepare,
    /// Somebody looks for the window.
    Show,
    Answer {
        number: u64,
        answer: Answer,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromWindow {
    /// Each number is answered once, in whatever order.
    Asked { number: u64, ask: Ask },
    /// Its owner closes it. It hears nothing from here on, and takes a moment to go.
    Closed,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Ask {
    Command(UserCommand),
    Enrol { coordinator_url: String, pairing_code: String },
    Question(Question),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    Command(Result<(), Refusal>),
    Enrol(Result<(), EnrolRefusal>),
    Question(Result<Reply, QuestionRefusal>),
}

/// As one line with its end.
///
/// # Errors
/// When the value cannot be written as JSON.
pub fn line(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_whatever_stands_in_it() {
        let ask = Ask::Enrol { coordinator_url: "https://x\ny".into(), pairing_code: "\"1\r\n2\"".into() };
        let message = FromWindow::Asked { number: 7, ask };
        let line = line(&message).expect("JSON");
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(serde_json::from_slice::<FromWindow>(&line).expect("the same"), message);
    }

    #[test]
    fn refusals_come_across() {
        let refused = Answer::Enrol(Err(EnrolRefusal::PairingCode));
        let message = ToWindow::Answer { number: 1, answer: refused };
        let line = line(&message).expect("JSON");
        assert_eq!(serde_json::from_slice::<ToWindow>(&line).expect("the same"), message);
    }
}
