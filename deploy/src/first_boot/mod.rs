//! What a machine of a cloud runs by itself at every boot, before anybody logs in: who may, and where data goes.

mod render;

pub use render::{BOOTED, FirstBoot, Unfit};
