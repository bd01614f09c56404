//! Free loopback ports, as the kernel hands them out.

use anyhow::{Context, Result};
use std::net::{Ipv4Addr, TcpListener};

/// A port nobody listens on at `address` right now.
pub fn free_port(address: Ipv4Addr) -> Result<u16> {
    let listener =
        TcpListener::bind((address, 0)).with_context(|| format!("binding a port on {address}"))?;
    Ok(listener
        .local_addr()
        .context("reading the bound port")?
        .port())
}
