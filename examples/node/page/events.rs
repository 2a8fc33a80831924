//! Server-sent events: the state, whenever there is another one, until the browser is gone.

use std::{io, pin::pin, sync::Arc, time::Duration};

use futures::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _,
    future::{self, Either},
};
use futures_timer::Delay;
use tokio::sync::watch;

use super::{Snapshot, head};
use crate::runtime::within;

pub(crate) const TYPE: &str = "text/event-stream";

/// Proxies buffer an answer unless they are told. A browser that has lost the connection comes again after two seconds.
const HEADERS: &str = "Cache-Control: no-store\r\n\
    X-Accel-Buffering: no\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Connection: close\r\n\r\n\
    retry: 2000\n\n";

/// Maximum number of bytes that a browser sends. That is its request.
const MAX_READ: u64 = 64 * 1024;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// From one comment to the next, which keep the connection open in proxies.
    pub(crate) comment: Duration,
    /// How long one write may take.
    pub(crate) write: Duration,
}

pub(crate) const PACE: Pace = Pace {
    comment: Duration::from_secs(15),
    write: Duration::from_secs(10),
};

/// Writes each state, as the text of one line. One that comes during a write replaces those before it.
pub(crate) async fn tell(
    io: impl AsyncRead + AsyncWrite + Unpin,
    states: watch::Receiver<Arc<Snapshot>>,
    pace: Pace,
) -> io::Result<()> {
    let (read, mut write) = io.split();
    let gone = async {
        let (mut read, mut buffer) = (read.take(MAX_READ), [0; 512]);
        while read.read(&mut buffer).await? > 0 {}
        match read.limit() {
            0 => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the browser sends more than a request",
            )),
            _ => Ok(()),
        }
    };
    let told = match future::select(pin!(gone), pin!(write_all(&mut write, states, pace))).await {
        Either::Left((gone, _)) => return gone,
        Either::Right((told, _)) => told,
    };
    // Once it closes, nothing can be read any more.
    match within(pace.write, write.close()).await {
        Ok(()) => told,
        closed => told.and(closed),
    }
}

async fn write_all(
    write: &mut (impl AsyncWrite + Unpin),
    mut states: watch::Receiver<Arc<Snapshot>>,
    pace: Pace,
) -> io::Result<()> {
    let mut put = async |text: &str| {
        let written = async {
            write.write_all(text.as_bytes()).await?;
            write.flush().await
        };
        within(pace.write, written).await
    };
    put(&format!("{}{HEADERS}", head(TYPE))).await?;
    states.mark_changed();
    let mut comment = Delay::new(pace.comment);
    loop {
        let due = tokio::select! {
            changed = states.changed() => match changed {
                Ok(()) => format!("data: {}\n\n", states.borrow_and_update().json),
                // The node ends.
                Err(_) => return Ok(()),
            },
            () = &mut comment => {
                comment.reset(pace.comment);
                ":\n\n".to_owned()
            }
        };
        put(&due).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
        pin::Pin,
        sync::atomic::{AtomicUsize, Ordering},
        task::{Context, Poll},
    };

    use async_io::{Async, block_on};

    use super::*;
    use crate::page::state::State;

    /// Nothing waits for this.
    const LONG: Duration = Duration::from_secs(600);

    const SHORT: Duration = Duration::from_millis(20);

    /// A test that would hang fails after this.
    const LIMIT: Duration = Duration::from_secs(60);

    fn run(test: impl Future<Output = io::Result<()>>) -> io::Result<()> {
        block_on(within(LIMIT, test))
    }

    fn pair() -> [Async<TcpStream>; 2] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (other, _) = listener.accept().unwrap();
        [one, other].map(|stream| Async::new(stream).unwrap())
    }

    fn snapshot(title: &str) -> Arc<Snapshot> {
        Arc::new(Snapshot::new(State {
            title: title.to_owned(),
            ..State::default()
        }))
    }

    async fn read_until(stream: &mut Async<TcpStream>, end: &str) -> String {
        let mut text = Vec::new();
        while !text.ends_with(end.as_bytes()) {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            text.extend(byte);
        }
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn each_state_is_one_event_and_the_last_one_ends_it() {
        let [mut browser, node] = pair();
        let (states, watched) = watch::channel(snapshot("first"));
        let pace = Pace {
            comment: LONG,
            write: LONG,
        };
        let test = async {
            let test = async {
                let head = read_until(&mut browser, "\r\n\r\n").await;
                assert!(head.starts_with("HTTP/1.1 200 OK\r\n"));
                assert!(head.contains("\r\nContent-Type: text/event-stream\r\n"));
                assert_eq!(read_until(&mut browser, "\n\n").await, "retry: 2000\n\n");
                for title in ["first", "line\nand </script>"] {
                    states.send_replace(snapshot(title));
                    let event = read_until(&mut browser, "\n\n").await;
                    let data = event.strip_prefix("data: ").unwrap();
                    assert!(!data.trim_end().contains('\n'));
                    let state: serde_json::Value = serde_json::from_str(data).unwrap();
                    assert_eq!(state["title"], title);
                }
                drop(states);
                assert_eq!(browser.read(&mut [0]).await.unwrap(), 0);
            };
            future::join(tell(node, watched, pace), test).await.0
        };
        run(test).unwrap();
    }

    #[test]
    fn a_comment_comes_whenever_it_is_time() {
        let [mut browser, node] = pair();
        let (_states, watched) = watch::channel(snapshot("only"));
        let pace = Pace {
            comment: SHORT,
            write: LONG,
        };
        let test = async {
            let test = async {
                read_until(&mut browser, "\"only\"").await;
                for _ in 0..3 {
                    read_until(&mut browser, "\n\n:\n\n").await;
                }
                // It has gone, also if it has sent something before.
                browser.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
                browser.get_ref().shutdown(Shutdown::Write).unwrap();
            };
            future::join(tell(node, watched, pace), test).await.0
        };
        run(test).unwrap();
    }

    /// Takes nothing, and sends nothing or without end.
    struct Stuck {
        sent: Option<usize>,
    }

    impl AsyncRead for Stuck {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            let Some(sent) = &mut self.sent else {
                return Poll::Pending;
            };
            *sent += buf.len();
            assert!(*sent < 1024 * 1024, "it is read without end");
            Poll::Ready(Ok(buf.len()))
        }
    }

    impl AsyncWrite for Stuck {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    #[test]
    fn one_that_takes_nothing_is_given_up() {
        let (_states, watched) = watch::channel(snapshot("only"));
        let pace = Pace {
            comment: LONG,
            write: SHORT,
        };
        let told = Box::pin(tell(Stuck { sent: None }, watched, pace));
        let Either::Left((ended, _)) = block_on(future::select(told, Delay::new(LIMIT))) else {
            panic!("it is not given up");
        };
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn one_that_sends_without_end_is_given_up() {
        let (_states, watched) = watch::channel(snapshot("only"));
        let pace = Pace {
            comment: LONG,
            write: LONG,
        };
        let ended = run(tell(Stuck { sent: Some(0) }, watched, pace));
        assert_eq!(ended.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    /// As a visitor, of which nothing can be read once it closes. Counts the polls of that.
    struct Closing(Arc<AtomicUsize>);

    impl AsyncRead for Closing {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            match self.0.load(Ordering::Relaxed) {
                0 => Poll::Pending,
                _ => Poll::Ready(Ok(0)),
            }
        }
    }

    impl AsyncWrite for Closing {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.0.fetch_add(1, Ordering::Relaxed) > 0 {
                return Poll::Ready(Ok(()));
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }

    #[test]
    fn it_is_closed_to_the_end() {
        let (states, watched) = watch::channel(snapshot("only"));
        drop(states);
        let pace = Pace {
            comment: LONG,
            write: LONG,
        };
        let closed = Arc::default();
        run(tell(Closing(Arc::clone(&closed)), watched, pace)).unwrap();
        assert_eq!(closed.load(Ordering::Relaxed), 2);
    }
}
