//! The command's terminal: interactive shells want one, and programs write line by line to it.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Stdio;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr};
use tokio::net::unix::pipe::Receiver;

/// Both ends of the command's output.
#[derive(Debug)]
pub struct Terminal {
    pub reader: OutputReader,
    pub stdin: Stdio,
    pub stdout: Stdio,
    pub stderr: Stdio,
    /// Whether it is a terminal; where there are no pseudo-terminals it is a pipe.
    pub is_tty: bool,
}

impl Terminal {
    pub fn open() -> io::Result<Self> {
        Self::pty().or_else(|_| Self::pipe())
    }

    fn pty() -> io::Result<Self> {
        let size = Winsize {
            ws_row: 24,
            ws_col: 120,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let OpenptyResult { master, slave } = openpty(Some(&size), None)?;
        let mut attributes = tcgetattr(&slave)?;
        // Bytes arrive as they were written: no CR before LF, no echo of what nobody types.
        attributes.output_flags.remove(OutputFlags::OPOST);
        attributes.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(&slave, SetArg::TCSANOW, &attributes)?;
        Ok(Self {
            reader: OutputReader::new(master)?,
            stdin: Stdio::from(slave.try_clone()?),
            stdout: Stdio::from(slave.try_clone()?),
            stderr: Stdio::from(slave),
            is_tty: true,
        })
    }

    fn pipe() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self {
            reader: OutputReader::new(reader.into())?,
            stdin: Stdio::null(),
            stdout: Stdio::from(writer.try_clone()?),
            stderr: Stdio::from(writer),
            is_tty: false,
        })
    }
}

/// Reads what the command writes.
#[derive(Debug)]
pub struct OutputReader {
    fd: Receiver,
}

impl OutputReader {
    /// `Receiver` reads any descriptor that can be polled, a terminal as well as a pipe.
    fn new(fd: OwnedFd) -> io::Result<Self> {
        let flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
        fcntl(&fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        Ok(Self {
            fd: Receiver::from_owned_fd_unchecked(fd)?,
        })
    }

    /// Some bytes; zero when every writer is gone.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.fd.readable().await?;
            match self.fd.try_read(buffer) {
                // A terminal whose last writer is gone answers with EIO.
                Err(error) if error.raw_os_error() == Some(nix::errno::Errno::EIO as i32) => {
                    return Ok(0);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }

    /// The process group that has the terminal, if it is one.
    pub fn foreground(&self) -> Option<i32> {
        nix::unistd::tcgetpgrp(self.fd.as_fd())
            .ok()
            .map(|pgrp| pgrp.as_raw())
            .filter(|pgrp| *pgrp > 1)
    }
}
