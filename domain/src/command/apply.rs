//! The one door into the state. Total and deterministic: same state, same entry, same result.

use super::{Actor, Entry, Outcome};
use crate::rejection::Rejection;
use crate::state::{Draft, RowChange, State, Touched};
use jiff::Timestamp;

/// What an entry did.
#[derive(Clone, Debug)]
pub struct Applied {
    pub reply: Outcome,
    /// To be written in one batch with the applied index.
    pub changes: Vec<RowChange>,
    /// Which kinds of objects changed, for wakers.
    pub touched: Touched,
    /// Events recorded before this moment are to be deleted in the same batch, with every row that
    /// leads to them (`history::without_event`).
    pub events_expired: Option<Timestamp>,
}

pub fn apply(state: &mut State, entry: &Entry) -> Applied {
    if let Some(reply) = state.remembered(entry.request) {
        return Applied {
            reply,
            changes: Vec::new(),
            touched: Touched::default(),
            events_expired: None,
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
    let finished = draft.finish();
    *state = finished.state;
    Applied {
        reply,
        changes: finished.changes,
        touched: finished.touched,
        events_expired: finished.events_expired,
    }
}

/// What the entry would do to the state, without rows and without memory of the request: how
/// `decide` looks ahead. Answers whether it would be accepted.
pub(crate) fn look_ahead(state: &mut State, entry: &Entry) -> bool {
    let mut draft = Draft::dry(state, entry);
    let accepted = entry.command.run(&mut draft).is_ok();
    if accepted {
        *state = draft.finish().state;
    }
    accepted
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

#[cfg(test)]
mod tests {
    use crate::command::{Actor, Command, CreateProject, Reply};
    use crate::ids::RequestId;
    use crate::state::{State, Table};
    use crate::testing::{Lab, admin, ann, new_project};
    use jiff::SignedDuration;

    fn create(number: u8, name: &str) -> CreateProject {
        new_project(number, name)
    }

    #[test]
    fn a_retry_gets_the_first_answer_and_changes_nothing() {
        let mut lab = Lab::new();
        let request = RequestId::from_random([5; 16]);
        let (first, _) = lab.request(request, Actor::User(admin()), create(3, "one"));
        let (again, changes) = lab.request(request, Actor::User(admin()), create(3, "one"));
        assert_eq!(first, again);
        assert!(matches!(first, Ok(Reply::Project(_))));
        assert!(changes.is_empty());
        // A refusal is remembered as well.
        let request = RequestId::from_random([6; 16]);
        let (refused, _) = lab.request(request, Actor::User(admin()), create(4, "one"));
        assert!(refused.is_err());
        assert_eq!(
            lab.request(request, Actor::User(admin()), create(4, "two"))
                .0,
            refused
        );
    }

    #[test]
    fn replies_are_forgotten_with_time_in_memory_and_on_disk() {
        let mut lab = Lab::new();
        for _ in 0..10 {
            lab.admin(Command::Noop).unwrap();
        }
        let held = lab.state.remembered_count();
        assert!(held >= 10);
        lab.wait(3600);
        lab.admin(Command::Noop).unwrap();
        assert_eq!(lab.state.remembered_count(), 1);
        assert_eq!(
            lab.rows
                .keys()
                .filter(|(table, _)| *table == Table::Dedup)
                .count(),
            1
        );
    }

    #[test]
    fn log_time_never_goes_back() {
        let mut lab = Lab::new();
        lab.now = lab
            .now
            .saturating_sub(SignedDuration::from_secs(3600))
            .unwrap();
        let before = lab.state.clock().at;
        lab.admin(create(3, "one")).unwrap();
        assert_eq!(lab.state.clock().at, before);
        assert_eq!(lab.state.project_by_name("ONE").unwrap().created_at, before);
    }

    #[test]
    fn times_are_kept_to_the_microsecond() {
        let mut lab = Lab::new();
        lab.now = lab
            .now
            .saturating_add(SignedDuration::from_nanos(1_234_567_891))
            .unwrap();
        lab.admin(create(3, "one")).unwrap();
        let kept = lab.state.project_by_name("one").unwrap().created_at;
        assert_eq!(kept.subsec_nanosecond(), 234_567_000);
    }

    #[test]
    fn a_refused_command_leaves_no_trace_but_its_reply() {
        let mut lab = Lab::new();
        let rows = lab.rows.clone();
        let (reply, changes) = lab.request(
            RequestId::from_random([8; 16]),
            Actor::User(ann()),
            create(3, "main"),
        );
        assert!(reply.is_err());
        assert!(
            changes
                .iter()
                .all(|change| change.table == Table::Dedup || change.key == b"c")
        );
        let kept = |rows: &std::collections::BTreeMap<(Table, Vec<u8>), Vec<u8>>| {
            rows.keys()
                .filter(|(table, key)| *table != Table::Dedup && key != b"c")
                .count()
        };
        assert_eq!(kept(&rows), kept(&lab.rows));
    }

    #[test]
    fn a_damaged_row_is_an_error_with_its_key() {
        let error = State::load([(Table::Live, b"u0".to_vec(), b"\x01{".to_vec())]).unwrap_err();
        assert_eq!(error.to_string(), "row 7530 of Live cannot be read");
        assert!(State::load([(Table::Live, b"?".to_vec(), b"\x01{}".to_vec())]).is_err());
    }
}
