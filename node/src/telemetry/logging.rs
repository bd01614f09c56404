//! Log lines go to standard error; standard output is for what a person asked for.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::failure::{Failure, Kind};
use crate::settings::LogSettings;

/// Our own crates, whose level a plain level word sets; of the others only warnings are of interest.
const OURS: [&str; 8] = [
    "dstack_node",
    "dstack_server",
    "dstack_raft",
    "dstack_storage",
    "dstack_domain",
    "dstack_api",
    "dstack_backends",
    "dstack_deploy",
];

/// Starts logging. Called once, by the binary.
pub fn init(settings: &LogSettings) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(directives(&settings.filter)).map_err(|error| {
        Failure::new(
            Kind::Usage,
            format!(
                "--log-level {} is neither a level nor a filter",
                settings.filter
            ),
        )
        .source(error)
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = if settings.json {
        builder.json().flatten_event(true).finish().try_init()
    } else {
        builder.finish().try_init()
    };
    started.map_err(|error| Failure::new(Kind::Fatal, "logging could not be started").source(error))
}

fn directives(filter: &str) -> String {
    if !matches!(filter, "error" | "warn" | "info" | "debug" | "trace") {
        return filter.to_owned();
    }
    let others = match filter {
        "error" => "error",
        "debug" | "trace" => "warn",
        // While a peer is down the library warns of each attempt to reach it, many times a second.
        _ => "warn,openraft=error",
    };
    let ours = OURS.iter().map(|name| format!(",{name}={filter}"));
    ours.fold(others.to_owned(), |all, one| all + &one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_for_our_crates_and_a_filter_is_taken_as_it_is() {
        assert!(directives("debug").starts_with("warn,dstack_node=debug"));
        assert_eq!(directives("openraft=trace"), "openraft=trace");
        EnvFilter::try_new(directives("info")).unwrap();
    }
}
