//! What every backend must keep, as one suite. A new backend runs it against its recorded or fake other side and
//! is done when it passes. It answers with the broken promises, so that a test can show all of them.

use crate::backend::{Backend, Key, Machine, Outcome, Plan};
use dstack_domain::model::InstanceOffer;

/// The promises that were broken, with whose they were.
struct Promises {
    kind: &'static str,
    broken: Vec<String>,
}

impl Promises {
    fn of(backend: &dyn Backend) -> Self {
        Self {
            kind: backend.kind(),
            broken: Vec::new(),
        }
    }

    fn expect(&mut self, holds: bool, promise: &str) {
        if !holds {
            self.broken.push(format!("{}: {promise}", self.kind));
        }
    }
}

/// Promises of a backend that is up. `offer` is one it can make a machine from; `key` must be unused.
pub async fn check(
    backend: &dyn Backend,
    owner: &str,
    key: &Key,
    offer: &InstanceOffer,
    plan: &Plan,
) -> Vec<String> {
    let mut promises = Promises::of(backend);
    promises.expect(
        backend.find(key).await == Outcome::Absent,
        "what was never made is absent, said positively",
    );
    promises.expect(
        backend.terminate(key).await == Outcome::Done(()),
        "ending what is not there is done",
    );
    let first = backend.create(key, offer, plan).await;
    if !backend.capabilities().creates {
        promises.expect(
            matches!(first, Outcome::Refused(_)),
            "a source that makes nothing refuses, in words",
        );
        promises.expect(
            backend.list(owner).await == Outcome::Done(Vec::new()),
            "and has nothing to list",
        );
        return promises.broken;
    }
    match first.done() {
        Some(first) if first.key != *key => promises.expect(false, "the machine carries its key"),
        Some(first) => check_made(backend, owner, first, offer, plan, &mut promises).await,
        None => promises.expect(false, "a machine can be made from the offer"),
    }
    promises.broken
}

/// From the making of a machine to its end.
async fn check_made(
    backend: &dyn Backend,
    owner: &str,
    first: Machine,
    offer: &InstanceOffer,
    plan: &Plan,
    promises: &mut Promises,
) {
    let key = &first.key;
    promises.expect(first.owner == owner, "the machine carries its owner");
    promises.expect(
        first.product == offer.instance.name && first.region == offer.region,
        "it is what was ordered, where it was ordered",
    );
    let again = backend.create(key, offer, plan).await.done();
    promises.expect(
        again.map(|machine| machine.id) == Some(first.id.clone()),
        "the same key means the same machine",
    );
    let found = backend.find(key).await.done();
    promises.expect(
        found.map(|machine| machine.id) == Some(first.id.clone()),
        "it is found by its key",
    );
    let listed = backend.list(owner).await.done().unwrap_or_default();
    promises.expect(
        listed.iter().filter(|machine| machine.key == *key).count() == 1,
        "it is listed once, under its owner",
    );
    let strangers = backend
        .list("somebody-else")
        .await
        .done()
        .unwrap_or_default();
    promises.expect(strangers.is_empty(), "nobody else's list has it");
    promises.expect(
        backend.terminate(key).await == Outcome::Done(()),
        "it can be ended",
    );
    promises.expect(
        backend.terminate(key).await == Outcome::Done(()),
        "and ended again",
    );
    promises.expect(
        backend.find(key).await == Outcome::Absent,
        "after which it is absent",
    );
}

/// Promises about fabrics of a backend that makes them. `key` must be unused.
pub async fn check_fabric(
    backend: &dyn Backend,
    owner: &str,
    key: &Key,
    offer: &InstanceOffer,
    plan: &Plan,
) -> Vec<String> {
    let mut promises = Promises::of(backend);
    promises.expect(
        backend.find_fabric(key).await == Outcome::Absent,
        "a fabric that was never made is absent, said positively",
    );
    let Some(first) = backend.create_fabric(key, offer, 1).await.done() else {
        promises.expect(false, "a fabric can be made for the offer");
        return promises.broken;
    };
    let again = backend.create_fabric(key, offer, 1).await.done();
    promises.expect(
        again.as_ref() == Some(&first),
        "the same key means the same fabric",
    );
    let listed = backend.list_fabrics(owner).await.done();
    promises.expect(
        listed == Some(vec![first.clone()]),
        "it is listed once, under its owner",
    );
    let joining = Plan {
        fabric: Some(first.id.clone()),
        ..plan.clone()
    };
    let joined = backend.create(key, offer, &joining).await;
    promises.expect(joined.done().is_some(), "a machine can join it");
    promises.expect(
        backend.delete_fabric(key).await != Outcome::Done(()),
        "it does not end while a machine is in it",
    );
    promises.expect(
        backend.terminate(key).await == Outcome::Done(()),
        "its machine can be ended",
    );
    promises.expect(
        backend.delete_fabric(key).await == Outcome::Done(()),
        "and then the fabric",
    );
    promises.expect(
        backend.delete_fabric(key).await == Outcome::Done(()),
        "and ended again",
    );
    promises.expect(
        backend.find_fabric(key).await == Outcome::Absent,
        "after which it is absent",
    );
    promises.broken
}
