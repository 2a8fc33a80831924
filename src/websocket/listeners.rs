//! The listeners of a transport and the TCP sockets below them. A core: it neither listens nor waits.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    io, mem,
    net::{IpAddr, SocketAddr},
};

use libp2p_core::transport::{ListenerId, TransportError, TransportEvent};
use multiaddr::Multiaddr;

use crate::{
    lazy::{Missing, Support},
    websocket::{
        Error,
        address::{Kind, is_specific, log_unsupported, port, socket_address, with_port},
        certificate::Names,
        hearing::Arrived,
        listen::{Listen, Shown},
        path::Path,
    },
};

/// Decides for each listener which sockets to bind, and what to make of what is heard from there.
///
/// A socket has an id of its own below. After every input, the shell carries out what
/// [`poll_action`](Self::poll_action) says until that is nothing.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// One for each `listen_on` whose `ListenerClosed` has not been reported.
    rows: HashMap<ListenerId, Row>,
    /// One for each that has been given to the shell to bind and has not closed. At most two for each listener, and one for
    /// each that failed to bind the second.
    sockets: HashMap<ListenerId, Socket>,
    /// Sockets whose address has left its interface, and that are still to be closed for it.
    leaving: VecDeque<ListenerId>,
    /// What the certificate in use verifies.
    names: Names,
    /// At most two for each listener, and none once the shell has carried them out.
    actions: VecDeque<Action>,
    /// At most an address and its expiry for each that a row has, the close of each listener, and what the last event from
    /// below was for each: the shell takes them all before it asks for another.
    reports: VecDeque<TransportEvent<Infallible, Error>>,
}

#[derive(Debug)]
struct Row {
    kind: Kind,
    /// The only path that may be requested.
    only: Option<Path>,
    shown: Shown,
    /// Those that have not closed: at most two.
    sockets: Vec<ListenerId>,
    /// What is still to be bound beside the first socket.
    second: Option<Multiaddr>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// `listen_on` has not returned.
    Binding,
    /// `listen_on` is about to return this.
    Failed(TransportError<Error>),
    Listening {
        /// What has been reported of the addresses of its sockets.
        announced: Vec<Multiaddr>,
    },
    /// Those of its sockets that nobody else listens on are being closed; when the last one has, it is closed for this
    /// reason.
    Closing { reason: Result<(), Error> },
}

#[derive(Debug)]
struct Socket {
    /// Whose it is. Nobody's, once what it was bound for has failed. No two that a connection could not tell apart.
    listeners: Vec<ListenerId>,
    /// Where it was to be bound, with the port that it has been given.
    at: Option<SocketAddr>,
    is_bound: bool,
    /// Its addresses on the interfaces of this host.
    found: Vec<Multiaddr>,
    has_left: bool,
    is_removed: bool,
}

/// What the shell is to do below.
#[derive(Debug)]
pub(super) enum Action {
    /// Bind, and say how that went: [`Listeners::on_bound`].
    Bind {
        socket: ListenerId,
        address: Multiaddr,
    },
    /// Close the socket, and say whether it was there: [`Listeners::on_removed`].
    Remove { socket: ListenerId },
}

/// Whose a connection is, and what is to be seen of it.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) listener: ListenerId,
    pub(super) kind: Kind,
    pub(super) only: Option<Path>,
    pub(super) local: Multiaddr,
    pub(super) remote: Multiaddr,
}

impl Listeners {
    /// The application wants to listen; when the actions that follow from it are done, [`on_listened`] says what
    /// became of it. `only` is the path that requests have to have.
    ///
    /// [`on_listened`]: Self::on_listened
    pub(super) fn on_listen(
        &mut self,
        id: ListenerId,
        address: &Multiaddr,
        listen: Listen,
        only: Option<Path>,
    ) {
        let sockets = listen.sockets();
        let row = Row {
            kind: listen.kind,
            only,
            shown: listen.shown(address),
            sockets: Vec::with_capacity(1),
            second: sockets.second,
            state: State::Binding,
        };
        self.rows.insert(id, row);
        self.bind(id, sockets.first);
    }

    /// What `listen_on` returns. The address in an error is not the one it was given.
    pub(super) fn on_listened(&mut self, id: ListenerId) -> Result<(), TransportError<Error>> {
        if let Some(State::Failed(_)) = self.rows.get(&id).map(|row| &row.state)
            && let Some(State::Failed(error)) = self.rows.remove(&id).map(|row| row.state)
        {
            return Err(error);
        }
        if let Some(row) = self.rows.get_mut(&id)
            && let State::Binding = row.state
        {
            let announced = Vec::new();
            row.state = State::Listening { announced };
            row.announce(id, &self.sockets, &self.names, &mut self.reports);
        }
        Ok(())
    }

    /// The application wants a listener to end. Returns whether it is there.
    pub(super) fn on_remove(&mut self, id: ListenerId) -> bool {
        let Some(row) = self.rows.get_mut(&id) else {
            return false;
        };
        let reason = Ok(());
        if let State::Closing { .. } = row.state {
            row.state = State::Closing { reason };
        } else {
            self.begin_to_close(id, State::Closing { reason });
        }
        true
    }

    /// Whether an address can be listened on now. `supports` says whether that is so of what it wants, certificates aside,
    /// and `tls` what is so of all that need one.
    pub(super) fn support(
        &self,
        address: &Multiaddr,
        supports: impl FnOnce(&Listen) -> bool,
        tls: impl FnOnce() -> Support,
    ) -> Support {
        let listen = Listen::parse(address).filter(supports);
        let listen = match listen {
            Some(listen) if listen.kind != Kind::Wss => return Support::Now,
            Some(listen) => listen,
            None => {
                log_unsupported(address);
                return Support::Never;
            }
        };
        match (tls(), listen.missing(&self.names)) {
            (Support::Never, _) => {
                tracing::warn!(%address, "a TLS listener needs `Config::with_certificates`");
                Support::Never
            }
            // The one that is there is for other names, and the one for this is on its way.
            (Support::Now, Some(missing)) if listen.has_labels() => {
                Support::Waiting(Missing::Other(missing))
            }
            (Support::Now, Some(missing)) => {
                tracing::warn!(%address, "every peer would refuse the certificate there, so it waits for {missing}");
                Support::Waiting(Missing::Other(missing))
            }
            (support, _) => support,
        }
    }

    /// There is a new certificate. What it changes is announced before what it no longer verifies expires.
    pub(super) fn on_certificate(&mut self, names: Names) {
        self.names = names;
        for (id, row) in &mut self.rows {
            row.announce(*id, &self.sockets, &self.names, &mut self.reports);
        }
    }

    /// No interface of this host has the address any more. Returns whether it is listened on, which is over then: see
    /// [`let_go`](Self::let_go).
    pub(super) fn on_left(&mut self, ip: IpAddr) -> bool {
        let before = self.leaving.len();
        for (id, socket) in &mut self.sockets {
            if socket.can_lose(ip) && !socket.has_left && !socket.is_removed {
                socket.has_left = true;
                self.leaving.push_back(*id);
            }
        }
        self.leaving.len() > before
    }

    /// Closes one of the sockets whose address has left. Returns whether there was one.
    pub(super) fn let_go(&mut self) -> bool {
        let Some(id) = self.leaving.pop_front() else {
            return false;
        };
        if let Some(socket) = self.sockets.get_mut(&id)
            && !mem::replace(&mut socket.is_removed, true)
        {
            self.actions.push_back(Action::Remove { socket: id });
        }
        true
    }

    /// What is to be done below.
    pub(super) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What is to be returned from `poll`, once there are no more actions.
    pub(super) fn poll_report(&mut self) -> Option<TransportEvent<Infallible, Error>> {
        while let Some(report) = self.reports.pop_front() {
            let is_stale = match &report {
                TransportEvent::NewAddress { listener_id, .. }
                | TransportEvent::AddressExpired { listener_id, .. } => !matches!(
                    self.rows.get(listener_id).map(|row| &row.state),
                    Some(State::Listening { .. })
                ),
                _ => false,
            };
            if !is_stale {
                return Some(report);
            }
        }
        None
    }

    /// How an [`Action::Bind`] went.
    pub(super) fn on_bound(
        &mut self,
        socket: ListenerId,
        result: Result<(), TransportError<Error>>,
    ) {
        let Some(row) = self.sockets.get(&socket) else {
            return;
        };
        // As long as it is not bound, only one listens there.
        let Some(id) = row.listeners.first().copied() else {
            return;
        };
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        let error = match result {
            Ok(()) => {
                self.on_there(id, socket);
                return;
            }
            Err(error) => error,
        };
        row.sockets.retain(|other| *other != socket);
        let is_second = !row.sockets.is_empty();
        self.sockets.remove(&socket);
        if is_second && lacks_ipv6(&error) {
            tracing::debug!(listener = %id, "this host has no IPv6, listening on IPv4 alone");
            return;
        }
        self.fail(id, error);
    }

    /// How an [`Action::Remove`] went. If the socket was there, its close is still to come.
    pub(super) fn on_removed(&mut self, socket: ListenerId, was_there: bool) {
        if !was_there {
            self.on_socket_closed(socket, Ok(()));
        }
    }

    /// Something happened below. It may lead to actions and reports, or be a connection, which is to be
    /// [claimed](Self::claim).
    pub(super) fn on_event<U>(&mut self, event: TransportEvent<U, Error>) -> Option<Arrived<U>> {
        match event {
            TransportEvent::NewAddress {
                listener_id: socket,
                listen_addr,
            } => {
                let port = port(&listen_addr).unwrap_or_default();
                if let Some(socket) = self.sockets.get_mut(&socket)
                    && let Some(at) = &mut socket.at
                {
                    at.set_port(port);
                }
                self.on_found(socket, |found| found.push(listen_addr));
                // What has just been announced is reported if the second can be bound too.
                for id in self.listening_on(socket) {
                    self.bind_second(id, port);
                }
            }
            TransportEvent::AddressExpired {
                listener_id: socket,
                listen_addr,
            } => self.on_found(socket, |found| {
                if let Some(index) = found.iter().position(|address| *address == listen_addr) {
                    found.swap_remove(index);
                }
            }),
            TransportEvent::Incoming {
                listener_id: socket,
                upgrade,
                local_addr,
                send_back_addr,
            } => {
                // Nobody is left to hear of it, and it takes no place.
                if self.listening_on(socket).is_empty() {
                    return None;
                }
                return Some(Arrived {
                    socket,
                    upgrade,
                    local: local_addr,
                    remote: send_back_addr,
                });
            }
            TransportEvent::ListenerError {
                listener_id: socket,
                error,
            } => {
                let errors = for_each(self.listening_on(socket), error);
                self.reports.extend(errors.map(|(listener_id, error)| {
                    TransportEvent::ListenerError { listener_id, error }
                }));
            }
            TransportEvent::ListenerClosed {
                listener_id: socket,
                reason,
            } => self.on_socket_closed(socket, reason),
        }
        None
    }

    /// What those speak who connect to a socket, if that is known before they do: all that listen there speak the same.
    pub(super) fn only_kind(&self, socket: ListenerId) -> Option<Kind> {
        let listeners = self.listening_on(socket);
        let mut kinds = listeners
            .iter()
            .filter_map(|id| self.rows.get(id))
            .map(|row| row.kind);
        let first = kinds.next()?;
        kinds.all(|kind| kind == first).then_some(first)
    }

    /// Whose a connection is that speaks this, if anybody's: of those whom it could mean, the first.
    pub(super) fn claim(
        &self,
        socket: ListenerId,
        kind: Kind,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Option<Accepted> {
        let listeners = self.listening_on(socket);
        let mut rows = listeners
            .into_iter()
            .filter_map(|id| Some((id, self.rows.get(&id)?)))
            .filter(|(_, row)| row.kind == kind);
        let (listener, row) = rows.find(|(id, row)| {
            let is_verified = !row.is_unverified(&self.sockets);
            if !is_verified {
                tracing::debug!(listener = %id, "the certificate verifies no address, so nobody is accepted");
            }
            is_verified
        })?;
        Some(Accepted {
            listener,
            kind,
            only: row.only.clone(),
            local: row.shown.local(local, &self.names),
            remote: row.shown.remote(remote),
        })
    }

    /// The listeners of a socket that are not on the way to their end. libp2p-tcp has events of sockets too whose
    /// `listen_on` failed in its last step.
    fn listening_on(&self, socket: ListenerId) -> Vec<ListenerId> {
        let listeners = self.sockets.get(&socket).map(|socket| &socket.listeners);
        let listeners = listeners.into_iter().flatten().copied();
        listeners
            .filter(|id| {
                let row = self.rows.get(id);
                row.is_some_and(|row| matches!(row.state, State::Listening { .. }))
            })
            .collect()
    }

    /// The addresses of a socket change.
    fn on_found(&mut self, socket: ListenerId, change: impl FnOnce(&mut Vec<Multiaddr>)) {
        let Some(row) = self.sockets.get_mut(&socket) else {
            return;
        };
        change(&mut row.found);
        for id in self.listening_on(socket) {
            if let Some(row) = self.rows.get_mut(&id) {
                row.announce(id, &self.sockets, &self.names, &mut self.reports);
            }
        }
    }

    /// A socket for a listener: one that is there, if that has the address and the connections of the others can be told
    /// from its own, and otherwise a new one.
    fn bind(&mut self, id: ListenerId, address: Multiaddr) {
        let at = socket_address(&address);
        if let Some(at) = at.filter(|at| at.port() != 0) {
            if let Some(socket) = self.shareable(id, at) {
                self.attach(id, socket);
                self.on_there(id, socket);
                return;
            }
            // Linux gives connections to the more specific of the two, even if they are for the other.
            if self.sockets.values().any(|socket| socket.overlaps(at)) {
                let error = io::Error::new(io::ErrorKind::AddrInUse, Overlaps);
                self.fail(id, TransportError::Other(Error::below(error)));
                return;
            }
        }
        let socket = ListenerId::next();
        let row = Socket {
            listeners: Vec::with_capacity(1),
            at,
            is_bound: false,
            found: Vec::new(),
            has_left: false,
            is_removed: false,
        };
        self.sockets.insert(socket, row);
        self.attach(id, socket);
        self.actions.push_back(Action::Bind { socket, address });
    }

    /// The socket at this address on which the listener can listen beside those who do.
    fn shareable(&self, id: ListenerId, at: SocketAddr) -> Option<ListenerId> {
        let row = self.rows.get(&id)?;
        let is_beside = |other: &ListenerId| {
            let other = self.rows.get(other);
            other.is_none_or(|other| !row.is_alike(other))
        };
        let mut sockets = self.sockets.iter();
        let (socket, _) = sockets.find(|(_, socket)| {
            let is_there = socket.is_bound && !socket.is_removed && !socket.has_left;
            is_there && socket.at == Some(at) && socket.listeners.iter().all(is_beside)
        })?;
        Some(*socket)
    }

    /// A socket of the listener is bound. If it is the first, and its port is known, so is where the second is to be.
    fn on_there(&mut self, id: ListenerId, socket: ListenerId) {
        let Some(socket) = self.sockets.get_mut(&socket) else {
            return;
        };
        socket.is_bound = true;
        if let Some(port) = socket.at.map(|at| at.port()).filter(|port| *port != 0) {
            self.bind_second(id, port);
        }
    }

    fn attach(&mut self, id: ListenerId, socket: ListenerId) {
        if let (Some(row), Some(of)) = (self.rows.get_mut(&id), self.sockets.get_mut(&socket)) {
            row.sockets.push(socket);
            of.listeners.push(id);
        }
    }

    fn bind_second(&mut self, id: ListenerId, port: u16) {
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        if let Some(address) = row.second.take() {
            self.bind(id, with_port(&address, port));
        }
    }

    /// A socket could not be bound, so the listener is not.
    fn fail(&mut self, id: ListenerId, error: TransportError<Error>) {
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        let reason = match (&row.state, error) {
            (State::Binding, error) => {
                self.begin_to_close(id, State::Failed(error));
                return;
            }
            (_, TransportError::Other(error)) => error,
            (_, TransportError::MultiaddrNotSupported(address)) => {
                Error::UnsupportedAddress(address)
            }
        };
        let reason = Err(reason);
        self.begin_to_close(id, State::Closing { reason });
    }

    /// A socket is no more, and neither will its listeners be.
    fn on_socket_closed(&mut self, socket: ListenerId, reason: Result<(), Error>) {
        let Some(closed) = self.sockets.remove(&socket) else {
            return;
        };
        let reason = match closed.has_left {
            true => Err(Error::below(io::Error::new(
                io::ErrorKind::AddrNotAvailable,
                Left,
            ))),
            false => reason,
        };
        for id in &closed.listeners {
            if let Some(row) = self.rows.get_mut(id) {
                row.sockets.retain(|other| *other != socket);
            }
        }
        let reasons: Vec<_> = match reason {
            Ok(()) => closed
                .listeners
                .into_iter()
                .map(|id| (id, Ok(())))
                .collect(),
            Err(error) => for_each(closed.listeners, error)
                .map(|(id, error)| (id, Err(error)))
                .collect(),
        };
        for (id, reason) in reasons {
            match self.rows.get(&id).map(|row| &row.state) {
                Some(State::Closing { .. }) => self.close_if_empty(id),
                _ => self.begin_to_close(id, State::Closing { reason }),
            }
        }
    }

    fn begin_to_close(&mut self, id: ListenerId, state: State) {
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        let is_failed = matches!(state, State::Failed(_));
        row.state = state;
        row.sockets.retain(|socket| {
            let Some(of) = self.sockets.get_mut(socket) else {
                return false;
            };
            let is_last = of.listeners == [id];
            if is_last && !mem::replace(&mut of.is_removed, true) {
                self.actions.push_back(Action::Remove { socket: *socket });
            }
            // One that has failed is gone before its sockets are.
            let is_waited_for = is_last && !is_failed;
            if !is_waited_for {
                of.listeners.retain(|other| *other != id);
            }
            is_waited_for
        });
        self.close_if_empty(id);
    }

    fn close_if_empty(&mut self, id: ListenerId) {
        let is_closed =
            |row: &Row| row.sockets.is_empty() && matches!(row.state, State::Closing { .. });
        if !self.rows.get(&id).is_some_and(is_closed) {
            return;
        }
        if let Some(Row {
            state: State::Closing { reason },
            ..
        }) = self.rows.remove(&id)
        {
            self.reports.push_back(TransportEvent::ListenerClosed {
                listener_id: id,
                reason,
            });
        }
    }
}

impl Socket {
    /// Whether it is bound to this address alone, which the host can lose.
    fn can_lose(&self, ip: IpAddr) -> bool {
        is_specific(ip) && self.at.is_some_and(|at| at.ip() == ip)
    }

    /// Whether one of the two is bound to all addresses and the other to one of them.
    fn overlaps(&self, other: SocketAddr) -> bool {
        self.at.is_some_and(|at| {
            at.port() == other.port()
                && at.is_ipv4() == other.is_ipv4()
                && at.ip().is_unspecified() != other.ip().is_unspecified()
        })
    }
}

impl Row {
    /// Whether a connection to the one could be for the other: both speak the same, and over TLS for the same name.
    fn is_alike(&self, other: &Self) -> bool {
        self.kind == other.kind && self.shown.is_verified_as(&other.shown)
    }

    /// The addresses of its sockets on the interfaces of this host.
    fn found<'a>(
        &'a self,
        sockets: &'a HashMap<ListenerId, Socket>,
    ) -> impl Iterator<Item = &'a Multiaddr> {
        let own = self.sockets.iter().filter_map(|id| sockets.get(id));
        own.flat_map(|socket| &socket.found)
    }

    /// Whether it is bound, and the certificate verifies none of its addresses.
    fn is_unverified(&self, sockets: &HashMap<ListenerId, Socket>) -> bool {
        matches!(&self.state, State::Listening { announced } if announced.is_empty())
            && self.has_unverifiable(sockets)
    }

    /// Whether the certificate verifies none of its addresses if none is shown. A name with a label leads here whichever
    /// address a router in between has.
    fn has_unverifiable(&self, sockets: &HashMap<ListenerId, Socket>) -> bool {
        !self.shown.has_labels() && self.found(sockets).next().is_some()
    }

    /// Reports what is to be seen of what its sockets have and has not been reported, and then what no longer is.
    fn announce(
        &mut self,
        listener_id: ListenerId,
        sockets: &HashMap<ListenerId, Socket>,
        names: &Names,
        reports: &mut VecDeque<TransportEvent<Infallible, Error>>,
    ) {
        let mut shown = Vec::new();
        for address in self.found(sockets) {
            let address = self.shown.of(address, names);
            shown.extend(address.filter(|address| !shown.contains(address)));
        }
        if shown.is_empty() && !names.is_empty() && self.has_unverifiable(sockets) {
            tracing::warn!(
                listener = %listener_id,
                "the certificate verifies none of the addresses of this listener, so none is announced"
            );
        }
        let State::Listening { announced } = &mut self.state else {
            return;
        };
        let new = shown.iter().filter(|address| !announced.contains(address));
        reports.extend(new.map(|address| TransportEvent::NewAddress {
            listener_id,
            listen_addr: address.clone(),
        }));
        let gone = announced.iter().filter(|address| !shown.contains(address));
        reports.extend(gone.map(|address| TransportEvent::AddressExpired {
            listener_id,
            listen_addr: address.clone(),
        }));
        *announced = shown;
    }
}

/// The error for each of them: itself for the last, for the others what says the same.
fn for_each(listeners: Vec<ListenerId>, error: Error) -> impl Iterator<Item = (ListenerId, Error)> {
    let others: Vec<_> = listeners.iter().skip(1).map(|_| error.again()).collect();
    listeners.into_iter().zip(others.into_iter().chain([error]))
}

/// Why a socket closed that was not removed by the application.
#[derive(Debug, thiserror::Error)]
#[error("the address has left its interface")]
struct Left;

/// Why a socket is not bound although the system would.
#[derive(Debug, thiserror::Error)]
#[error(
    "address in use: another listener of this node has the port, on all addresses or on one of them"
)]
struct Overlaps;

/// Whether that is what a host says that has no IPv6, or a transport that knows none.
fn lacks_ipv6(error: &TransportError<Error>) -> bool {
    #[cfg(unix)]
    const NO_SUCH_FAMILY: i32 = libc::EAFNOSUPPORT;
    // WSAEAFNOSUPPORT
    #[cfg(not(unix))]
    const NO_SUCH_FAMILY: i32 = 10047;

    match error {
        TransportError::MultiaddrNotSupported(_) => true,
        TransportError::Other(error) => error.io().is_some_and(|error| {
            error.kind() == io::ErrorKind::Unsupported
                || error.raw_os_error() == Some(NO_SUCH_FAMILY)
        }),
    }
}

#[cfg(test)]
mod tests;
