//! CORE: the client in the headers that HTTP proxies append to.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// How many addresses are looked at, from the end.
const MAX_HOPS: usize = 16;

/// For whom a proxy connects: the last of the addresses in these headers that `is_trusted` does not know, or the one
/// nearest to it that is known if that cannot be told. `None` if there is none.
///
/// `values` are those of all headers of one name, in their order, which are one list (RFC 9110, section 5.3). Whoever
/// appends to it says from whom the request came to it, so only what a trusted one has appended is believed. The port is 0
/// where there is none.
pub(super) fn client<'a>(
    values: impl DoubleEndedIterator<Item = &'a [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
) -> Option<SocketAddr> {
    let hops = values
        .rev()
        .flat_map(|value| value.rsplit(|byte| *byte == b','));
    let mut client = None;
    for hop in hops.take(MAX_HOPS) {
        let Some(hop) = address(hop.trim_ascii()) else {
            break;
        };
        client = Some(hop);
        if !is_trusted(hop.ip()) {
            break;
        }
    }
    client
}

/// Reads an address with or without a port.
fn address(text: &[u8]) -> Option<SocketAddr> {
    let text = str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(SocketAddr::new(address.ip().to_canonical(), address.port()));
    }
    let in_brackets = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let ip = match in_brackets {
        Some(text) => text.parse::<Ipv6Addr>().ok()?.into(),
        None => text.parse::<IpAddr>().ok()?,
    };
    Some(SocketAddr::new(ip.to_canonical(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client_of(values: &[&str]) -> Option<String> {
        let values = values.iter().map(|value| value.as_bytes());
        let is_trusted = |ip: IpAddr| ip.to_string().starts_with("10.");
        client(values, is_trusted).map(|client| client.to_string())
    }

    #[test]
    fn the_client_is_the_last_that_is_not_trusted() {
        for (values, client) in [
            (&["192.0.2.1"][..], "192.0.2.1:0"),
            (&["203.0.113.9, 192.0.2.1"], "192.0.2.1:0"),
            (&["203.0.113.9", "192.0.2.1,10.0.0.2"], "192.0.2.1:0"),
            (
                &["203.0.113.9,192.0.2.1", " 10.0.0.2 ,\t10.0.0.3"],
                "192.0.2.1:0",
            ),
            // All of them are proxies, such as one that looks whether we are up.
            (&["10.0.0.1, 10.0.0.2"], "10.0.0.1:0"),
            // What cannot be read is not passed over.
            (&["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2:0"),
            (&["192.0.2.1, , 10.0.0.2"], "10.0.0.2:0"),
            (&["192.0.2.1:567"], "192.0.2.1:567"),
            (&["2001:db8::1"], "[2001:db8::1]:0"),
            (&["[2001:db8::1]"], "[2001:db8::1]:0"),
            (&["[2001:db8::1]:567"], "[2001:db8::1]:567"),
            (&["192.0.2.1, ::ffff:10.0.0.1"], "192.0.2.1:0"),
        ] {
            assert_eq!(client_of(values).as_deref(), Some(client), "{values:?}");
        }
        for values in [
            &[][..],
            &[""],
            &["unknown"],
            &["192.0.2.1, _hidden"],
            &["192.0.2.1,"],
            &["[192.0.2.1]"],
            &["192.0.2.1:66000"],
            &["for=192.0.2.1"],
            &["fe80::1%eth0"],
        ] {
            assert_eq!(client_of(values), None, "{values:?}");
        }
    }

    #[test]
    fn so_many_hops_are_looked_at_and_no_more() {
        let hops = |count: usize| format!("192.0.2.1{}", ", 10.0.0.1".repeat(count));
        assert_eq!(
            client_of(&[&hops(MAX_HOPS - 1)]).as_deref(),
            Some("192.0.2.1:0")
        );
        assert_eq!(client_of(&[&hops(MAX_HOPS)]).as_deref(), Some("10.0.0.1:0"));
    }
}
