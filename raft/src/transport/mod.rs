//! Replica to replica: gRPC over mutually authenticated TLS with the cluster's own authority.
//!
//! `listener` accepts and reads who called from the certificate, `caller` carries and checks who a
//! request claims to come from, `dial` connects, `service` answers.

pub mod caller;
pub mod dial;
pub mod listener;
pub mod service;

/// Largest message in either direction.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;
