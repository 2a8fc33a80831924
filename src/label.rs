//! The label that a name has for an IP address: `203-0-113-7` and `2001-db8--1`, as the DNS servers of AutoTLS read it
//! (p2p-forge, `ipparser`).

use std::net::{IpAddr, Ipv6Addr};

/// `None` for an IPv6 address that stands for an IPv4 address (RFC 4291), as its text has dots.
pub(crate) fn of(ip: IpAddr) -> Option<String> {
    match ip {
        IpAddr::V4(ip) => Some(ip.to_string().replace('.', "-")),
        IpAddr::V6(ip) if stands_for_ipv4(ip) => None,
        IpAddr::V6(ip) => {
            let mut label = ip.to_string().replace(':', "-");
            // No label begins or ends with a hyphen (RFC 1123).
            if label.starts_with('-') {
                label.insert(0, '0');
            }
            if label.ends_with('-') {
                label.push('0');
            }
            Some(label)
        }
    }
}

/// Whether the text of this address ends with an IPv4 address.
fn stands_for_ipv4(ip: Ipv6Addr) -> bool {
    ip.to_string().contains('.')
}

/// The IP address that has exactly this label.
#[cfg_attr(
    not(feature = "autotls"),
    allow(dead_code, reason = "only for AutoTLS")
)]
pub(crate) fn ip(label: &str) -> Option<IpAddr> {
    let v4 = || label.replace('-', ".").parse().ok().map(IpAddr::V4);
    let v6 = || label.replace('-', ":").parse().ok().map(IpAddr::V6);
    let ip = v4().or_else(v6)?;
    (of(ip).as_deref() == Some(label)).then_some(ip)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn labels_are_those_of_the_specification() {
        for (address, label) in [
            ("203.0.113.7", "203-0-113-7"),
            ("1.2.3.4", "1-2-3-4"),
            ("2001:db8::1", "2001-db8--1"),
            ("2001:db8::", "2001-db8--0"),
            ("::1", "0--1"),
            ("::", "0--0"),
        ] {
            let parsed = address.parse().unwrap();
            assert_eq!(of(parsed).as_deref(), Some(label));
            assert_eq!(ip(label), Some(parsed));
        }
        assert_eq!(of("::ffff:1.2.3.4".parse().unwrap()), None);
        for other in [
            "",
            "*",
            "1-2-3",
            "1-2-3-4-5",
            "0--0-1",
            "01-2-3-4",
            "2001-DB8--1",
        ] {
            assert_eq!(ip(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn every_label_leads_back_and_can_be_one(bits in any::<u128>(), v4 in any::<u32>()) {
            for address in [IpAddr::from(v4.to_be_bytes()), Ipv6Addr::from(bits).into()] {
                if let Some(label) = of(address) {
                    prop_assert_eq!(ip(&label), Some(address));
                    prop_assert!(label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-'));
                }
            }
        }
    }
}
