//! The HTTP API, one file per resource: authenticate, translate, validate, go through the door,
//! translate back. What needs thought is in `domain`; what is here should bore its reader.
//!
//! Three rules for every handler. Whatever a user is to read is a 400 with one detail, because the
//! released client shows nothing else. Nothing answers 5xx while the cluster elects a leader:
//! reads wait for a fresh view, writes wait in the door. And a read comes from a view that holds
//! every acknowledged write, so that it does not matter which replica is asked.

mod absent;
mod access;
mod answer;
mod auth;
mod backends;
mod body;
mod cluster;
mod convert;
mod errors;
mod events;
mod files;
mod fleet_plans;
mod fleets;
mod gpus;
mod instances;
mod leaks;
mod logs;
mod members;
mod metrics;
mod offer_groups;
mod offers;
mod older_clients;
pub mod openapi;
mod paging;
mod past;
mod projects;
mod repetition;
mod repos;
mod request_id;
mod router;
mod run_lists;
mod run_plans;
mod runs;
mod secrets;
mod series;
mod server;
mod trace;
mod users;
mod walk;

pub use router::router;
