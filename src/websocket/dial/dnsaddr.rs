//! From a `/dnsaddr` to the addresses that can be dialled, without a resolver, a clock or a socket.
//!
//! The shell takes what has been found from [`Walk::next_address`]. When it needs more, it looks up [`Walk::next_name`],
//! and gives what that led to to [`Walk::on_records`].

use std::{
    collections::{HashSet, VecDeque},
    io,
};

use multiaddr::{Multiaddr, Protocol};

use crate::websocket::{
    Error,
    address::{Address, Kind},
};

/// How many names are looked up for one dial, as in libp2p-dns. Whoever has one of the names chooses the next, so
/// without a bound one dial could make this node ask for ever.
const MAX_LOOKUPS: usize = 32;

/// How many records of one name are followed, as in libp2p-dns. An answer may have thousands. Those that lead to
/// nothing that could be dialled here do not count: a node with many addresses of other transports is reached too.
const MAX_RECORDS: usize = 16;

/// One walk from a `/dnsaddr`.
#[derive(Debug)]
pub(super) struct Walk {
    /// Whether it may end at TCP without WebSocket.
    tcp: bool,
    /// What is looked up first.
    first: String,
    /// What is still to be looked up, at most [`MAX_RECORDS`] for each lookup.
    names: VecDeque<Dnsaddr>,
    /// What is looked up now.
    current: Option<Dnsaddr>,
    /// What is still to be dialled, at most [`MAX_RECORDS`] for each lookup.
    addresses: VecDeque<Multiaddr>,
    /// What has been found, and is not followed a second time. That ends a circle of names.
    found: HashSet<Multiaddr>,
    /// How many names have been looked up.
    lookups: usize,
}

impl Walk {
    /// `None` if the address is not `/dnsaddr/<name>`, followed by nothing, or by what a WebSocket address can end with; or
    /// with `tcp`, an address of TCP alone.
    pub(super) fn new(address: &Multiaddr, tcp: bool) -> Option<Self> {
        let start = Dnsaddr::parse(address, tcp)?;
        Some(Self {
            tcp,
            first: start.txt_name(),
            names: VecDeque::from([start]),
            current: None,
            addresses: VecDeque::new(),
            found: HashSet::from([address.clone()]),
            lookups: 0,
        })
    }

    /// An address to dial, in the order in which they were found.
    pub(super) fn next_address(&mut self) -> Option<Multiaddr> {
        self.addresses.pop_front()
    }

    /// The next name whose TXT records are to be looked up. `None` if there is none, or if there have been too many.
    pub(super) fn next_name(&mut self) -> Option<String> {
        if self.lookups == MAX_LOOKUPS {
            return None;
        }
        let name = self.names.pop_front()?;
        self.lookups += 1;
        let looked_up = name.txt_name();
        self.current = Some(name);
        Some(looked_up)
    }

    /// The records of the name that was to be looked up, each the text of one.
    pub(super) fn on_records<R: AsRef<str>>(&mut self, records: impl IntoIterator<Item = R>) {
        let Some(current) = self.current.take() else {
            return;
        };
        let followed = records
            .into_iter()
            .filter_map(|record| read(record.as_ref()))
            .filter(|found| current.leads_to(found))
            .filter_map(|found| Some((Next::of(&found, self.tcp)?, found)))
            .take(MAX_RECORDS);
        for (next, found) in followed {
            if !self.found.insert(found.clone()) {
                continue;
            }
            match next {
                Next::LookUp(name) => self.names.push_back(name),
                Next::Dial => self.addresses.push_back(found),
            }
        }
    }

    /// Why it has come to nothing, once there is no next name.
    pub(super) fn error(&self) -> Error {
        let source = match self.names.is_empty() {
            true => io::Error::new(
                io::ErrorKind::NotFound,
                match self.tcp {
                    true => {
                        "none of its TXT records leads to an address of TCP or WebSocket with the same end as what is dialled"
                    }
                    false => {
                        "none of its TXT records leads to a WebSocket address with the same end as what is dialled"
                    }
                },
            ),
            false => io::Error::other(format!(
                "its TXT records lead to more than {MAX_LOOKUPS} names, and to no address that can be dialled"
            )),
        };
        Error::Lookup {
            name: self.first.clone(),
            source,
        }
    }
}

/// A name, and what an address that it leads to has to end with.
#[derive(Debug, Clone)]
struct Dnsaddr {
    name: String,
    suffix: Multiaddr,
}

impl Dnsaddr {
    fn parse(address: &Multiaddr, tcp: bool) -> Option<Self> {
        let mut protocols = address.iter();
        let Protocol::Dnsaddr(name) = protocols.next()? else {
            return None;
        };
        let suffix: Multiaddr = protocols.collect();
        let may_lead_here = match end(&suffix) {
            None | Some(Protocol::Ws(_) | Protocol::Wss(_)) => true,
            Some(Protocol::Tcp(_)) => tcp,
            Some(_) => false,
        };
        let may_lead_here = may_lead_here && !has_dnsaddr(&suffix);
        may_lead_here.then(|| Self {
            name: name.into_owned(),
            suffix,
        })
    }

    /// Where its records are.
    fn txt_name(&self) -> String {
        format!("_dnsaddr.{}", self.name)
    }

    /// Whether an address that was found there is meant. By its protocols: the bytes of an IP may be those of a port.
    fn leads_to(&self, found: &Multiaddr) -> bool {
        let skipped = found.iter().count().checked_sub(self.suffix.iter().count());
        skipped.is_some_and(|skipped| found.iter().skip(skipped).eq(self.suffix.iter()))
    }
}

/// What to do with an address that was found.
enum Next {
    LookUp(Dnsaddr),
    Dial,
}

impl Next {
    /// `None` if it leads to nothing that can be dialled.
    fn of(found: &Multiaddr, tcp: bool) -> Option<Self> {
        if let Some(name) = Dnsaddr::parse(found, tcp) {
            return Some(Self::LookUp(name));
        }
        let can_be_dialled = match end(found) {
            Some(Protocol::Ws(_) | Protocol::Wss(_)) => !has_dnsaddr(found),
            Some(Protocol::Tcp(_)) => {
                tcp && Address::parse(found).is_some_and(|parsed| parsed.kind == Kind::Tcp)
            }
            _ => false,
        };
        can_be_dialled.then_some(Self::Dial)
    }
}

/// The last protocol that is not of a peer: what an address is of.
fn end(address: &Multiaddr) -> Option<Protocol<'_>> {
    let protocols = address.iter();
    protocols
        .filter(|protocol| !matches!(protocol, Protocol::P2p(_)))
        .last()
}

/// As anything but the first protocol it is not looked up here, and is not to be by the transport below either.
fn has_dnsaddr(address: &Multiaddr) -> bool {
    address
        .iter()
        .any(|protocol| matches!(protocol, Protocol::Dnsaddr(_)))
}

/// The address that a record has, if it has one: <https://github.com/multiformats/multiaddr/blob/master/protocols/DNSADDR.md>.
fn read(record: &str) -> Option<Multiaddr> {
    let text = record.strip_prefix("dnsaddr=")?;
    // It stands in logs and errors, as more than one line if it could.
    if text.chars().any(char::is_control) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests;
