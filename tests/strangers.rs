//! What a stranger costs who connects to a shared port and says nothing. A file of its own, as the allocator counts for the
//! whole process.
#![cfg(feature = "tokio")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{future::poll_fn, net::TcpStream, pin::Pin, task::Poll};

use common::{Case, Transport, socket_address, within};
use libp2p::{
    Multiaddr, Transport as _,
    core::transport::{ListenerId, TransportEvent},
};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// The most bytes of the heap that one may hold on average.
const MOST: usize = 1536;

async fn listen(transport: &mut Transport, address: &str) -> Multiaddr {
    let address = address.parse().unwrap();
    transport.listen_on(ListenerId::next(), address).unwrap();
    match within(poll_fn(|cx| Pin::new(&mut *transport).poll(cx))).await {
        TransportEvent::NewAddress { listen_addr, .. } => listen_addr,
        other => panic!("a new address, not {other:?}"),
    }
}

/// Until there are so many, of whom nothing above the transport hears.
async fn connect(
    transport: &mut Transport,
    to: &Multiaddr,
    strangers: &mut Vec<TcpStream>,
    count: usize,
) {
    let counters = transport.counters();
    while strangers.len() < count {
        strangers.push(TcpStream::connect(socket_address(to)).unwrap());
        within(poll_fn(|cx| {
            let event = Pin::new(&mut *transport).poll(cx);
            assert!(event.is_pending(), "{event:?}");
            match counters.pending_handshakes() == strangers.len() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }))
        .await;
    }
}

#[tokio::test]
async fn a_silent_stranger_on_a_shared_port_holds_little_memory() {
    const FIRST: usize = 40;
    const MORE: usize = 320;

    let _profiler = dhat::Profiler::builder().testing().build();
    let config = Case::TOKIO
        .config()
        .with_tcp(true)
        .with_max_pending_handshakes(FIRST + MORE);
    let mut transport = Case::TOKIO.transport(config);
    let address = listen(&mut transport, "/ip4/127.0.0.1/tcp/0").await;
    listen(&mut transport, &format!("{address}/ws")).await;
    let mut strangers = Vec::with_capacity(FIRST + MORE);
    // What is made for the first of them serves all.
    connect(&mut transport, &address, &mut strangers, FIRST).await;
    let before = dhat::HeapStats::get().curr_bytes;
    connect(&mut transport, &address, &mut strangers, FIRST + MORE).await;
    let held = (dhat::HeapStats::get().curr_bytes - before) / MORE;
    println!("{held} bytes each");
    assert!(held < MOST, "{held} bytes each");
}
