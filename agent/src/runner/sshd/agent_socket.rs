//! Agent forwarding: a socket in the job behind which the client's own `ssh-agent` answers.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::path::PathBuf;
use std::sync::Arc;

use russh::server::Handle;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;

use super::forward;
use crate::runner::user::Identity;

/// Gone, with its folder, when the session is.
pub struct AgentSocket {
    folder: PathBuf,
    task: JoinHandle<()>,
}

impl AgentSocket {
    pub fn open(handle: Handle, user: &Identity) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("dstack-{}", uuid::Uuid::new_v4()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let listener = UnixListener::bind(folder.join("agent.sock"))?;
        if user.switch {
            chown(folder.join("agent.sock"), Some(user.uid), Some(user.gid))?;
            fs::set_permissions(folder.join("agent.sock"), Permissions::from_mode(0o600))?;
            chown(&folder, Some(user.uid), Some(user.gid))?;
        }
        let task = tokio::spawn(answer(listener, handle));
        Ok(Self { folder, task })
    }

    pub fn path(&self) -> PathBuf {
        self.folder.join("agent.sock")
    }
}

impl Drop for AgentSocket {
    fn drop(&mut self) {
        self.task.abort();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn answer(listener: UnixListener, handle: Handle) {
    while let Ok((stream, _)) = listener.accept().await {
        let handle = handle.clone();
        tokio::spawn(async move {
            if let Ok(channel) = handle.channel_open_agent().await {
                forward::join(stream, channel, Arc::default()).await;
            }
        });
    }
}
