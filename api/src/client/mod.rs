//! A typed client of the HTTP API, for the command line and for the tools that test replicas.
//!
//! It is given the addresses of several replicas and keeps to one as long as that one answers. A
//! write carries a request id that stays the same over all attempts, so a retry after a dropped
//! connection never does the same thing twice.

mod absent;
mod calls;
mod config_file;
mod error;
mod multipart;
mod project;
mod transport;

pub use config_file::{ConfigFile, ConfigFileError, Entry};
pub use error::ApiError;
pub use project::ProjectClient;
pub use transport::{Client, ClientOptions};
