//! What every backend must keep, as one suite. A new backend runs it against its recorded or fake other side and
//! is done when it passes. It answers with the broken promises, so that a test can show all of them.

use crate::backend::{Backend, Key, Machine, Outcome, Plan};
use dstack_domain::model::InstanceOffer;

/// Promises of a backend that is up. `offer` is one it can make a machine from; `key` must be unused.
pub async fn check(
    backend: &dyn Backend,
    owner: &str,
    key: &Key,
    offer: &InstanceOffer,
    plan: &Plan,
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
    let first = backend.create(key, offer, plan).await;
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
    match first.done() {
        Some(first) if first.key != *key => expect(false, "the machine carries its key"),
        Some(first) => broken.extend(check_made(backend, owner, first, offer, plan).await),
        None => expect(false, "a machine can be made from the offer"),
    }
    broken
}

/// From the making of a machine to its end.
async fn check_made(
    backend: &dyn Backend,
    owner: &str,
    first: Machine,
    offer: &InstanceOffer,
    plan: &Plan,
) -> Vec<String> {
    let key = &first.key;
    let mut broken = Vec::new();
    let mut expect = |holds: bool, promise: &str| {
        if !holds {
            broken.push(format!("{}: {promise}", backend.kind()));
        }
    };
    expect(first.owner == owner, "the machine carries its owner");
    expect(
        first.product == offer.instance.name && first.region == offer.region,
        "it is what was ordered, where it was ordered",
    );
    let again = backend.create(key, offer, plan).await.done();
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

/// Promises about fabrics of a backend that makes them. `key` must be unused.
pub async fn check_fabric(
    backend: &dyn Backend,
    owner: &str,
    key: &Key,
    offer: &InstanceOffer,
    plan: &Plan,
) -> Vec<String> {
    let mut broken = Vec::new();
    let mut expect = |holds: bool, promise: &str| {
        if !holds {
            broken.push(format!("{}: {promise}", backend.kind()));
        }
    };
    expect(
        backend.find_fabric(key).await == Outcome::Absent,
        "a fabric that was never made is absent, said positively",
    );
    let Some(first) = backend.create_fabric(key, offer, 1).await.done() else {
        expect(false, "a fabric can be made for the offer");
        return broken;
    };
    let again = backend.create_fabric(key, offer, 1).await.done();
    expect(
        again.as_ref() == Some(&first),
        "the same key means the same fabric",
    );
    let listed = backend.list_fabrics(owner).await.done();
    expect(
        listed == Some(vec![first.clone()]),
        "it is listed once, under its owner",
    );
    let joining = Plan {
        fabric: Some(first.id.clone()),
        ..plan.clone()
    };
    let joined = backend.create(key, offer, &joining).await;
    expect(joined.done().is_some(), "a machine can join it");
    expect(
        backend.delete_fabric(key).await != Outcome::Done(()),
        "it does not end while a machine is in it",
    );
    expect(
        backend.terminate(key).await == Outcome::Done(()),
        "its machine can be ended",
    );
    expect(
        backend.delete_fabric(key).await == Outcome::Done(()),
        "and then the fabric",
    );
    expect(
        backend.delete_fabric(key).await == Outcome::Done(()),
        "and ended again",
    );
    expect(
        backend.find_fabric(key).await == Outcome::Absent,
        "after which it is absent",
    );
    broken
}
