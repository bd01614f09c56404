//! `dstack-agent`.

use std::process::ExitCode;

use clap::Parser;
use dstack_agent::args::{Cli, Command, Serve};
use dstack_agent::home::Home;
use dstack_agent::serve::AlreadyServed;
use dstack_agent::{facts, retire, runner, runtime, serve};
use tracing_subscriber::EnvFilter;

/// Another agent serves the home: nothing is wrong, and nothing is to be tried again.
const ALREADY_SERVED: u8 = 3;
/// As a shell says it.
const CANNOT_EXECUTE: u8 = 126;
const NOT_FOUND: u8 = 127;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => report(serve_host(&args)),
        Command::Retire(args) => report(retire_host(&args)),
        Command::Run { dir } => match runner::run(&dir) {
            Ok(status) => ExitCode::from(u8::try_from(status).unwrap_or(1)),
            Err(error) => fail(&error),
        },
        Command::Facts { home } => {
            println!("{:#}", facts::to_json(&facts::gather(&home)));
            ExitCode::SUCCESS
        }
        Command::Sshd { dir } => report(runner::sshd::run(&dir)),
        Command::Sftp => report(runner::sshd::serve_stdio()),
        Command::Exec(args) => {
            let error = runner::exec(&args.into());
            eprintln!("dstack: {error}");
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            ExitCode::from(if missing { NOT_FOUND } else { CANNOT_EXECUTE })
        }
    }
}

fn retire_host(args: &Serve) -> anyhow::Result<()> {
    if !args.home.exists() {
        return Ok(());
    }
    let home = Home::open(&args.home)?;
    let lock = retire::take_over(&home)?;
    let tokio = tokio::runtime::Runtime::new()?;
    tokio.block_on(async {
        let runtime = runtime::open(args.runtime, args.docker_socket.clone(), home.root()).await?;
        retire::retire(&home, runtime, lock).await
    })
}

fn serve_host(args: &Serve) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let home = Home::open(&args.home)?;
    let _lock = serve::lock_home(&home)?;
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(async {
        let runtime = runtime::open(args.runtime, args.docker_socket.clone(), home.root()).await?;
        if runtime.name() == "docker" && !cfg!(target_feature = "crt-static") {
            tracing::warn!("this agent is not linked statically: it runs only in images with the same libc");
        }
        tracing::info!(home = %home.root().display(), runtime = runtime.name(), version = env!("CARGO_PKG_VERSION"), "agent serves");
        serve::serve(home, runtime, args.authorized_keys.clone()).await
    })
}

fn report(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<AlreadyServed>() => {
            eprintln!("dstack-agent: {error}");
            ExitCode::from(ALREADY_SERVED)
        }
        Err(error) => fail(&error),
    }
}

fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("dstack-agent: {error:#}");
    ExitCode::FAILURE
}
