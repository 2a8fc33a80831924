use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libp2p_core::transport::ListenerId;

/// Decides the source port of a dial that may reuse the port of a listener, so that the peer sees
/// where this node listens.
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// One entry for each bound listener, the oldest first.
    bound: Vec<(ListenerId, SocketAddr)>,
}

impl Ports {
    pub(super) fn on_listening(&mut self, id: ListenerId, bound: SocketAddr) {
        self.bound.push((id, bound));
    }

    pub(super) fn on_closed(&mut self, id: ListenerId) {
        self.bound.retain(|(other, _)| *other != id);
    }

    /// The port of the oldest listener of the same family that the peer could reach: only loopback reaches loopback. The
    /// system chooses the address.
    pub(super) fn local_for(&self, remote: IpAddr) -> Option<SocketAddr> {
        let reaches = |ip: IpAddr| {
            ip.is_ipv4() == remote.is_ipv4()
                && (ip.is_unspecified() || ip.is_loopback() == remote.is_loopback())
        };
        let (_, at) = self.bound.iter().find(|(_, at)| reaches(at.ip()))?;
        let any = match remote {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        Some(SocketAddr::new(any, at.port()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dial_leaves_from_a_listener_that_its_remote_could_reach() {
        let mut ports = Ports::default();
        let ids: Vec<_> = ["127.0.0.1:1", "192.0.2.1:2", "[::1]:3", "[2001:db8::1]:4"]
            .map(|at| {
                let id = ListenerId::next();
                ports.on_listening(id, at.parse().unwrap());
                id
            })
            .into();
        let local = |ports: &Ports, remote: &str| {
            let local = ports.local_for(remote.parse().unwrap())?;
            assert!(local.ip().is_unspecified());
            assert_eq!(local.is_ipv4(), !remote.contains(':'));
            Some(local.port())
        };
        let remotes = ["127.0.3.1", "198.51.100.1", "::1", "2001:db8:1::1"];
        for (remote, port) in remotes.into_iter().zip(1..) {
            assert_eq!(local(&ports, remote), Some(port), "{remote}");
        }
        for (remote, id) in remotes.into_iter().zip(&ids) {
            ports.on_closed(*id);
            assert_eq!(local(&ports, remote), None, "{remote}");
        }

        ports.on_listening(ids[0], "0.0.0.0:5".parse().unwrap());
        assert_eq!(local(&ports, "127.0.0.1"), Some(5));
        assert_eq!(local(&ports, "198.51.100.1"), Some(5));
        assert_eq!(local(&ports, "::1"), None);
    }

    #[test]
    fn a_port_that_two_listen_on_goes_with_the_last_of_them() {
        let mut ports = Ports::default();
        let [first, second] = [(); 2].map(|()| ListenerId::next());
        let at: SocketAddr = "127.0.0.1:1".parse().unwrap();
        ports.on_listening(first, at);
        ports.on_listening(second, at);
        ports.on_closed(first);
        assert_eq!(ports.local_for(at.ip()).unwrap().port(), 1);
        ports.on_closed(second);
        assert_eq!(ports.local_for(at.ip()), None);
    }
}
