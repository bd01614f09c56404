//! One file a verb.

mod apply;
mod attach;
mod backend;
mod cluster;
mod completion;
mod delete;
mod event;
mod fleet;
mod follow;
mod gateway;
mod given;
mod init;
mod leaks;
mod login;
mod logs;
mod metrics;
pub mod names;
mod offer;
mod project;
mod ps;
mod run;
mod secret;
mod server;
mod share;
mod stop;
mod volume;

pub use completion::VARIABLE as COMPLETE;

use crate::args::{Command, Common, RunCommand};
use crate::failure::{Failure, Outcome};
use crate::settings::{Settings, current};
use dstack_api::client::{ApiError, Client, ClientOptions, ProjectClient};

/// Runs what was typed to its end.
pub fn run(command: Command) -> Outcome {
    match command {
        Command::Completion(which) => completion::completion(which.shell),
        Command::Preset(_) => Err(Failure::with_hint(
            "presets are made by an agent on your machine, which this command line does not have",
            "Use upstream's client for them: pip install dstack; it works with this server",
        )),
        Command::Server(passed) => server::server(&passed.args),
        other => crate::runtime()?.block_on(talk_to_server(other)),
    }
}

async fn talk_to_server(command: Command) -> Outcome {
    match command {
        Command::Apply(args) => apply::apply(*args).await,
        Command::Attach(args) => attach::attach(args).await,
        Command::Ps(args) => ps::ps(args).await,
        Command::Run(group) => match group.command {
            RunCommand::Get(args) => run::get(args).await,
        },
        Command::Logs(args) => logs::logs(args).await,
        Command::Metrics(args) => metrics::metrics(args).await,
        Command::Offer(args) => offer::offer(*args).await,
        Command::Stop(args) => stop::stop(args).await,
        Command::Delete(args) => delete::delete(args).await,
        Command::Fleet(args) => fleet::fleet(args).await,
        Command::Secret(args) => secret::secret(args).await,
        Command::Event(args) => event::event(args).await,
        Command::Project(args) => project::project(args).await,
        Command::Init(args) => init::init(args).await,
        Command::Cluster(args) => cluster::cluster(args).await,
        Command::Leaks(args) => leaks::leaks(args).await,
        Command::Backend(args) => backend::backend(args).await,
        Command::Volume(args) => volume::volume(args).await,
        Command::Gateway(args) => gateway::gateway(args).await,
        Command::Export(args) => share::export(args).await,
        Command::Import(args) => share::import(args).await,
        Command::Login(args) => login::login(args).await,
        Command::Completion(_) | Command::Server(_) | Command::Preset(_) => Ok(()),
    }
}

/// A client of these settings' replicas.
pub fn client(settings: &Settings) -> Outcome<ProjectClient> {
    let options = ClientOptions::new(settings.urls.clone(), Some(settings.token.clone()));
    Ok(Client::new(options)
        .map_err(refused)?
        .project(&settings.project))
}

/// A client of the project that flags, variables and files name.
pub fn connect(common: &Common) -> Outcome<ProjectClient> {
    client(&current(common)?)
}

/// A server's answer as a failure of this command.
pub fn refused(error: ApiError) -> Failure {
    match error {
        ApiError::Denied { .. } => Failure::with_hint(
            error.to_string(),
            "Check the token: dstack project add --name NAME --url URL --token TOKEN",
        ),
        ApiError::Unavailable { .. } => Failure::with_hint(
            error.to_string(),
            "Is a replica running? Start one with: dstack server",
        ),
        // What the server says of a refusal is for the person as it is.
        ApiError::Refused { message, .. } => Failure::refused(message),
        other => Failure::Other(anyhow::Error::new(other)),
    }
}
