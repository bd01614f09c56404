//! What the binary does: read the command line, run a replica until a signal, say how it ended.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::{Args, InitCa, Serve, Verb};
use crate::credentials;
use crate::failure::{Failure, Kind};
use crate::first_start::PROJECT;
use crate::introduce::{Introduced, introduce};
use crate::replica::{End, Replica};
use crate::settings::Settings;
use crate::telemetry;

/// For what runs in blocking threads when the replica has ended: reads of the stores, which take milliseconds.
const LAST_READERS: Duration = Duration::from_secs(5);

/// The whole process.
pub fn main() -> ExitCode {
    let args = Args::parse();
    let outcome = match args.verb {
        Some(Verb::InitCa(args)) => init_ca(&args),
        None => serve(args.serve),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}", failure.report());
            ExitCode::from(failure.kind.code())
        }
    }
}

fn init_ca(args: &InitCa) -> Result<(), Failure> {
    let made = credentials::init_ca(args)?;
    if made.is_empty() {
        say("Nothing to do: every replica has its keys already.");
    }
    for dir in made {
        say(&format!("{}", dir.display()));
    }
    Ok(())
}

fn serve(args: Serve) -> Result<(), Failure> {
    let settings = Settings::resolve(args, |name| std::env::var(name).ok())?;
    telemetry::init(&settings.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(Kind::Fatal, "the runtime could not be started").source(error)
        })?;
    let outcome = runtime.block_on(run(settings));
    // A thread that still reads the stores must be out of them before the process tears them down.
    runtime.shutdown_timeout(LAST_READERS);
    outcome
}

async fn run(settings: Settings) -> Result<(), Failure> {
    let asked = asked_to_end()?;
    tokio::pin!(asked);
    let alone = settings.initial.is_empty() && settings.join.is_empty();
    let (home, may_change) = (settings.home.clone(), settings.may_change_configuration);
    let mut replica = tokio::select! {
        replica = Replica::start(settings) => replica?,
        () = &mut asked => return Ok(()),
    };
    let url = client_url(replica.addr);
    let introduce = |token: &str| {
        if alone && let Some(home) = &home {
            tell_configuration(home, &url, token, may_change);
        }
    };
    if alone && let Some(token) = replica.admin_token() {
        tell_token(&token);
        introduce(&token);
    }
    say(&format!(
        "The dstack server {} is running at http://{}",
        env!("CARGO_PKG_VERSION"),
        replica.addr
    ));
    say(&format!(
        "Use it from a client: dstack project add --name main --url {url} --token TOKEN"
    ));
    let founded = |token: &str| {
        tell_token(token);
        introduce(token);
    };
    match replica.run(asked, founded).await {
        End::Asked => {
            replica.end().await;
            Ok(())
        }
        End::Broken(failure) => Err(failure),
    }
}

/// Where somebody on this machine reaches a server that listens here.
fn client_url(addr: SocketAddr) -> String {
    let port = addr.port();
    match addr.ip().is_unspecified() {
        true => format!("http://127.0.0.1:{port}"),
        false => format!("http://{addr}"),
    }
}

fn tell_configuration(home: &Path, url: &str, token: &str, may_change: bool) {
    match introduce(home, PROJECT, url.to_owned(), token, may_change) {
        Ok(Introduced::Written) => say("The project main is in ~/.dstack/config.yml: dstack ps"),
        Ok(Introduced::Known) => {}
        Ok(Introduced::Left) => say(
            "The project main of ~/.dstack/config.yml leads to another server; start with -y to let it be this one",
        ),
        Err(error) => tracing::warn!(%error, "the configuration of this user was left alone"),
    }
}

fn tell_token(token: &str) {
    say(&format!("The admin token is \"{token}\""));
}

/// Standard output may be closed; that is no reason to end.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Resolves at the first SIGTERM or SIGINT; a second one ends the process at once.
fn asked_to_end() -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error| Failure::new(Kind::Fatal, "signals cannot be received").source(error);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(i32::from(Kind::Fatal.code()));
        });
    })
}
