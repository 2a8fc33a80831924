//! The listeners of a transport and the TCP sockets below them. A core: it neither listens nor waits.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    io,
};

use libp2p_core::transport::{ListenerId, TransportError, TransportEvent};
use multiaddr::Multiaddr;

use crate::{
    lazy::{Missing, Support},
    websocket::{
        Error,
        address::{Listen, Security, Shown, port, with_port},
        certificate::Names,
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
    /// Whose it is; until it has closed. At most two for each listener, and one for each that failed to bind the second.
    sockets: HashMap<ListenerId, ListenerId>,
    /// What the certificate in use verifies.
    names: Names,
    /// At most two for each listener, and none once the shell has carried them out.
    actions: VecDeque<Action>,
    /// At most an address and its expiry for each that a row has, and the close of each listener.
    reports: VecDeque<TransportEvent<Infallible, Error>>,
}

#[derive(Debug)]
struct Row {
    security: Security,
    /// The only path that may be requested.
    only: Option<Path>,
    shown: Shown,
    /// Those that are bound or being bound below and have not closed: at most two.
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
        /// The addresses of its sockets on the interfaces of this host.
        found: Vec<Multiaddr>,
        /// What has been reported of them.
        announced: Vec<Multiaddr>,
    },
    /// Its sockets are being closed; when the last one has, it is closed for this reason.
    Closing { reason: Result<(), Error> },
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

/// A connection of one of the listeners.
#[derive(Debug)]
pub(super) struct Accepted<U> {
    pub(super) listener: ListenerId,
    pub(super) upgrade: U,
    pub(super) security: Security,
    pub(super) only: Option<Path>,
    pub(super) local: Multiaddr,
    pub(super) remote: Multiaddr,
}

/// What is to be done about something that happened below.
#[derive(Debug)]
pub(super) enum Heard<U> {
    Accepted(Accepted<U>),
    Report(TransportEvent<Infallible, Error>),
    /// Nothing but what [`Listeners::poll_action`] and [`Listeners::poll_report`] say.
    Nothing,
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
        let mut row = Row {
            security: listen.security,
            only,
            shown: listen.shown(address),
            sockets: Vec::with_capacity(1),
            second: sockets.second,
            state: State::Binding,
        };
        let bind = row.bind(sockets.first);
        self.schedule_bind(id, bind);
        self.rows.insert(id, row);
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
            row.state = State::Listening {
                found: Vec::new(),
                announced: Vec::new(),
            };
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

    /// Whether an address can be listened on now; `tls` says so of all that need a certificate.
    pub(super) fn support(&self, address: &Multiaddr, tls: impl FnOnce() -> Support) -> Support {
        let listen = match Listen::parse(address) {
            Some(listen) if listen.security == Security::Plain => return Support::Now,
            Some(listen) => listen,
            None => return Support::Never,
        };
        match (tls(), listen.missing(&self.names)) {
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
            row.announce(*id, &self.names, &mut self.reports);
        }
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
        let Some((id, row)) = self.owner(socket) else {
            return;
        };
        let error = match result {
            Ok(()) => {
                let port = row.second.as_ref().and_then(port);
                if let Some(port) = port.filter(|port| *port != 0) {
                    self.bind_second(id, port);
                }
                return;
            }
            Err(error) => error,
        };
        row.sockets.retain(|other| *other != socket);
        let is_second = !row.sockets.is_empty();
        self.sockets.remove(&socket);
        if is_second && lacks_ipv6(&error) {
            tracing::debug!(listener = %id, "no IPv6 here, listening on IPv4 alone");
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

    /// Something happened below. It may lead to actions and reports too.
    pub(super) fn on_event<U>(&mut self, event: TransportEvent<U, Error>) -> Heard<U> {
        let socket = match &event {
            TransportEvent::NewAddress { listener_id, .. }
            | TransportEvent::AddressExpired { listener_id, .. }
            | TransportEvent::Incoming { listener_id, .. }
            | TransportEvent::ListenerClosed { listener_id, .. }
            | TransportEvent::ListenerError { listener_id, .. } => *listener_id,
        };
        if let TransportEvent::ListenerClosed { reason, .. } = event {
            self.on_socket_closed(socket, reason);
            return Heard::Nothing;
        }
        // libp2p-tcp has events of listeners whose `listen_on` failed in its last step.
        let Some(id) = self.sockets.get(&socket).copied() else {
            return Heard::Nothing;
        };
        let Some(row) = self.rows.get_mut(&id) else {
            return Heard::Nothing;
        };
        let Row {
            state: State::Listening { found, announced },
            ..
        } = row
        else {
            return Heard::Nothing;
        };
        if !row.sockets.contains(&socket) {
            return Heard::Nothing;
        }
        match event {
            TransportEvent::NewAddress { listen_addr, .. } => {
                let port = port(&listen_addr).unwrap_or_default();
                found.push(listen_addr);
                row.announce(id, &self.names, &mut self.reports);
                // What has just been announced is reported if the second can be bound too.
                self.bind_second(id, port);
            }
            TransportEvent::AddressExpired { listen_addr, .. } => {
                if let Some(index) = found.iter().position(|address| *address == listen_addr) {
                    found.swap_remove(index);
                }
                row.announce(id, &self.names, &mut self.reports);
            }
            TransportEvent::Incoming {
                upgrade,
                local_addr,
                send_back_addr,
                ..
            } => {
                if announced.is_empty() && !found.is_empty() {
                    tracing::debug!(listener = %id, "closed a connection, as the certificate verifies no address");
                    return Heard::Nothing;
                }
                return Heard::Accepted(Accepted {
                    listener: id,
                    upgrade,
                    security: row.security,
                    only: row.only.clone(),
                    local: row.shown.local(&local_addr, &self.names),
                    remote: row.shown.remote(&send_back_addr),
                });
            }
            TransportEvent::ListenerError { error, .. } => {
                return Heard::Report(TransportEvent::ListenerError {
                    listener_id: id,
                    error,
                });
            }
            TransportEvent::ListenerClosed { .. } => {}
        }
        Heard::Nothing
    }

    /// The listener of a socket, unless that could not be bound as a whole.
    fn owner(&mut self, socket: ListenerId) -> Option<(ListenerId, &mut Row)> {
        let id = *self.sockets.get(&socket)?;
        let row = self.rows.get_mut(&id)?;
        // Another one may have been given the id of one that failed.
        row.sockets.contains(&socket).then_some((id, row))
    }

    fn schedule_bind(&mut self, id: ListenerId, (socket, address): (ListenerId, Multiaddr)) {
        self.sockets.insert(socket, id);
        self.actions.push_back(Action::Bind { socket, address });
    }

    fn bind_second(&mut self, id: ListenerId, port: u16) {
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        if let Some(address) = row.second.take() {
            let bind = row.bind(with_port(&address, port));
            self.schedule_bind(id, bind);
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

    /// A socket is no more, and neither will its listener be.
    fn on_socket_closed(&mut self, socket: ListenerId, reason: Result<(), Error>) {
        let owner = self.owner(socket).map(|(id, row)| {
            row.sockets.retain(|other| *other != socket);
            let is_first = matches!(row.state, State::Binding | State::Listening { .. });
            (id, is_first)
        });
        self.sockets.remove(&socket);
        match owner {
            Some((id, true)) => self.begin_to_close(id, State::Closing { reason }),
            Some((id, false)) => self.close_if_empty(id),
            None => {}
        }
    }

    fn begin_to_close(&mut self, id: ListenerId, state: State) {
        let Some(row) = self.rows.get_mut(&id) else {
            return;
        };
        row.state = state;
        let sockets = row.sockets.iter();
        self.actions
            .extend(sockets.map(|socket| Action::Remove { socket: *socket }));
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

impl Row {
    /// A new socket, to be bound there.
    fn bind(&mut self, address: Multiaddr) -> (ListenerId, Multiaddr) {
        let socket = ListenerId::next();
        self.sockets.push(socket);
        (socket, address)
    }

    /// Reports what is to be seen of what its sockets have and has not been reported, and then what no longer is.
    fn announce(
        &mut self,
        listener_id: ListenerId,
        names: &Names,
        reports: &mut VecDeque<TransportEvent<Infallible, Error>>,
    ) {
        let State::Listening { found, announced } = &mut self.state else {
            return;
        };
        let mut shown = Vec::with_capacity(found.len());
        for address in found.iter().filter_map(|found| self.shown.of(found, names)) {
            if !shown.contains(&address) {
                shown.push(address);
            }
        }
        if shown.is_empty() && !found.is_empty() {
            tracing::warn!(
                listener = %listener_id,
                "the certificate verifies none of the addresses of this listener, so it has none"
            );
        }
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
