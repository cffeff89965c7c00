//! What went wrong, in three parts for whoever reads it: what failed and why, what to do, and the exit code for whoever
//! must branch.

use nightjar_protocol::error::{ErrorBody, ErrorCode};
use serde_json::{Value, json};

/// Exit codes. `nightjar --help` lists them; a script may rely on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Failed = 1,
    Usage = 2,
    NothingMatched = 3,
    NotRunning = 4,
    Refused = 5,
    Unreachable = 6,
}

impl Exit {
    fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Usage => "usage",
            Self::NothingMatched => "nothing_matched",
            Self::NotRunning => "not_running",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
        }
    }
}

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    /// The market's own code, where it was the market that said no.
    pub code: Option<ErrorCode>,
    pub what: String,
    pub advice: Option<String>,
}

impl Failure {
    pub fn new(exit: Exit, what: impl Into<String>) -> Self {
        Self { exit, code: None, what: what.into(), advice: None }
    }

    pub fn failed(what: impl Into<String>) -> Self {
        Self::new(Exit::Failed, what)
    }

    pub fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, what)
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }

    /// The one object on standard output with `--json`.
    pub fn json(&self) -> Value {
        json!({ "error": {
            "exit_code": self.exit as u8,
            "kind": self.exit.name(),
            "code": self.code.map(ErrorCode::as_str),
            "detail": self.what,
            "advice": self.advice,
        }})
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)?;
        match &self.advice {
            Some(advice) => write!(f, "\n  {advice}"),
            None => Ok(()),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::failed(format!("{error:#}"))
    }
}

impl From<ErrorBody> for Failure {
    fn from(body: ErrorBody) -> Self {
        use ErrorCode as C;
        let (exit, advice) = match body.code {
            C::BadRequest => (Exit::Usage, None),
            C::Unauthorized => {
                (Exit::Refused, Some("`nightjar login URL` with a token from the market's operator"))
            }
            C::Forbidden | C::PairingCode | C::Signature => (Exit::Refused, None),
            C::Balance => {
                (Exit::Refused, Some("`nightjar account` shows the balance; the operator tops it up"))
            }
            C::NotFound => (Exit::NothingMatched, Some("`nightjar leases` lists yours")),
            C::NoMatch => {
                (Exit::NothingMatched, Some("`nightjar offers` without filters shows what there is"))
            }
            C::Unreachable => (Exit::Unreachable, None),
            C::Version => (Exit::Failed, Some("install the version that the market speaks")),
            C::Conflict | C::StaleEpoch | C::TooMany | C::Internal => (Exit::Failed, None),
        };
        Self { exit, code: Some(body.code), what: body.detail, advice: advice.map(str::to_owned) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_of_the_market_has_its_exit() {
        let exit = |code| Failure::from(ErrorBody { code, detail: String::from("why") }).exit;
        assert_eq!(exit(ErrorCode::NoMatch), Exit::NothingMatched);
        assert_eq!(exit(ErrorCode::Unauthorized), Exit::Refused);
        assert_eq!(exit(ErrorCode::Balance), Exit::Refused);
        assert_eq!(exit(ErrorCode::BadRequest), Exit::Usage);
        assert_eq!(exit(ErrorCode::Internal), Exit::Failed);
        assert_eq!(exit(ErrorCode::Unreachable), Exit::Unreachable);
    }

    #[test]
    fn the_object_names_kind_and_advice() {
        let failure = Failure::usage("no").advise("do");
        assert_eq!(failure.json()["error"]["kind"], "usage");
        assert_eq!(failure.json()["error"]["exit_code"], 2);
        assert_eq!(failure.to_string(), "no\n  do");
    }
}
