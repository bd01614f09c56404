//! A way from this machine into a job: `ssh <run>`, its ports on localhost.
//!
//! OpenSSH does the work. The configuration it gets, the key, and the files they lie in are those of upstream's
//! client, so that both can be used side by side. Nothing here goes through a replica: who is attached stays so
//! whichever of them dies.

mod blocks;
mod identity;
mod keeper;
mod places;
mod ports;
mod route;
mod tunnel;

pub use keeper::{Attached, Keeper, Wanted};
pub use ports::reserve;
