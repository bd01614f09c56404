//! The agent's arrival on a host: look (`probe`), put the binary there (`place`), start it (`start`),
//! take it away (`remove`).
//!
//! Each step is one POSIX script and may be run again at any time, by two servers at once if need be: a
//! second run changes nothing. The binary is named by its checksum, so an upload is needed once per version
//! and a running agent is replaced only by a different one. Jobs are not children that die with the agent.
//!
//! Where things go: an explicit `DSTACK_AGENT_HOME` on the host keeps everything inside that one folder,
//! with no systemd and no sudo; otherwise `/var/lib/dstack-agent` when we may act as root through systemd or
//! sudo; otherwise `$HOME/.dstack-agent`.

mod plan;
mod probe;
mod render;

pub use plan::{Binary, Mode, Plan};
pub use probe::{Probe, ProbeError};
pub use render::{SOCKET_NAME, env_file, place, probe, remove, start};
