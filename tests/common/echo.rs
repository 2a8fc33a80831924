//! Listens and sends back, dials and wants it back; without anything of libp2p above WebSocket.
#![allow(dead_code, reason = "each test uses its part")]

use std::{
    io::{self, Read as _, Write as _},
    pin::Pin,
    thread,
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::poll_fn};
use libp2p::{
    Multiaddr, Transport as _,
    core::{
        Endpoint,
        transport::{DialOpts, ListenerId, PortUse, TransportEvent},
    },
    multiaddr::Protocol,
};
use libp2p_lazy_websocket::{
    lazy,
    websocket::{self, Connection},
};

use crate::common::{Case, Transport, cause, within};

pub(crate) type Error = lazy::Error<websocket::Error>;

/// Listens and sends everything back, in a task of its own. Returns the addresses that were reported.
pub(crate) async fn echo(case: Case, config: websocket::Config, listen: &[&str]) -> Vec<Multiaddr> {
    let mut transport = case.transport(config);
    for address in listen {
        transport
            .listen_on(ListenerId::next(), address.parse().unwrap())
            .unwrap();
    }
    let mut addresses = Vec::new();
    while addresses.len() < listen.len() {
        addresses.push(new_address(&mut transport).await);
    }
    case.spawn(async move {
        loop {
            let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
            let TransportEvent::Incoming { upgrade, .. } = event else {
                panic!("only connections, not {event:?}");
            };
            case.spawn(async move {
                // Some of those who connect are not meant to get through.
                if let Ok(connection) = upgrade.await {
                    let _ = send_back(connection).await;
                }
            })
            .forget();
        }
    })
    .forget();
    addresses
}

/// The next event, which must be a new address. The port that the system has chosen in one family may be taken in the other,
/// by a test beside this one: then it is tried again.
pub(crate) async fn new_address(transport: &mut Transport) -> Multiaddr {
    loop {
        match within(poll_fn(|cx| Pin::new(&mut *transport).poll(cx))).await {
            TransportEvent::NewAddress { listen_addr, .. } => return listen_addr,
            TransportEvent::ListenerError { error, .. } if is_in_use(&error) => {}
            other => panic!("a new address, not {other:?}"),
        }
    }
}

fn is_in_use(error: &Error) -> bool {
    let error: Option<&io::Error> = cause(error);
    error.is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

pub(crate) async fn send_back(connection: Connection) -> io::Result<()> {
    let (mut read, mut write) = connection.split();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match read.read(&mut buffer).await? {
            0 => return write.close().await,
            count => {
                write.write_all(&buffer[..count]).await?;
                // A WebSocket frame stays in the buffer of its writer until then.
                write.flush().await?;
            }
        }
    }
}

pub(crate) async fn dial(
    case: Case,
    config: websocket::Config,
    address: &Multiaddr,
) -> Result<Connection, Error> {
    dial_with(&mut case.transport(config), address).await
}

pub(crate) async fn dial_with(
    transport: &mut Transport,
    address: &Multiaddr,
) -> Result<Connection, Error> {
    let opts = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let mut dial = transport.dial(address.clone(), opts).unwrap();
    within(poll_fn(|cx| {
        // What dials is polled too, as in a swarm.
        assert!(Pin::new(&mut *transport).poll(cx).is_pending());
        Pin::new(&mut dial).poll(cx)
    }))
    .await
}

/// Sends a mebibyte and wants it back.
pub(crate) async fn assert_echoes(connection: Connection) {
    let sent: Vec<u8> = (0..1 << 20).map(|n: u32| (n % 251) as u8).collect();
    let mut received = vec![0; sent.len()];
    let (mut read, mut write) = connection.split();
    within(async {
        let (wrote, got) = futures::join!(
            async {
                write.write_all(&sent).await?;
                write.flush().await
            },
            read.read_exact(&mut received)
        );
        wrote.unwrap();
        got.unwrap();
    })
    .await;
    assert!(sent == received, "the bytes are the same");
}

pub(crate) fn port(address: &Multiaddr) -> u16 {
    address
        .iter()
        .find_map(|protocol| match protocol {
            Protocol::Tcp(port) => Some(port),
            _ => None,
        })
        .unwrap()
}

/// Answers the first request that comes with this, whatever it was.
pub(crate) fn answers(response: &'static str) -> Multiaddr {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(response.as_bytes());
    });
    format!("/ip4/127.0.0.1/tcp/{port}/ws").parse().unwrap()
}
