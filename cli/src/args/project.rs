//! `dstack project …`: entries of ~/.dstack/config.yml.

use clap::{Args, Subcommand};

/// Projects; lists them when no verb is given.
#[derive(Debug, Args)]
pub struct Project {
    /// Ask each server whether the token is good, and whose it is
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<ProjectCommand>,
}

/// Verbs of projects.
#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// List the configured projects
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Add or change a project
    Add(ProjectAdd),
    /// Make a project the default
    SetDefault(ProjectSetDefault),
    /// Forget a project
    Delete(ProjectDelete),
}

/// `dstack project add`
#[derive(Debug, Args)]
pub struct ProjectAdd {
    /// Its name on the server
    #[arg(long)]
    pub name: String,
    /// The server's URL; several replicas may be given with commas between
    #[arg(long)]
    pub url: String,
    /// Your token
    #[arg(long)]
    pub token: String,
    /// Make it the default without asking
    #[arg(short, long, conflicts_with = "no")]
    pub yes: bool,
    /// Leave the default as it is without asking
    #[arg(short, long)]
    pub no: bool,
}

/// `dstack project set-default`
#[derive(Debug, Args)]
pub struct ProjectSetDefault {
    /// Its name
    #[arg(add = super::live::projects())]
    pub name: String,
}

/// `dstack project delete`
#[derive(Debug, Args)]
pub struct ProjectDelete {
    /// Its name
    #[arg(long, add = super::live::projects())]
    pub name: String,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}
