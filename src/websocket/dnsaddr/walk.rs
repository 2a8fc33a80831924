//! From a `/dnsaddr` to the addresses that can be dialled, without a resolver, a clock or a socket.
//!
//! The shell asks with [`Walk::next`] what to do, does it, and says what came of it: [`Walk::on_records`] or
//! [`Walk::on_lookup_failed`] after a [`Step::LookUp`]; [`Walk::on_dial_failed`] after a [`Step::Dial`], or nothing if
//! the transport below does not know such an address.

use std::{
    collections::{HashSet, VecDeque},
    io, str,
};

use multiaddr::{Multiaddr, Protocol};

use super::error::DnsaddrError;
use crate::websocket::Error;

/// How many names are looked up for one dial, as in libp2p-dns. Whoever has one of the names chooses the next, so
/// without a bound one dial could make this node ask for ever.
pub(super) const MAX_LOOKUPS: usize = 32;

/// How many records of one name are followed, as in libp2p-dns. An answer may have thousands. Those that lead to
/// nothing that could be dialled here do not count: a node with many addresses of other transports is reached too.
pub(super) const MAX_RECORDS: usize = 16;

/// How many addresses are tried for one dial, as in libp2p-dns. Each may be a host of somebody who has nothing to do
/// with it.
pub(super) const MAX_ATTEMPTS: usize = 16;

/// What the shell is to do.
#[derive(Debug)]
pub(super) enum Step {
    /// Look up the TXT records of this name.
    LookUp(String),
    /// Dial this.
    Dial(Multiaddr),
    /// End the dial with this.
    Fail(Error),
}

/// One dial of a `/dnsaddr`.
///
/// Addresses come out in the order in which they were found, and before the next name is looked up: a name is asked
/// for only if no address so far could be connected to.
#[derive(Debug)]
pub(in crate::websocket) struct Walk {
    dialled: Multiaddr,
    /// What is looked up first.
    first: String,
    /// What [`Step::LookUp`] was about last, and before the first what was dialled.
    current: Dnsaddr,
    /// What is still to be looked up, at most [`MAX_RECORDS`] for each lookup.
    names: VecDeque<Dnsaddr>,
    /// What is still to be dialled, at most [`MAX_RECORDS`]: all are dialled before the next lookup.
    addresses: VecDeque<Multiaddr>,
    /// What has been found, and is not followed a second time. That ends a circle of names.
    found: HashSet<Multiaddr>,
    /// How many names have been looked up.
    lookups: usize,
    /// The first lookup that failed.
    lookup_error: Option<(String, io::Error)>,
    /// The attempts that failed, at most [`MAX_ATTEMPTS`].
    attempts: Vec<(Multiaddr, Error)>,
}

impl Walk {
    /// `None` if the address is not `/dnsaddr/<name>`, followed by nothing, or by what a WebSocket address can end with.
    pub(in crate::websocket) fn new(address: &Multiaddr) -> Option<Self> {
        let start = Dnsaddr::parse(address)?;
        Some(Self {
            dialled: address.clone(),
            first: start.txt_name(),
            names: VecDeque::from([start.clone()]),
            current: start,
            addresses: VecDeque::new(),
            found: HashSet::from([address.clone()]),
            lookups: 0,
            lookup_error: None,
            attempts: Vec::new(),
        })
    }

    pub(super) fn next(&mut self) -> Step {
        if self.attempts.len() == MAX_ATTEMPTS {
            return self.fail();
        }
        if let Some(address) = self.addresses.pop_front() {
            return Step::Dial(address);
        }
        if self.lookups == MAX_LOOKUPS {
            return self.fail();
        }
        let Some(name) = self.names.pop_front() else {
            return self.fail();
        };
        self.lookups += 1;
        self.current = name;
        Step::LookUp(self.current.txt_name())
    }

    /// The records of the name that was to be looked up, each the text of one.
    pub(super) fn on_records<R: AsRef<[u8]>>(&mut self, records: impl IntoIterator<Item = R>) {
        let current = &self.current;
        let followed = records
            .into_iter()
            .filter_map(|record| read(record.as_ref()))
            .filter(|found| current.leads_to(found))
            .filter_map(|found| Some((Next::of(&found)?, found)))
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

    /// There are no records of the name that was to be looked up.
    pub(super) fn on_lookup_failed(&mut self, error: io::Error) {
        let name = self.current.txt_name();
        tracing::debug!(%name, %error, "cannot look up the TXT records");
        self.lookup_error.get_or_insert((name, error));
    }

    /// The address that was to be dialled cannot be connected to.
    pub(super) fn on_dial_failed(&mut self, address: Multiaddr, error: Error) {
        tracing::debug!(%address, ?error, "cannot dial what a name led to");
        self.attempts.push((address, error));
    }

    /// Ends the dial, with the error that tells most about why.
    fn fail(&mut self) -> Step {
        let source = if let Some((address, error)) = self.attempts.pop() {
            DnsaddrError::Unreachable {
                earlier: std::mem::take(&mut self.attempts),
                address,
                source: Box::new(error),
            }
        } else if !self.names.is_empty() {
            DnsaddrError::TooManyLookups {
                name: self.first.clone(),
            }
        } else if let Some((name, source)) = self.lookup_error.take() {
            DnsaddrError::Lookup { name, source }
        } else {
            DnsaddrError::NoWebSocket {
                name: self.first.clone(),
            }
        };
        Step::Fail(Error::Dnsaddr {
            address: self.dialled.clone(),
            source,
        })
    }
}

/// A name, and what an address that it leads to has to end with.
#[derive(Debug, Clone)]
struct Dnsaddr {
    name: String,
    suffix: Multiaddr,
}

impl Dnsaddr {
    fn parse(address: &Multiaddr) -> Option<Self> {
        let mut protocols = address.iter();
        let Protocol::Dnsaddr(name) = protocols.next()? else {
            return None;
        };
        let suffix: Multiaddr = protocols.collect();
        let may_lead_here = !has_dnsaddr(&suffix)
            && matches!(
                kind(&suffix),
                None | Some(Protocol::Ws(_) | Protocol::Wss(_))
            );
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
    /// `None` if it leads to nothing that can be dialled over WebSocket.
    fn of(found: &Multiaddr) -> Option<Self> {
        if let Some(name) = Dnsaddr::parse(found) {
            return Some(Self::LookUp(name));
        }
        let is_websocket = matches!(kind(found), Some(Protocol::Ws(_) | Protocol::Wss(_)));
        (is_websocket && !has_dnsaddr(found)).then_some(Self::Dial)
    }
}

/// The last protocol that is not of a peer: what an address is of.
fn kind(address: &Multiaddr) -> Option<Protocol<'_>> {
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
fn read(record: &[u8]) -> Option<Multiaddr> {
    let text = str::from_utf8(record).ok()?.strip_prefix("dnsaddr=")?;
    // It stands in logs and errors, as more than one line if it could.
    if text.chars().any(char::is_control) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests;
