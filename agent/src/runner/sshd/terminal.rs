//! A session's own pseudo-terminal.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{OpenptyResult, openpty};
use rustix::termios::{Winsize, tcsetwinsize};
use tokio::net::unix::pipe::{Receiver, Sender};

/// Rows and columns, as the client has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub columns: u32,
    pub rows: u32,
}

/// Both ends of a new terminal.
pub struct Terminal {
    pub screen: Receiver,
    pub keyboard: Sender,
    pub control: Control,
    /// The program's side, three times.
    pub program: [Stdio; 3],
}

/// Changes the terminal's size.
pub struct Control(OwnedFd);

impl Control {
    pub fn resize(&self, size: Size) {
        let cells = |n: u32| u16::try_from(n).unwrap_or(u16::MAX);
        let size = Winsize {
            ws_row: cells(size.rows),
            ws_col: cells(size.columns),
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // A terminal of the wrong size is no reason to end a session.
        let _ = tcsetwinsize(&self.0, size);
    }
}

impl Terminal {
    pub fn open(size: Size) -> io::Result<Self> {
        let OpenptyResult { master, slave } = openpty(None, None)?;
        let control = Control(master.try_clone()?);
        control.resize(size);
        Ok(Self {
            screen: Receiver::from_owned_fd_unchecked(nonblocking(master.try_clone()?)?)?,
            keyboard: Sender::from_owned_fd_unchecked(nonblocking(master)?)?,
            control,
            program: [
                Stdio::from(slave.try_clone()?),
                Stdio::from(slave.try_clone()?),
                Stdio::from(slave),
            ],
        })
    }
}

fn nonblocking(fd: OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlag::from_bits_retain(fcntl(fd.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(fd)
}
