//! CORE: which pending handshake is evicted when no place is free.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, hash_map::Entry},
    net::{IpAddr, Ipv4Addr},
};

/// The pending handshakes of every port, each with a handle `T`.
///
/// They are counted by port and not by socket: a handshake outlives the socket that accepted it, and then counts for the
/// next socket on that port.
///
/// A newcomer is always admitted. If no place is free, the oldest pending handshake is evicted: that of the same remote
/// address once it has a quarter of the places of the port, otherwise that of the port.
#[derive(Debug)]
pub(super) struct Places<T> {
    max: usize,
    max_per_remote: usize,
    /// The ports with a pending handshake, bounded by the number of listeners.
    ports: HashMap<u16, Port<T>>,
    next: u64,
}

#[derive(Debug)]
struct Port<T> {
    /// At most `max`, the oldest first.
    pending: BTreeMap<u64, Pending<T>>,
    /// The numbers of the handshakes with a bounded remote address, at most `max_per_remote` of each.
    by_remote: HashMap<Remote, BTreeSet<u64>>,
}

#[derive(Debug)]
struct Pending<T> {
    remote: Option<Remote>,
    value: T,
}

/// The place of one pending handshake. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    port: u16,
    number: u64,
}

/// The unit that counts as one remote address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::websocket) enum Remote {
    Ip4(Ipv4Addr),
    /// The first 56 bits: many providers give each customer a prefix of that length.
    Ip6([u8; 7]),
}

impl Remote {
    /// `None` for loopback, which may have all places, because a client there may be a proxy for many.
    pub(in crate::websocket) fn of(ip: IpAddr) -> Option<Self> {
        match ip.to_canonical() {
            ip if ip.is_loopback() => None,
            IpAddr::V4(ip) => Some(Self::Ip4(ip)),
            IpAddr::V6(ip) => ip.octets().first_chunk().copied().map(Self::Ip6),
        }
    }
}

impl<T> Places<T> {
    /// `max` places for each port, at least one, and a quarter of them for each remote address, but at least one.
    pub(super) fn new(max: usize) -> Self {
        let max = max.max(1);
        Self {
            max,
            max_per_remote: (max / 4).max(1),
            ports: HashMap::new(),
            next: 0,
        }
    }

    /// The place of a new handshake, and the handle of the evicted one. A `remote` of `None` has no bound of its own.
    pub(super) fn admit(
        &mut self,
        port: u16,
        remote: Option<Remote>,
        value: T,
    ) -> (Ticket, Option<T>) {
        let number = self.next;
        self.next += 1;
        let port_of = self.ports.entry(port).or_insert_with(|| Port {
            pending: BTreeMap::new(),
            by_remote: HashMap::new(),
        });
        let own = remote.and_then(|remote| port_of.by_remote.get(&remote));
        let oldest = match own {
            Some(own) if own.len() >= self.max_per_remote => own.first(),
            _ if port_of.pending.len() >= self.max => port_of.pending.keys().next(),
            _ => None,
        };
        let evicted = oldest.copied().and_then(|oldest| port_of.remove(oldest));
        port_of.pending.insert(number, Pending { remote, value });
        if let Some(remote) = remote {
            port_of.by_remote.entry(remote).or_default().insert(number);
        }
        (Ticket { port, number }, evicted)
    }

    /// Sets the remote address of a handshake, if it had none. Returns the handle of the oldest handshake of that address,
    /// if there were too many.
    pub(super) fn identify(&mut self, ticket: Ticket, remote: Remote) -> Option<T> {
        let port = self.ports.get_mut(&ticket.port)?;
        let pending = port.pending.get_mut(&ticket.number)?;
        if pending.remote.is_some() {
            return None;
        }
        pending.remote = Some(remote);
        let own = port.by_remote.entry(remote).or_default();
        let is_full = own.len() >= self.max_per_remote;
        let oldest = own.first().copied().filter(|_| is_full);
        own.insert(ticket.number);
        oldest.and_then(|oldest| port.remove(oldest))
    }

    /// A handshake has ended. `None` if it was evicted.
    pub(super) fn leave(&mut self, ticket: Ticket) -> Option<T> {
        let Entry::Occupied(mut port) = self.ports.entry(ticket.port) else {
            return None;
        };
        let left = port.get_mut().remove(ticket.number);
        if port.get().pending.is_empty() {
            port.remove();
        }
        left
    }
}

impl<T> Port<T> {
    fn remove(&mut self, number: u64) -> Option<T> {
        let Pending { remote, value } = self.pending.remove(&number)?;
        if let Some(remote) = remote
            && let Entry::Occupied(mut own) = self.by_remote.entry(remote)
        {
            own.get_mut().remove(&number);
            if own.get().is_empty() {
                own.remove();
            }
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use std::iter;

    use proptest::prelude::*;

    use super::*;

    fn remote(ip: &str) -> Option<Remote> {
        Remote::of(ip.parse().unwrap())
    }

    fn places<T>(max: usize) -> Places<T> {
        Places::new(max)
    }

    #[test]
    fn a_remote_address_is_an_ipv4_address_or_a_56_of_ipv6_and_loopback_is_none() {
        let one = remote("192.0.2.1");
        assert!(one.is_some());
        assert_eq!(remote("::ffff:192.0.2.1"), one);
        assert_ne!(remote("192.0.2.2"), one);
        assert_ne!(remote("::192.0.2.1"), one);

        let one = remote("2001:db8:0:100::1");
        assert!(one.is_some());
        assert_eq!(remote("2001:db8:0:1ff:ffff:ffff:ffff:ffff"), one);
        assert_ne!(remote("2001:db8:0:200::1"), one);

        for loopback in ["127.0.0.1", "127.255.0.9", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(remote(loopback), None, "{loopback}");
        }
    }

    #[test]
    fn who_is_identified_later_counts_from_then_on() {
        let mut places = places(8);
        let client = remote("192.0.2.1").unwrap();
        let mut tickets = Vec::new();
        for number in 0..4 {
            let (ticket, evicted) = places.admit(1, None, number);
            assert_eq!(evicted, None);
            tickets.push(ticket);
        }
        // A quarter of eight.
        assert_eq!(places.identify(tickets[3], client), None);
        assert_eq!(places.identify(tickets[1], client), None);
        assert_eq!(places.identify(tickets[1], client), None, "once");
        assert_eq!(places.identify(tickets[2], client), Some(1));
        assert_eq!(places.identify(tickets[1], client), None, "it is gone");
        assert_eq!(places.admit(1, Some(client), 4).1, Some(2));
        assert_eq!(places.leave(tickets[3]), Some(3));
        assert_eq!(places.leave(tickets[2]), None);
        assert_eq!(places.leave(tickets[0]), Some(0));
    }

    #[test]
    fn the_oldest_of_a_full_port_gives_way_and_no_other_port_s() {
        let mut places = places(2);
        let [first, second, other] = ["first", "second", "other"].map(|who| {
            let port = if who == "other" { 2 } else { 1 };
            let (ticket, evicted) = places.admit(port, None, who);
            assert_eq!(evicted, None);
            ticket
        });
        let (third, evicted) = places.admit(1, remote("192.0.2.1"), "third");
        assert_eq!(evicted, Some("first"));
        assert_eq!(places.leave(first), None, "its place is taken");
        assert_eq!(places.leave(third), Some("third"));
        let (_, evicted) = places.admit(1, None, "fourth");
        assert_eq!(evicted, None);
        assert_eq!(places.leave(second), Some("second"));
        assert_eq!(places.leave(other), Some("other"));
    }

    #[test]
    fn a_remote_address_that_has_a_quarter_gives_way_to_itself() {
        let mut places = places(256);
        let greedy = |host: u16| remote(&format!("2001:db8:0:42{:02x}::1", host % 256));
        let (_, evicted) = places.admit(1, remote("192.0.2.1"), 1000);
        assert_eq!(evicted, None);
        for host in 0..500 {
            let (_, evicted) = places.admit(1, greedy(host), host);
            assert_eq!(evicted, host.checked_sub(64));
        }
        // On another port it has as many more, and loopback has all that are left.
        for host in 0..64 {
            assert_eq!(places.admit(2, greedy(host), host).1, None);
        }
        for host in 0..256 - 1 - 64 {
            assert_eq!(places.admit(1, remote("127.0.0.1"), host).1, None);
        }
        // Full: the oldest of all gives way, to whomever.
        assert_eq!(places.admit(1, None, 0).1, Some(1000));
        assert_eq!(places.admit(1, remote("192.0.2.1"), 0).1, Some(500 - 64));
    }

    /// Where strangers connect from, and what each counts as.
    const REMOTES: [(&str, Option<u8>); 10] = [
        ("192.0.2.1", Some(1)),
        ("::ffff:192.0.2.1", Some(1)),
        ("192.0.2.2", Some(2)),
        ("2001:db8:0:100::1", Some(3)),
        ("2001:db8:0:1ff::1", Some(3)),
        ("2001:db8:0:200::1", Some(4)),
        ("fe80::1", Some(5)),
        ("127.0.0.1", None),
        ("127.0.0.2", None),
        ("::1", None),
    ];

    #[derive(Debug, Clone)]
    enum Operation {
        Admit { port: u16, remote: usize },
        Leave(prop::sample::Index),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            3 => (1..3u16, 0..REMOTES.len())
                .prop_map(|(port, remote)| Operation::Admit { port, remote }),
            1 => any::<prop::sample::Index>().prop_map(Operation::Leave),
        ]
    }

    /// One pending handshake, in a list of all in the order in which they came.
    #[derive(Debug)]
    struct Naive {
        port: u16,
        remote: Option<u8>,
        ticket: Ticket,
        value: usize,
    }

    proptest! {
        #[test]
        fn who_gives_way_is_found_by_looking_at_all(
            max in 1..12usize,
            operations in prop::collection::vec(operation(), 0..200),
        ) {
            let mut places = places(max);
            let mut naive: Vec<Naive> = Vec::new();
            let mut gone: Vec<Ticket> = Vec::new();
            for (value, operation) in operations.into_iter().enumerate() {
                match operation {
                    Operation::Admit { port, remote: from } => {
                        let (ip, remote) = REMOTES[from];
                        let (ticket, evicted) = places.admit(port, Remote::of(ip.parse().unwrap()), value);
                        let of_port = |other: &Naive| other.port == port;
                        let own = |other: &Naive| {
                            of_port(other) && remote.is_some() && other.remote == remote
                        };
                        let count = |which: &dyn Fn(&Naive) -> bool| {
                            naive.iter().filter(|other| which(other)).count()
                        };
                        let oldest = if count(&own) == (max / 4).max(1) {
                            naive.iter().position(own)
                        } else if count(&of_port) == max {
                            naive.iter().position(of_port)
                        } else {
                            None
                        };
                        let expected = oldest.map(|oldest| naive.remove(oldest));
                        prop_assert_eq!(evicted, expected.as_ref().map(|evicted| evicted.value));
                        gone.extend(expected.map(|evicted| evicted.ticket));
                        naive.push(Naive { port, remote, ticket, value });
                    }
                    Operation::Leave(which) if !naive.is_empty() => {
                        let left = naive.remove(which.index(naive.len()));
                        prop_assert_eq!(places.leave(left.ticket), Some(left.value));
                        gone.push(left.ticket);
                    }
                    Operation::Leave(_) => {}
                }
                for ticket in &gone {
                    prop_assert_eq!(places.leave(*ticket), None);
                }
                // Nothing is kept but what is pending.
                let pending = places.ports.values().map(|port| port.pending.len());
                prop_assert_eq!(pending.sum::<usize>(), naive.len());
                for port in places.ports.values() {
                    prop_assert!(!port.pending.is_empty());
                    let numbers = port.by_remote.iter().flat_map(|(remote, own)| {
                        iter::repeat(Some(*remote)).zip(own)
                    });
                    let mut bounded = 0;
                    for (remote, number) in numbers {
                        prop_assert_eq!(port.pending[number].remote, remote);
                        bounded += 1;
                    }
                    let remotes = port.pending.values().filter(|pending| pending.remote.is_some());
                    prop_assert_eq!(bounded, remotes.count());
                    prop_assert!(port.by_remote.values().all(|own| !own.is_empty()));
                }
            }
        }
    }
}
