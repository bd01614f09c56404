//! What a replica says about itself: log lines, and counters of the same events.

pub mod events;
mod logging;

pub use logging::init;
