//! How a command ends badly: what was refused, what to type next, and with which exit code.

use std::fmt;

/// A failure a person can act on.
#[derive(Debug)]
pub enum Failure {
    /// The input or the request was refused; exit code 1.
    Refused {
        /// What and why.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// A run ended, and not as done; exit code 1 and nothing more to print.
    RunNotDone,
    /// The person said no; exit code 0, as upstream.
    Declined,
    /// Anything else, with its chain; exit code 1.
    Other(anyhow::Error),
}

impl Failure {
    /// A refusal without a hint.
    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused {
            message: message.into(),
            hint: None,
        }
    }

    /// A refusal that tells what to type next.
    pub fn with_hint(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Refused {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// The process's exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Declined => 0,
            Self::Refused { .. } | Self::RunNotDone | Self::Other(_) => 1,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused {
                message,
                hint: None,
            } => write!(f, "{message}"),
            Self::Refused {
                message,
                hint: Some(hint),
            } => write!(f, "{message}\n{hint}"),
            Self::RunNotDone | Self::Declined => Ok(()),
            Self::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// What every command returns.
pub type Outcome<T = ()> = Result<T, Failure>;
