//! The shapes of the HTTP API, one file per resource.
//!
//! They are upstream dstack's, so that its released client works unchanged. Two rules follow from
//! how that client behaves. An answer carries every field, nulls included, because the client
//! aborts on a required field that is missing. A request refuses fields it does not know, because
//! a typing error must not silently do something else; what a client merely echoes back (the
//! `current_resource` of a plan) is the exception and is read leniently.

pub mod backends;
pub mod cluster;
pub mod errors;
pub mod events;
pub mod files;
pub mod fleets;
pub mod gateways;
pub mod gpus;
pub mod instances;
pub mod jobs;
pub mod leaks;
pub mod logs;
pub mod metrics;
pub mod offers;
pub mod projects;
pub mod repos;
pub mod runs;
pub mod secrets;
pub mod server;
pub mod time;
pub mod users;
pub mod volumes;
