//! `dstack completion SHELL`.

use crate::args::Cli;
use clap::CommandFactory;

/// Prints the script.
pub fn completion(shell: clap_complete::Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "dstack", &mut script);
    crate::ui::raw(&script);
}
