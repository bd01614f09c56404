//! Every backend keeps the contract, and the fake cloud breaks in the ways it claims to.

// Clippy's leave for tests ends at the test functions; helpers here are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod crusoe;

use dstack_backends::fake::{Fake, Fault};
use dstack_backends::ssh::Ssh;
use dstack_backends::{Backend, Key, Outcome, Plan, contract};
use dstack_domain::model::{
    Availability, Disk, InstanceOffer, InstanceRuntime, InstanceType, Resources,
};
use dstack_domain::spec::BackendType;

fn offer() -> InstanceOffer {
    let resources = Resources {
        cpus: 4,
        memory_mib: 16 << 10,
        gpus: Vec::new(),
        spot: false,
        disk: Disk {
            size_mib: 100 << 10,
        },
        cpu_arch: Some("x86".into()),
        description: String::new(),
    };
    InstanceOffer {
        backend: BackendType::Crusoe,
        instance: InstanceType {
            name: "small".into(),
            resources,
        },
        region: "here".into(),
        price: 1.5,
        backend_data: Default::default(),
        availability: Availability::Available,
        availability_zones: None,
        instance_runtime: InstanceRuntime::Shim,
        blocks: 1,
        total_blocks: 1,
    }
}

fn key() -> Key {
    Key::new("run-1-0").unwrap()
}

#[tokio::test]
async fn each_keeps_the_contract() {
    let all: [&dyn Backend; 2] = [&Fake::new("cluster-a", vec![offer()]), &Ssh];
    for backend in all {
        let broken =
            contract::check(backend, "cluster-a", &key(), &offer(), &Plan::default()).await;
        assert_eq!(broken, Vec::<String>::new());
    }
}

#[tokio::test]
async fn the_contract_notices_a_backend_that_calls_unknown_gone() {
    let fake = Fake::new("cluster-a", vec![offer()]);
    fake.break_next([Fault::LostBefore]);
    let broken = contract::check(&fake, "cluster-a", &key(), &offer(), &Plan::default()).await;
    assert_eq!(
        broken,
        ["fake: what was never made is absent, said positively"]
    );
}

#[tokio::test]
async fn a_lost_answer_never_makes_two_machines() {
    let fake = Fake::new("cluster-a", vec![offer()]);
    fake.break_next([Fault::LostAfter]);
    assert!(matches!(
        fake.create(&key(), &offer(), &Plan::default()).await,
        Outcome::Unknown(_)
    ));
    let found = fake.find(&key()).await.done().unwrap();
    assert_eq!(
        fake.create(&key(), &offer(), &Plan::default())
            .await
            .done()
            .unwrap()
            .id,
        found.id
    );
    assert_eq!(fake.made(), 1);
    fake.break_next([Fault::LostBefore, Fault::Refuse]);
    let other = Key::new("run-1-1").unwrap();
    assert!(matches!(
        fake.create(&other, &offer(), &Plan::default()).await,
        Outcome::Refused(_)
    ));
    assert!(matches!(
        fake.create(&other, &offer(), &Plan::default()).await,
        Outcome::Unknown(_)
    ));
    assert_eq!(fake.find(&other).await, Outcome::Absent);
}
