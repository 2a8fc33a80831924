//! What an idle connection holds.

use futures::{AsyncReadExt as _, AsyncWriteExt as _, future::join};

use super::{
    link::{Authority, Bytes, Kind, Link},
    place::Place,
};

/// How much goes to and fro before a connection is idle again.
const ECHO: usize = 64 * 1024;

/// The bytes on the heap for a connection, its two ends together. What the kernel holds for it is not among them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Idle {
    /// After its handshake.
    pub(crate) fresh: usize,
    /// After an echo.
    pub(crate) used: usize,
}

/// Of so many connections that are there at once.
pub(crate) async fn measure(
    kind: Kind,
    count: usize,
    place: &Place,
    authority: &Authority,
) -> Idle {
    let _profiler = dhat::Profiler::builder()
        .testing()
        .trim_backtraces(Some(4))
        .build();
    let mut link = Link::bytes(kind, false, place, authority).await;
    let (out, mut back) = (vec![0x5a; ECHO], vec![0; ECHO]);
    // What is made when it is first needed is not to be counted.
    let mut first = link.pair().await;
    echo(&mut first, &out, &mut back).await;
    let mut connections = Vec::with_capacity(count);
    let before = heap();
    for _ in 0..count {
        connections.push(link.pair().await);
    }
    settle().await;
    let fresh = heap().saturating_sub(before);
    for connection in &mut connections {
        echo(connection, &out, &mut back).await;
    }
    settle().await;
    let used = heap().saturating_sub(before);
    Idle {
        fresh: fresh / count,
        used: used / count,
    }
}

async fn echo((client, server): &mut (Bytes, Bytes), out: &[u8], back: &mut [u8]) {
    pass(client, server, out, back).await;
    pass(server, client, out, back).await;
}

async fn pass(from: &mut Bytes, to: &mut Bytes, out: &[u8], back: &mut [u8]) {
    let write = async {
        from.write_all(out).await.expect("it is read");
        from.flush().await.expect("it is read");
    };
    let read = async { to.read_exact(back).await.expect("it is written") };
    join(write, read).await;
}

/// Lets tasks that are done end.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

fn heap() -> usize {
    dhat::HeapStats::get().curr_bytes
}
