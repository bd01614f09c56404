//! Records to their wire forms. Nothing here decides; what a status is called is asked of the domain.

mod fleets;
mod instances;
mod projects;
mod runs;
mod users;

pub use fleets::fleet;
pub use instances::instance;
pub use projects::{Detail, project};
pub use runs::{Shown, run, run_with};
pub use users::{user, user_with_creds};
