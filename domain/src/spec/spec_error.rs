//! An error in what a user wrote: where it stands, what is wrong, what is allowed, what to try.

use std::fmt;

use super::outline::{Step, steps};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

/// Shown over several lines with a snippet when it comes from a file, in one line when it comes from a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecError(Box<Parts>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    file: Option<String>,
    position: Option<Position>,
    path: String,
    message: String,
    allowed: Vec<String>,
    hint: Option<String>,
    snippet: Option<String>,
}

impl SpecError {
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        let path = path.into();
        Self(Box::new(Parts {
            file: None,
            position: None,
            path: if path == "." || path == "?" {
                String::new()
            } else {
                path
            },
            message: message.into(),
            allowed: Vec::new(),
            hint: None,
            snippet: None,
        }))
    }

    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    pub(crate) fn with_advice(mut self, allowed: Vec<String>, hint: Option<String>) -> Self {
        self.0.allowed = allowed;
        self.0.hint = hint;
        self
    }

    /// Says in which file and, if known, where in `text` it stands.
    pub(crate) fn in_file(mut self, file: &str, text: &str, position: Option<Position>) -> Self {
        self.0.file = Some(file.to_owned());
        self.0.position = position;
        self.0.snippet = position.map(|position| snippet(text, position));
        self
    }

    pub(crate) fn at(mut self, position: Option<Position>) -> Self {
        self.0.position = position;
        self
    }

    /// Completes "expected …" where the parser did not say what it found.
    pub(crate) fn found(self, text: &str) -> Self {
        let short: String = text.chars().take(40).collect();
        let cut = if short.len() < text.len() { "…" } else { "" };
        self.found_shape(&format!("`{short}{cut}`"))
    }

    pub(crate) fn found_shape(mut self, shape: &str) -> Self {
        if self.0.message.starts_with("expected ") && !self.0.message.contains(", found ") {
            self.0.message.push_str(", found ");
            self.0.message.push_str(shape);
        }
        self
    }

    #[must_use]
    pub fn under(mut self, prefix: &str) -> Self {
        self.0.path = match (prefix.is_empty(), self.0.path.is_empty()) {
            (true, _) => self.0.path,
            (false, true) => prefix.to_owned(),
            (false, false) => format!("{prefix}.{}", self.0.path),
        };
        self
    }

    /// Where in the document, such as `resources.gpu`; empty for the whole of it.
    pub fn path(&self) -> &str {
        &self.0.path
    }

    /// The path as the list of keys and indexes that 422 bodies carry.
    pub fn path_steps(&self) -> Vec<String> {
        steps(&self.0.path)
            .into_iter()
            .map(|step| match step {
                Step::Key(key) => key.to_owned(),
                Step::Index(index) => index.to_string(),
            })
            .collect()
    }

    pub fn position(&self) -> Option<Position> {
        self.0.position
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn allowed(&self) -> &[String] {
        &self.0.allowed
    }

    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// For answers that have room for one line only.
    pub fn one_line(&self) -> String {
        let mut line = String::new();
        if !self.0.path.is_empty() {
            line.push_str(&self.0.path);
            line.push_str(": ");
        }
        line.push_str(&self.0.message);
        if !self.0.allowed.is_empty() {
            line.push_str("; allowed: ");
            line.push_str(&self.0.allowed.join(", "));
        }
        if let Some(hint) = &self.0.hint {
            line.push_str("; ");
            line.push_str(hint);
        }
        line
    }
}

impl std::error::Error for SpecError {}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(file) = &self.0.file else {
            return f.write_str(&self.one_line());
        };
        f.write_str(file)?;
        if let Some(Position { line, column }) = self.0.position {
            write!(f, ":{line}:{column}")?;
        }
        f.write_str(": ")?;
        if !self.0.path.is_empty() {
            write!(f, "`{}`: ", self.0.path)?;
        }
        f.write_str(&self.0.message)?;
        if let Some(snippet) = &self.0.snippet {
            write!(f, "\n{snippet}")?;
        }
        if !self.0.allowed.is_empty() {
            write!(f, "\n  = allowed: {}", wrapped(&self.0.allowed))?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, "\n  = hint: {hint}")?;
        }
        Ok(())
    }
}

const WIDTH: usize = 100;

fn wrapped(words: &[String]) -> String {
    let mut text = String::new();
    let mut width = 0;
    for (index, word) in words.iter().enumerate() {
        if index > 0 {
            text.push(',');
            if width + word.len() + 15 > WIDTH {
                text.push_str("\n             ");
                width = 0;
            } else {
                text.push(' ');
            }
        }
        text.push_str(word);
        width += word.len() + 2;
    }
    text
}

/// The line, its neighbours, and a caret under the place.
fn snippet(text: &str, position: Position) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let at = position.line.saturating_sub(1).min(lines.len());
    let first = at.saturating_sub(1);
    let last = (at + 1).min(lines.len().saturating_sub(1));
    let margin = (last + 1).to_string().len();
    let mut out = format!("{:margin$} |", "");
    for (index, line) in lines.iter().enumerate().take(last + 1).skip(first) {
        let before = position.column.saturating_sub(1);
        let (shown, skipped) = window(line, if index == at { before } else { 0 });
        out.push_str(format!("\n{:>margin$} | {shown}", index + 1).trim_end());
        if index == at {
            // Tabs are kept so that the caret stands under the same place in any terminal.
            let blank: String = shown
                .chars()
                .take(before - skipped)
                .map(|c| if c == '\t' { '\t' } else { ' ' })
                .collect();
            let missing = (before - skipped).saturating_sub(shown.chars().count());
            out.push_str(&format!("\n{:margin$} | {blank}{:missing$}^", "", ""));
        }
    }
    out
}

/// The part of a long line around a column, and how many characters were left out before it.
fn window(line: &str, column: usize) -> (String, usize) {
    let clean = |c: char| {
        if c.is_control() && c != '\t' {
            '\u{fffd}'
        } else {
            c
        }
    };
    let length = line.chars().count();
    if length <= WIDTH {
        return (line.chars().map(clean).collect(), 0);
    }
    let skipped = column.saturating_sub(WIDTH / 2).min(length);
    (
        line.chars().skip(skipped).take(WIDTH).map(clean).collect(),
        skipped,
    )
}
