//! The words spoken over wires: the HTTP API and the agent protocol, with their clients.
//!
//! `http` holds the shapes of the HTTP API, which are upstream dstack's, so that its released
//! client works unchanged; what users write (`domain::spec`) is reused, not repeated. `client`
//! speaks that API. `agent`, `agent_job`, `agent_metrics` and `frames` are the protocol between a replica and the
//! agent on an instance.

pub mod agent;
pub mod agent_job;
pub mod agent_metrics;
pub mod client;
pub mod frames;
pub mod http;
