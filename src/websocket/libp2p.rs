//! libp2p-websocket, used for the protocol only: listeners and their events do not pass through it.

use std::{
    future::ready,
    net::Ipv4Addr,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use futures::{FutureExt as _, TryFutureExt as _};
use libp2p_core::transport::{DialOpts, ListenerId, Transport, TransportError, TransportEvent};
use libp2p_websocket::tls;
use multiaddr::{Multiaddr, Protocol};

mod bounded;

use crate::{
    lazy::Support,
    websocket::{
        Certificate, Config, Connection, Error, TlsError, TrustAnchor,
        address::Kind,
        below::{Io, Pending},
        dial::{Contest, Dial, Outbound, Target, connect, connect_through},
        hearing::Incoming,
        target::Request,
        tls::Tls,
    },
};
use bounded::Bounded;

type Stock = libp2p_websocket::Config<Handed>;

pub(super) struct Libp2p {
    /// Shared with dials of a `/dnsaddr`.
    stock: Arc<Mutex<Stock>>,
    outbound: Outbound,
    accepted: Arc<Mutex<Option<Accepted>>>,
    /// Its listener that represents all listeners without TLS,
    plain: ListenerId,
    /// and the one for all with TLS, once there is a certificate.
    tls: Option<ListenerId>,
    max_frame_size: usize,
}

impl Libp2p {
    pub(super) fn new(outbound: Outbound, config: &Config, tls: &Tls) -> Self {
        let accepted = Arc::<Mutex<Option<Accepted>>>::default();
        let mut stock = Stock::new(Handed {
            outbound: outbound.clone(),
            accepted: Arc::clone(&accepted),
        });
        stock
            .set_max_redirects(config.max_redirects())
            .set_max_data_size(config.max_frame_size());
        let plain = ListenerId::next();
        stand_in(&mut stock, plain, Protocol::Ws("/".into()));
        let mut libp2p = Self {
            stock: Arc::new(Mutex::new(stock)),
            outbound,
            accepted,
            plain,
            tls: None,
            max_frame_size: config.max_frame_size(),
        };
        libp2p.set_tls(tls);
        libp2p
    }

    /// Does nothing before it is polled. `None` if TLS is needed and there is no certificate. `from` appears in the log of
    /// libp2p-websocket.
    pub(super) fn accept(
        &mut self,
        incoming: Incoming,
        kind: Kind,
        from: Multiaddr,
    ) -> Option<Pending<Connection>> {
        let listener = match kind {
            Kind::Tcp => return None,
            Kind::Ws => self.plain,
            Kind::Wss => self.tls?,
        };
        let upgrade = match incoming {
            Incoming::Unheard(upgrade) => upgrade,
            Incoming::Heard(io) => ready(Ok(io.into_io())).boxed(),
        };
        *lock(&self.accepted) = Some(Accepted {
            listener,
            upgrade,
            from,
        });
        // A connection that is passed to it comes back in the same call.
        let mut cx = Context::from_waker(Waker::noop());
        match Pin::new(&mut *lock(&self.stock)).poll(&mut cx) {
            Poll::Ready(TransportEvent::Incoming { upgrade, .. }) => {
                Some(upgrading(upgrade, self.max_frame_size))
            }
            _ => None,
        }
    }

    /// The addresses of a name take part in a race below it. Those of a `/dnsaddr` take part in another race around it.
    pub(super) fn dial(
        &self,
        address: Multiaddr,
        opts: DialOpts,
    ) -> Result<Pending<Connection>, TransportError<Error>> {
        let (stock, max_frame_size) = (Arc::clone(&self.stock), self.max_frame_size);
        let dial = move |address: Multiaddr| {
            // Refused as with the other engine, with the address unchanged.
            Request::parse(&address, false)?;
            let dial = match lock(&stock).dial(address.clone(), opts) {
                Ok(dial) => upgrading(dial, max_frame_size),
                Err(error) => return Err(error.map(Error::from)),
            };
            let dial = dial.map_err(|error| match error {
                Error::UnsupportedAddress(_) => Error::UnsupportedAddress(address),
                error => error,
            });
            Ok(dial.boxed())
        };
        let (records, connect) = (self.outbound.resolver.as_ref(), connect(dial.clone()));
        match Contest::of_dnsaddr(&address, false, target, records, None, &connect) {
            Some(contest) => Ok(first(contest, &self.outbound).boxed()),
            None => dial(address),
        }
    }

    pub(super) fn has_certificate(&self) -> bool {
        self.tls.is_some()
    }

    /// Replaces only the configurations of TLS, for both roles.
    pub(super) fn set_tls(&mut self, tls: &Tls) {
        let mut stock = lock(&self.stock);
        stock.set_tls_config(config_of(tls));
        if self.tls.is_none() && tls.support() == Support::Now {
            let id = ListenerId::next();
            stand_in(&mut stock, id, Protocol::Wss("/".into()));
            self.tls = Some(id);
        }
    }
}

/// Connected to as it is.
fn target(address: &Multiaddr) -> Result<Target<()>, TransportError<Error>> {
    Ok(Target {
        address: address.clone(),
        below: address.clone(),
        data: (),
    })
}

fn first<C: Send + 'static>(
    contest: Contest<C, ()>,
    outbound: &Outbound,
) -> impl Future<Output = Result<C, Error>> + use<C> {
    let mut dial = Dial::begin(contest, outbound.timeout).through(outbound.proxy.clone());
    async move {
        let (_, connected) = dial.connected().await?;
        Ok(connected)
    }
}

/// The configuration for both roles.
fn config_of(tls: &Tls) -> tls::Config {
    let mut builder = tls::Config::builder();
    if let Some(certificate) = tls.certificate() {
        add_certificate(&mut builder, certificate);
    }
    for anchor in tls.trust_anchors() {
        add_trust_anchor(&mut builder, anchor);
    }
    builder.finish()
}

pub(super) fn add_certificate(builder: &mut tls::Builder, certificate: &Certificate) {
    let chain = certificate.chain();
    let chain = chain.map(|der| tls::Certificate::new(der.to_vec()));
    builder
        .server(tls::PrivateKey::new(certificate.key().to_vec()), chain)
        .expect("`Certificate::from_der` has read them in the same way");
}

pub(super) fn add_trust_anchor(builder: &mut tls::Builder, anchor: &TrustAnchor) {
    builder
        .add_trust(&tls::Certificate::new(anchor.der().to_vec()))
        .expect("`TrustAnchor::from_der` has added it to a store already");
}

impl From<libp2p_websocket::error::Error<Self>> for Error {
    fn from(error: libp2p_websocket::error::Error<Self>) -> Self {
        use libp2p_websocket::error::Error as Stock;

        match error {
            Stock::Transport(error) => error,
            Stock::Tls(cause) => Self::Tls(cause.into()),
            Stock::Handshake(cause) => Self::Handshake(cause),
            Stock::Base(cause) => Self::Protocol(cause),
            Stock::TooManyRedirects => Self::TooManyRedirects,
            Stock::InvalidRedirectLocation => Self::InvalidRedirect,
            Stock::InvalidMultiaddr(address) => Self::UnsupportedAddress(address),
        }
    }
}

impl From<tls::Error> for TlsError {
    fn from(error: tls::Error) -> Self {
        match error {
            tls::Error::Io(error) => error.into(),
            // It prints its cause and also returns it as the source.
            tls::Error::Tls(cause) => Self::Other(cause),
            tls::Error::InvalidDnsName(name) => Self::InvalidName { name },
            other => Self::Other(Box::new(other)),
        }
    }
}

/// libp2p-websocket has one type for both roles.
fn upgrading(stock: <Stock as Transport>::Dial, max_frame_size: usize) -> Pending<Connection> {
    Box::pin(
        stock
            .map_ok(move |connection| Connection::new(Bounded::new(connection, max_frame_size)))
            .map_err(Error::from),
    )
}

/// Registers a listener with this protocol in libp2p-websocket, which will see only its connections.
fn stand_in(stock: &mut Stock, id: ListenerId, protocol: Protocol<'_>) {
    let address = Multiaddr::from(Ipv4Addr::LOCALHOST)
        .with(Protocol::Tcp(0))
        .with(protocol);
    let listening = stock.listen_on(id, address);
    debug_assert!(listening.is_ok(), "what it has below takes all of them");
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The transport below libp2p-websocket: it dials, and its only events are the connections that are passed to it.
struct Handed {
    outbound: Outbound,
    accepted: Arc<Mutex<Option<Accepted>>>,
}

struct Accepted {
    listener: ListenerId,
    upgrade: Pending<Io>,
    from: Multiaddr,
}

impl Transport for Handed {
    type Output = Io;
    type Error = Error;
    type ListenerUpgrade = Pending<Io>;
    type Dial = Pending<Io>;

    fn listen_on(&mut self, _: ListenerId, _: Multiaddr) -> Result<(), TransportError<Error>> {
        Ok(())
    }

    fn remove_listener(&mut self, _: ListenerId) -> bool {
        false
    }

    fn dial(
        &mut self,
        addr: Multiaddr,
        opts: DialOpts,
    ) -> Result<Pending<Io>, TransportError<Error>> {
        let connect = connect_through(&self.outbound, opts);
        let contest = Contest::of(target(&addr)?, self.outbound.for_names(), &connect);
        Ok(first(contest, &self.outbound).boxed())
    }

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<TransportEvent<Pending<Io>, Error>> {
        let Some(accepted) = lock(&self.accepted).take() else {
            return Poll::Pending;
        };
        Poll::Ready(TransportEvent::Incoming {
            listener_id: accepted.listener,
            upgrade: accepted.upgrade,
            local_addr: Multiaddr::empty(),
            send_back_addr: accepted.from,
        })
    }
}
