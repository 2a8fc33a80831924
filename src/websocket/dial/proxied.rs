use std::{sync::Arc, time::Duration};

use futures::{FutureExt as _, future};
use libp2p_core::{
    Endpoint,
    transport::{DialOpts, PortUse},
};
use multiaddr::{Multiaddr, Protocol};

use super::{Connect, Contest, Dial, Outbound, Target, connect};
use crate::websocket::{Error, OutgoingProxy, ProxyError, below::Io, hearing::Prefixed};

/// Connects by the transport below, through the proxy if there is one.
pub(in crate::websocket) fn connect_through(outbound: &Outbound, opts: DialOpts) -> Connect<Io> {
    let below = outbound.below.clone();
    let direct = connect(move |address| below.dial(address, opts));
    let Some(proxy) = outbound.proxy.clone() else {
        return direct;
    };
    let below = outbound.below.clone();
    let to_proxy = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let to_proxy = connect(move |address| below.dial(address, to_proxy));
    let resolver = outbound.resolver.clone();
    Arc::new(move |address| {
        if !proxy.is_for(&address) {
            return direct(address);
        }
        if opts.role == Endpoint::Listener {
            let refused = Error::proxy(&proxy, ProxyError::ListenerRole);
            return future::ready(Err(refused)).boxed();
        }
        let at = Target {
            address: proxy.address().clone(),
            below: proxy.address().clone(),
            data: (),
        };
        let contest = Contest::of(at, resolver.as_ref(), &to_proxy);
        through(Arc::clone(&proxy), contest, address).boxed()
    })
}

async fn through(
    proxy: Arc<OutgoingProxy>,
    contest: Contest<Io, ()>,
    address: Multiaddr,
) -> Result<Io, Error> {
    // What else the transport below would make of the address is unknown to a proxy.
    let protocols = address.iter();
    let others = protocols.filter(|protocol| !matches!(protocol, Protocol::P2p(_)));
    if others.count() != 2 {
        return Err(Error::UnsupportedAddress(address));
    }
    // The dial that this is a part of has the deadline.
    let mut io = match Dial::begin(contest, Duration::MAX).connected().await {
        Ok((_, io)) => io,
        Err(Error::TransportDropped) => return Err(Error::TransportDropped),
        Err(error) => return Err(Error::proxy(&proxy, ProxyError::Connect(Box::new(error)))),
    };
    match proxy.tunnel(&mut io, &address).await {
        Ok(received) => Ok(Prefixed::new(received, io).into_io()),
        Err(error) => Err(Error::proxy(&proxy, error)),
    }
}
