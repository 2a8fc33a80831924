//! Ports for what has to be closed first and listened on after.

use std::net::{Ipv4Addr, TcpListener};

/// A port of this address on which nobody listens, below those that the system hands out by itself: one of these is another
/// test's a moment later.
pub(crate) fn free_port(ip: Ipv4Addr) -> u16 {
    loop {
        let port = rand::random_range(10_000..32_768);
        if TcpListener::bind((ip, port)).is_ok() {
            return port;
        }
    }
}
