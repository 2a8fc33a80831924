//! The network between a peer and the hub: a proxy of TCP that can stop carrying anything, for a while or for ever.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU32, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Notify, watch},
};

use crate::rules::Side;

/// Those of connections, which the hub is told of as the addresses of clients, in the PROXY protocol.
static NEXT: AtomicU32 = AtomicU32::new(1);

/// What a proxy sees.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Seen {
    Opened,
    Closed(Side),
}

/// What the network does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Weather {
    /// It carries nothing now.
    is_still: bool,
    /// Connections with a smaller number than this are lost.
    lost: u32,
    resets: Resets,
}

/// Who is told that lost connections are no more, once the network is back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Resets {
    pub(crate) peer: bool,
    pub(crate) hub: bool,
}

/// One for each peer.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    weather: watch::Sender<Weather>,
}

impl Proxy {
    /// Listens on a port of its own, and tells what it sees of each connection.
    pub(crate) async fn start(
        hub: SocketAddr,
        seen: impl Fn(u32, Seen) + Clone + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (weather, changes) = watch::channel(Weather::default());
        tokio::spawn(async move {
            while let Ok((peer, _)) = listener.accept().await {
                let (changes, seen) = (changes.clone(), seen.clone());
                tokio::spawn(async move {
                    let _ = carry(peer, hub, changes, seen).await;
                });
            }
        });
        Ok(Self { port, weather })
    }

    pub(crate) fn freeze(&self) {
        self.weather.send_modify(|weather| weather.is_still = true);
    }

    /// All that has been sent by now, or will be, over the connections that there are is lost.
    pub(crate) fn cut(&self) {
        let lost = NEXT.load(Ordering::Relaxed);
        self.weather.send_modify(|weather| {
            *weather = Weather {
                is_still: true,
                lost,
                resets: Resets::default(),
            };
        });
    }

    pub(crate) fn mend(&self, resets: Resets) {
        self.weather.send_modify(|weather| {
            weather.is_still = false;
            weather.resets = resets;
        });
    }
}

/// What a connection to the hub begins with, in the PROXY protocol.
pub(crate) fn header(number: u32, hub: SocketAddr) -> String {
    let client = Ipv4Addr::from(0x0a00_0000 | number);
    format!("PROXY TCP4 {client} {} 1 {}\r\n", hub.ip(), hub.port())
}

/// The connection whose client the hub says it has heard.
pub(crate) fn number(client: Ipv4Addr) -> Option<u32> {
    let number = u32::from(client).checked_sub(0x0a00_0000)?;
    (number < 0x0100_0000).then_some(number)
}

async fn carry(
    peer: TcpStream,
    hub: SocketAddr,
    mut weather: watch::Receiver<Weather>,
    seen: impl Fn(u32, Seen),
) -> io::Result<()> {
    // As the first packet, which is sent again and again.
    until(&mut weather, |now| !now.is_still).await;
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut to_hub = TcpStream::connect(hub).await?;
    peer.set_nodelay(true)?;
    to_hub.set_nodelay(true)?;
    to_hub.write_all(header(number, hub).as_bytes()).await?;
    seen(number, Seen::Opened);
    let ((from_peer, to_peer), (from_hub, to_hub)) = (peer.into_split(), to_hub.into_split());
    let [peer, hub] = [Notify::new(), Notify::new()];
    let pump = async |side, from, to, [over, other]: [&Notify; 2]| {
        pump(number, side, from, to, weather.clone(), &seen, other).await;
        over.notify_one();
    };
    tokio::join!(
        pump(Side::Peer, from_peer, to_hub, [&peer, &hub]),
        pump(Side::Hub, from_hub, to_peer, [&hub, &peer]),
    );
    Ok(())
}

/// Carries what one side sends until it closes, and tells when that is. `other` is notified once the other side has closed.
async fn pump(
    number: u32,
    side: Side,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut weather: watch::Receiver<Weather>,
    seen: impl Fn(u32, Seen),
    other: &Notify,
) {
    let is_lost = |weather: &Weather| number < weather.lost;
    let forgotten = |now: &Weather| {
        let resets = match side {
            Side::Hub => now.resets.peer,
            Side::Peer => now.resets.hub,
        };
        is_lost(now) && resets && !now.is_still
    };
    let mut has_told = false;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            () = until(&mut weather, forgotten), if !has_told => {
                has_told = true;
                let _ = to.shutdown().await;
                continue;
            }
        };
        let length = read.unwrap_or(0);
        if length == 0 {
            seen(number, Seen::Closed(side));
        }
        // What is to be carried waits for the network, unless that loses it.
        until(&mut weather, |now| is_lost(now) || !now.is_still).await;
        let lost = is_lost(&weather.borrow());
        match (lost, length) {
            // The other side hears nothing of it, or only once the network is back.
            (true, 0) if has_told => return to.forget(),
            (true, 0) => tokio::select! {
                () = until(&mut weather, forgotten) => return drop(to),
                () = other.notified() => return to.forget(),
            },
            (true, _) => {}
            (false, 0) => return drop(to),
            (false, _) => tokio::select! {
                // If nobody is there any more, the other pump hears of it.
                _ = to.write_all(&buffer[..length]) => {}
                () = until(&mut weather, is_lost) => {}
            },
        }
    }
}

async fn until(weather: &mut watch::Receiver<Weather>, is: impl FnMut(&Weather) -> bool) {
    // The proxy lives as long as the test.
    let _ = weather.wait_for(is).await.map(drop);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{sync::mpsc, time::timeout};

    use super::*;

    /// Both ends of a connection through a proxy, and what it sees.
    async fn connected() -> (Proxy, [TcpStream; 2], mpsc::UnboundedReceiver<Seen>) {
        let hub = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (sender, seen) = mpsc::unbounded_channel();
        let told = move |_, seen| {
            let _ = sender.send(seen);
        };
        let proxy = Proxy::start(hub.local_addr().unwrap(), told).await.unwrap();
        let peer = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port)).await;
        let (mut accepted, _) = hub.accept().await.unwrap();
        // The header of the proxy.
        while accepted.read_u8().await.unwrap() != b'\n' {}
        (proxy, [peer.unwrap(), accepted], seen)
    }

    async fn ends(stream: &mut TcpStream) -> bool {
        let read = timeout(Duration::from_secs(20), stream.read_u8());
        read.await.expect("it hears of the end").is_err()
    }

    #[tokio::test]
    async fn who_closes_while_nothing_is_carried_is_told_of_once_the_network_is_back() {
        let (proxy, [peer, mut hub], mut seen) = connected().await;
        assert!(matches!(seen.recv().await, Some(Seen::Opened)));
        proxy.cut();
        drop(peer);
        assert!(matches!(seen.recv().await, Some(Seen::Closed(Side::Peer))));
        proxy.mend(Resets {
            hub: true,
            ..Resets::default()
        });
        assert!(ends(&mut hub).await);
    }

    #[tokio::test]
    async fn both_hear_of_a_lost_connection_once_the_network_is_back() {
        let (proxy, [mut peer, mut hub], _seen) = connected().await;
        proxy.cut();
        proxy.mend(Resets {
            peer: true,
            hub: true,
        });
        assert!(ends(&mut peer).await);
        drop(peer);
        assert!(ends(&mut hub).await);
    }
}
