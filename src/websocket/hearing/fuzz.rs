//! Bytes as the beginning of a connection, held against what always holds and against slow references.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures::{AsyncRead, AsyncReadExt as _, AsyncWrite, FutureExt as _};

use super::*;
use crate::websocket::Network;

/// Those who are believed by the proxies here.
const TRUSTED: &str = "10.0.0.0/8";

/// Gives so many bytes at once, at most, and takes whatever is written.
struct Portions {
    bytes: Vec<u8>,
    at: usize,
    portion: usize,
}

impl AsyncRead for Portions {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let left = self.bytes.get(self.at..).unwrap_or_default();
        let count = left.len().min(buf.len()).min(self.portion);
        for (to, from) in buf.iter_mut().zip(left.iter().take(count)) {
            *to = *from;
        }
        self.at += count;
        Poll::Ready(Ok(count))
    }
}

impl AsyncWrite for Portions {
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

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What it speaks, for whom it comes, and what is left to read. `None` if it ends before.
type Outcome = Option<(Option<Kind>, Option<SocketAddr>, Vec<u8>)>;

fn outcome(data: &[u8], portion: usize, wanted: Wanted) -> Outcome {
    let io: Io = Box::pin(Portions {
        bytes: data.to_vec(),
        at: 0,
        portion: portion.max(1),
    });
    let upgrade: Pending<Io> = std::future::ready(Ok(io)).boxed();
    let heard = hear(upgrade, wanted).now_or_never();
    let mut beginning = heard.expect("there is always something to read").ok()?;
    let mut rest = Vec::new();
    let read = beginning.io.read_to_end(&mut rest).now_or_never();
    assert!(matches!(read, Some(Ok(_))), "it ends");
    Some((beginning.kind, beginning.client, rest))
}

/// The first byte says what is wanted, and the second in which portions the others come.
pub(crate) fn run(data: &[u8]) {
    let [how, portion, data @ ..] = data else {
        return;
    };
    let kinds = [None, Some(Kind::Tcp), Some(Kind::Ws), Some(Kind::Wss)];
    let kind = kinds.get(usize::from(*how) % 4).copied().flatten();
    let network = || TRUSTED.parse::<Network>();
    let proxies = match (how / 4) % 3 {
        0 => None,
        1 => network().ok().map(|network| Proxies::tcp([network])),
        _ => network().ok().map(|network| Proxies::http([network])),
    };
    let tells = proxies.as_ref().map(|proxies| proxies.tells().clone());
    let wanted = Wanted {
        kind,
        proxies: proxies.map(Arc::new),
    };
    let whole = outcome(data, data.len(), wanted.clone());
    let parts = outcome(data, usize::from(*portion), wanted);
    // A request that is longer is refused, whoever it is of.
    let is_read_alike = data.len() <= MAX_HEAD || !matches!(tells, Some(Tells::Http(_)));
    if is_read_alike {
        assert_eq!(whole, parts);
    }
    let header = matches!(tells, Some(Tells::Proxy)).then(|| slow_header(data));
    for (heard, client, rest) in [whole, parts].into_iter().flatten() {
        // Nothing is lost or doubled but what is the proxy's own.
        let begin = match header {
            Some(Some(header)) => header.len,
            _ => 0,
        };
        assert_eq!(Some(&rest[..]), data.get(begin..));
        let spoken = match rest.first() {
            Some(19) => Some(Kind::Tcp),
            Some(22) => Some(Kind::Wss),
            Some(byte) if byte.is_ascii_uppercase() => Some(Kind::Ws),
            _ => None,
        };
        match (&tells, header) {
            (Some(Tells::Proxy), Some(None)) => assert_eq!((heard, client), (None, None)),
            (Some(Tells::Proxy), Some(Some(header))) => {
                assert_eq!((heard, client), (kind.or(spoken), header.client));
            }
            (Some(Tells::Http(_)), _) => {
                assert_eq!(heard, kind.or(spoken));
                assert!(client.is_none() || heard == Some(Kind::Ws));
            }
            _ => assert_eq!((heard, client), (kind.or(spoken), None)),
        }
    }
}

/// Bytes that may begin with a header of the PROXY protocol.
pub(crate) fn run_proxy(data: &[u8]) {
    let slow = slow_header(data);
    match proxy::header(data) {
        Ok(Some(header)) => assert_eq!(Some(header), slow),
        // It is not waited for what can be no header any more.
        Ok(None) => assert!(slow.is_none() && data.len() < 16 + 2048),
        Err(_) => assert_eq!(slow, None),
    }
    // What is no header does not become one, and what is one does not end sooner or later.
    let mut before = Ok(None);
    for len in 0..=data.len().min(200) {
        let now = proxy::header(data.get(..len).unwrap_or_default());
        assert!(before == Ok(None) || now == before, "{before:?}, {now:?}");
        before = now;
    }
}

/// Whether the header ends anywhere, seen from each end that it may have.
fn slow_header(data: &[u8]) -> Option<proxy::Header> {
    let ends = 1..=data.len().min(16 + 2048);
    ends.filter_map(|len| {
        let bytes = data.get(..len)?;
        let client = slow_line(bytes).or_else(|| slow_binary(bytes))?;
        Some(proxy::Header { len, client })
    })
    .next()
}

/// The client of exactly this line of version 1.
fn slow_line(line: &[u8]) -> Option<Option<SocketAddr>> {
    if line.len() > 107 {
        return None;
    }
    let text = str::from_utf8(line).ok()?;
    let text = text.strip_prefix("PROXY ")?.strip_suffix("\r\n")?;
    let words: Vec<_> = text.split(' ').collect();
    if words.first() == Some(&"UNKNOWN") && !text.contains('\n') {
        return Some(None);
    }
    let [family, client, server, client_port, server_port] = words[..] else {
        return None;
    };
    let ip = |text: &str| {
        let ip = text.parse::<IpAddr>().ok();
        ip.filter(|ip| family == if ip.is_ipv4() { "TCP4" } else { "TCP6" })
    };
    let port = |text: &str| {
        let port = text.parse::<u16>().ok();
        port.filter(|port| port.to_string() == text)
    };
    ip(server)?;
    port(server_port)?;
    Some(Some(SocketAddr::new(ip(client)?, port(client_port)?)))
}

/// The client of exactly this header of version 2.
fn slow_binary(bytes: &[u8]) -> Option<Option<SocketAddr>> {
    let rest = bytes.strip_prefix(b"\r\n\r\n\0\r\nQUIT\n")?;
    let [command, family, high, low, body @ ..] = rest else {
        return None;
    };
    if body.len() != usize::from(*high) * 256 + usize::from(*low) {
        return None;
    }
    let ip_len = match (command, family) {
        (0x20, _) | (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => return Some(None),
        (0x21, 0x11) => 4,
        (0x21, 0x21) => 16,
        _ => return None,
    };
    // Both addresses, and both ports.
    let addresses = body.get(..2 * ip_len + 4)?;
    let (client, rest) = addresses.split_at_checked(ip_len)?;
    let ip: IpAddr = match <[u8; 4]>::try_from(client) {
        Ok(ip) => Ipv4Addr::from(ip).into(),
        Err(_) => Ipv6Addr::from(<[u8; 16]>::try_from(client).ok()?).into(),
    };
    let [high, low] = *rest.get(ip_len..)?.first_chunk()?;
    Some(Some(SocketAddr::new(ip, u16::from_be_bytes([high, low]))))
}

/// Lines, each of which may be the value of a header.
pub(crate) fn run_forwarded(data: &[u8]) {
    let Ok(trusted) = TRUSTED.parse::<Network>() else {
        return;
    };
    let client = forwarded::client(data.split(|byte| *byte == b'\n'), |ip| trusted.contains(ip));
    let one_list: Vec<_> = data
        .iter()
        .map(|byte| if *byte == b'\n' { b',' } else { *byte })
        .collect();
    let hops: Vec<_> = one_list
        .split(|byte| *byte == b',')
        .rev()
        .take(16)
        .map(slow_address)
        .collect();
    // Those that have appended to the list: all but the first of them are believed.
    let believed = hops
        .iter()
        .flatten()
        .take_while(|hop| trusted.contains(hop.ip()));
    let readable = hops.iter().take_while(|hop| hop.is_some()).count();
    let count = (believed.count() + 1).min(readable);
    assert_eq!(client, hops.get(..count).and_then(|hops| *hops.last()?));
}

/// An address with a port, or without one if a port can be added.
fn slow_address(text: &[u8]) -> Option<SocketAddr> {
    let text = str::from_utf8(text.trim_ascii()).ok()?;
    let with_port = [format!("{text}:0"), format!("[{text}]:0")];
    // A zone is of use to nobody but the proxy.
    let with_port = with_port.iter().filter(|text| !text.contains('%'));
    let mut found = [text].into_iter().chain(with_port.map(String::as_str));
    let address = found.find_map(|text| text.parse::<SocketAddr>().ok())?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}
