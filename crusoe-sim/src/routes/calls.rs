//! One call, from its path to its effect.

use super::discovery;
use crate::things::Machine;
use crate::world::{DISKS, No, VMS, World, not_found};
use serde_json::{Value, json};
use tokio::time::Instant;

/// A body, or none.
pub type Answer = Result<Option<Value>, No>;

/// `path` has no version in front of it.
pub fn answer(
    world: &mut World,
    method: &str,
    path: &str,
    query: &[(String, String)],
    body: &Value,
    fails: Option<&'static str>,
) -> Answer {
    let now = Instant::now();
    world.pass(now);
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let some = |value: Value| Ok(Some(value));
    match (method, parts.as_slice()) {
        ("GET", ["locations"]) => some(discovery::locations()),
        ("GET", ["capacities"]) => some(discovery::capacities(world)),
        ("GET", ["users", "identities"]) => some(json!({"id": "sim", "email": "sim@example.com"})),
        ("GET", ["projects", _, "compute", "vms", "types"]) => some(discovery::types()),
        ("GET", ["projects", _, "quotas"]) => some(discovery::quotas(world)),
        ("GET", ["projects", _, "networking", "ib-networks"]) => {
            some(items(world.networks.iter().map(|one| one.shown())))
        }
        ("GET", ["projects", _, "networking", "ib-partitions"]) => {
            some(items(world.partitions.values().map(|one| one.shown())))
        }
        ("GET", ["projects", _, "networking", "ib-partitions", id]) => {
            let found = world.partitions.get(*id).ok_or_else(not_found)?;
            some(found.shown())
        }
        ("POST", ["projects", _, "networking", "ib-partitions"]) => {
            world.create_partition(body).map(Some)
        }
        ("DELETE", ["projects", _, "networking", "ib-partitions", id]) => {
            world.delete_partition(id).map(|()| None)
        }
        ("GET", ["projects", _, "compute", "vms", "instances"]) => {
            some(machines(world, query, now))
        }
        ("POST", ["projects", _, "compute", "vms", "instances"]) => {
            world.create_machine(body, fails, now).map(Some)
        }
        (
            "GET",
            [
                "projects",
                _,
                "compute",
                "vms",
                "instances",
                "operations",
                id,
            ],
        ) => world.operation(VMS, id, now).map(Some),
        ("GET", ["projects", _, "compute", "vms", "instances", id]) => {
            let found = world.machines.get(*id).filter(|one| one.visible <= now);
            some(found.ok_or_else(not_found)?.shown())
        }
        ("DELETE", ["projects", _, "compute", "vms", "instances", id]) => {
            world.delete_machine(id, now).map(Some)
        }
        ("PATCH", ["projects", _, "compute", "vms", "instances", id]) => {
            world.change_machine(id, body, now).map(Some)
        }
        ("GET", ["projects", _, "storage", "disks"]) => some(disks(world, query)),
        ("POST", ["projects", _, "storage", "disks"]) => {
            world.create_disk(body, fails, now).map(Some)
        }
        ("GET", ["projects", _, "storage", "disks", "operations", id]) => {
            world.operation(DISKS, id, now).map(Some)
        }
        ("DELETE", ["projects", _, "storage", "disks", id]) => world.delete_disk(id, now).map(Some),
        _ => Err(No(404, "not_found", "no such path".into())),
    }
}

fn items(shown: impl Iterator<Item = Value>) -> Value {
    json!({ "items": shown.collect::<Vec<_>>() })
}

fn one<'a>(query: &'a [(String, String)], key: &str) -> Option<&'a str> {
    let found = query.iter().find(|(name, _)| name == key);
    found
        .map(|(_, value)| value.as_str())
        .filter(|value| !value.is_empty())
}

/// Filters are comma-joined; pages are as long as the cloud likes.
fn machines(world: &World, query: &[(String, String)], now: Instant) -> Value {
    let among = |key: &str, value: &str| {
        one(query, key).is_none_or(|list| list.split(',').any(|one| one == value))
    };
    let wanted = |machine: &&Machine| {
        machine.visible <= now
            && among("names", &machine.name)
            && among("ids", &machine.id)
            && among("types", machine.product.name)
            && among("locations", &machine.location)
            && among("states", machine.state())
    };
    let found: Vec<&Machine> = world.machines.values().filter(wanted).collect();
    let start: usize = one(query, "next_token")
        .and_then(|token| token.parse().ok())
        .unwrap_or(0);
    let page: Vec<Value> = found
        .iter()
        .skip(start)
        .take(world.options.page)
        .map(|one| one.shown())
        .collect();
    let next = start + page.len();
    let token = if next < found.len() {
        next.to_string()
    } else {
        String::new()
    };
    json!({"items": page, "next_page_token": token, "prev_page_token": ""})
}

/// Repeated keys here.
fn disks(world: &World, query: &[(String, String)]) -> Value {
    let among = |key: &str, value: &str| {
        let mut given = query.iter().filter(|(name, _)| name == key).peekable();
        given.peek().is_none() || given.any(|(_, one)| one == value)
    };
    let wanted = world
        .disks
        .values()
        .filter(|disk| among("disk_names", &disk.name) && among("disk_ids", &disk.id));
    items(wanted.map(|disk| disk.shown(world.holder(&disk.id))))
}
