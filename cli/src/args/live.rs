//! Names that the shell completes: asked of the server while the user types. What goes wrong on the way completes
//! nothing, and says nothing.

use crate::commands::names;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use dstack_api::client::{ApiError, ProjectClient};

fn ask<F>(list: F) -> ArgValueCandidates
where
    F: AsyncFn(&ProjectClient) -> Result<Vec<String>, ApiError> + Send + Sync + 'static,
{
    ArgValueCandidates::new(move || {
        let found = names::known(&list);
        found.into_iter().map(CompletionCandidate::new).collect()
    })
}

pub fn runs() -> ArgValueCandidates {
    ask(names::runs)
}

pub fn fleets() -> ArgValueCandidates {
    ask(names::fleets)
}

pub fn secrets() -> ArgValueCandidates {
    ask(names::secrets)
}

pub fn projects() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let found = names::projects();
        found.into_iter().map(CompletionCandidate::new).collect()
    })
}
