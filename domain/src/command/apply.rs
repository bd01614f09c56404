//! The one door into the state. Total and deterministic: same state, same entry, same result.

use super::{Actor, Entry, Outcome};
use crate::rejection::Rejection;
use crate::state::{Draft, RowChange, State, Touched};

/// What an entry did.
#[derive(Clone, Debug)]
pub struct Applied {
    pub reply: Outcome,
    /// To be written in one batch with the applied index.
    pub changes: Vec<RowChange>,
    /// Which kinds of objects changed, for wakers.
    pub touched: Touched,
}

pub fn apply(state: &mut State, entry: &Entry) -> Applied {
    if let Some(reply) = state.remembered(entry.request) {
        return Applied {
            reply,
            changes: Vec::new(),
            touched: Touched::default(),
        };
    }
    let mut draft = Draft::new(state, entry);
    let reply = check_level(state, entry)
        .and_then(|()| entry.command.run(&mut draft))
        .and_then(|reply| {
            draft.is_sound()?;
            Ok(reply)
        });
    if reply.is_err() {
        draft = Draft::new(state, entry);
    }
    // Retries of people's requests get the same answer. The leader does not retry: it decides again.
    if entry.actor != Actor::System {
        draft.remember(entry.request, &reply);
    }
    let (next, changes, touched) = draft.finish();
    *state = next;
    Applied {
        reply,
        changes,
        touched,
    }
}

fn check_level(state: &State, entry: &Entry) -> Result<(), Rejection> {
    let (needed, have) = (entry.command.level(), state.feature_level());
    if needed > have && have > 0 {
        return Err(Rejection::error(format!(
            "{} needs feature level {needed}, the cluster is at {have}",
            entry.command.name()
        ))
        .hint("Upgrade every replica, then raise the level."));
    }
    Ok(())
}
