//! CORE: what of a node's addresses the broker can connect to, and which names of the node are external addresses.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
};

use libp2p_core::transport::ListenerId;
use multiaddr::{Multiaddr, Protocol};

use super::{Waiting, name::Name};
use crate::scope::is_global;

/// What the swarm is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Confirm(Multiaddr),
    Expire(Multiaddr),
}

/// The addresses of a swarm, as it tells them to its behaviours.
#[derive(Debug)]
pub(super) struct Addresses {
    name: Name,
    allows_private: bool,
    /// The wildcard listeners, with what they listen on.
    wildcards: HashMap<ListenerId, (IpAddr, u16)>,
    listened: Vec<(ListenerId, Multiaddr)>,
    /// Confirmed, but for names of this node with the label of their IP.
    external: BTreeSet<Multiaddr>,
    /// Those of them that are names of this node with the label of another IP. They were expired here, and whether the swarm
    /// has still to tell of that.
    corrected: BTreeMap<Multiaddr, bool>,
    /// What was confirmed here.
    confirmed: BTreeSet<Multiaddr>,
}

impl Addresses {
    pub(super) fn new(name: Name, allows_private: bool) -> Self {
        Self {
            name,
            allows_private,
            wildcards: HashMap::new(),
            listened: Vec::new(),
            external: BTreeSet::new(),
            corrected: BTreeMap::new(),
            confirmed: BTreeSet::new(),
        }
    }

    /// A wildcard listener is started.
    pub(super) fn on_wildcard(&mut self, id: ListenerId, ip: IpAddr, port: u16) {
        self.wildcards.insert(id, (ip, port));
    }

    pub(super) fn on_listened(&mut self, id: ListenerId, address: &Multiaddr) {
        self.listened.push((id, address.clone()));
    }

    pub(super) fn on_expired(&mut self, id: ListenerId, address: &Multiaddr) {
        self.listened
            .retain(|(of, known)| (*of, known) != (id, address));
    }

    pub(super) fn on_closed(&mut self, id: ListenerId) {
        self.listened.retain(|(of, _)| *of != id);
        self.wildcards.remove(&id);
    }

    pub(super) fn on_external(&mut self, address: &Multiaddr) {
        if !self.is_own_form(address) {
            self.external.insert(address.clone());
            self.corrected.remove(address);
        }
    }

    pub(super) fn on_external_expired(&mut self, address: &Multiaddr) {
        if let Some(is_ours @ true) = self.corrected.get_mut(address) {
            *is_ours = false;
            return;
        }
        self.corrected.remove(address);
        self.external.remove(address);
    }

    /// What is in the way of a certificate.
    pub(super) fn obstacle(&self) -> Option<Waiting> {
        if self.wildcards.is_empty() {
            return Some(Waiting::NoListener);
        }
        let mut plain = self
            .listened
            .iter()
            .filter_map(|(_, address)| plain(address));
        if plain.next().is_none() {
            return Some(Waiting::NothingToDialBack);
        }
        let is_reachable = !self.reachable().is_empty();
        (!is_reachable).then_some(Waiting::NoPublicAddress)
    }

    /// What the broker is told to connect to: what was confirmed before what is only listened on.
    pub(super) fn reachable(&self) -> Vec<Multiaddr> {
        let listened = self.listened.iter().map(|(_, address)| address);
        let mut reachable = Vec::new();
        for address in self.external.iter().chain(listened) {
            if let Some((ip, address)) = plain(address)
                && self.counts(ip)
                && !reachable.contains(&address)
            {
                reachable.push(address);
            }
        }
        reachable
    }

    /// What is to be confirmed and expired as external addresses.
    pub(super) fn changes(&mut self, has_certificate: bool) -> Vec<Change> {
        let mut changes = Vec::new();
        let wrong: Vec<_> = self
            .external
            .iter()
            .filter(|address| self.own_name(address).is_some())
            .filter(|address| !self.corrected.contains_key(*address))
            .cloned()
            .collect();
        for address in wrong {
            self.corrected.insert(address.clone(), true);
            changes.push(Change::Expire(address));
        }
        let wanted = match has_certificate {
            true => self
                .external
                .iter()
                .filter_map(|it| self.form(it))
                .collect(),
            false => BTreeSet::new(),
        };
        let gone = self.confirmed.difference(&wanted).cloned();
        changes.extend(gone.map(Change::Expire));
        let new = wanted.difference(&self.confirmed).cloned();
        changes.extend(new.map(Change::Confirm));
        self.confirmed = wanted;
        changes
    }

    /// The name of this node at the IP and the port of an address, with TLS, if it is served there.
    fn form(&self, address: &Multiaddr) -> Option<Multiaddr> {
        let (ip, port) = host(address)?;
        if !self.counts(ip) || !self.is_served_at(ip, port) {
            return None;
        }
        let name = self.name.of_ip(ip)?;
        let tls = [
            Protocol::Tls,
            Protocol::Sni(name.into()),
            Protocol::Ws("/".into()),
        ];
        let tcp = Multiaddr::from(ip).with(Protocol::Tcp(port));
        Some(tcp.iter().chain(tls).collect())
    }

    /// Whether those who connect to this port of a router, or of this host, reach the wildcard. A router may forward another
    /// port, which can only be told if the node has just one. IPv4 and IPv6 have ports of their own.
    fn is_served_at(&self, ip: IpAddr, port: u16) -> bool {
        let is_alike = |(own, _): &(IpAddr, u16)| own.is_ipv4() == ip.is_ipv4();
        let wildcards = self.wildcards.values().copied().filter(is_alike);
        let mut ports: BTreeSet<u16> = wildcards.map(|(_, port)| port).collect();
        if ports.is_empty() || ports.contains(&port) {
            return !ports.is_empty();
        }
        let listened = self.listened.iter().map(|(_, address)| address);
        let listened = listened.filter_map(host).filter(is_alike);
        ports.extend(listened.map(|(_, port)| port));
        ports.len() == 1
    }

    /// Whether an address with this IP is good enough.
    fn counts(&self, ip: IpAddr) -> bool {
        self.allows_private || is_global(ip)
    }

    /// The IP in the label of a name of this node, if the address has one.
    fn own_name(&self, address: &Multiaddr) -> Option<IpAddr> {
        address.iter().find_map(|protocol| match protocol {
            Protocol::Sni(name) => self.name.ip_of(&name),
            _ => None,
        })
    }

    /// Whether the address has the name of this node for its IP.
    fn is_own_form(&self, address: &Multiaddr) -> bool {
        let own = self.own_name(address);
        own.is_some() && own == host(address).map(|(ip, _)| ip)
    }
}

/// The host of an address of TCP that is not relayed.
fn host(address: &Multiaddr) -> Option<(IpAddr, u16)> {
    let mut protocols = address.iter();
    let ip = match protocols.next()? {
        Protocol::Ip4(ip) => ip.into(),
        Protocol::Ip6(ip) => ip.into(),
        _ => return None,
    };
    let Protocol::Tcp(port) = protocols.next()? else {
        return None;
    };
    let is_relayed = protocols.any(|protocol| protocol == Protocol::P2pCircuit);
    (!is_relayed).then_some((ip, port))
}

/// An address of TCP or WebSocket without TLS, without the peer id at its end, and its IP.
fn plain(address: &Multiaddr) -> Option<(IpAddr, Multiaddr)> {
    let (ip, _) = host(address)?;
    let mut address = address.clone();
    if let Some(Protocol::P2p(_)) = address.iter().last() {
        address.pop();
    }
    let is_plain = match address.iter().nth(2) {
        None => true,
        Some(Protocol::Ws(path)) => path == "/" && address.iter().count() == 3,
        Some(_) => false,
    };
    is_plain.then_some((ip, address))
}

#[cfg(test)]
mod tests;
