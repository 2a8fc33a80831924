//! The names of a node below the domain of the broker, which resolve to the IP that they contain.

use std::net::IpAddr;

use libp2p_identity::PeerId;
use multibase::Base;

use crate::label;

/// The codec of the key of a peer, in a CID.
const LIBP2P_KEY: u8 = 0x72;

/// The name of a node, `<b36>.<domain>`. Its certificate is for all names one label below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    base: String,
    label: usize,
}

impl Name {
    pub(super) fn new(peer: &PeerId, domain: &str) -> Self {
        // A CID of version 1.
        let mut cid = vec![1, LIBP2P_KEY];
        cid.extend(peer.to_bytes());
        let label = multibase::encode(Base::Base36Lower, cid);
        let domain = domain.trim_end_matches('.').to_ascii_lowercase();
        Self {
            base: format!("{label}.{domain}"),
            label: label.len(),
        }
    }

    /// `<b36>.<domain>`.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// The `<b36>` alone: the peer id, at most 63 characters.
    pub(super) fn label(&self) -> &str {
        &self.base[..self.label]
    }

    /// `*.<b36>.<domain>`.
    pub(super) fn wildcard(&self) -> String {
        format!("*.{}", self.base)
    }

    /// The name of the TXT record that the ACME server looks at.
    pub(super) fn challenge(&self) -> String {
        format!("_acme-challenge.{}", self.base)
    }

    /// The name that resolves to `ip`. An IPv4-mapped address has none.
    pub(super) fn of_ip(&self, ip: IpAddr) -> Option<String> {
        Some(format!("{}.{}", label::of(ip)?, self.base))
    }

    /// The IP of one of this node's names, as [`Self::of_ip`] makes them. `None` for any other name, the wildcard included.
    pub(super) fn ip_of(&self, name: &str) -> Option<IpAddr> {
        label::ip(&self.first_label(name)?.to_ascii_lowercase())
    }

    /// The label in front of the base, if it is exactly one.
    fn first_label<'a>(&self, name: &'a str) -> Option<&'a str> {
        let name = name.strip_suffix('.').unwrap_or(name);
        let (label, rest) = name.split_once('.')?;
        rest.eq_ignore_ascii_case(&self.base).then_some(label)
    }
}

#[cfg(test)]
mod tests {
    use libp2p_identity::Keypair;
    use proptest::prelude::*;

    use super::*;

    fn name() -> Name {
        let peer = "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
        Name::new(&peer.parse().unwrap(), "libp2p.direct")
    }

    #[test]
    fn the_label_is_the_peer_id_as_a_cid_in_base36() {
        assert_eq!(
            name().label(),
            "k2k4r8ncs1yoluq95unsd7x2vfhgve0ncjoggwqx9vyh3vl8warrcp15"
        );
        assert_eq!(name().base(), format!("{}.libp2p.direct", name().label()));
        assert_eq!(name().wildcard(), format!("*.{}", name().base()));
        assert_eq!(
            name().challenge(),
            format!("_acme-challenge.{}", name().base())
        );
        let shouted = Name::new(&PeerId::random(), "Example.COM.");
        assert!(shouted.base().ends_with(".example.com"));
    }

    #[test]
    fn no_key_has_a_label_that_dns_refuses() {
        let keys = [
            (Keypair::generate_ed25519(), 62),
            (Keypair::generate_secp256k1(), 63),
            (Keypair::generate_ecdsa(), 56),
        ];
        for (key, length) in keys {
            let name = Name::new(&key.public().to_peer_id(), "libp2p.direct");
            assert_eq!(name.label().len(), length, "{name:?}");
        }
    }

    #[test]
    fn an_ip_is_escaped_as_the_broker_reads_it() {
        let escaped = [
            ("203.0.113.7", "203-0-113-7"),
            ("2001:db8::", "2001-db8--0"),
            ("::1", "0--1"),
            ("::", "0--0"),
            ("2001:db8:0:1::2", "2001-db8-0-1--2"),
            ("2001:db8:1:2:3:4:5:6", "2001-db8-1-2-3-4-5-6"),
        ];
        for (ip, label) in escaped {
            let full = name().of_ip(ip.parse().unwrap()).unwrap();
            assert_eq!(full, format!("{label}.{}", name().base()));
            assert_eq!(name().ip_of(&full), Some(ip.parse().unwrap()));
        }
        assert_eq!(name().of_ip("::ffff:192.0.2.1".parse().unwrap()), None);
    }

    #[test]
    fn other_names_are_not_ours() {
        let base = name().base().to_owned();
        let others = [
            base.clone(),
            format!("*.{base}"),
            format!("a.1-2-3-4.{base}"),
            format!("1-2-3.{base}"),
            format!("1-2-3-256.{base}"),
            format!("0--ffff-102-304.{base}"),
            format!(".{base}"),
            "1-2-3-4.libp2p.direct".to_owned(),
            format!(
                "1-2-3-4.{}",
                Name::new(&PeerId::random(), "libp2p.direct").base()
            ),
        ];
        for other in others {
            assert_eq!(name().ip_of(&other), None, "{other}");
        }
        let upper = format!("1-2-3-4.{}", base.to_uppercase());
        assert_eq!(name().ip_of(&upper), Some("1.2.3.4".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn each_ip_comes_back_from_its_name(ip: IpAddr) {
            if let Some(full) = name().of_ip(ip) {
                let label = full.split('.').next().unwrap_or_default();
                prop_assert!(label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-'));
                prop_assert_eq!(name().ip_of(&full), Some(ip));
            }
        }

        #[test]
        fn no_name_is_a_panic(any: String) {
            name().ip_of(&any);
            name().ip_of(&format!("{any}.{}", name().base()));
        }
    }
}
