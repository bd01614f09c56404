//! The backend against the simulated cloud: the contract, and each way a cloud has to lose a machine.

use crusoe_sim::{Account as SimAccount, Fault, Options, Sim};
use dstack_backends::crusoe::{AccessKey, Account, Catalogue, Client, Crusoe, Owner};
use dstack_backends::{Backend, Key, Outcome, Plan, contract};
use dstack_domain::model::{Availability, InstanceOffer};
use dstack_domain::spec::Requirements;
use serde_json::json;
use std::time::Duration;

const OWNER: &str = "ds1f2e3d";
const HERE: &str = "us-east1-a";

async fn sim(options: Options) -> Sim {
    let anywhere = "127.0.0.1:0".parse().unwrap();
    Sim::start(anywhere, SimAccount::default(), options)
        .await
        .unwrap()
}

fn account(sim: &Sim) -> Account {
    let known = sim.account();
    let key = AccessKey::new(&known.key_id, &known.secret).unwrap();
    Account {
        pace: Duration::ZERO,
        ..Account::new(sim.endpoint(), "sim", key)
    }
}

fn backend_of(account: Account) -> Crusoe {
    let client = Client::new(account).unwrap();
    Crusoe::new(client, Owner::new(OWNER).unwrap(), Catalogue::built_in())
}

fn backend(sim: &Sim) -> Crusoe {
    backend_of(account(sim))
}

fn plan() -> Plan {
    Plan {
        ssh_public_key: "ssh-ed25519 AAAA somebody".into(),
        startup_script: "#!/bin/bash\ntrue\n".into(),
        fabric: None,
    }
}

fn key(number: u32) -> Key {
    Key::new(&format!("fleet-{number}")).unwrap()
}

fn anything() -> Requirements {
    let wanted = json!({"resources": {"cpu": "1..", "memory": "0..", "gpu": "0..", "disk": null}});
    serde_json::from_value(wanted).unwrap()
}

async fn offer(backend: &Crusoe, product: &str) -> InstanceOffer {
    let offers = backend.offers(&anything()).await.done().unwrap();
    let mut offers = offers.into_iter();
    let found = offers.find(|offer| offer.instance.name == product && offer.region == HERE);
    found.unwrap()
}

/// What the cloud holds: machines, disks, partitions.
fn held(sim: &Sim) -> (usize, usize, usize) {
    sim.look(|world| {
        (
            world.machines.len(),
            world.disks.len(),
            world.partitions.len(),
        )
    })
}

#[tokio::test]
async fn it_keeps_the_contract_with_and_without_a_disk_of_its_own() {
    let sim = sim(Options::default()).await;
    let backend = backend(&sim);
    for product in ["c1a.2x", "l40s-48gb.1x", "a40.1x", "b200-180gb-sxm-ib.8x"] {
        let offer = offer(&backend, product).await;
        let broken = contract::check(&backend, OWNER, &key(1), &offer, &plan()).await;
        assert_eq!(broken, Vec::<String>::new(), "{product}");
        assert_eq!(held(&sim), (0, 0, 0), "{product}");
    }
    let offer = offer(&backend, "h100-80gb-sxm-ib.8x").await;
    let broken = contract::check_fabric(&backend, OWNER, &key(1), &offer, &plan()).await;
    assert_eq!(broken, Vec::<String>::new());
    assert_eq!(held(&sim), (0, 0, 0));
}

#[tokio::test]
async fn offers_are_what_is_in_stock_allowed_and_priced() {
    let few = sim(Options {
        stock: 1,
        quota: 8,
        ..Options::default()
    })
    .await;
    let backend = backend(&few);
    let offers = backend.offers(&anything()).await.done().unwrap();
    let of = |product: &str| {
        let mut offers = offers.iter();
        offers
            .find(|offer| offer.instance.name == product && offer.region == HERE)
            .cloned()
    };
    assert_eq!(
        of("h100-80gb-sxm-ib.8x").unwrap().availability,
        Availability::Available
    );
    assert_eq!(
        of("l40s-48gb.10x").unwrap().availability,
        Availability::NoQuota
    );
    assert!(of("gb200-186gb-nvl-ib.4x").is_none(), "it has no price");
    let h100 = of("h100-80gb-sxm-ib.8x").unwrap();
    assert!(
        backend
            .create(&key(1), &h100, &plan())
            .await
            .done()
            .is_some()
    );
    assert_eq!(
        offer(&backend, "h100-80gb-sxm-ib.8x").await.availability,
        Availability::NotAvailable
    );
    let wanted =
        json!({"resources": {"cpu": "1..", "memory": "0..", "gpu": "A100:80GB:8", "disk": null}});
    let wanted: Requirements = serde_json::from_value(wanted).unwrap();
    let some = backend.offers(&wanted).await.done().unwrap();
    assert!(
        !some.is_empty()
            && some
                .iter()
                .all(|offer| offer.instance.name == "a100-80gb-sxm-ib.8x")
    );
}

#[tokio::test]
async fn a_lost_answer_to_create_never_makes_two() {
    for fault in [Fault::LostAnswer, Fault::ErrorAfter] {
        let sim = sim(Options::default()).await;
        let backend = backend(&sim);
        let offer = offer(&backend, "l40s-48gb.1x").await;
        sim.plan("POST /projects/sim/compute/vms/instances", fault);
        let first = backend.create(&key(1), &offer, &plan()).await;
        assert!(matches!(first, Outcome::Unknown(_)), "{fault:?}: {first:?}");
        let found = backend.find(&key(1)).await.done().unwrap();
        let again = backend
            .create(&key(1), &offer, &plan())
            .await
            .done()
            .unwrap();
        assert_eq!(found.id, again.id);
        assert_eq!(sim.look(|world| world.made), 1);
        assert_eq!(backend.terminate(&key(1)).await, Outcome::Done(()));
        assert_eq!(held(&sim), (0, 0, 0));
    }
}

#[tokio::test]
async fn a_lost_answer_to_a_partition_never_makes_two() {
    let sim = sim(Options::default()).await;
    let backend = backend(&sim);
    let offer = offer(&backend, "h100-80gb-sxm-ib.8x").await;
    sim.plan(
        "POST /projects/sim/networking/ib-partitions",
        Fault::LostAnswer,
    );
    assert!(matches!(
        backend.create_fabric(&key(1), &offer, 4).await,
        Outcome::Unknown(_)
    ));
    assert!(
        backend
            .create_fabric(&key(1), &offer, 4)
            .await
            .done()
            .is_some()
    );
    assert_eq!(held(&sim), (0, 0, 1));
    let too_many = backend.create_fabric(&key(2), &offer, 17).await;
    assert!(
        matches!(too_many, Outcome::Refused(_)),
        "no network has room for 17: {too_many:?}"
    );
}

#[tokio::test]
async fn an_error_while_it_ends_is_not_the_end() {
    let sim = sim(Options::default()).await;
    let backend = backend(&sim);
    let offer = offer(&backend, "l40s-48gb.1x").await;
    backend
        .create(&key(1), &offer, &plan())
        .await
        .done()
        .unwrap();
    for (calls, fault) in [
        (
            "GET /projects/sim/compute/vms/instances",
            Fault::ErrorBefore,
        ),
        (
            "DELETE /projects/sim/compute/vms/instances",
            Fault::ErrorBefore,
        ),
        (
            "GET /projects/sim/compute/vms/instances/operations",
            Fault::FailsLate("x"),
        ),
    ] {
        sim.plan(calls, fault);
        if fault == Fault::ErrorBefore {
            let ended = backend.terminate(&key(1)).await;
            assert!(matches!(ended, Outcome::Unknown(_)), "{calls}: {ended:?}");
            assert_eq!(held(&sim).0, 1, "{calls}");
        }
    }
    // The machine goes, but its disk is not let go.
    sim.plan("DELETE /projects/sim/storage/disks", Fault::ErrorBefore);
    assert!(matches!(
        backend.terminate(&key(1)).await,
        Outcome::Unknown(_)
    ));
    assert_eq!(held(&sim), (0, 1, 0));
    assert_eq!(backend.terminate(&key(1)).await, Outcome::Done(()));
    assert_eq!(held(&sim), (0, 0, 0));
}

#[tokio::test]
async fn a_machine_that_fails_late_is_refused_with_its_reason_and_leaves_nothing() {
    let sim = sim(Options::default()).await;
    let backend = backend(&sim);
    let offer = offer(&backend, "l40s-48gb.1x").await;
    sim.plan(
        "POST /projects/sim/compute/vms/instances",
        Fault::FailsLate("out_of_stock"),
    );
    let refused = backend.create(&key(1), &offer, &plan()).await;
    assert_eq!(
        refused,
        Outcome::Refused("out_of_stock: out of stock".into())
    );
    assert_eq!(backend.find(&key(1)).await, Outcome::Absent);
    assert_eq!(held(&sim), (0, 0, 0), "its disk went with it");
    sim.plan(
        "POST /projects/sim/compute/vms/instances",
        Fault::FailsLate("out_of_stock"),
    );
    sim.plan("DELETE /projects/sim/storage/disks", Fault::ErrorBefore);
    let unclear = backend.create(&key(2), &offer, &plan()).await;
    assert!(matches!(unclear, Outcome::Unknown(_)), "{unclear:?}");
    assert_eq!(held(&sim), (0, 1, 0));
    assert_eq!(backend.terminate(&key(2)).await, Outcome::Done(()));
    assert_eq!(held(&sim), (0, 0, 0));
}

#[tokio::test]
async fn a_list_that_lags_hides_nothing_that_was_answered() {
    let slow = sim(Options {
        lag: Duration::from_secs(2),
        ..Options::default()
    })
    .await;
    let backend = backend(&slow);
    let offer = offer(&backend, "c1a.2x").await;
    let cpu = InstanceOffer {
        backend_data: Default::default(),
        ..offer
    };
    let made = backend.create(&key(1), &cpu, &plan()).await.done().unwrap();
    assert_eq!(
        backend.find(&key(1)).await,
        Outcome::Absent,
        "one absence is no proof"
    );
    let found = loop {
        match backend.find(&key(1)).await {
            Outcome::Done(found) => break found,
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    assert_eq!(found.id, made.id);
}

#[tokio::test]
async fn every_page_is_read_and_others_machines_are_not_ours() {
    let paged = sim(Options {
        page: 2,
        ..Options::default()
    })
    .await;
    let backend = backend(&paged);
    let offer = offer(&backend, "a40.1x").await;
    for number in 1..=5 {
        backend
            .create(&key(number), &offer, &plan())
            .await
            .done()
            .unwrap();
    }
    let stranger = Crusoe::new(
        Client::new(account(&paged)).unwrap(),
        Owner::new("ds1f2e3").unwrap(),
        Catalogue::built_in(),
    );
    stranger
        .create(&key(1), &offer, &plan())
        .await
        .done()
        .unwrap();
    let mut ours: Vec<String> = backend
        .list(OWNER)
        .await
        .done()
        .unwrap()
        .into_iter()
        .map(|machine| machine.key.to_string())
        .collect();
    ours.sort();
    assert_eq!(
        ours,
        ["fleet-1", "fleet-2", "fleet-3", "fleet-4", "fleet-5"]
    );
    assert_eq!(stranger.list("ds1f2e3").await.done().unwrap().len(), 1);
}

#[tokio::test]
async fn too_many_calls_are_sent_later_and_none_is_lost() {
    let strict = sim(Options {
        calls_per_second: 5,
        ..Options::default()
    })
    .await;
    let backend = backend(&strict);
    let offer = offer(&backend, "a40.1x").await;
    let keys: Vec<Key> = (1..=4).map(key).collect();
    let plan = plan();
    let made = keys.iter().map(|key| backend.create(key, &offer, &plan));
    let made = futures::future::join_all(made).await;
    assert!(
        made.iter().all(|one| matches!(one, Outcome::Done(_))),
        "{made:?}"
    );
    assert_eq!(strict.look(|world| world.made), 4);
}

#[tokio::test]
async fn what_is_wrong_with_an_account_is_said() {
    let sim = sim(Options::default()).await;
    assert_eq!(backend(&sim).check().await, Outcome::Done(()));
    let wrong = AccessKey::new("sim-key", "b3RoZXI").unwrap();
    let wrong = backend_of(Account {
        key: wrong,
        ..account(&sim)
    });
    let Outcome::Refused(said) = wrong.check().await else {
        panic!("let in")
    };
    assert!(
        said.contains("invalid signature") && said.contains("clock"),
        "{said}"
    );
    let nowhere = backend_of(Account {
        endpoint: "http://127.0.0.1:1/v1".into(),
        ..account(&sim)
    });
    let Outcome::Unknown(said) = nowhere.check().await else {
        panic!("reached")
    };
    assert!(said.contains("cannot be reached"), "{said}");
    assert!(
        Client::new(Account {
            endpoint: "crusoe".into(),
            ..account(&sim)
        })
        .is_err()
    );
}

#[tokio::test]
async fn both_versions_of_the_api_are_spoken() {
    let sim = sim(Options::default()).await;
    let older = sim.endpoint().replace("/v1", "/v1alpha5");
    let older = backend_of(Account {
        endpoint: older,
        ..account(&sim)
    });
    assert_eq!(older.check().await, Outcome::Done(()));
}

const MACHINES: u32 = 200;

/// Makes them all at once; answers how many calls that took.
async fn make_all(sim: &Sim, backend: &Crusoe) -> u64 {
    let offer = offer(backend, "a40.1x").await;
    let before = sim.calls();
    let keys: Vec<Key> = (1..=MACHINES).map(key).collect();
    let plan = plan();
    let made = keys.iter().map(|key| backend.create(key, &offer, &plan));
    let made = futures::future::join_all(made).await;
    assert!(made.iter().all(|one| matches!(one, Outcome::Done(_))));
    sim.calls() - before
}

/// Two hundred machines take one call each, and few more between them.
#[tokio::test]
async fn two_hundred_machines_waste_no_calls() {
    let large = sim(Options {
        stock: 1000,
        quota: 10_000,
        boot: Duration::from_secs(2),
        ..Options::default()
    })
    .await;
    let backend = backend_of(Account {
        pace: Duration::from_millis(50),
        ..account(&large)
    });
    let calls = make_all(&large, &backend).await;
    assert_eq!(large.look(|world| world.made), u64::from(MACHINES));
    let more = calls - u64::from(MACHINES);
    assert!(
        more < u64::from(MACHINES) / 2,
        "{more} calls besides the orders"
    );
}

/// The figure for the notes, at the pace of the provider: `cargo nextest run --run-ignored only -E
/// 'test(two_hundred_at_the_providers_pace)' --no-capture`.
#[tokio::test]
#[ignore = "a measurement that takes a minute"]
async fn two_hundred_at_the_providers_pace() {
    let strict = sim(Options {
        stock: 1000,
        quota: 10_000,
        boot: Duration::from_secs(20),
        calls_per_second: 5,
        ..Options::default()
    })
    .await;
    let usual = Account::new("", "", AccessKey::new("k", "c2VjcmV0").unwrap()).pace;
    let backend = backend_of(Account {
        pace: usual,
        ..account(&strict)
    });
    let begun = std::time::Instant::now();
    let calls = make_all(&strict, &backend).await;
    let took = begun.elapsed();
    println!("{MACHINES} machines, {calls} calls, {took:?}");
}
