use std::{
    collections::BTreeSet,
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use multiaddr::Multiaddr;

use super::{
    ConfigError, Rate, SavedPeer, dialer,
    filter::{Filter, Offered},
    inbox::Settings,
    message::Limits,
    peers::Lifetimes,
    saved::MAX_SAVED,
    schedule::{self, Timing},
};

/// The topic that js-libp2p's `@libp2p/pubsub-peer-discovery` uses unless told otherwise.
pub const DEFAULT_TOPIC: &str = "_peer-discovery._p2p._pubsub";

/// How many topics one [`Behaviour`](super::Behaviour) may announce on: each costs a publication a round.
const MAX_TOPICS: usize = 64;

/// A behaviour that always has something to do keeps the swarm from its connections and listeners.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// That of js-libp2p.
const INTERVAL: Duration = Duration::from_secs(10);
const MAX_INTERVAL: Duration = Duration::from_secs(20 * 60);

/// An announcement above this is ignored unread. Holds 16 addresses of the greatest length that is read (512 bytes) and a key
/// of any type twice over. Gossipsub has a limit of its own (64 KiB by default).
const MAX_MESSAGE_SIZE: usize = 16 * 1024;

/// Options of a [`Behaviour`](super::Behaviour), and their defaults.
///
/// Combinations that make no sense are refused by [`Behaviour::new`](super::Behaviour::new) with a
/// [`ConfigError`].
#[derive(Clone)]
pub struct Config {
    topics: BTreeSet<String>,
    interval: Duration,
    max_interval: Duration,
    target_rate: NonZeroU32,
    minimum_gap: Option<Duration>,
    coalescing: Duration,
    listen_only: bool,
    time_to_live: Option<Duration>,
    max_peers: NonZeroUsize,
    max_addresses: NonZeroUsize,
    newcomer_rate: Rate,
    connections: usize,
    hubs: Vec<Multiaddr>,
    max_hub_delay: Duration,
    saved_peers: Vec<SavedPeer>,
    filter: Filter,
    received_filter: Filter,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            topics: BTreeSet::from([DEFAULT_TOPIC.to_owned()]),
            interval: INTERVAL,
            max_interval: MAX_INTERVAL,
            target_rate: const { NonZeroU32::new(10).expect("not zero") },
            minimum_gap: None,
            coalescing: Duration::from_millis(50),
            listen_only: false,
            time_to_live: None,
            max_peers: const { NonZeroUsize::new(16_384).expect("not zero") },
            max_addresses: const { NonZeroUsize::new(16).expect("not zero") },
            newcomer_rate: Rate::new(500, Duration::from_millis(20)),
            connections: 0,
            hubs: Vec::new(),
            max_hub_delay: Duration::from_secs(60),
            saved_peers: Vec::new(),
            filter: Filter::default(),
            received_filter: Filter::default(),
        }
    }
}

impl Config {
    /// The topics to announce and to listen on. Each announcement goes to all of them.
    ///
    /// Defaults to [`DEFAULT_TOPIC`] alone, as in js-libp2p. Peers meet only on a topic that they share, so an
    /// application that wants to find its own kind alone names one of its own. At most 64, each with a name.
    pub fn with_topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// The shortest time between two announcements that nothing else has caused; at least 10 milliseconds.
    ///
    /// It is stretched when more peers announce themselves than the [target rate](Config::with_target_rate) allows: by
    /// default that begins with a hundred. Up to a tenth is added at random each time, and the second announcement of a node
    /// comes after a random part of it, so that nodes started together do not go on announcing together. While it is not
    /// stretched, the next one also comes sooner if somebody new is heard: two minimum gaps before it has passed since
    /// then, so that a newcomer knows everybody within it. Defaults to 10 seconds, as in js-libp2p.
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// The longest time between two announcements that nothing else has caused, however many peers there are. The
    /// interval itself where that is longer, so set it to zero if nothing shall be stretched.
    ///
    /// Defaults to 20 minutes, which 12,000 peers reach at the default rate; what more there are adds to the rate.
    /// It is also how long a newcomer to a network of that size takes to know everybody. Of others these 20 minutes are
    /// believed even where less is set here.
    pub fn with_max_interval(mut self, max_interval: Duration) -> Self {
        self.max_interval = max_interval;
        self
    }

    /// How many announcements a second all peers of a topic make together, about; at least one. Each receives all of them.
    ///
    /// Each peer announces itself once in the time that all of them need at this rate, by the number of peers that
    /// it knows. js-libp2p knows no such rate: there, a thousand peers make a hundred a second. The peers of a network
    /// should agree on it. Defaults to 10, so that up to a hundred peers announce at the default interval.
    pub fn with_target_rate(mut self, per_second: u32) -> Self {
        self.target_rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        self
    }

    /// The least time between two announcements, whatever causes them. One that no topic took counts as well.
    ///
    /// Defaults to a second, or to the interval where that is shorter: a peer that has just subscribed does not
    /// wait long, and a crowd that subscribes at once does not cause a storm. At most the interval.
    pub fn with_minimum_gap(mut self, minimum_gap: Duration) -> Self {
        self.minimum_gap = Some(minimum_gap);
        self
    }

    /// How long to wait after a change of the own addresses for the next one, so that one announcement tells of all.
    /// Counted from the first; more changes do not prolong it. At most the interval.
    ///
    /// Defaults to 50 milliseconds: a listener on a wildcard reports its addresses within less.
    pub fn with_coalescing(mut self, coalescing: Duration) -> Self {
        self.coalescing = coalescing;
        self
    }

    /// Whether to keep silent and only hear what others announce. Defaults to `false`.
    ///
    /// Unlike js-libp2p, whose `listenOnly` ignores what it hears.
    pub fn with_listen_only(mut self, listen_only: bool) -> Self {
        self.listen_only = listen_only;
        self
    }

    /// How long a peer stays known after its last announcement while it is not known how often it announces itself.
    ///
    /// After that it is three of its intervals: those it promises, as nodes with this crate do, or what has been learnt of
    /// it. Each is taken for ten seconds at least, or for [`Config::with_interval`] where that is shorter. A js-libp2p node,
    /// which announces itself every ten seconds, is forgotten when it has been silent for thirty. One with an interval longer
    /// than this time expires once: when it comes back within an hour, the time between the two announcements counts as its
    /// interval, at most 22 minutes. Until an hour after it expired, it does not expire again unless it has been silent for 22
    /// minutes, however many announcements are lost; so one that comes back and then goes for good is known for that long. The
    /// last 4,096 that have expired are remembered for this. It has to be longer than the interval. Defaults to a minute, or to
    /// three intervals where that is longer.
    pub fn with_time_to_live(mut self, time_to_live: Duration) -> Self {
        self.time_to_live = Some(time_to_live);
        self
    }

    /// How many peers are known at most, at least one, and an eighth more if they are connected. When the table is full, newcomers are
    /// not kept until somebody expires: were they to replace somebody, inventing identities would be enough to make
    /// everybody forgotten. Peers that one neighbour alone has delivered are at most a quarter while others are subscribed, and
    /// beyond that replace each other.
    ///
    /// Defaults to 16,384. A peer with two addresses takes 1,318 bytes, as the bench `discovery` measures it, so a full table
    /// of such peers is 22 MB, and one of peers with 16 addresses of 512 bytes some 150 MB.
    pub fn with_max_peers(mut self, max_peers: usize) -> Self {
        self.max_peers = NonZeroUsize::new(max_peers).unwrap_or(NonZeroUsize::MIN);
        self
    }

    /// How many addresses of one peer are kept, and how many of the own are announced, at least one: the most useful of those that
    /// pass the filter. These are public ones, public names, relayed ones, private ones and those of the host, in
    /// that order, and before them all, of the own, those that are confirmed as external. What is equally useful stays
    /// in the order in which the peer lists it.
    ///
    /// Defaults to 16: three transports on both IP versions of two interfaces, and a few relays.
    pub fn with_max_addresses(mut self, max_addresses: usize) -> Self {
        self.max_addresses = NonZeroUsize::new(max_addresses).unwrap_or(NonZeroUsize::MIN);
        self
    }

    /// How many announcements of peers that are not known, and malformed ones of any author, one neighbour may deliver; what
    /// exceeds it is ignored.
    ///
    /// Identities can be invented, so that this does not touch known peers: those
    /// behind a neighbour that floods stay known. Defaults to 500 at once and 50 a second: whoever joins a thousand
    /// js-libp2p peers through one hub hears of a hundred a second, and learns of all of them within their first
    /// interval; of ten thousand within four minutes. A neighbour that invents identities, and keeps announcing all
    /// of them, takes five minutes to fill a table of the default size, or a quarter of it if there are other neighbours.
    ///
    /// A neighbour that exceeds it is muted for ten seconds, on all topics, while at least two other subscribed neighbours, and
    /// more than half of all, do not; see [`PubSub::set_muted`](super::PubSub::set_muted).
    pub fn with_newcomer_rate(mut self, rate: Rate) -> Self {
        self.newcomer_rate = rate;
        self
    }

    /// The peers to stay connected to, where this node meets the others. Each is dialled as soon as the swarm runs, and again
    /// whenever it is not connected, for as long as it is named. At most 64 addresses.
    ///
    /// An address may be of any form that a transport of the swarm dials, `/dns*` and `/dnsaddr` among them. Names are looked
    /// up at each try. With `/p2p/<peer id>` at its end, only that peer is accepted, and all addresses of one peer id are
    /// tried in one attempt, those that the peer has announced included. Without, whoever answers is the hub, until it
    /// disconnects.
    ///
    /// When the connection is lost, the first try follows after a random time below 3 seconds; when a try fails, the next one
    /// after a second, and twice as long each further time, up to [`Config::with_max_hub_delay`]. Up to a quarter of that, at
    /// random, is left out. Where only another peer is found, the longest delay is kept. A connection that lasted for less than two minutes counts as a failed try, because a hub that is
    /// full accepts and closes. A new address of this node, listened on or confirmed, causes a try at once, but no sooner than a
    /// second after the last one. An address that cannot be dialled at all (the node's own, or one that no transport supports)
    /// is tried again only then. So one list can be given to all nodes, the hubs included.
    ///
    /// A connection that no protocol needs ends by the idle timeout of either swarm (10 seconds by default). Gossipsub needs
    /// those in its mesh, which are at most twelve at a hub unless its gossipsub is made with `gossipsub::hub_config`. So a hub with
    /// more leaves needs that, or a long idle timeout on both sides.
    ///
    /// [`Event::HubConnected`](super::Event::HubConnected), [`HubLost`](super::Event::HubLost) and
    /// [`HubUnreachable`](super::Event::HubUnreachable) tell what becomes of each. Defaults to none.
    pub fn with_hubs(mut self, hubs: impl IntoIterator<Item = Multiaddr>) -> Self {
        self.hubs.clear();
        for hub in hubs {
            if !self.hubs.contains(&hub) {
                self.hubs.push(hub);
            }
        }
        self
    }

    /// The longest time between two tries of a [hub](Config::with_hubs), at least one second. Defaults to 60 seconds: a hub
    /// with a thousand leaves is tried some twenty times a second while it is down.
    pub fn with_max_hub_delay(mut self, max_hub_delay: Duration) -> Self {
        self.max_hub_delay = max_hub_delay;
        self
    }

    /// The peers that this node knew before it was restarted, as [`Behaviour::saved_peers`](super::Behaviour::saved_peers)
    /// returned them. At most 1,000 are taken, the first ones.
    ///
    /// They are candidates for [`Config::with_connections`], dialled while no known peer is left to dial. Without
    /// `with_connections` they have no effect, which is logged as a warning. They are not known peers: none is
    /// [`Discovered`](super::Event::Discovered) or counted for the interval before it has announced itself. Their addresses are
    /// subject to [`Config::with_received_filter`] and [`Config::with_max_addresses`]. Defaults to none.
    pub fn with_saved_peers(mut self, saved_peers: impl IntoIterator<Item = SavedPeer>) -> Self {
        self.saved_peers = saved_peers.into_iter().take(MAX_SAVED).collect();
        self
    }

    /// How many connections to subscribers of the topics to keep, by dialling known peers while there are fewer.
    ///
    /// With it a star becomes a mesh: nodes that know only a hub are still connected to each other when the hub is
    /// gone. Every connected subscriber counts, whichever side has dialled, and so does a hub; three others are enough
    /// to keep many nodes in one piece. A gossipsub of the default configuration keeps five to twelve connections
    /// alive for each topic. More than that end by the idle timeout of the swarm and are dialled anew.
    ///
    /// Dialled are known peers that are not connected, chosen at random, each at all its addresses in one attempt. At
    /// most eight attempts are under way at once, and after the first eight no more than two a second begin. A peer
    /// that cannot be reached, or whose connection ends within two minutes, is left alone for 10 seconds, and for
    /// twice as long each further time, up to 10 minutes; up to a quarter of that, at random, is left out. A peer that
    /// announces only addresses that no transport of this node supports is dialled once, and not again until they change.
    ///
    /// What a dial finds out, whoever has asked for it, is kept until the next announcement of the peer. Addresses that
    /// have failed are tried last. If all have, the peer is forgotten when half of its time to live has passed. An
    /// address where somebody else was found is dropped. Nobody is blamed for what this node itself prevents, such as by
    /// a limit on connections, and nobody is forgotten sooner while there is no connection at all.
    ///
    /// Only known peers are dialled, and saved ones: [`Config::with_saved_peers`] has no effect without this option. A node that
    /// knows no peer is connected by [`Config::with_hubs`]. A hub that is subscribed counts.
    ///
    /// Defaults to 0: nobody is dialled. Whoever dials sends packets to any host and port that strangers announce, and
    /// shows them its own address; that is for the application to decide. Connections that an attacker makes to this
    /// node count as well, so it does not protect from being surrounded.
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// Which of the own addresses may be announced, in place of what suits a node on the internet.
    ///
    /// The default announces
    /// - public addresses and names, and relayed addresses (`/p2p-circuit`);
    /// - private ones only if the node has no public address or name, be it confirmed or only listened on. A relayed
    ///   address does not count as one. Private is what is not routed on the internet: RFC 1918, CGNAT, unique local and
    ///   link-local, ranges for documentation and benchmarks, and names such as `node.local`, `node.lan` or `node`;
    /// - those of the host itself (loopback, `localhost`, `/memory`, `/unix`) only if there are no others.
    ///
    /// An address that nobody can dial is never announced, whatever the closure says: an unspecified IP (`0.0.0.0`,
    /// `::`), port 0, multicast and broadcast, link-local IPv6, `/ip6zone`, names with `*`, no host or no port, `/http-path`,
    /// or anything but `/p2p` and `/p2p-circuit` after `/ws`.
    ///
    /// The closure is asked of each address as it is listened on, before each announcement.
    pub fn with_filter(
        mut self,
        filter: impl Fn(&Multiaddr) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.filter = Filter::custom(filter);
        self
    }

    /// Which addresses of other peers are kept, in place of what suits a node on the internet.
    ///
    /// The default is that of [`Config::with_filter`], for each announcement by itself: private addresses are kept only
    /// while this node has no public one, those of the host only if the announcement lists no others, and what nobody
    /// can dial never, whatever the closure says. A peer of which no address is left is known nevertheless, without
    /// addresses. When this node becomes public, or ceases to be, the peers that are known keep their addresses until
    /// they next announce themselves.
    ///
    /// This is about what is of use. It does not keep a node from dialling its own network: names are judged unresolved,
    /// relays pass wherever they are said to be, and so does loopback alone.
    ///
    /// The closure is asked of up to 256 addresses of each announcement, each ending in `/p2p/<peer id>`, and the swarm
    /// waits for it.
    pub fn with_received_filter(
        mut self,
        filter: impl Fn(&Multiaddr) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.received_filter = Filter::custom(filter);
        self
    }

    /// The topics, in alphabetical order.
    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> {
        self.topics.iter().map(String::as_str)
    }

    /// See [`Config::with_max_interval`]. Never below the interval.
    pub(crate) fn max_interval(&self) -> Duration {
        self.max_interval.max(self.interval)
    }

    /// See [`Config::with_minimum_gap`].
    pub(crate) fn minimum_gap(&self) -> Duration {
        self.minimum_gap
            .unwrap_or_else(|| self.interval.min(Duration::from_secs(1)))
    }

    /// See [`Config::with_listen_only`].
    pub(crate) fn is_listen_only(&self) -> bool {
        self.listen_only
    }

    /// See [`Config::with_time_to_live`].
    pub(crate) fn time_to_live(&self) -> Duration {
        self.time_to_live
            .unwrap_or_else(|| self.interval.saturating_mul(3).max(Duration::from_secs(60)))
    }

    /// See [`Config::with_max_addresses`].
    pub(crate) fn max_addresses(&self) -> NonZeroUsize {
        self.max_addresses
    }

    /// How often a known peer may announce itself between those announcements that are due: ten times what js-libp2p sends, on
    /// each topic that is shared with it.
    pub(crate) fn author_rate(&self) -> Rate {
        let topics = u32::try_from(self.topics.len()).map_or(u32::MAX, |topics| topics.max(1));
        Rate::new(topics.saturating_mul(10), Duration::from_secs(1) / topics)
    }

    /// Whom to dial, by a pubsub with such a heartbeat.
    pub(crate) fn dialer(&self, heartbeat: Duration) -> dialer::Settings {
        if self.connections == 0 && !self.saved_peers.is_empty() {
            tracing::warn!(
                "saved peers have no effect without `Config::with_connections`, which dials them"
            );
        }
        let select = |addresses: Vec<Multiaddr>| {
            let offered = addresses.into_iter().map(Offered::from);
            self.received_filter
                .select(false, self.max_addresses.get(), offered)
        };
        let saved = self.saved_peers.iter().map(|peer| SavedPeer {
            addresses: select(peer.addresses.clone()),
            ..peer.clone()
        });
        dialer::Settings {
            target: self.connections,
            hubs: self.hubs.clone(),
            max_hub_delay: self.max_hub_delay,
            heartbeat,
            saved: saved.collect(),
        }
    }

    /// What the core that judges incoming messages goes by.
    pub(crate) fn inbox(&self) -> Settings {
        Settings {
            limits: Limits {
                max_message_size: MAX_MESSAGE_SIZE,
            },
            filter: self.received_filter.clone(),
            max_addresses: self.max_addresses.get(),
            capacity: self.max_peers,
            lifetimes: Lifetimes {
                unknown: self.time_to_live(),
                // However long our own is: those who keep theirs shall be forgotten by that.
                shortest: self.interval.min(INTERVAL),
                // However little we stretch our own: others may, and then promise so.
                longest: schedule::longest(self.max_interval().max(MAX_INTERVAL)),
            },
            author_rate: self.author_rate(),
            newcomer_rate: self.newcomer_rate,
        }
    }

    /// What the core that decides when to announce goes by.
    pub(crate) fn timing(&self) -> Timing {
        Timing {
            interval: self.interval,
            max_interval: self.max_interval(),
            target_rate: self.target_rate,
            minimum_gap: self.minimum_gap(),
            coalescing: self.coalescing,
        }
    }

    pub(crate) fn add_topic(&mut self, topic: String) {
        self.topics.insert(topic);
    }

    pub(crate) fn remove_topic(&mut self, topic: &str) -> bool {
        self.topics.remove(topic)
    }

    pub(crate) fn set_listen_only(&mut self, listen_only: bool) {
        self.listen_only = listen_only;
    }

    pub(crate) fn has_topic(&self, topic: &str) -> bool {
        self.topics.contains(topic)
    }

    pub(crate) fn filter(&self) -> &Filter {
        &self.filter
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let (interval, minimum_gap) = (self.interval, self.minimum_gap());
        let time_to_live = self.time_to_live();
        if self.topics.is_empty() {
            return Err(ConfigError::NoTopics);
        }
        if self.topics.len() > MAX_TOPICS {
            return Err(ConfigError::TooManyTopics {
                topics: self.topics.len(),
                max: MAX_TOPICS,
            });
        }
        if self.has_topic("") {
            return Err(ConfigError::EmptyTopic);
        }
        if interval < MIN_INTERVAL {
            return Err(ConfigError::IntervalTooShort {
                interval,
                min: MIN_INTERVAL,
            });
        }
        if self.coalescing > interval {
            return Err(ConfigError::CoalescingAboveInterval {
                coalescing: self.coalescing,
                interval,
            });
        }
        if minimum_gap > interval {
            return Err(ConfigError::GapAboveInterval {
                minimum_gap,
                interval,
            });
        }
        if time_to_live <= interval {
            return Err(ConfigError::TimeToLiveWithinInterval {
                time_to_live,
                interval,
            });
        }
        Ok(())
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("topics", &self.topics)
            .field("hubs", &self.hubs)
            .field("max_hub_delay", &self.max_hub_delay)
            .field("saved_peers", &self.saved_peers.len())
            .field("interval", &self.interval)
            .field("max_interval", &self.max_interval())
            .field("target_rate", &self.target_rate)
            .field("minimum_gap", &self.minimum_gap())
            .field("coalescing", &self.coalescing)
            .field("listen_only", &self.listen_only)
            .field("time_to_live", &self.time_to_live())
            .field("max_peers", &self.max_peers)
            .field("max_addresses", &self.max_addresses)
            .field("newcomer_rate", &self.newcomer_rate)
            .field("connections", &self.connections)
            .field("filter", &self.filter)
            .field("received_filter", &self.received_filter)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use libp2p_identity::PeerId;

    use super::*;
    use crate::logged::logged;

    #[test]
    fn defaults_are_valid_and_those_of_js() {
        let config = Config::default();
        assert!(config.validate().is_ok());
        assert_eq!(config.topics().collect::<Vec<_>>(), [DEFAULT_TOPIC]);
        assert_eq!(config.interval, Duration::from_secs(10));
    }

    #[test]
    fn gap_and_time_to_live_follow_the_interval_unless_set() {
        let short = Config::default().with_interval(Duration::from_millis(200));
        assert_eq!(short.minimum_gap(), Duration::from_millis(200));
        let long = Config::default().with_interval(Duration::from_secs(600));
        assert_eq!(long.time_to_live(), Duration::from_secs(1800));
        assert!(short.validate().is_ok() && long.validate().is_ok());
        let never = Config::default()
            .with_interval(Duration::MAX)
            .with_time_to_live(Duration::MAX);
        assert!(matches!(
            never.validate(),
            Err(ConfigError::TimeToLiveWithinInterval { .. })
        ));
    }

    #[test]
    fn of_others_the_usual_intervals_are_believed_whatever_our_own_are() {
        let believed = |config: Config| config.inbox().lifetimes;
        let usual = believed(Config::default());
        let ours = Config::default().with_max_interval(Duration::ZERO);
        assert_eq!(believed(ours).longest, usual.longest);
        let ours = Config::default().with_interval(Duration::from_secs(600));
        assert_eq!(believed(ours).shortest, usual.shortest);
        let quick = Config::default().with_interval(Duration::from_secs(1));
        assert_eq!(believed(quick).shortest, Duration::from_secs(1));
    }

    #[test]
    fn saved_peers_that_are_never_dialled_are_warned_of_once() {
        let saved = || {
            let address = "/ip4/192.0.2.1/tcp/1/ws".parse().unwrap();
            Config::default().with_saved_peers([SavedPeer::new(
                PeerId::random(),
                vec![address],
                Duration::ZERO,
            )])
        };
        let warnings = |config: &Config| logged(|| drop(config.dialer(Duration::from_secs(1))));
        let warning = warnings(&saved());
        assert_eq!(warning.matches("with_connections").count(), 1, "{warning}");
        assert_eq!(warnings(&saved().with_connections(1)), "");
        assert_eq!(warnings(&Config::default()), "");
    }

    #[test]
    fn an_author_may_announce_on_every_topic() {
        let one = Config::default().author_rate();
        assert_eq!((one.burst(), one.interval()), (10, Duration::from_secs(1)));
        let twenty = Config::default()
            .with_topics((0..20).map(|i| i.to_string()))
            .author_rate();
        assert_eq!(
            (twenty.burst(), twenty.interval()),
            (200, Duration::from_millis(50))
        );
    }

    #[test]
    fn tells_which_filters_are_in_force() {
        let debug = |config: Config| format!("{config:?}");
        let default = debug(Config::default());
        assert!(
            default.ends_with("filter: Default, received_filter: Default }"),
            "{default}"
        );
        let own = debug(Config::default().with_filter(|_| true));
        assert!(
            own.ends_with("filter: Custom, received_filter: Default }"),
            "{own}"
        );
        let received = debug(Config::default().with_received_filter(|_| true));
        assert!(
            received.ends_with("filter: Default, received_filter: Custom }"),
            "{received}"
        );
    }

    #[test]
    fn nonsense_is_refused() {
        let second = Duration::from_secs(1);
        let refused = |config: Config| config.validate().unwrap_err();
        assert!(matches!(
            refused(Config::default().with_topics([""; 0])),
            ConfigError::NoTopics
        ));
        let many = (0..65).map(|i| i.to_string());
        assert!(matches!(
            refused(Config::default().with_topics(many)),
            ConfigError::TooManyTopics {
                topics: 65,
                max: 64
            }
        ));
        assert!(matches!(
            refused(Config::default().with_interval(Duration::ZERO)),
            ConfigError::IntervalTooShort { .. }
        ));
        assert!(matches!(
            refused(
                Config::default()
                    .with_interval(second)
                    .with_minimum_gap(second * 2)
            ),
            ConfigError::GapAboveInterval { .. }
        ));
        assert!(matches!(
            refused(Config::default().with_topics([""])),
            ConfigError::EmptyTopic
        ));
        assert!(matches!(
            refused(Config::default().with_interval(Duration::from_nanos(1))),
            ConfigError::IntervalTooShort { .. }
        ));
        assert!(matches!(
            refused(Config::default().with_coalescing(second * 11)),
            ConfigError::CoalescingAboveInterval { .. }
        ));
        assert!(matches!(
            refused(
                Config::default()
                    .with_interval(second)
                    .with_time_to_live(second)
            ),
            ConfigError::TimeToLiveWithinInterval { .. }
        ));
    }
}
