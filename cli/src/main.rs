//! `dstack`: asks the control plane and shows what it says.

mod args;
mod attach;
mod commands;
mod failure;
mod git;
mod paths;
mod settings;
mod ui;

use clap::{CommandFactory, Parser};
use failure::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    clap_complete::CompleteEnv::with_factory(args::Cli::command)
        .var(commands::COMPLETE)
        .complete();
    let cli = args::Cli::parse();
    match commands::run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                ui::talk(&text);
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

/// A runtime of one thread: the CLI waits for answers, it does not compute.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    use anyhow::Context;
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?)
}
