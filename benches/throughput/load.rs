//! What is done over a connection.

use std::io;

use futures::{
    AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _, future::join, stream::FuturesUnordered,
};

use super::{
    link::{Bytes, Link},
    place::{Cost, Place, cost_of},
};

/// What is read at once.
const READ: usize = 64 * 1024;

/// Which end writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

impl Direction {
    pub(crate) const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];
}

/// Many bytes in one direction.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Transfer {
    pub(crate) direction: Direction,
    /// How many bytes each write has.
    pub(crate) write: usize,
    /// Whether each is flushed, and not only the last.
    pub(crate) flushes_each: bool,
    /// How many bytes there are.
    pub(crate) total: usize,
}

impl Transfer {
    /// From the first write to the last byte that is read, after a quarter of it that is not measured.
    pub(crate) async fn measure(self, client: Bytes, server: Bytes, place: &Place) -> Cost {
        let (mut writer, mut reader) = match self.direction {
            Direction::ToServer => (client, server),
            Direction::ToClient => (server, client),
        };
        let warm_up = Self {
            total: self.total / 4,
            ..self
        };
        let (one, two) = match self.direction {
            Direction::ToServer => {
                let reading = place.server().spawn(async move {
                    warm_up.read(&mut reader).await?;
                    // The writer waits for it, so that nothing of the warm-up is left.
                    reader.write_all(&[0]).await?;
                    reader.flush().await?;
                    self.read(&mut reader).await?;
                    Ok::<_, io::Error>(reader)
                });
                warm_up.write(&mut writer).await.expect("it is read");
                writer.read_exact(&mut [0]).await.expect("it is told");
                let mut both = None;
                let cost = cost_of(async {
                    self.write(&mut writer).await.expect("it is read");
                    both = Some(reading.await.expect("it does not panic"));
                })
                .await;
                drop(both.expect("it has been read").expect("it is written"));
                return cost;
            }
            Direction::ToClient => (writer, reader),
        };
        let (mut writer, mut reader) = (one, two);
        let writing = place.server().spawn(async move {
            warm_up.write(&mut writer).await?;
            writer.read_exact(&mut [0]).await?;
            self.write(&mut writer).await?;
            Ok::<_, io::Error>(writer)
        });
        warm_up.read(&mut reader).await.expect("it is written");
        let cost = cost_of(async {
            reader.write_all(&[0]).await.expect("it is read");
            reader.flush().await.expect("it is read");
            self.read(&mut reader).await.expect("it is written");
        })
        .await;
        drop(
            writing
                .await
                .expect("it does not panic")
                .expect("it is read"),
        );
        cost
    }

    async fn write(self, to: &mut Bytes) -> io::Result<()> {
        let bytes = vec![0x5a; self.write];
        for _ in 0..self.total / self.write {
            to.write_all(&bytes).await?;
            if self.flushes_each {
                to.flush().await?;
            }
        }
        to.flush().await
    }

    async fn read(self, from: &mut Bytes) -> io::Result<()> {
        let mut buffer = vec![0; READ];
        let mut left = self.total / self.write * self.write;
        while left > 0 {
            let room = READ.min(left);
            match from.read(&mut buffer[..room]).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => left -= count,
            }
        }
        Ok(())
    }
}

/// A few bytes to and fro, so many times.
pub(crate) async fn ping_pong(
    mut client: Bytes,
    mut server: Bytes,
    bytes: usize,
    times: usize,
    place: &Place,
) -> Cost {
    let warm_up = times / 4;
    let answering = place.server().spawn(async move {
        let mut buffer = vec![0; bytes];
        for _ in 0..warm_up + times {
            server.read_exact(&mut buffer).await?;
            server.write_all(&buffer).await?;
            server.flush().await?;
        }
        Ok::<_, io::Error>(server)
    });
    let mut ask = async |times| {
        let mut buffer = vec![0; bytes];
        for _ in 0..times {
            client.write_all(&buffer).await.expect("it is read");
            client.flush().await.expect("it is read");
            client.read_exact(&mut buffer).await.expect("it is told");
        }
    };
    ask(warm_up).await;
    let cost = cost_of(ask(times)).await;
    drop(answering.await.expect("it does not panic"));
    cost
}

/// Connections made and dropped, so many of them at a time.
pub(crate) async fn handshakes(link: &mut Link<Bytes>, count: usize, at_once: usize) -> Cost {
    let mut make = async |count: usize| {
        let first = count.min(at_once);
        let mut dials: FuturesUnordered<_> = (0..first).map(|_| link.dial()).collect();
        let (mut begun, mut done) = (first, 0);
        while done < count {
            let (dialled, accepted) = join(dials.next(), link.accepted()).await;
            drop((dialled, accepted));
            done += 1;
            if begun < count {
                begun += 1;
                dials.push(link.dial());
            }
        }
    };
    make(at_once.max(count / 10)).await;
    cost_of(make(count)).await
}
