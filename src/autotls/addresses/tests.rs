use std::net::{Ipv4Addr, Ipv6Addr};

use libp2p_identity::PeerId;
use proptest::prelude::*;

use super::*;

/// The addresses, the name in them, and what the swarm has confirmed.
struct Subject {
    addresses: Addresses,
    name: Name,
    swarm: BTreeSet<Multiaddr>,
}

fn address(text: &str) -> Multiaddr {
    text.parse().unwrap()
}

impl Subject {
    fn new(allows_private: bool) -> Self {
        let peer: PeerId = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"
            .parse()
            .unwrap();
        let name = Name::new(&peer, "libp2p.direct");
        Self {
            addresses: Addresses::new(name.clone(), allows_private),
            name,
            swarm: BTreeSet::new(),
        }
    }

    fn with_wildcard(mut self, port: u16) -> Self {
        self.wildcard(Ipv4Addr::UNSPECIFIED, port);
        self
    }

    fn wildcard(&mut self, ip: impl Into<IpAddr>, port: u16) -> ListenerId {
        let id = ListenerId::next();
        self.addresses.on_wildcard(id, ip.into(), port);
        id
    }

    fn listening(&mut self, text: &str) -> ListenerId {
        let id = ListenerId::next();
        self.addresses.on_listened(id, &address(text));
        id
    }

    fn confirm(&mut self, address: Multiaddr) {
        self.addresses.on_external(&address);
        self.swarm.insert(address);
    }

    fn expire(&mut self, address: &Multiaddr) {
        self.addresses.on_external_expired(address);
        self.swarm.remove(address);
    }

    /// Does as the swarm does, which tells of what it was told.
    fn settle(&mut self, has_certificate: bool) {
        for rounds in 0.. {
            assert!(rounds < 5, "it never settles");
            let changes = self.addresses.changes(has_certificate);
            if changes.is_empty() {
                return;
            }
            for change in changes {
                match change {
                    Change::Confirm(address) => self.confirm(address),
                    Change::Expire(address) => self.expire(&address),
                }
            }
        }
    }

    fn form(&self, ip: &str, label: &str, port: u16) -> Multiaddr {
        let base = self.name.base();
        address(&format!("/{ip}/tcp/{port}/tls/sni/{label}.{base}/ws"))
    }
}

#[test]
fn it_is_told_what_is_in_the_way() {
    let subject = Subject::new(false);
    assert_eq!(subject.addresses.obstacle(), Some(Waiting::NoListener));
    let mut subject = Subject::new(false).with_wildcard(4001);
    let obstacle = |subject: &Subject| subject.addresses.obstacle();
    assert_eq!(obstacle(&subject), Some(Waiting::NothingToDialBack));
    // Nobody can dial these without a certificate, or at all.
    for other in [
        "/ip4/1.2.3.4/tcp/4001/tls/ws",
        "/ip4/1.2.3.4/udp/4001/quic-v1",
        "/ip4/1.2.3.4/tcp/1/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5/p2p-circuit",
        "/dns4/example.com/tcp/4001/ws",
    ] {
        subject.listening(other);
    }
    assert_eq!(obstacle(&subject), Some(Waiting::NothingToDialBack));
    let private = subject.listening("/ip4/192.168.1.5/tcp/4001/ws");
    assert_eq!(obstacle(&subject), Some(Waiting::NoPublicAddress));
    let public = subject.listening("/ip4/1.2.3.4/tcp/4001");
    assert_eq!(obstacle(&subject), None);
    subject
        .addresses
        .on_expired(public, &address("/ip4/1.2.3.4/tcp/4001"));
    assert_eq!(obstacle(&subject), Some(Waiting::NoPublicAddress));
    subject.confirm(address("/ip6/2606:4700::1/tcp/4001/ws"));
    assert_eq!(obstacle(&subject), None);
    subject.addresses.on_closed(private);
    assert_eq!(obstacle(&subject), Some(Waiting::NothingToDialBack));

    let mut private = Subject::new(true).with_wildcard(4001);
    private.listening("/ip4/127.0.0.1/tcp/4001");
    assert_eq!(private.addresses.obstacle(), None);
}

#[test]
fn the_broker_is_told_plain_addresses_and_first_those_that_were_confirmed() {
    let mut subject = Subject::new(false).with_wildcard(4001);
    for listened in [
        "/ip4/1.2.3.4/tcp/4001",
        "/ip4/1.2.3.4/tcp/4001/ws",
        "/ip4/1.2.3.4/tcp/4001/x-parity-ws/%2Fpath",
        "/ip4/1.2.3.4/tcp/4001/tls/ws",
        "/ip4/10.0.0.1/tcp/4001",
        "/ip6/64:ff9b::1.2.3.4/tcp/4001",
    ] {
        subject.listening(listened);
    }
    let peer = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
    subject.confirm(address(&format!("/ip4/5.6.7.8/tcp/80/ws/p2p/{peer}")));
    subject.confirm(address(&format!(
        "/ip4/9.9.9.9/tcp/80/p2p/{peer}/p2p-circuit"
    )));
    let expected = [
        "/ip4/5.6.7.8/tcp/80/ws",
        "/ip4/1.2.3.4/tcp/4001",
        "/ip4/1.2.3.4/tcp/4001/ws",
    ];
    assert_eq!(subject.addresses.reachable(), expected.map(address));
}

#[test]
fn the_names_of_confirmed_addresses_are_external_while_there_is_a_certificate() {
    let mut subject = Subject::new(false).with_wildcard(4001);
    subject.wildcard(Ipv6Addr::UNSPECIFIED, 4001);
    subject.listening("/ip4/192.168.1.5/tcp/4001");
    subject.listening("/ip4/192.168.1.5/tcp/4002/ws");
    let given = [
        "/ip4/1.2.3.4/tcp/4001",
        "/ip4/1.2.3.4/tcp/4001/ws",
        "/ip6/2606:4700::1/tcp/4001/tls/ws",
        // The wildcard is not there.
        "/ip4/1.2.3.4/tcp/4002/ws",
        "/ip4/10.0.0.1/tcp/4001",
        "/dns4/example.com/tcp/4001/ws",
        "/ip4/1.2.3.4/udp/4001/quic-v1",
    ];
    for given in given.map(address) {
        subject.confirm(given);
    }
    let without = subject.swarm.clone();
    let mut with = without.clone();
    with.insert(subject.form("ip4/1.2.3.4", "1-2-3-4", 4001));
    with.insert(subject.form("ip6/2606:4700::1", "2606-4700--1", 4001));
    for _ in 0..2 {
        subject.settle(false);
        assert_eq!(subject.swarm, without);
        subject.settle(true);
        assert_eq!(subject.swarm, with);
    }
    // As long as one of them is confirmed.
    subject.expire(&address("/ip4/1.2.3.4/tcp/4001"));
    subject.settle(true);
    let form = subject.form("ip4/1.2.3.4", "1-2-3-4", 4001);
    assert!(subject.swarm.contains(&form));
    subject.expire(&address("/ip4/1.2.3.4/tcp/4001/ws"));
    subject.settle(true);
    assert!(!subject.swarm.contains(&form));
}

#[test]
fn a_router_may_forward_another_port_if_the_node_has_but_one() {
    let mut subject = Subject::new(false).with_wildcard(4001);
    subject.listening("/ip4/192.168.1.5/tcp/4001");
    subject.listening("/ip4/192.168.1.5/tcp/4001/ws");
    subject.confirm(address("/ip4/1.2.3.4/tcp/443"));
    subject.settle(true);
    let form = subject.form("ip4/1.2.3.4", "1-2-3-4", 443);
    assert!(subject.swarm.contains(&form));
    subject.listening("/ip4/192.168.1.5/tcp/4002");
    subject.settle(true);
    assert!(!subject.swarm.contains(&form));
}

#[test]
fn no_name_is_external_where_no_wildcard_serves_it() {
    let mut subject = Subject::new(false);
    subject.listening("/ip4/1.2.3.4/tcp/4001");
    subject.listening("/ip6/2606:4700::1/tcp/4001");
    let given = ["/ip4/1.2.3.4/tcp/4001", "/ip6/2606:4700::1/tcp/4001"].map(address);
    for given in given.clone() {
        subject.confirm(given);
    }
    // As with a certificate of the storage.
    subject.settle(true);
    assert_eq!(subject.swarm, BTreeSet::from(given.clone()));

    let id = subject.wildcard(Ipv4Addr::UNSPECIFIED, 4001);
    subject.settle(true);
    let mut with = BTreeSet::from(given.clone());
    with.insert(subject.form("ip4/1.2.3.4", "1-2-3-4", 4001));
    assert_eq!(subject.swarm, with, "not of the family that has none");

    subject.addresses.on_closed(id);
    subject.settle(true);
    assert_eq!(subject.swarm, BTreeSet::from(given));
}

/// identify and UPnP replace the IP alone.
#[test]
fn a_name_with_the_label_of_another_ip_is_put_right() {
    let mut subject = Subject::new(false).with_wildcard(4001);
    let wrong = subject.form("ip4/1.2.3.4", "192-168-1-5", 4001);
    let right = subject.form("ip4/1.2.3.4", "1-2-3-4", 4001);
    for _ in 0..2 {
        subject.confirm(wrong.clone());
        subject.settle(true);
        assert_eq!(subject.swarm, BTreeSet::from([right.clone()]));
        // Confirmed once more, as UPnP does when it renews a mapping.
        subject.confirm(wrong.clone());
        subject.settle(true);
        assert_eq!(subject.swarm, BTreeSet::from([right.clone()]));
        // And given up by whoever has confirmed it.
        subject.expire(&wrong);
        subject.settle(true);
        assert_eq!(subject.swarm, BTreeSet::new());
    }
    // What others confirm in the right form is theirs.
    subject.confirm(right.clone());
    subject.settle(false);
    assert_eq!(subject.swarm, BTreeSet::from([right]));
}

proptest! {
    #[test]
    fn whatever_happens_the_swarm_has_the_names_of_what_is_confirmed(
        steps in prop::collection::vec((0..4_u8, 0..4_u8, 0..3_u8), 0..40),
    ) {
        let mut subject = Subject::new(false).with_wildcard(4001);
        subject.listening("/ip4/192.168.1.5/tcp/4001");
        let mut given = BTreeSet::new();
        let mut has_certificate = false;
        for (step, ip, kind) in steps {
            let text = format!("ip4/1.2.3.{ip}");
            let address = match kind {
                0 => address(&format!("/{text}/tcp/4001")),
                1 => address(&format!("/{text}/tcp/4001/ws")),
                _ => subject.form(&text, "192-168-1-5", 4001),
            };
            match step {
                0 | 1 => {
                    subject.confirm(address.clone());
                    given.insert((ip, address));
                }
                2 => {
                    subject.expire(&address);
                    given.remove(&(ip, address));
                }
                _ => has_certificate = !has_certificate,
            }
            subject.settle(has_certificate);
            let mut expected = BTreeSet::new();
            for (ip, address) in &given {
                if subject.addresses.own_name(address).is_none() {
                    expected.insert(address.clone());
                }
                if has_certificate {
                    let label = format!("1-2-3-{ip}");
                    expected.insert(subject.form(&format!("ip4/1.2.3.{ip}"), &label, 4001));
                }
            }
            prop_assert_eq!(&subject.swarm, &expected);
        }
    }
}
