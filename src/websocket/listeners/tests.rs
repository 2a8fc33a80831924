use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::websocket::listen::Listen;

type Event = TransportEvent<u32, Error>;

fn names(ips: &[&str], dns: &[&str]) -> Names {
    Names {
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        dns: dns.iter().map(|&dns| dns.to_owned()).collect(),
    }
}

/// A transport below and a shell above.
struct Rig {
    listeners: Listeners,
    /// Where the parts listen that are not closed.
    below: Vec<(ListenerId, Multiaddr)>,
    /// Those that are removed, and whose close is still to be heard.
    removed: Vec<ListenerId>,
    /// With what the next binds fail, by what the address begins with.
    failures: Vec<(&'static str, TransportError<Error>)>,
    /// Whether it says of every removal that it knows nobody.
    is_forgetful: bool,
}

impl Default for Rig {
    /// With a certificate for the names that are listened on.
    fn default() -> Self {
        let mut listeners = Listeners::default();
        listeners.on_certificate(names(&[], &["a", "b"]));
        Self {
            listeners,
            below: Vec::new(),
            removed: Vec::new(),
            failures: Vec::new(),
            is_forgetful: false,
        }
    }
}

impl Rig {
    fn carry_out(&mut self) {
        while let Some(action) = self.listeners.poll_action() {
            match action {
                Action::Bind { socket, address } => {
                    let text = address.to_string();
                    let failure = self
                        .failures
                        .iter()
                        .position(|(ip, _)| text.starts_with(ip));
                    let result = match failure {
                        Some(index) => Err(self.failures.remove(index).1),
                        None => Ok(()),
                    };
                    if result.is_ok() {
                        self.below.push((socket, address));
                    }
                    self.listeners.on_bound(socket, result);
                }
                Action::Remove { socket } => {
                    let is_there = self.below.iter().any(|(id, _)| *id == socket);
                    let was_there = is_there && !self.is_forgetful;
                    if was_there {
                        self.removed.push(socket);
                    } else {
                        self.below.retain(|(id, _)| *id != socket);
                    }
                    self.listeners.on_removed(socket, was_there);
                }
            }
        }
    }

    fn listen(&mut self, id: ListenerId, address: &str) -> Result<(), TransportError<Error>> {
        let address: Multiaddr = address.parse().unwrap();
        let listen = Listen::parse(&address).unwrap();
        self.listeners.on_listen(id, &address, listen, None);
        self.carry_out();
        self.listeners.on_listened(id)
    }

    fn listening(&mut self, address: &str) -> ListenerId {
        let id = ListenerId::next();
        self.listen(id, address).unwrap();
        id
    }

    fn remove(&mut self, id: ListenerId) -> bool {
        let removed = self.listeners.on_remove(id);
        self.carry_out();
        removed
    }

    /// What is reported of this event.
    fn event(&mut self, event: Event) -> Vec<Event> {
        if let TransportEvent::ListenerClosed { listener_id, .. } = &event {
            self.below.retain(|(id, _)| id != listener_id);
            self.removed.retain(|id| id != listener_id);
        }
        let arrived = self.listeners.on_event(event);
        self.carry_out();
        let mut reported = self.reports();
        reported.extend(arrived.and_then(|arrived| {
            // Where several kinds are, it speaks what the one of WebSocket without TLS hears.
            let kind = self.listeners.only_kind(arrived.socket);
            self.claimed(arrived, kind.unwrap_or(Kind::Ws))
        }));
        reported
    }

    fn claimed(&self, arrived: Arrived<u32>, kind: Kind) -> Option<Event> {
        let Arrived {
            socket,
            upgrade,
            local,
            remote,
        } = arrived;
        let accepted = self.listeners.claim(socket, kind, &local, &remote)?;
        Some(TransportEvent::Incoming {
            listener_id: accepted.listener,
            upgrade,
            local_addr: accepted.local,
            send_back_addr: accepted.remote,
        })
    }

    /// Who gets a connection to this socket that speaks this, if anybody does.
    fn reached(&mut self, socket: ListenerId, kind: Kind) -> Option<ListenerId> {
        let arrived = self
            .listeners
            .on_event(incoming(socket, "/ip4/192.0.2.1/tcp/4"))?;
        self.claimed(arrived, kind).map(|event| said(&event).0)
    }

    fn reports(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.listeners.poll_report())
            .map(|report| report.map_upgrade(|never| match never {}))
            .collect()
    }

    /// The part that listens on an address which begins like this.
    fn part(&self, ip: &str) -> ListenerId {
        let found = self
            .below
            .iter()
            .find(|(_, a)| a.to_string().starts_with(ip));
        found.unwrap_or_else(|| panic!("a part on {ip}")).0
    }

    fn addresses(&self) -> Vec<String> {
        self.below.iter().map(|(_, a)| a.to_string()).collect()
    }

    /// The address leaves its interface. Returns whether it is listened on, and what is reported.
    fn left(&mut self, ip: &str) -> (bool, Vec<Event>) {
        let is_wanted = self.listeners.on_left(ip.parse().unwrap());
        while self.listeners.let_go() {
            self.carry_out();
        }
        (is_wanted, self.reports())
    }

    fn assert_forgotten(&self) {
        assert!(self.listeners.leaving.is_empty(), "{:?}", self.listeners);
        assert!(self.listeners.rows.is_empty(), "{:?}", self.listeners);
        assert!(self.listeners.sockets.is_empty(), "{:?}", self.listeners);
        assert!(self.listeners.actions.is_empty(), "{:?}", self.listeners);
        assert!(self.listeners.reports.is_empty(), "{:?}", self.listeners);
    }
}

fn found(listener_id: ListenerId, address: &str) -> Event {
    TransportEvent::NewAddress {
        listener_id,
        listen_addr: address.parse().unwrap(),
    }
}

fn gone(listener_id: ListenerId, address: &str) -> Event {
    TransportEvent::AddressExpired {
        listener_id,
        listen_addr: address.parse().unwrap(),
    }
}

fn incoming(listener_id: ListenerId, local_addr: &str) -> Event {
    TransportEvent::Incoming {
        listener_id,
        upgrade: 7,
        local_addr: local_addr.parse().unwrap(),
        send_back_addr: "/ip4/192.0.2.9/tcp/9".parse().unwrap(),
    }
}

fn closed(listener_id: ListenerId, reason: Result<(), Error>) -> Event {
    TransportEvent::ListenerClosed {
        listener_id,
        reason,
    }
}

fn failure(kind: io::ErrorKind) -> Error {
    Error::Transport(Box::new(io::Error::from(kind)))
}

/// What an event says, and of whom.
fn said(event: &Event) -> (ListenerId, String) {
    match event {
        TransportEvent::NewAddress {
            listener_id,
            listen_addr,
        } => (*listener_id, format!("new {listen_addr}")),
        TransportEvent::AddressExpired {
            listener_id,
            listen_addr,
        } => (*listener_id, format!("expired {listen_addr}")),
        TransportEvent::Incoming {
            listener_id,
            local_addr,
            send_back_addr,
            upgrade,
        } => (
            *listener_id,
            format!("{upgrade} at {local_addr} from {send_back_addr}"),
        ),
        TransportEvent::ListenerClosed {
            listener_id,
            reason,
        } => {
            let reason = match reason {
                Ok(()) => String::new(),
                Err(error) => error.io().map_or_else(String::new, |e| e.to_string()),
            };
            (*listener_id, format!("closed {reason}"))
        }
        TransportEvent::ListenerError { listener_id, error } => {
            let error = error.io().map_or_else(String::new, |e| e.to_string());
            (*listener_id, format!("error {error}"))
        }
    }
}

#[track_caller]
fn assert_said(events: &[Event], expected: &[(ListenerId, &str)]) {
    let said: Vec<_> = events.iter().map(said).collect();
    let expected: Vec<_> = expected
        .iter()
        .map(|(id, text)| (*id, (*text).to_owned()))
        .collect();
    assert_eq!(said, expected);
}

#[test]
fn a_name_of_one_family_is_one_part_with_one_address() {
    for (host, ip) in [("/dns4/a", "/ip4/0.0.0.0"), ("/dns6/a", "/ip6/::")] {
        let mut rig = Rig::default();
        let id = rig.listening(&format!("{host}/tcp/0/tls/sni/b/ws"));
        assert_eq!(rig.addresses(), [format!("{ip}/tcp/0")]);
        let part = rig.part(ip);
        assert_ne!(part, id);

        let first = rig.event(found(part, "/ip4/127.0.0.1/tcp/5"));
        assert_said(&first, &[(id, &format!("new {host}/tcp/5/tls/sni/b/ws"))]);
        let second = rig.event(found(part, "/ip4/192.0.2.1/tcp/5"));
        assert_said(&second, &[]);
        let met = rig.event(incoming(part, "/ip4/192.0.2.1/tcp/5"));
        let at = format!("7 at {host}/tcp/5/tls/sni/b/ws from /ip4/192.0.2.9/tcp/9/tls/ws");
        assert_said(&met, &[(id, &at)]);

        assert_said(&rig.event(gone(part, "/ip4/127.0.0.1/tcp/5")), &[]);
        let last = rig.event(gone(part, "/ip4/192.0.2.1/tcp/5"));
        assert_said(
            &last,
            &[(id, &format!("expired {host}/tcp/5/tls/sni/b/ws"))],
        );
        let again = rig.event(found(part, "/ip4/192.0.2.1/tcp/5"));
        assert_said(&again, &[(id, &format!("new {host}/tcp/5/tls/sni/b/ws"))]);
        let broken = TransportEvent::ListenerError {
            listener_id: part,
            error: failure(io::ErrorKind::OutOfMemory),
        };
        assert_said(&rig.event(broken), &[(id, "error out of memory")]);

        assert!(rig.remove(id));
        assert_eq!(rig.removed, [part]);
        // What comes in between is of nobody any more.
        assert_said(&rig.event(incoming(part, "/ip4/192.0.2.1/tcp/5")), &[]);
        assert_said(&rig.event(closed(part, Ok(()))), &[(id, "closed ")]);
        assert!(!rig.remove(id));
        rig.assert_forgotten();
    }
}

#[test]
fn both_families_have_a_fixed_port_at_once_and_one_address() {
    let mut rig = Rig::default();
    let id = rig.listening("/dns/a/tcp/4/ws");
    assert_eq!(rig.addresses().len(), 2);
    let (ip4, ip6) = (rig.part("/ip4/0.0.0.0/tcp/4"), rig.part("/ip6/::/tcp/4"));
    assert_said(
        &rig.event(found(ip6, "/ip6/::1/tcp/4")),
        &[(id, "new /dns/a/tcp/4/ws")],
    );
    assert_said(&rig.event(found(ip4, "/ip4/127.0.0.1/tcp/4")), &[]);
    assert_said(&rig.event(gone(ip6, "/ip6/::1/tcp/4")), &[]);
    assert_said(
        &rig.event(gone(ip4, "/ip4/127.0.0.1/tcp/4")),
        &[(id, "expired /dns/a/tcp/4/ws")],
    );
    assert!(rig.remove(id));
    assert_said(&rig.event(closed(ip4, Ok(()))), &[]);
    assert_said(&rig.event(closed(ip6, Ok(()))), &[(id, "closed ")]);
    rig.assert_forgotten();
}

#[test]
fn of_port_0_the_ipv4_part_chooses_and_the_other_follows_before_anything_is_said() {
    let mut rig = Rig::default();
    let id = rig.listening("/dns/a/tcp/0/ws");
    assert_eq!(rig.addresses(), ["/ip4/0.0.0.0/tcp/0"]);
    let ip4 = rig.part("/ip4/");
    // A connection may be faster; `lazy` keeps it until there is an address.
    let met = rig.event(incoming(ip4, "/ip4/192.0.2.1/tcp/5"));
    assert_said(
        &met,
        &[(id, "7 at /dns/a/tcp/5/ws from /ip4/192.0.2.9/tcp/9/ws")],
    );
    assert_said(
        &rig.event(found(ip4, "/ip4/127.0.0.1/tcp/5")),
        &[(id, "new /dns/a/tcp/5/ws")],
    );
    let ip6 = rig.part("/ip6/::/tcp/5");
    assert_said(&rig.event(found(ip6, "/ip6/::1/tcp/5")), &[]);
    assert_said(&rig.event(found(ip4, "/ip4/192.0.2.1/tcp/5")), &[]);
    assert_eq!(rig.below.len(), 2);
}

#[test]
fn a_host_without_ipv6_listens_on_ipv4_alone() {
    #[cfg(unix)]
    let no_family = io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
    #[cfg(not(unix))]
    let no_family = io::Error::from_raw_os_error(10047);
    let unknown = TransportError::MultiaddrNotSupported("/ip6/::/tcp/5".parse().unwrap());
    for error in [
        TransportError::Other(Error::Transport(Box::new(no_family))),
        TransportError::Other(failure(io::ErrorKind::Unsupported)),
        unknown,
    ] {
        for port in [0, 5] {
            let error = match &error {
                TransportError::Other(e) => {
                    let e = e.io().unwrap();
                    let e = match e.raw_os_error() {
                        Some(code) => io::Error::from_raw_os_error(code),
                        None => e.kind().into(),
                    };
                    TransportError::Other(Error::Transport(Box::new(e)))
                }
                TransportError::MultiaddrNotSupported(a) => {
                    TransportError::MultiaddrNotSupported(a.clone())
                }
            };
            let mut rig = Rig {
                failures: vec![("/ip6/", error)],
                ..Rig::default()
            };
            let id = rig.listening(&format!("/dns/a/tcp/{port}/ws"));
            let ip4 = rig.part("/ip4/");
            assert_said(
                &rig.event(found(ip4, "/ip4/127.0.0.1/tcp/5")),
                &[(id, "new /dns/a/tcp/5/ws")],
            );
            assert!(rig.failures.is_empty());
            assert!(rig.remove(id));
            assert_said(&rig.event(closed(ip4, Ok(()))), &[(id, "closed ")]);
            rig.assert_forgotten();
        }
    }
}

#[test]
fn without_ipv4_and_for_ipv6_alone_that_is_an_error() {
    for (address, ip) in [
        ("/dns6/a/tcp/0/ws", "/ip6/"),
        ("/dns/a/tcp/0/ws", "/ip4/"),
        ("/ip4/192.0.2.1/tcp/0/tls/sni/a/ws", "/ip4/"),
    ] {
        let error = TransportError::Other(failure(io::ErrorKind::Unsupported));
        let mut rig = Rig {
            failures: vec![(ip, error)],
            ..Rig::default()
        };
        match rig.listen(ListenerId::next(), address) {
            Err(TransportError::Other(e)) => {
                assert_eq!(e.io().unwrap().kind(), io::ErrorKind::Unsupported);
            }
            other => panic!("{other:?}"),
        }
        rig.assert_forgotten();
    }
}

#[test]
fn a_second_part_that_cannot_be_bound_undoes_the_first() {
    let in_use = || TransportError::Other(failure(io::ErrorKind::AddrInUse));
    let mut rig = Rig {
        failures: vec![("/ip6/", in_use())],
        ..Rig::default()
    };
    let id = ListenerId::next();
    match rig.listen(id, "/dns/a/tcp/4/ws") {
        Err(TransportError::Other(e)) => {
            assert_eq!(e.io().unwrap().kind(), io::ErrorKind::AddrInUse);
        }
        other => panic!("{other:?}"),
    }
    let ip4 = rig.part("/ip4/");
    assert_eq!(rig.removed, [ip4]);
    // The next try may have the same id; the first part of this one has nothing to do with it.
    rig.listen(id, "/dns4/a/tcp/6/ws").unwrap();
    assert_said(&rig.event(found(ip4, "/ip4/127.0.0.1/tcp/4")), &[]);
    assert_said(&rig.event(closed(ip4, Ok(()))), &[]);
    let next = rig.part("/ip4/0.0.0.0/tcp/6");
    assert!(rig.remove(id));
    assert_said(&rig.event(closed(next, Ok(()))), &[(id, "closed ")]);
    rig.assert_forgotten();

    // With port 0, `listen_on` has long returned.
    rig.failures.push(("/ip6/", in_use()));
    let id = rig.listening("/dns/a/tcp/0/ws");
    let ip4 = rig.part("/ip4/");
    assert_said(&rig.event(found(ip4, "/ip4/127.0.0.1/tcp/5")), &[]);
    assert_eq!(rig.removed, [ip4]);
    assert_said(
        &rig.event(closed(ip4, Ok(()))),
        &[(id, "closed address in use")],
    );
    rig.assert_forgotten();
}

#[test]
fn a_part_that_closes_takes_the_other_with_it() {
    let mut rig = Rig::default();
    let id = rig.listening("/dns/a/tcp/4/ws");
    let (ip4, ip6) = (rig.part("/ip4/"), rig.part("/ip6/"));
    let broken = failure(io::ErrorKind::BrokenPipe);
    assert_said(&rig.event(closed(ip6, Err(broken))), &[]);
    assert_eq!(rig.removed, [ip4]);
    assert_said(&rig.event(found(ip4, "/ip4/127.0.0.1/tcp/4")), &[]);
    assert_said(
        &rig.event(closed(ip4, Ok(()))),
        &[(id, "closed broken pipe")],
    );
    rig.assert_forgotten();
}

#[test]
fn parts_that_nobody_knows_when_they_are_removed_are_closed() {
    let mut rig = Rig::default();
    let id = rig.listening("/dns/a/tcp/4/ws");
    rig.is_forgetful = true;
    assert!(rig.remove(id));
    assert_said(&rig.reports(), &[(id, "closed ")]);
    rig.assert_forgotten();
}

#[test]
fn a_server_name_is_restored_in_every_address() {
    let mut rig = Rig::default();
    let id = rig.listening("/ip4/0.0.0.0/tcp/0/tls/sni/a/ws");
    assert_eq!(rig.addresses(), ["/ip4/0.0.0.0/tcp/0"]);
    let part = rig.part("/ip4/");
    for ip in ["127.0.0.1", "192.0.2.1"] {
        let below = format!("/ip4/{ip}/tcp/5");
        let shown = format!("/ip4/{ip}/tcp/5/tls/sni/a/ws");
        assert_said(
            &rig.event(found(part, &below)),
            &[(id, &format!("new {shown}"))],
        );
        assert_said(
            &rig.event(incoming(part, &below)),
            &[(
                id,
                &format!("7 at {shown} from /ip4/192.0.2.9/tcp/9/tls/ws"),
            )],
        );
        assert_said(
            &rig.event(gone(part, &below)),
            &[(id, &format!("expired {shown}"))],
        );
    }
}

#[test]
fn a_new_certificate_shows_what_it_verifies_before_the_rest_expires() {
    let mut rig = Rig::default();
    rig.listeners.on_certificate(names(&["192.0.2.1"], &[]));
    let id = rig.listening("/ip4/0.0.0.0/tcp/0/tls/ws");
    let plain = rig.listening("/ip4/0.0.0.0/tcp/0/ws");
    let socket = rig.part("/ip4/");
    let bare = "/ip4/192.0.2.1/tcp/5/tls/ws";
    assert_said(
        &rig.event(found(socket, "/ip4/192.0.2.1/tcp/5")),
        &[(id, &format!("new {bare}"))],
    );
    assert_said(&rig.event(found(socket, "/ip4/127.0.0.1/tcp/5")), &[]);

    rig.listeners.on_certificate(names(&[], &["a.example"]));
    let [first, second] =
        ["192.0.2.1", "127.0.0.1"].map(|ip| format!("/ip4/{ip}/tcp/5/tls/sni/a.example/ws"));
    assert_said(
        &rig.reports(),
        &[
            (id, &format!("new {first}")),
            (id, &format!("new {second}")),
            (id, &format!("expired {bare}")),
        ],
    );
    rig.listeners.on_certificate(names(&[], &["a.example"]));
    assert_said(&rig.reports(), &[]);

    rig.listeners.on_certificate(names(&["192.0.2.2"], &[]));
    assert_said(
        &rig.reports(),
        &[
            (id, &format!("expired {first}")),
            (id, &format!("expired {second}")),
        ],
    );
    // Whoever connects where no address can be verified is not kept waiting for one.
    assert_said(&rig.event(incoming(socket, "/ip4/192.0.2.1/tcp/5")), &[]);
    assert_said(&rig.event(gone(socket, "/ip4/127.0.0.1/tcp/5")), &[]);

    // What is no longer true when it could be told is not told.
    rig.listeners.on_certificate(names(&[], &["b.example"]));
    assert!(rig.remove(id));
    assert_said(&rig.reports(), &[]);
    assert_said(&rig.event(closed(socket, Ok(()))), &[(id, "closed ")]);
    assert!(rig.remove(plain));
}

#[test]
fn a_name_is_shown_while_the_certificate_has_it() {
    for address in ["/dns4/a/tcp/5/tls/ws", "/dns4/b/tcp/5/tls/sni/a/ws"] {
        let mut rig = Rig::default();
        let id = rig.listening(address);
        let socket = rig.part("/ip4/");
        let [new, expired] = ["new", "expired"].map(|what| format!("{what} {address}"));
        let ip = "/ip4/127.0.0.1/tcp/5";
        assert_said(&rig.event(found(socket, ip)), &[(id, &new)]);
        rig.listeners
            .on_certificate(names(&["127.0.0.1"], &["b", "*.a"]));
        assert_said(&rig.reports(), &[(id, &expired)]);
        assert_said(&rig.event(incoming(socket, ip)), &[]);
        rig.listeners.on_certificate(names(&[], &["b", "A"]));
        assert_said(&rig.reports(), &[(id, &new)]);
    }
}

#[test]
fn what_the_certificate_cannot_verify_waits_for_another() {
    let mut listeners = Listeners::default();
    listeners.on_certificate(names(&[], &["a"]));
    let tcp = |tcp| {
        let address = "/ip4/0.0.0.0/tcp/1".parse().unwrap();
        listeners.support(&address, |_| tcp, || Support::Never)
    };
    assert_eq!((tcp(true), tcp(false)), (Support::Now, Support::Never));
    let support =
        |address: &str, tls| listeners.support(&address.parse().unwrap(), |_| true, || tls);
    let other = "a certificate for its name; the present one is for a";
    for (address, waits_for) in [
        ("/dns4/a/tcp/5/wss", None),
        ("/dns4/b/tcp/5/ws", None),
        ("/dns4/b/tcp/5/wss", Some(other)),
        ("/ip4/0.0.0.0/tcp/5/tls/sni/b/ws", Some(other)),
    ] {
        let expected = waits_for.map_or(Support::Now, |missing| {
            Support::Waiting(Missing::Other(missing.into()))
        });
        assert_eq!(support(address, Support::Now), expected, "{address}");
    }
    let none = || Support::Waiting(Missing::Certificate { last_error: None });
    assert_eq!(support("/dns4/b/tcp/5/wss", none()), none());
    assert_eq!(support("/dns4/b/tcp/5/wss", Support::Never), Support::Never);
    assert_eq!(support("/dns4/b/tcp/5/ws", Support::Never), Support::Now);
    assert_eq!(support("/memory/1", Support::Now), Support::Never);
}

#[test]
fn a_wildcard_has_a_name_for_each_address_that_others_can_dial() {
    let mut rig = Rig::default();
    rig.listeners.on_certificate(names(&[], &["*.k1.example"]));
    let wildcard = rig.listening("/ip4/0.0.0.0/tcp/5/tls/sni/*.k1.example/ws");
    let socket = rig.below[0].0;
    assert_said(&rig.event(found(socket, "/ip4/127.0.0.1/tcp/5")), &[]);
    for (ip, label) in [("10.0.0.5", "10-0-0-5"), ("1.2.3.4", "1-2-3-4")] {
        let shown = format!("new /ip4/{ip}/tcp/5/tls/sni/{label}.k1.example/ws");
        assert_said(
            &rig.event(found(socket, &format!("/ip4/{ip}/tcp/5"))),
            &[(wildcard, &shown)],
        );
    }
    assert_eq!(rig.reached(socket, Kind::Wss), Some(wildcard));
}

const LEFT: &str = "closed the address has left its interface";

#[test]
fn a_listener_goes_with_its_address_and_others_stay() {
    let mut rig = Rig::default();
    let here = rig.listening("/ip4/192.0.2.1/tcp/1/ws");
    let too = rig.listening("/ip4/192.0.2.1/tcp/2/wss");
    let elsewhere = rig.listening("/ip4/192.0.2.2/tcp/1/ws");
    let wildcard = rig.listening("/ip4/0.0.0.0/tcp/3/ws");
    let loopback = rig.listening("/ip4/127.0.0.1/tcp/4/ws");
    let [first, second] = ["/ip4/192.0.2.1/tcp/1", "/ip4/192.0.2.1/tcp/2"].map(|a| rig.part(a));
    for ip in ["192.0.2.3", "0.0.0.0", "127.0.0.1"] {
        assert!(!rig.left(ip).0, "{ip}");
    }

    let (is_wanted, said) = rig.left("192.0.2.1");
    assert!(is_wanted);
    assert_said(&said, &[]);
    assert_eq!(rig.removed.len(), 2);
    assert!(
        [first, second]
            .iter()
            .all(|part| rig.removed.contains(part))
    );
    assert!(!rig.left("192.0.2.1").0, "once");
    assert_said(&rig.event(closed(first, Ok(()))), &[(here, LEFT)]);
    assert_said(&rig.event(closed(second, Ok(()))), &[(too, LEFT)]);

    // It is back, and leaves again.
    let again = rig.listening("/ip4/192.0.2.1/tcp/1/ws");
    let part = rig.part("/ip4/192.0.2.1/");
    assert!(rig.left("192.0.2.1").0);
    assert_said(&rig.event(closed(part, Ok(()))), &[(again, LEFT)]);

    for id in [elsewhere, wildcard, loopback] {
        assert!(rig.remove(id));
    }
    assert_eq!(rig.removed.len(), 3);
    for part in rig.removed.clone() {
        rig.event(closed(part, Ok(())));
    }
    rig.assert_forgotten();
}

#[test]
fn other_reasons_to_close_stay_what_they_are() {
    let mut rig = Rig::default();
    let address = |port| format!("/ip4/192.0.2.1/tcp/{port}/ws");
    let [broken, removed, late] = [1, 2, 3].map(|port| rig.listening(&address(port)));
    let [first, second, third] = [1, 2, 3].map(|port| {
        let address = address(port);
        rig.part(address.trim_end_matches("/ws"))
    });
    let pipe = failure(io::ErrorKind::BrokenPipe);
    assert_said(
        &rig.event(closed(first, Err(pipe))),
        &[(broken, "closed broken pipe")],
    );
    assert!(rig.remove(removed));
    assert!(rig.left("192.0.2.1").0);
    assert_eq!(rig.removed, [second, third], "each once");
    // What the application removes meanwhile has no other reason.
    assert!(rig.remove(late));
    assert_eq!(rig.removed, [second, third], "each once");
    assert_said(&rig.event(closed(second, Ok(()))), &[(removed, "closed ")]);
    assert_said(&rig.event(closed(third, Ok(()))), &[(late, "closed ")]);
    rig.assert_forgotten();

    // Nor has what is removed before it is let go.
    let id = rig.listening(&address(4));
    let part = rig.part("/ip4/192.0.2.1/tcp/4");
    assert!(rig.listeners.on_left("192.0.2.1".parse().unwrap()));
    assert!(rig.remove(id));
    assert_eq!(rig.removed, [part]);
    while rig.listeners.let_go() {
        rig.carry_out();
    }
    assert_eq!(rig.removed, [part], "once");
    assert_said(&rig.event(closed(part, Ok(()))), &[(id, "closed ")]);

    // One that nobody knows below has no close to wait for.
    let id = rig.listening(&address(5));
    rig.is_forgetful = true;
    let (is_wanted, said) = rig.left("192.0.2.1");
    assert!(is_wanted);
    assert_said(&said, &[(id, LEFT)]);
    rig.assert_forgotten();
}

#[test]
fn what_several_listen_on_is_heard_by_each_and_closed_with_the_last() {
    let mut rig = Rig::default();
    let here = "/ip4/192.0.2.1/tcp/4";
    let plain = rig.listening("/ip4/0.0.0.0/tcp/4/ws");
    let socket = rig.part("/ip4/");
    let [new, expired] = ["new", "expired"]
        .map(|what| ["/ws", "/tls/sni/a/ws"].map(|end| format!("{what} {here}{end}")));
    assert_said(&rig.event(found(socket, here)), &[(plain, &new[0])]);
    let tls = rig.listening("/ip4/0.0.0.0/tcp/4/tls/sni/a/ws");
    assert_eq!(rig.below.len(), 1);
    assert_said(&rig.reports(), &[(tls, &new[1])]);

    let heard = rig.event(gone(socket, here));
    assert_said(&heard, &[(plain, &expired[0]), (tls, &expired[1])]);
    let heard = rig.event(found(socket, here));
    assert_said(&heard, &[(plain, &new[0]), (tls, &new[1])]);
    // Also one that only its code tells from others, as it does of descriptors.
    for (error, code) in [
        (io::ErrorKind::OutOfMemory.into(), None),
        (io::Error::from_raw_os_error(24), Some(24)),
    ] {
        let (kind, text) = (error.kind(), format!("error {error}"));
        let heard = rig.event(TransportEvent::ListenerError {
            listener_id: socket,
            error: Error::below(error),
        });
        assert_said(&heard, &[(plain, &text), (tls, &text)]);
        for event in &heard {
            let TransportEvent::ListenerError { error, .. } = event else {
                panic!("{event:?}");
            };
            let io = error.io().unwrap();
            assert_eq!((io.kind(), io.raw_os_error()), (kind, code));
        }
    }

    // The socket stays until the last of them goes.
    assert!(rig.remove(plain));
    assert!(rig.removed.is_empty());
    assert_said(&rig.reports(), &[(plain, "closed ")]);
    assert!(!rig.remove(plain));
    let met = rig.event(incoming(socket, here));
    assert_eq!(
        met.iter().map(|event| said(event).0).collect::<Vec<_>>(),
        [tls]
    );
    let third = rig.listening("/ip4/0.0.0.0/tcp/4/ws");
    assert_said(&rig.reports(), &[(third, &new[0])]);

    // What closes it below closes all of them.
    let pipe = failure(io::ErrorKind::BrokenPipe);
    let heard = rig.event(closed(socket, Err(pipe)));
    let text = "closed broken pipe";
    assert_said(&heard, &[(tls, text), (third, text)]);
    rig.assert_forgotten();

    let plain = rig.listening("/ip4/192.0.2.1/tcp/5/ws");
    let socket = rig.part("/ip4/");
    let tls = rig.listening("/ip4/192.0.2.1/tcp/5/tls/sni/a/ws");
    assert!(rig.remove(tls));
    assert_said(&rig.reports(), &[(tls, "closed ")]);
    let tls = rig.listening("/ip4/192.0.2.1/tcp/5/tls/sni/a/ws");
    assert!(rig.left("192.0.2.1").0);
    assert_eq!(rig.removed, [socket]);
    assert_said(
        &rig.event(closed(socket, Ok(()))),
        &[(plain, LEFT), (tls, LEFT)],
    );
    rig.assert_forgotten();
}

#[test]
fn what_is_spoken_decides_between_those_who_share_a_socket() {
    let mut rig = Rig::default();
    rig.listeners
        .on_certificate(names(&["192.0.2.1"], &["a", "b"]));
    let plain = rig.listening("/ip4/0.0.0.0/tcp/4/ws");
    let socket = rig.part("/ip4/");
    assert_eq!(rig.listeners.only_kind(socket), Some(Kind::Ws));
    assert_eq!(rig.reached(socket, Kind::Ws), Some(plain));
    assert_eq!(rig.reached(socket, Kind::Wss), None);
    rig.event(found(socket, "/ip4/192.0.2.1/tcp/4"));

    let raw = rig.listening("/ip4/0.0.0.0/tcp/4");
    assert_said(&rig.reports(), &[(raw, "new /ip4/192.0.2.1/tcp/4")]);
    assert_eq!(rig.reached(socket, Kind::Tcp), Some(raw));
    assert!(rig.remove(raw));
    assert_eq!(rig.reached(socket, Kind::Tcp), None);
    rig.reports();
    let first = rig.listening("/dns4/a/tcp/4/tls/ws");
    let second = rig.listening("/ip4/0.0.0.0/tcp/4/wss");
    let third = rig.listening("/ip4/0.0.0.0/tcp/4/tls/sni/b/ws");
    assert_eq!(rig.below.len(), 1, "{:?}", rig.below);
    assert_eq!(rig.listeners.only_kind(socket), None);
    assert_eq!(rig.reached(socket, Kind::Ws), Some(plain));
    assert_eq!(rig.reached(socket, Kind::Wss), Some(first));

    // The first whose address the certificate verifies, and each has what its own address says.
    rig.listeners.on_certificate(names(&[], &["b"]));
    let event = incoming(socket, "/ip4/192.0.2.1/tcp/4");
    let arrived = rig.listeners.on_event(event).unwrap();
    assert_said(
        &[rig.claimed(arrived, Kind::Wss).unwrap()],
        &[(
            second,
            "7 at /ip4/192.0.2.1/tcp/4/tls/sni/b/ws from /ip4/192.0.2.9/tcp/9/wss",
        )],
    );

    assert!(rig.remove(plain) && rig.remove(second) && rig.remove(first));
    assert_eq!(rig.listeners.only_kind(socket), Some(Kind::Wss));
    assert_eq!(rig.reached(socket, Kind::Wss), Some(third));
    assert_eq!(rig.reached(socket, Kind::Ws), None);
    assert!(rig.removed.is_empty());
    assert!(rig.remove(third));
    assert_eq!(rig.removed, [socket]);
    let event = incoming(socket, "/ip4/192.0.2.1/tcp/4");
    assert!(rig.listeners.on_event(event).is_none(), "nobody is left");
    // One that is closing is shared no more.
    let again = rig.listening("/ip4/0.0.0.0/tcp/4/ws");
    assert_eq!(rig.below.len(), 2);
    assert_eq!(rig.reached(socket, Kind::Ws), None);
    rig.event(closed(socket, Ok(())));
    let socket = rig.part("/ip4/");
    assert!(rig.remove(again));
    rig.event(closed(socket, Ok(())));
    rig.assert_forgotten();
}

#[test]
fn those_who_cannot_be_told_apart_have_sockets_of_their_own() {
    for (one, other) in [
        ("/ip4/0.0.0.0/tcp/4/ws", "/ip4/0.0.0.0/tcp/4/ws"),
        (
            "/ip4/0.0.0.0/tcp/4/ws",
            "/ip4/0.0.0.0/tcp/4/x-parity-ws/%2Fpath",
        ),
        ("/ip4/0.0.0.0/tcp/4/ws", "/dns4/a/tcp/4/ws"),
        ("/ip4/0.0.0.0/tcp/4/wss", "/ip4/0.0.0.0/tcp/4/tls/ws"),
        ("/dns4/a/tcp/4/wss", "/ip4/0.0.0.0/tcp/4/tls/sni/a/ws"),
        ("/dns4/a/tcp/4", "/ip4/0.0.0.0/tcp/4"),
        // On other addresses, or other ports.
        ("/ip4/127.0.0.1/tcp/4/ws", "/ip4/127.0.0.2/tcp/4/wss"),
        ("/ip4/0.0.0.0/tcp/4/ws", "/ip6/::/tcp/4/wss"),
        ("/ip4/0.0.0.0/tcp/4/ws", "/ip4/0.0.0.0/tcp/5/wss"),
        ("/ip4/0.0.0.0/tcp/0/ws", "/ip4/0.0.0.0/tcp/0/wss"),
    ] {
        let mut rig = Rig::default();
        rig.listening(one);
        rig.listening(other);
        assert_eq!(rig.below.len(), 2, "{one} {other}");
    }
}

#[test]
fn a_port_that_was_chosen_can_be_shared_once_it_is_known() {
    let mut rig = Rig::default();
    rig.listening("/dns/a/tcp/0/ws");
    let socket = rig.part("/ip4/");
    rig.event(found(socket, "/ip4/192.0.2.1/tcp/4711"));
    let tls = rig.listening("/dns/a/tcp/4711/wss");
    assert_eq!(
        rig.addresses(),
        ["/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/4711"],
        "both families of both"
    );
    assert_said(&rig.reports(), &[(tls, "new /dns/a/tcp/4711/wss")]);
}

/// Linux would give the connections of one to the other.
#[test]
fn all_addresses_and_one_of_them_are_no_two_sockets_of_one_port() {
    for (one, other) in [
        ("/ip4/0.0.0.0/tcp/4/ws", "/ip4/192.0.2.1/tcp/4/wss"),
        ("/ip4/127.0.0.1/tcp/4/ws", "/dns4/a/tcp/4/ws"),
        ("/ip6/::/tcp/4/ws", "/ip6/::1/tcp/4/ws"),
    ] {
        let mut rig = Rig::default();
        let id = rig.listening(one);
        let socket = rig.below[0].0;
        let error = match rig.listen(ListenerId::next(), other) {
            Err(TransportError::Other(error)) => error,
            other => panic!("{other:?}"),
        };
        assert_eq!(error.io().unwrap().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(rig.below.len(), 1);
        assert!(rig.remove(id));
        rig.event(closed(socket, Ok(())));
        rig.assert_forgotten();
    }
}

#[derive(Debug, Clone, Copy)]
enum Op {
    /// One of [`FORMS`].
    Listen(usize),
    /// The next part on such an address fails to bind.
    Fail {
        ip6: bool,
        heals: bool,
    },
    Forgetful(bool),
    /// The rest is about the listener or the part of this number.
    Remove(usize),
    Found(usize, u8),
    Gone(usize, u8),
    Incoming(usize),
    Error(usize),
    Close(usize, bool),
    /// The address of the last of [`FORMS`] leaves.
    Left,
}

const FORMS: [&str; 11] = [
    "/dns/a/tcp/0/ws",
    "/dns/a/tcp/4/wss",
    "/dns4/a/tcp/0/tls/ws",
    "/dns6/a/tcp/4/tls/sni/b/ws",
    "/ip4/0.0.0.0/tcp/0/tls/sni/b/ws",
    "/ip6/::/tcp/4/tls/sni/b/ws",
    "/ip4/192.0.2.1/tcp/4/ws",
    "/ip4/0.0.0.0/tcp/4/ws",
    "/ip4/0.0.0.0/tcp/4",
    "/ip4/0.0.0.0/tcp/4711/tls/sni/a/ws",
    "/ip4/192.0.2.1/tcp/4/tls/sni/b/ws",
];

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..FORMS.len()).prop_map(Op::Listen),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(ip6, heals)| Op::Fail { ip6, heals }),
        1 => any::<bool>().prop_map(Op::Forgetful),
        1 => any::<usize>().prop_map(Op::Remove),
        3 => (any::<usize>(), 1..4u8).prop_map(|(part, ip)| Op::Found(part, ip)),
        3 => (any::<usize>(), 1..4u8).prop_map(|(part, ip)| Op::Gone(part, ip)),
        1 => any::<usize>().prop_map(Op::Incoming),
        1 => any::<usize>().prop_map(Op::Error),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(part, fails)| Op::Close(part, fails)),
        1 => Just(Op::Left),
    ]
}

/// What is known of the listeners from what was reported.
#[derive(Default)]
struct Seen {
    /// The form of each that was accepted and has not closed, and its addresses.
    open: Vec<(ListenerId, usize, BTreeSet<Multiaddr>)>,
}

impl Seen {
    fn check(&mut self, events: Vec<Event>) {
        for event in events {
            let (id, _) = said(&event);
            let Some((_, form, addresses)) = self.open.iter_mut().find(|(open, ..)| *open == id)
            else {
                panic!("nothing of one that is not open: {event:?}");
            };
            let host: Multiaddr = FORMS[*form].parse().unwrap();
            let is_name = *form < 4;
            let fits = |address: &Multiaddr| {
                assert_eq!(
                    address.iter().skip(2).collect::<Multiaddr>(),
                    host.iter().skip(2).collect::<Multiaddr>()
                );
                assert!(!is_name || address.iter().next() == host.iter().next());
                assert_ne!(port(address), Some(0));
            };
            match event {
                TransportEvent::NewAddress { listen_addr, .. } => {
                    fits(&listen_addr);
                    assert!(addresses.insert(listen_addr) && (!is_name || addresses.len() == 1));
                }
                TransportEvent::AddressExpired { listen_addr, .. } => {
                    assert!(addresses.remove(&listen_addr));
                }
                TransportEvent::Incoming { local_addr, .. } => fits(&local_addr),
                TransportEvent::ListenerError { .. } => {}
                TransportEvent::ListenerClosed { .. } => {
                    self.open.retain(|(open, ..)| *open != id);
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_a_name_has_one_address_and_one_close(
        ops in proptest::collection::vec(op(), 0..60)
    ) {
        let mut rig = Rig::default();
        let mut seen = Seen::default();
        // What each part has on the interfaces, as the one below tells it.
        let mut interfaces: HashMap<ListenerId, BTreeSet<u8>> = HashMap::default();
        let below = |part: ListenerId, ip: u8, rig: &Rig| {
            let (_, bound) = rig.below.iter().find(|(id, _)| *id == part).unwrap();
            let port = port(bound).filter(|p| *p != 0).unwrap_or(4711);
            format!("/ip4/192.0.2.{ip}/tcp/{port}")
        };
        let pick = |n: usize, rig: &Rig| rig.below.get(n % rig.below.len().max(1)).map(|(id, _)| *id);
        for op in ops {
            match op {
                Op::Listen(form) => {
                    let id = ListenerId::next();
                    if rig.listen(id, FORMS[form]).is_ok() {
                        seen.open.push((id, form, BTreeSet::new()));
                    }
                    // What those who share a socket find there.
                    let reports = rig.reports();
                    seen.check(reports);
                }
                Op::Fail { ip6, heals } => {
                    let kind = if heals { io::ErrorKind::Unsupported } else { io::ErrorKind::AddrInUse };
                    let ip = if ip6 { "/ip6/" } else { "/ip4/" };
                    rig.failures.push((ip, TransportError::Other(failure(kind))));
                }
                Op::Forgetful(is) => rig.is_forgetful = is,
                Op::Remove(n) => {
                    if let Some((id, ..)) = seen.open.get(n % seen.open.len().max(1)) {
                        prop_assert!(rig.remove(*id));
                        let reports = rig.reports();
                        seen.check(reports);
                    }
                }
                Op::Found(n, ip) => {
                    if let Some(part) = pick(n, &rig) && interfaces.entry(part).or_default().insert(ip) {
                        let event = found(part, &below(part, ip, &rig));
                        let reported = rig.event(event);
                        seen.check(reported);
                    }
                }
                Op::Gone(n, ip) => {
                    if let Some(part) = pick(n, &rig) && interfaces.entry(part).or_default().remove(&ip) {
                        let event = gone(part, &below(part, ip, &rig));
                        let reported = rig.event(event);
                        seen.check(reported);
                    }
                }
                Op::Incoming(n) => {
                    if let Some(part) = pick(n, &rig) {
                        let event = incoming(part, &below(part, 1, &rig));
                        let reported = rig.event(event);
                        seen.check(reported);
                    }
                }
                Op::Error(n) => {
                    if let Some(part) = pick(n, &rig) {
                        let error = failure(io::ErrorKind::OutOfMemory);
                        let reported = rig.event(TransportEvent::ListenerError { listener_id: part, error });
                        seen.check(reported);
                    }
                }
                Op::Close(n, fails) => {
                    if let Some(part) = pick(n, &rig) {
                        let reason = if fails { Err(failure(io::ErrorKind::BrokenPipe)) } else { Ok(()) };
                        let reported = rig.event(closed(part, reason));
                        seen.check(reported);
                    }
                }
                Op::Left => {
                    let (_, reported) = rig.left("192.0.2.1");
                    seen.check(reported);
                }
            }
            // No two listen on one socket that a connection could not tell apart.
            for socket in rig.listeners.sockets.values() {
                let rows = socket.listeners.iter().map(|id| &rig.listeners.rows[id]);
                let rows = rows.collect::<Vec<_>>();
                for (at, row) in rows.iter().enumerate() {
                    prop_assert!(rows[..at].iter().all(|other| !other.is_alike(row)));
                }
            }
            // Nothing is closed below that somebody listens on.
            for part in &rig.removed {
                let socket = rig.listeners.sockets.get(part);
                let listeners = socket.into_iter().flat_map(|socket| &socket.listeners);
                let mut rows = listeners.map(|id| &rig.listeners.rows[id]);
                let is_over = rows.all(|row| matches!(row.state, State::Closing { .. }));
                let has_left = socket.is_some_and(|socket| socket.has_left);
                prop_assert!(has_left || is_over);
            }
            // What has an address below has one above.
            for (id, form, addresses) in &seen.open {
                let Some(listener) = rig.listeners.rows.get(id) else {
                    panic!("an open listener is there");
                };
                let count: usize = listener.sockets.iter().filter_map(|p| interfaces.get(p)).map(BTreeSet::len).sum();
                if *form < 4 && let State::Listening { .. } = listener.state {
                    prop_assert_eq!(addresses.len(), count.min(1));
                }
            }
        }
        rig.is_forgetful = false;
        for (id, ..) in &seen.open {
            prop_assert!(rig.remove(*id));
        }
        // All that is left below was removed, and nothing that was removed is forgotten.
        prop_assert_eq!(rig.below.len(), rig.removed.len());
        for part in rig.removed.clone() {
            let reported = rig.event(closed(part, Ok(())));
            seen.check(reported);
        }
        prop_assert!(seen.open.is_empty(), "exactly one close each");
        rig.assert_forgotten();
    }
}
