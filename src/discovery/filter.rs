//! CORE: which addresses are announced, and which addresses of other peers are kept.

use std::{fmt, sync::Arc};

use multiaddr::Multiaddr;

use crate::scope::{Reach, Scope};

/// Decides which addresses pass. An address that no host can dial never does.
#[derive(Clone, Default)]
pub(crate) enum Filter {
    /// Suits a node on the internet. Private addresses pass only while the node itself has no public one, and those
    /// of the host only if there are no others beside them; relayed ones pass.
    #[default]
    ByReach,
    /// A closure of the application.
    Custom(Arc<dyn Fn(&Multiaddr) -> bool + Send + Sync>),
}

impl Filter {
    pub(crate) fn custom(permits: impl Fn(&Multiaddr) -> bool + Send + Sync + 'static) -> Self {
        Self::Custom(Arc::new(permits))
    }

    /// The most useful of the addresses that pass, at most `max`, without duplicates. `is_public` is whether the own
    /// node has a public address. Equally useful addresses keep their order.
    pub(crate) fn select(
        &self,
        is_public: bool,
        max: usize,
        offered: impl IntoIterator<Item = Offered>,
    ) -> Vec<Multiaddr> {
        let mut rows = Vec::new();
        for offered in offered {
            rows.extend(Reach::of(&offered.address).map(|reach| (reach, offered)));
        }
        match self {
            Self::Custom(permits) => rows.retain(|(_, offered)| permits(&offered.address)),
            Self::ByReach => {
                // Also if the addresses of wider scope do not pass: a peer with a private address is not on this host.
                let is_host_only = rows.iter().all(|(reach, _)| reach.scope == Scope::Host);
                rows.retain(|(reach, _)| match reach.scope {
                    _ if reach.is_relayed => true,
                    Scope::Internet => true,
                    Scope::Network => !is_public,
                    Scope::Host => is_host_only,
                });
            }
        }
        rows.sort_by_key(|(reach, offered)| (!offered.is_confirmed, *reach));
        let mut selected = Vec::new();
        for (_, Offered { full, .. }) in rows {
            if selected.len() < max && !selected.contains(&full) {
                selected.push(full);
            }
        }
        selected
    }
}

/// An address to be announced or kept.
#[derive(Debug)]
pub(crate) struct Offered {
    /// The form that is judged.
    pub(crate) address: Multiaddr,
    /// The form that is announced or kept.
    pub(crate) full: Multiaddr,
    /// Whether a peer has confirmed it, so that it comes first.
    pub(crate) is_confirmed: bool,
}

impl From<Multiaddr> for Offered {
    fn from(address: Multiaddr) -> Self {
        Self {
            full: address.clone(),
            address,
            is_confirmed: false,
        }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByReach => "Default",
            Self::Custom(_) => "Custom",
        })
    }
}

#[cfg(test)]
mod tests {
    use libp2p_identity::PeerId;
    use proptest::prelude::*;

    use super::*;

    const PUBLIC: &str = "/ip4/1.2.3.4/tcp/1/ws";
    const NAME: &str = "/dns/example.org/tcp/1/wss";
    const PRIVATE: &str = "/ip4/10.0.0.1/tcp/1/ws";
    const LOOPBACK: &str = "/ip4/127.0.0.1/tcp/1/ws";
    const UNSPECIFIED: &str = "/ip4/0.0.0.0/tcp/1/ws";
    const RELAY: &str = "/p2p/12D3KooWHLNZaMLS6fWam6vRHABeE489zpABExqJ8tTqm8jKbtf4/p2p-circuit";

    fn address(text: impl AsRef<str>) -> Multiaddr {
        text.as_ref().parse().unwrap()
    }

    fn select(filter: &Filter, is_public: bool, offered: &[&str]) -> Vec<String> {
        let offered = offered.iter().map(|text| address(text).into());
        let selected = filter.select(is_public, 16, offered).into_iter();
        selected.map(|address| address.to_string()).collect()
    }

    #[test]
    fn the_default_suits_a_node_on_the_internet() {
        let at_home = |offered: &[&str]| select(&Filter::ByReach, false, offered);
        let public = |offered: &[&str]| select(&Filter::ByReach, true, offered);
        let all = [LOOPBACK, UNSPECIFIED, PRIVATE, RELAY, NAME, PUBLIC];
        assert_eq!(at_home(&all), [PUBLIC, NAME, RELAY, PRIVATE]);
        assert_eq!(public(&all), [PUBLIC, NAME, RELAY]);
        assert_eq!(at_home(&[LOOPBACK, PRIVATE]), [PRIVATE]);
        assert_eq!(at_home(&[UNSPECIFIED, LOOPBACK]), [LOOPBACK]);
        assert_eq!(public(&[LOOPBACK]), [LOOPBACK]);
        assert_eq!(at_home(&[UNSPECIFIED]), [""; 0]);
        // The loopback of a peer with a private address is not that of this host.
        assert_eq!(public(&[LOOPBACK, PRIVATE]), [""; 0]);
    }

    #[test]
    fn relayed_addresses_pass_wherever_the_relay_is() {
        let of_private = &format!("{PRIVATE}{RELAY}");
        let of_loopback = &format!("{LOOPBACK}{RELAY}");
        let of_unspecified = &format!("{UNSPECIFIED}{RELAY}");
        let all = [of_unspecified, of_loopback, of_private, PUBLIC];
        for is_public in [false, true] {
            let selected = select(&Filter::ByReach, is_public, &all);
            assert_eq!(selected, [PUBLIC, of_private, of_loopback]);
        }
        // One that leads through the host itself is no reason to keep silent about the host.
        let selected = select(&Filter::ByReach, false, &[of_loopback, LOOPBACK]);
        assert_eq!(selected, [LOOPBACK, of_loopback]);
    }

    #[test]
    fn a_closure_decides_instead_but_not_on_what_nobody_can_dial() {
        let all = [LOOPBACK, UNSPECIFIED, PRIVATE, NAME, PUBLIC];
        let any = Filter::custom(|_| true);
        assert_eq!(select(&any, true, &all), [PUBLIC, NAME, PRIVATE, LOOPBACK]);
        let none = Filter::custom(|_| false);
        assert_eq!(select(&none, true, &all), [""; 0]);
        assert_eq!(format!("{any:?} {:?}", Filter::default()), "Custom Default");
    }

    #[test]
    fn the_useful_ones_are_found_wherever_they_stand() {
        let loopback = (1..256).map(|port| address(format!("/ip4/127.0.0.1/tcp/{port}")));
        let private = (1..256).map(|port| address(format!("/ip4/10.0.0.1/tcp/{port}")));
        let offered = loopback.chain(private.clone()).chain([address(PUBLIC)]);
        let selected = Filter::ByReach.select(false, 16, offered.map(Offered::from));
        let expected = [address(PUBLIC)].into_iter().chain(private).take(16);
        assert_eq!(selected, expected.collect::<Vec<_>>());
    }

    #[test]
    fn what_is_confirmed_comes_first() {
        let offered = [
            (NAME, false),
            (PRIVATE, false),
            (PUBLIC, false),
            (RELAY, true),
            (NAME, true),
        ];
        let offered = offered.map(|(text, is_confirmed)| Offered {
            is_confirmed,
            ..address(text).into()
        });
        let selected = Filter::ByReach.select(false, 3, offered);
        assert_eq!(selected, [NAME, RELAY, PUBLIC].map(address));
    }

    fn some_address() -> impl Strategy<Value = Multiaddr> {
        let relay = PeerId::random();
        let host = prop::sample::select(vec![
            "/ip4/1.2.3.4",
            "/ip6/2606:4700::1111",
            "/dns/example.org",
            "/ip4/10.0.0.1",
            "/ip6/fd00::1",
            "/dns/node.local",
            "/ip4/127.0.0.1",
            "/dns/localhost",
            "/ip4/0.0.0.0",
            "/ip6/::",
            "/ip6/fe80::1",
        ]);
        (host, 0..4_u16, prop::bool::weighted(0.2)).prop_map(move |(host, port, is_relayed)| {
            let direct = format!("{host}/tcp/{port}");
            match is_relayed {
                true => address(format!("{direct}/p2p/{relay}/p2p-circuit")),
                false => address(direct),
            }
        })
    }

    proptest! {
        #[test]
        fn selects_what_the_rules_say(
            confirmed in prop::collection::vec(some_address(), 0..20),
            claimed in prop::collection::vec(some_address(), 0..20),
            is_public in any::<bool>(),
            max in 0..20_usize,
        ) {
            let reach = |address: &Multiaddr| Reach::of(address);
            let offered = || {
                let confirmed = confirmed.iter().map(|address| (true, address));
                confirmed.chain(claimed.iter().map(|address| (false, address)))
            };
            let selected = Filter::ByReach.select(is_public, max, offered().map(
                |(is_confirmed, address)| Offered { is_confirmed, ..address.clone().into() },
            ));
            prop_assert!(selected.len() <= max);
            let is_host_only = offered().filter_map(|(_, address)| reach(address))
                .all(|reach| reach.scope == Scope::Host);
            let passes = |address: &Multiaddr| reach(address).is_some_and(|reach| {
                reach.is_relayed || match reach.scope {
                    Scope::Internet => true,
                    Scope::Network => !is_public,
                    Scope::Host => is_host_only,
                }
            });
            let rank = |address: &Multiaddr| (!confirmed.contains(address), reach(address));
            // Each passes, none comes twice, and what is left out is no better than the last.
            for (at, address) in selected.iter().enumerate() {
                prop_assert!(passes(address) && !selected[..at].contains(address));
                prop_assert!(at == 0 || rank(&selected[at - 1]) <= rank(address));
            }
            for (_, address) in offered().filter(|(_, address)| passes(address)) {
                let is_better = |last: &Multiaddr| rank(address) < rank(last);
                let is_in = selected.contains(address);
                prop_assert!(is_in || selected.len() == max);
                prop_assert!(is_in || !selected.last().is_some_and(is_better));
            }
        }
    }
}
