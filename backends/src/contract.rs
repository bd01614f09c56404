//! What every backend must keep, as one suite. A new backend runs it against its recorded or fake other side and
//! is done when it passes. It answers with the broken promises, so that a test can show all of them.

use crate::backend::{Backend, Key, Outcome};
use dstack_domain::model::InstanceOffer;

/// Promises of a backend that is up. `offer` is one it can make a machine from; `key` must be unused.
pub async fn check(
    backend: &dyn Backend,
    owner: &str,
    key: &Key,
    offer: &InstanceOffer,
) -> Vec<String> {
    let mut broken = Vec::new();
    let mut expect = |holds: bool, promise: &str| {
        if !holds {
            broken.push(format!("{}: {promise}", backend.kind()));
        }
    };
    expect(
        backend.find(key).await == Outcome::Absent,
        "what was never made is absent, said positively",
    );
    expect(
        backend.terminate(key).await == Outcome::Done(()),
        "ending what is not there is done",
    );
    let first = backend.create(key, offer).await;
    if !backend.capabilities().creates {
        expect(
            matches!(first, Outcome::Refused(_)),
            "a source that makes nothing refuses, in words",
        );
        expect(
            backend.list(owner).await == Outcome::Done(Vec::new()),
            "and has nothing to list",
        );
        return broken;
    }
    let Some(first) = first.done() else {
        expect(false, "a machine can be made from the offer");
        return broken;
    };
    expect(
        first.key == *key && first.owner == owner,
        "the machine carries its key and its owner",
    );
    let again = backend.create(key, offer).await.done();
    expect(
        again.map(|machine| machine.id) == Some(first.id.clone()),
        "the same key means the same machine",
    );
    let found = backend.find(key).await.done();
    expect(
        found.map(|machine| machine.id) == Some(first.id.clone()),
        "it is found by its key",
    );
    let listed = backend.list(owner).await.done().unwrap_or_default();
    expect(
        listed.iter().filter(|machine| machine.key == *key).count() == 1,
        "it is listed once, under its owner",
    );
    let strangers = backend
        .list("somebody-else")
        .await
        .done()
        .unwrap_or_default();
    expect(strangers.is_empty(), "nobody else's list has it");
    expect(
        backend.terminate(key).await == Outcome::Done(()),
        "it can be ended",
    );
    expect(
        backend.terminate(key).await == Outcome::Done(()),
        "and ended again",
    );
    expect(
        backend.find(key).await == Outcome::Absent,
        "after which it is absent",
    );
    broken
}
