//! CORE: from a `/dnsaddr` to dialable addresses, without a resolver, a clock or a socket.
//!
//! The shell takes addresses from [`Walk::next_address`]. When it needs more, it looks up [`Walk::next_name`] and passes the
//! records to [`Walk::on_records`].

use std::{
    collections::{HashSet, VecDeque},
    io,
};

use multiaddr::{Multiaddr, Protocol};

use crate::websocket::{
    Error,
    address::{Address, Kind},
};

/// Maximum number of names looked up for one dial, as in libp2p-dns. The owner of a name chooses the next one, so without a
/// bound one dial could cause endless lookups.
const MAX_LOOKUPS: usize = 32;

/// Maximum number of records of one name that are followed, as in libp2p-dns. An answer may have thousands. Records without
/// a dialable address do not count, so that a node with many addresses of other transports is reached too.
const MAX_RECORDS: usize = 16;

/// One walk from a `/dnsaddr`.
#[derive(Debug)]
pub(super) struct Walk {
    /// Whether it may end at TCP without WebSocket.
    tcp: bool,
    /// The first name to look up.
    first: String,
    /// The names still to look up, at most [`MAX_RECORDS`] for each lookup.
    names: VecDeque<Dnsaddr>,
    /// The name that is being looked up.
    current: Option<Dnsaddr>,
    /// The addresses still to dial, at most [`MAX_RECORDS`] for each lookup.
    addresses: VecDeque<Multiaddr>,
    /// The names and addresses found so far, which are not followed again. This ends a circle of names.
    found: HashSet<Multiaddr>,
    /// The number of names looked up.
    lookups: usize,
}

impl Walk {
    /// `None` unless the address is `/dnsaddr/<name>`, followed by nothing or by the end of a WebSocket address, or with
    /// `tcp` that of an address of TCP alone.
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

    /// The next address to dial, in the order of the records.
    pub(super) fn next_address(&mut self) -> Option<Multiaddr> {
        self.addresses.pop_front()
    }

    /// The next name whose TXT records to look up. `None` if there is none, or at the maximum number.
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

    /// The texts of the records of the name that was looked up.
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

    /// The error if no address was found, once there is no next name.
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

/// A name, and the required end of its addresses.
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

    /// The domain of its records.
    fn txt_name(&self) -> String {
        format!("_dnsaddr.{}", self.name)
    }

    /// Whether an address has the required end. Compares protocols, because the bytes of an IP may equal those of a port.
    fn leads_to(&self, found: &Multiaddr) -> bool {
        let skipped = found.iter().count().checked_sub(self.suffix.iter().count());
        skipped.is_some_and(|skipped| found.iter().skip(skipped).eq(self.suffix.iter()))
    }
}

/// The treatment of an address from a record.
enum Next {
    LookUp(Dnsaddr),
    Dial,
}

impl Next {
    /// `None` if it leads to no dialable address.
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

/// The last protocol that is not a peer id, which determines the transport of an address.
fn end(address: &Multiaddr) -> Option<Protocol<'_>> {
    let protocols = address.iter();
    protocols
        .filter(|protocol| !matches!(protocol, Protocol::P2p(_)))
        .last()
}

/// Beyond the first protocol, a `/dnsaddr` is not looked up here, and must not be by the transport below either.
fn has_dnsaddr(address: &Multiaddr) -> bool {
    address
        .iter()
        .any(|protocol| matches!(protocol, Protocol::Dnsaddr(_)))
}

/// The address in a record, if there is one: <https://github.com/multiformats/multiaddr/blob/master/protocols/DNSADDR.md>.
fn read(record: &str) -> Option<Multiaddr> {
    let text = record.strip_prefix("dnsaddr=")?;
    // It is printed in logs and errors, where it must not add lines.
    if text.chars().any(char::is_control) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests;
