//! Stories with an expected end, told in the words of the user.

mod clouds;
mod failures;
mod fleets;
mod retries;
mod runs;
