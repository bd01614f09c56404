//! Requests that are recognised by what they ask for.
//!
//! The released client sends an apply again when its connection drops, without a name for it. Its
//! content names it: the second copy finds what the first one made. But people also ask for the
//! same thing twice and mean it, after the first one is over, deleted, or was refused. Then the
//! outcome of the first becomes part of the name of the second, and so on: each of them has an
//! id of its own that a repetition arrives at again.

use dstack_domain::command::Reply;
use dstack_domain::ids::RequestId;
use dstack_domain::state::State;
use jiff::SignedDuration;

/// How long after it was made a thing counts as what a repetition asks for: the released client
/// tries three times within seconds, and each try may wait for a leader.
pub const WINDOW: SignedDuration = SignedDuration::from_secs(40);

/// Longer chains end in an id that is not recognised again. Replies are kept for minutes only.
const LONGEST: usize = 64;

/// What is known of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Known<T> {
    /// A repetition: this is what the first copy made.
    Made(T),
    /// New, to be submitted under this id.
    New(RequestId),
}

/// Follows the ids of equal requests. `still_counts` says whether a reply is what a repetition
/// would want, rather than something past.
pub fn resolve<T>(
    state: &State,
    first: RequestId,
    still_counts: impl Fn(&Reply) -> Option<T>,
) -> Known<T> {
    let mut id = first;
    for _ in 0..LONGEST {
        let Some(outcome) = state.remembered(id) else {
            return Known::New(id);
        };
        if let Ok(reply) = &outcome
            && let Some(made) = still_counts(reply)
        {
            return Known::Made(made);
        }
        id = after(id);
    }
    Known::New(super::request_id::fresh())
}

fn after(id: RequestId) -> RequestId {
    RequestId::derived("after", &[&id.bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use dstack_domain::command::{Actor, CreateProject, Entry, InitCluster, NewUser, apply};
    use dstack_domain::ids::{ClusterId, ProjectId, UserId};
    use dstack_domain::model::{GlobalRole, Sealed};
    use jiff::Timestamp;

    fn sealed() -> Sealed {
        Sealed("enc:test".to_owned())
    }

    fn state() -> (State, UserId) {
        let mut state = State::default();
        let user = UserId::from_random([1; 16]);
        let admin = NewUser {
            id: user,
            username: "admin".to_owned(),
            global_role: GlobalRole::Admin,
            email: None,
            active: true,
            token_hash: "00".to_owned(),
            token: sealed(),
            ssh_public_key: None,
            ssh_private_key: None,
        };
        let command = InitCluster {
            cluster: ClusterId::from_random([2; 16]),
            admin,
            project: project("main", 3),
        };
        step(
            &mut state,
            Actor::System,
            RequestId::from_random([9; 16]),
            command.into(),
        );
        (state, user)
    }

    fn project(name: &str, id: u8) -> CreateProject {
        CreateProject {
            id: ProjectId::from_random([id; 16]),
            name: name.to_owned(),
            is_public: false,
            ssh_public_key: String::new(),
            ssh_private_key: sealed(),
        }
    }

    fn step(
        state: &mut State,
        actor: Actor,
        request: RequestId,
        command: dstack_domain::command::Command,
    ) {
        let index = state.clock().index + 1;
        let at = Timestamp::from_second(1_800_000_000 + index as i64).unwrap();
        apply(
            state,
            &Entry {
                index,
                request,
                actor,
                at,
                command,
            },
        );
    }

    fn any(reply: &Reply) -> Option<Reply> {
        Some(*reply)
    }

    #[test]
    fn a_repetition_finds_the_first_and_a_later_equal_request_is_another() {
        let (mut state, user) = state();
        let first = RequestId::from_random([7; 16]);
        assert_eq!(resolve(&state, first, any), Known::New(first));
        step(
            &mut state,
            Actor::User(user),
            first,
            project("one", 4).into(),
        );
        let made = Reply::Project(ProjectId::from_random([4; 16]));
        assert_eq!(resolve(&state, first, any), Known::Made(made));

        // It is over: the same words now name the next one, and its repetition finds that one.
        let second_only = |reply: &Reply| (*reply != made).then_some(*reply);
        let Known::New(second) = resolve(&state, first, second_only) else {
            panic!("it was over")
        };
        assert_ne!(second, first);
        assert_eq!(
            resolve(&state, first, second_only),
            Known::New(second),
            "a repetition comes to the same id"
        );
        step(
            &mut state,
            Actor::User(user),
            second,
            project("two", 5).into(),
        );
        let made_second = Reply::Project(ProjectId::from_random([5; 16]));
        assert_eq!(
            resolve(&state, first, second_only),
            Known::Made(made_second)
        );
    }

    #[test]
    fn a_refusal_is_not_repeated_from_memory() {
        let (mut state, user) = state();
        let first = RequestId::from_random([7; 16]);
        step(
            &mut state,
            Actor::User(user),
            first,
            project("main", 4).into(),
        );
        assert!(
            state
                .remembered(first)
                .is_some_and(|outcome| outcome.is_err())
        );
        assert!(matches!(resolve(&state, first, any), Known::New(id) if id != first));
    }
}
