//! `dstack completion SHELL`.

use crate::failure::{Failure, Outcome};
use clap_complete::env::Shells;

/// The variable by which the shell asks this program for completions.
pub const VARIABLE: &str = "DSTACK_COMPLETE";

/// Prints what the shell is to evaluate. Completions come from this program, so they know today's names.
pub fn completion(shell: clap_complete::Shell) -> Outcome {
    let shells = Shells::builtins();
    let shell = shell.to_string();
    let Some(completer) = shells.completer(&shell) else {
        return Err(Failure::refused(format!(
            "there is no completion for {shell}"
        )));
    };
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, "dstack", "dstack", "dstack", &mut script)
        .map_err(|error| Failure::refused(error.to_string()))?;
    crate::ui::raw(&script);
    Ok(())
}
