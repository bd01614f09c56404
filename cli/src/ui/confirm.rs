//! Yes or no, asked only of a person.

use crate::failure::{Failure, Outcome};
use std::io::{BufRead, IsTerminal, Write};

/// Asks `question`; without a terminal nobody can answer, so `-y` is demanded instead.
pub fn confirm(question: &str) -> Outcome<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::with_hint(
            "this needs a confirmation, and nobody is at the terminal to give it",
            "Pass -y to go ahead without being asked",
        ));
    }
    let mut err = std::io::stderr();
    let _ = write!(err, "{question} [y/n]: ");
    let _ = err.flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Goes on when `yes` was passed or the person says so; else the command ends as declined.
pub fn agree(yes: bool, question: &str) -> Outcome {
    match yes || confirm(question)? {
        true => Ok(()),
        false => Err(Failure::Declined),
    }
}
