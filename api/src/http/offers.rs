//! What machines could be had, and what they are made of.

pub use dstack_domain::model::{
    Availability, Disk, Gpu, GpuDriver, InstanceOffer, InstanceRuntime, InstanceType, Resources,
    SshConnection,
};
