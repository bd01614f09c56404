//! Why a replica could not start or had to end, and the exit code that says so.

use std::error::Error;
use std::fmt;

/// What kind of thing went wrong; each has its exit code, so that a supervisor can tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Flags that contradict each other or cannot be used.
    Usage,
    /// An address that cannot be listened on.
    Address,
    /// The server folder: in use, unreadable, damaged, full.
    Data,
    /// Certificates and keys.
    Credentials,
    /// The replica ran and could not go on; starting it again is the right thing to do.
    Fatal,
    /// The replica must not be started again as it is: its state differs from the others'.
    Diverged,
}

impl Kind {
    /// The exit code of the process.
    pub fn code(self) -> u8 {
        match self {
            Kind::Usage => 2,
            Kind::Address => 3,
            Kind::Data => 4,
            Kind::Credentials => 5,
            Kind::Fatal => 70,
            Kind::Diverged => 71,
        }
    }
}

/// A failure to be shown to a person.
#[derive(Debug)]
pub struct Failure {
    pub kind: Kind,
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl Failure {
    pub fn new(kind: Kind, message: impl Into<String>) -> Failure {
        Failure {
            kind,
            message: message.into(),
            hint: None,
            source: None,
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    pub fn source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Failure {
        self.source = Some(source.into());
        self
    }

    /// The message, its causes and the hint, a line each.
    pub fn report(&self) -> String {
        let mut text = format!("Error: {}", self.message);
        let mut cause = self.source.as_deref().map(|source| source as &dyn Error);
        while let Some(error) = cause {
            text.push_str(&format!("\n  because: {error}"));
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("\n  {hint}"));
        }
        text
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}
