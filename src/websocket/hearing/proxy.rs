//! CORE: the header of the PROXY protocol, <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What begins a header of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The most bytes of a header of version 1, its line end included.
const MAX_LINE: usize = 107;

/// How much of a header of version 2 may follow its first 16 bytes. What is behind the addresses is not read.
const MAX_REST: usize = 2048;

/// A whole header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// How many bytes it has.
    pub(super) len: usize,
    /// `None` if the proxy connects for itself, for instance to see whether this node is up.
    pub(super) client: Option<SocketAddr>,
}

/// What begins a connection is no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no header of the PROXY protocol")]
pub(super) struct NotProxy;

/// Reads a header at the beginning of these bytes; `None` while it is not whole.
pub(super) fn header(bytes: &[u8]) -> Result<Option<Header>, NotProxy> {
    match bytes.first() {
        None => Ok(None),
        Some(b'P') => line(bytes),
        Some(_) => binary(bytes),
    }
}

fn line(bytes: &[u8]) -> Result<Option<Header>, NotProxy> {
    const BEGIN: &[u8] = b"PROXY ";

    if !bytes.starts_with(BEGIN) && !BEGIN.starts_with(bytes) {
        return Err(NotProxy);
    }
    let Some(end) = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
        return match bytes.len() < MAX_LINE {
            true => Ok(None),
            false => Err(NotProxy),
        };
    };
    let text = bytes.get(BEGIN.len()..end).ok_or(NotProxy)?;
    let text = str::from_utf8(text).map_err(|_| NotProxy)?;
    let text = text.strip_suffix('\r').ok_or(NotProxy)?;
    let mut words = text.split(' ');
    let client = match words.next() {
        Some("TCP4") => Some(client::<Ipv4Addr>(words)?),
        Some("TCP6") => Some(client::<Ipv6Addr>(words)?),
        // Whatever follows.
        Some("UNKNOWN") => None,
        _ => return Err(NotProxy),
    };
    let len = end + 1;
    Ok(Some(Header { len, client }))
}

/// Reads the addresses and ports of both sides.
fn client<'a, A>(mut words: impl Iterator<Item = &'a str>) -> Result<SocketAddr, NotProxy>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let mut word = || words.next().ok_or(NotProxy);
    let [client, server, client_port, server_port] = [word()?, word()?, word()?, word()?];
    if words.next().is_some() {
        return Err(NotProxy);
    }
    let ip = |text: &str| text.parse::<A>().map_err(|_| NotProxy);
    ip(server)?;
    port(server_port)?;
    Ok(canonical(ip(client)?.into(), port(client_port)?))
}

fn port(text: &str) -> Result<u16, NotProxy> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let has_zero_in_front = text.len() > 1 && text.starts_with('0');
    match text.parse() {
        Ok(port) if is_plain && !has_zero_in_front => Ok(port),
        _ => Err(NotProxy),
    }
}

fn binary(bytes: &[u8]) -> Result<Option<Header>, NotProxy> {
    let begin = bytes.get(..SIGNATURE.len().min(bytes.len()));
    if !begin.is_some_and(|begin| SIGNATURE.starts_with(begin)) {
        return Err(NotProxy);
    }
    let Some(&[command, family, high, low]) = bytes.get(12..16) else {
        return Ok(None);
    };
    let rest = usize::from(u16::from_be_bytes([high, low]));
    if rest > MAX_REST {
        return Err(NotProxy);
    }
    let len = 16 + rest;
    let addresses = match (command, family) {
        // Of the proxy itself.
        (0x20, _) => 0,
        // TCP over IPv4 and over IPv6.
        (0x21, 0x11) => 12,
        (0x21, 0x21) => 36,
        // Unspecified, UDP, and sockets of Unix: none of them is an address of a client here.
        (0x21, 0x00 | 0x12 | 0x22 | 0x31 | 0x32) => 0,
        _ => return Err(NotProxy),
    };
    if addresses > rest {
        return Err(NotProxy);
    }
    let Some(body) = bytes.get(16..len) else {
        return Ok(None);
    };
    let client = match addresses {
        12 => socket_address(body, |ip: [u8; 4]| Ipv4Addr::from(ip).into(), 8),
        36 => socket_address(body, |ip: [u8; 16]| Ipv6Addr::from(ip).into(), 32),
        _ => None,
    };
    Ok(Some(Header { len, client }))
}

/// The address at the beginning, and the port at that place.
fn socket_address<const N: usize>(
    body: &[u8],
    ip: impl FnOnce([u8; N]) -> IpAddr,
    port: usize,
) -> Option<SocketAddr> {
    let (address, port) = (body.first_chunk()?, body.get(port..)?.first_chunk()?);
    Some(canonical(ip(*address), u16::from_be_bytes(*port)))
}

/// A proxy with a socket for both tells the clients that came over IPv4 by IPv6 addresses.
fn canonical(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let len = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &len, body].concat()
    }

    /// Wherever it is cut, it is not whole before its end, and the same with something behind it.
    #[track_caller]
    fn assert_read(bytes: &[u8], client: Option<&str>) {
        let client = client.map(|client| client.parse().unwrap());
        for len in 0..bytes.len() {
            assert_eq!(header(&bytes[..len]), Ok(None), "{len}");
        }
        let whole = Ok(Some(Header {
            len: bytes.len(),
            client,
        }));
        assert_eq!(header(bytes), whole);
        assert_eq!(header(&[bytes, b"GET / HTTP/1.1"].concat()), whole);
    }

    #[test]
    fn version_1_is_a_line() {
        for (line, client) in [
            ("TCP4 192.0.2.1 10.0.0.1 56324 443", Some("192.0.2.1:56324")),
            ("TCP6 2001:db8::1 ::1 1 0", Some("[2001:db8::1]:1")),
            (
                "TCP4 255.255.255.255 255.255.255.255 65535 65535",
                Some("255.255.255.255:65535"),
            ),
            (
                "TCP6 ::ffff:192.0.2.1 ::ffff:10.0.0.1 1 2",
                Some("192.0.2.1:1"),
            ),
            ("UNKNOWN", None),
            ("UNKNOWN ffff::1 ffff::1 65535 65535", None),
        ] {
            assert_read(format!("PROXY {line}\r\n").as_bytes(), client);
        }
        for line in [
            "TCP4 192.0.2.1 10.0.0.1 56324 443\n",
            "TCP4 192.0.2.1 10.0.0.1 56324\r\n",
            "TCP4 192.0.2.1 10.0.0.1 56324 443 1\r\n",
            "TCP4 192.0.2.1 10.0.0.1 056324 443\r\n",
            "TCP4 192.0.2.1 10.0.0.1 +1 443\r\n",
            "TCP4 192.0.2.1 10.0.0.1 65536 443\r\n",
            "TCP4 2001:db8::1 ::1 1 2\r\n",
            "TCP6 192.0.2.1 10.0.0.1 1 2\r\n",
            "TCP4  192.0.2.1 10.0.0.1 1 2\r\n",
            "UDP4 192.0.2.1 10.0.0.1 1 2\r\n",
            "\r\n",
            "TCP4 \u{e4}\r\n",
        ] {
            assert_eq!(
                header(format!("PROXY {line}").as_bytes()),
                Err(NotProxy),
                "{line}"
            );
        }
        let long = format!("PROXY UNKNOWN {}", "x".repeat(MAX_LINE));
        let begun = &long.as_bytes()[..MAX_LINE];
        assert_eq!(header(begun), Err(NotProxy));
        assert_eq!(header(&begun[..MAX_LINE - 1]), Ok(None));
        assert_read(&[&begun[..MAX_LINE - 2], b"\r\n"].concat(), None);
    }

    #[test]
    fn version_2_is_binary() {
        let ip4 = [192, 0, 2, 1, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb];
        assert_read(&v2(0x21, 0x11, &ip4), Some("192.0.2.1:56324"));
        let mut ip6 = [0; 36];
        ip6[..4].copy_from_slice(&[0x20, 1, 0xd, 0xb8]);
        ip6[15] = 1;
        ip6[33] = 7;
        assert_read(&v2(0x21, 0x21, &ip6), Some("[2001:db8::1]:7"));
        ip6[..16].copy_from_slice(&Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets());
        assert_read(&v2(0x21, 0x21, &ip6), Some("192.0.2.1:7"));
        // With what else there may be behind the addresses.
        let longer = [&ip4[..], &[0; MAX_REST - 12]].concat();
        assert_read(&v2(0x21, 0x11, &longer), Some("192.0.2.1:56324"));
        for (command, family) in [
            (0x20, 0),
            (0x20, 0x11),
            (0x21, 0),
            (0x21, 0x31),
            (0x21, 0x12),
        ] {
            assert_read(&v2(command, family, &ip4), None);
        }
        assert_read(&v2(0x20, 0, &[]), None);
        for bytes in [
            v2(0x21, 0x11, &ip4[1..]),
            v2(0x21, 0x21, &ip6[1..]),
            v2(0x22, 0x11, &ip4),
            v2(0x11, 0x11, &ip4),
            v2(0x21, 0x41, &ip4),
            v2(0x21, 0x11, &[0; MAX_REST + 1]),
        ] {
            assert_eq!(header(&bytes), Err(NotProxy), "{bytes:?}");
        }
    }

    #[test]
    fn all_else_is_none_at_once() {
        for bytes in [
            &b"GET"[..],
            b"\x13/multi",
            b"\x16\x03",
            b"\r\n\r\nG",
            b"PRI ",
            b"PO",
        ] {
            assert_eq!(header(bytes), Err(NotProxy));
        }
    }

    proptest! {
        #[test]
        fn a_header_is_within_what_came(bytes: Vec<u8>, cut: prop::sample::Index) {
            for bytes in [bytes.clone(), [&SIGNATURE[..], &bytes].concat(), [&b"PROXY "[..], &bytes].concat()] {
                if let Ok(Some(header)) = header(&bytes) {
                    prop_assert!(header.len <= bytes.len());
                    let whole = super::header(&bytes[..header.len]);
                    prop_assert_eq!(whole, Ok(Some(header)));
                    let part = super::header(&bytes[..cut.index(header.len)]);
                    prop_assert_eq!(part, Ok(None));
                }
            }
        }
    }
}
