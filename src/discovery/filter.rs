//! CORE: which addresses are worth telling to others, and which are worth keeping of what others tell.

use std::{fmt, sync::Arc};

use multiaddr::Multiaddr;

use super::scope::{Reach, Scope};

/// Which addresses pass. One that nobody can dial never does.
#[derive(Clone, Default)]
pub(crate) enum Filter {
    /// Suits a node on the internet. Private addresses pass only while the node itself has no public one, and those
    /// of the host only if there are no others beside them; relayed ones pass.
    #[default]
    ByReach,
    /// The application decides.
    Custom(Arc<dyn Fn(&Multiaddr) -> bool + Send + Sync>),
}

impl Filter {
    pub(crate) fn custom(permits: impl Fn(&Multiaddr) -> bool + Send + Sync + 'static) -> Self {
        Self::Custom(Arc::new(permits))
    }

    /// The most useful of the addresses that pass, at most `max`, without duplicates. `is_public` is whether the own
    /// node has a public address. What is equally useful stays in its order.
    pub(crate) fn select(
        &self,
        is_public: bool,
        max: usize,
        offered: impl IntoIterator<Item = Multiaddr>,
    ) -> Vec<Multiaddr> {
        let mut selection = Selection::new(self, is_public, max);
        for address in offered {
            selection.offer(&address, Source::Claimed, address.clone());
        }
        selection.finish()
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

/// Who says that an address is one of the node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Somebody who has dialled it.
    Confirmed,
    /// Only the node itself.
    Claimed,
}

type Rank = (Source, Reach);

/// Takes addresses one by one and holds no more of them than are wanted in the end, twice over.
#[derive(Debug)]
pub(crate) struct Selection<'a> {
    filter: &'a Filter,
    is_public: bool,
    kept: Best,
    /// Addresses of the host, for the case that there are no others.
    of_host: Best,
    /// Whether there is an address that reaches farther, be it one that does not pass: whoever has a private address
    /// is not to be found on our host.
    reaches_farther: bool,
}

impl<'a> Selection<'a> {
    /// See [`Filter::select`].
    pub(crate) fn new(filter: &'a Filter, is_public: bool, max: usize) -> Self {
        Self {
            filter,
            is_public,
            kept: Best::new(max),
            of_host: Best::new(max),
            reaches_farther: false,
        }
    }

    /// Judges `address`, and keeps it in its `full` form. Confirmed ones are to come before the others.
    pub(crate) fn offer(&mut self, address: &Multiaddr, source: Source, full: Multiaddr) {
        let Some(reach) = Reach::of(address) else {
            return;
        };
        let rank = (source, reach);
        if let Filter::Custom(permits) = self.filter {
            if permits(address) {
                self.kept.insert(rank, full);
            }
            return;
        }
        self.reaches_farther |= reach.scope != Scope::Host;
        match reach.scope {
            Scope::Network if self.is_public && !reach.is_relayed => {}
            Scope::Host if !reach.is_relayed => self.of_host.insert(rank, full),
            _ => self.kept.insert(rank, full),
        }
    }

    /// What has passed, the most useful first.
    pub(crate) fn finish(mut self) -> Vec<Multiaddr> {
        if !self.reaches_farther {
            for (rank, address) in self.of_host.rows {
                self.kept.insert(rank, address);
            }
        }
        let addresses = self.kept.rows.into_iter();
        addresses.map(|(_, address)| address).collect()
    }
}

/// The `max` best of the addresses that have been inserted, in order.
#[derive(Debug)]
struct Best {
    max: usize,
    rows: Vec<(Rank, Multiaddr)>,
}

impl Best {
    fn new(max: usize) -> Self {
        Self {
            max,
            rows: Vec::new(),
        }
    }

    /// Inserts an address that is not among them, behind those of its rank. An address that comes again must not have
    /// a better rank than before: then one that has been pushed out stays out.
    fn insert(&mut self, rank: Rank, address: Multiaddr) {
        let at = self.rows.partition_point(|(other, _)| *other <= rank);
        if at >= self.max || self.rows.iter().any(|(_, known)| *known == address) {
            return;
        }
        self.rows.insert(at, (rank, address));
        self.rows.truncate(self.max);
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
        let offered = offered.iter().map(address);
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
        // The loopback of somebody with a private address is not ours.
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
        let selected = Filter::ByReach.select(false, 16, offered);
        let expected = [address(PUBLIC)].into_iter().chain(private).take(16);
        assert_eq!(selected, expected.collect::<Vec<_>>());
    }

    #[test]
    fn what_is_confirmed_comes_first() {
        let mut selection = Selection::new(&Filter::ByReach, false, 3);
        for (text, source) in [
            (RELAY, Source::Confirmed),
            (NAME, Source::Confirmed),
            (NAME, Source::Claimed),
            (PRIVATE, Source::Claimed),
            (PUBLIC, Source::Claimed),
        ] {
            selection.offer(&address(text), source, address(text));
        }
        assert_eq!(selection.finish(), [NAME, RELAY, PUBLIC].map(address));
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

    /// The rules one after the other, over the whole list.
    fn model(is_public: bool, max: usize, offered: &[Multiaddr]) -> Vec<Multiaddr> {
        let mut rows = offered
            .iter()
            .filter_map(|address| Some((Reach::of(address)?, address.clone())))
            .collect::<Vec<_>>();
        let is_host_only = rows.iter().all(|(reach, _)| reach.scope == Scope::Host);
        rows.retain(|(reach, _)| match reach.scope {
            _ if reach.is_relayed => true,
            Scope::Internet => true,
            Scope::Network => !is_public,
            Scope::Host => is_host_only,
        });
        rows.sort_by_key(|(reach, _)| *reach);
        let mut selected = Vec::new();
        for (_, address) in rows {
            if !selected.contains(&address) {
                selected.push(address);
            }
        }
        selected.truncate(max);
        selected
    }

    proptest! {
        #[test]
        fn selects_what_the_rules_say(
            offered in prop::collection::vec(some_address(), 0..40),
            is_public in any::<bool>(),
            max in 0..20_usize,
        ) {
            let selected = Filter::ByReach.select(is_public, max, offered.clone());
            prop_assert_eq!(&selected, &model(is_public, max, &offered));
            prop_assert!(selected.len() <= max);
            for address in &selected {
                prop_assert!(Reach::of(address).is_some());
            }
            let again = Filter::ByReach.select(is_public, max, selected.clone());
            prop_assert_eq!(again, selected);
        }

        /// What is pushed out by something better does not come back, and nothing comes twice.
        #[test]
        fn confirmed_and_claimed_ones_make_one_list(
            confirmed in prop::collection::vec(some_address(), 0..20),
            claimed in prop::collection::vec(some_address(), 0..20),
            max in 0..20_usize,
        ) {
            let any = Filter::custom(|_| true);
            let mut selection = Selection::new(&any, false, max);
            for address in &confirmed {
                selection.offer(address, Source::Confirmed, address.clone());
            }
            for address in &claimed {
                selection.offer(address, Source::Claimed, address.clone());
            }
            let by_reach = |addresses: Vec<Multiaddr>| any.select(false, 40, addresses);
            let mut expected = by_reach(confirmed);
            let rest = by_reach(claimed).into_iter();
            let rest = rest.filter(|address| !expected.contains(address)).collect::<Vec<_>>();
            expected.extend(rest);
            expected.truncate(max);
            prop_assert_eq!(selection.finish(), expected);
        }
    }
}
