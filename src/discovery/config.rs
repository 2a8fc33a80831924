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
    peers::Lifetimes,
    saved::MAX_SAVED,
    schedule::{self, Timing},
};

/// The default topic of js-libp2p's `@libp2p/pubsub-peer-discovery`.
pub const DEFAULT_TOPIC: &str = "_peer-discovery._p2p._pubsub";

/// Maximum number of topics of one [`Behaviour`](super::Behaviour): each costs a publication a round.
const MAX_TOPICS: usize = 64;

/// A behaviour that is never idle keeps the swarm from its connections and listeners.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// That of js-libp2p.
const INTERVAL: Duration = Duration::from_secs(10);
const MAX_INTERVAL: Duration = Duration::from_secs(20 * 60);

/// Maximum size of an announcement that is read. Twice the size of 16 addresses of the maximum length (512 bytes) and a key
/// of any type. Gossipsub has a limit of its own (64 KiB by default).
const MAX_MESSAGE_SIZE: usize = 16 * 1024;

/// Options of a [`Behaviour`](super::Behaviour), and their defaults.
///
/// Invalid combinations are refused by [`Behaviour::new`](super::Behaviour::new) with a
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
    /// The topics to announce on and to listen to. Each announcement goes to all of them.
    ///
    /// Defaults to [`DEFAULT_TOPIC`] alone, as in js-libp2p. Peers discover each other only on a shared topic, so an
    /// application that looks only for its own peers uses a topic of its own. At most 64, none of them empty.
    pub fn with_topics<T: Into<String>>(mut self, topics: impl IntoIterator<Item = T>) -> Self {
        self.topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// The shortest interval between regular announcements, at least 10 milliseconds. Defaults to 10 seconds, as in
    /// js-libp2p.
    ///
    /// The interval grows when more peers announce than the [target rate](Config::with_target_rate) allows, by
    /// default above a hundred peers. Up to a tenth is added at random each time, and the second announcement comes
    /// after a random part of the interval, so that nodes started together do not stay synchronised. While the
    /// interval is not stretched, a newcomer brings the next announcement forward, to two minimum gaps before a full
    /// interval has passed since the newcomer was heard. A newcomer then knows all peers within one interval.
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// The longest interval between regular announcements, for any number of peers. A shorter value than the interval
    /// counts as the interval; zero therefore disables stretching.
    ///
    /// Defaults to 20 minutes, which 12,000 peers reach at the default rate. More peers exceed the rate. It is also
    /// the time in which a newcomer to a network of that size learns of all peers. Intervals announced by other peers
    /// are accepted up to 20 minutes, even if this is set lower.
    pub fn with_max_interval(mut self, max_interval: Duration) -> Self {
        self.max_interval = max_interval;
        self
    }

    /// The approximate number of announcements per second that all peers of a topic make together; at least one. Each
    /// peer receives all of them.
    ///
    /// Each peer announces once in the time that all known peers need at this rate. js-libp2p has no such rate: a
    /// thousand of its peers make a hundred announcements a second. All peers of a network should use the same value.
    /// Defaults to 10, so that up to a hundred peers announce at the default interval.
    pub fn with_target_rate(mut self, per_second: u32) -> Self {
        self.target_rate = NonZeroU32::new(per_second).unwrap_or(NonZeroU32::MIN);
        self
    }

    /// The shortest time between two announcements, whatever their cause. An announcement that no topic took counts
    /// as well.
    ///
    /// Defaults to one second, or to the interval if that is shorter. A new subscriber is answered soon, and many
    /// subscribers at once do not cause a storm. At most the interval.
    pub fn with_minimum_gap(mut self, minimum_gap: Duration) -> Self {
        self.minimum_gap = Some(minimum_gap);
        self
    }

    /// The time from the first change of the own addresses to the announcement, so that one announcement covers all
    /// changes. Further changes do not prolong it. At most the interval.
    ///
    /// Defaults to 50 milliseconds, within which a wildcard listener reports all its addresses.
    pub fn with_coalescing(mut self, coalescing: Duration) -> Self {
        self.coalescing = coalescing;
        self
    }

    /// Whether to make no announcements and only receive those of others. Defaults to `false`.
    ///
    /// In contrast, the `listenOnly` of js-libp2p ignores what it receives.
    pub fn with_listen_only(mut self, listen_only: bool) -> Self {
        self.listen_only = listen_only;
        self
    }

    /// The time to live of a peer whose interval is not known, counted from its last announcement. Has to be longer
    /// than the interval. Defaults to one minute, or to three intervals if that is longer.
    ///
    /// A peer whose interval is known expires after three of its intervals. Nodes with this crate announce their
    /// interval; that of other nodes is learnt. Intervals below ten seconds, or below [`Config::with_interval`] if
    /// that is shorter, count as that.
    ///
    /// A js-libp2p node announces every ten seconds by default and expires after thirty. A js-libp2p node with an
    /// interval above this time to live expires once. When it returns within an hour, the time between the two
    /// announcements counts as its interval, at most 22 minutes. Until one hour after it expired, it expires again
    /// only after 22 silent minutes, even if announcements are lost. The last 4,096 expired peers are remembered for
    /// this.
    pub fn with_time_to_live(mut self, time_to_live: Duration) -> Self {
        self.time_to_live = Some(time_to_live);
        self
    }

    /// Maximum number of known peers, at least one. Connected peers may take an eighth more. When the table is full,
    /// newcomers are ignored until a peer expires: if they replaced known peers, invented identities could evict all
    /// of them. While other neighbours are subscribed, peers delivered by one neighbour alone take at most a quarter
    /// of the table, and beyond that replace each other.
    ///
    /// Defaults to 16,384. A peer with two addresses takes 1,318 bytes, as the bench `discovery` measures, so a full
    /// table of them takes 22 MB. A full table of peers with 16 addresses of 512 bytes takes about 150 MB.
    pub fn with_max_peers(mut self, max_peers: usize) -> Self {
        self.max_peers = NonZeroUsize::new(max_peers).unwrap_or(NonZeroUsize::MIN);
        self
    }

    /// Maximum number of addresses that are kept of one peer, and that are announced of this node; at least one. The
    /// most useful addresses that pass the filter are taken: public addresses, public names, relayed addresses,
    /// private ones, and those of the host, in that order. Of this node's addresses, confirmed external ones come
    /// first. Equally useful addresses keep their order.
    ///
    /// Defaults to 16: three transports on both IP versions of two interfaces, and a few relays.
    pub fn with_max_addresses(mut self, max_addresses: usize) -> Self {
        self.max_addresses = NonZeroUsize::new(max_addresses).unwrap_or(NonZeroUsize::MIN);
        self
    }

    /// The rate at which one neighbour may deliver announcements of unknown peers, and malformed ones of any author.
    /// Announcements above the rate are ignored.
    ///
    /// The rate does not apply to known peers, so those behind a flooding neighbour stay known. Defaults to 500 at
    /// once and 50 a second. A node that joins a thousand js-libp2p peers through one hub receives a hundred
    /// announcements a second, and knows all peers within their first interval; ten thousand peers take four minutes.
    /// A neighbour that invents identities and keeps announcing all of them takes five minutes to fill a table of the
    /// default size, or a quarter of it while there are other neighbours.
    ///
    /// A neighbour that exceeds the rate is muted for ten seconds, on all topics, while at least two other subscribed
    /// neighbours, and more than half of all, keep within it; see [`PubSub::set_muted`](super::PubSub::set_muted).
    pub fn with_newcomer_rate(mut self, rate: Rate) -> Self {
        self.newcomer_rate = rate;
        self
    }

    /// The peers that this node stays connected to, and through which it finds the others. Each hub is dialled when
    /// the swarm starts, and again whenever it is not connected, for as long as it is configured. At most 64
    /// addresses. Defaults to none.
    ///
    /// An address may have any form that a transport of the swarm dials, including `/dns*` and `/dnsaddr`. Names are
    /// looked up at each dial. An address that ends with `/p2p/<peer id>` accepts only that peer, and all addresses
    /// of one peer id are dialled in one attempt, together with those that the peer has announced. Without a peer id,
    /// any peer that answers is the hub until it disconnects.
    ///
    /// After a lost connection, the first dial follows after a random time below 3 seconds. After a failed dial, the
    /// next one follows after one second, then after twice the delay each time, up to [`Config::with_max_hub_delay`];
    /// up to a quarter of the delay is left out at random. If only another peer answers at the address, the longest
    /// delay applies. A connection of less than two minutes counts as a failed dial, because a full hub accepts
    /// connections and closes them. A new address of this node, listened on or confirmed, causes a dial at once, at
    /// most one per second. An address that cannot be dialled at all (this node's own, or an unsupported one) is
    /// dialled again only then. All nodes can therefore share one list, including the hubs.
    ///
    /// A connection that no protocol keeps alive ends by the idle timeout of either swarm, 10 seconds by default.
    /// Gossipsub keeps the connections of its mesh, at most twelve by default; `gossipsub::hub_config` makes room for
    /// more. A hub with more leaves needs that, or a long idle timeout on both sides.
    ///
    /// [`Event::HubConnected`](super::Event::HubConnected), [`HubLost`](super::Event::HubLost) and
    /// [`HubUnreachable`](super::Event::HubUnreachable) report the state of each hub.
    pub fn with_hubs(mut self, hubs: impl IntoIterator<Item = Multiaddr>) -> Self {
        self.hubs.clear();
        for hub in hubs {
            if !self.hubs.contains(&hub) {
                self.hubs.push(hub);
            }
        }
        self
    }

    /// The longest delay between two dials of a [hub](Config::with_hubs), at least one second. Defaults to 60
    /// seconds: a hub with a thousand leaves then receives about twenty dials a second while it is down.
    pub fn with_max_hub_delay(mut self, max_hub_delay: Duration) -> Self {
        self.max_hub_delay = max_hub_delay;
        self
    }

    /// The peers that were known before a restart, as [`Behaviour::saved_peers`](super::Behaviour::saved_peers)
    /// returned them. The first 1,000 are used. Defaults to none.
    ///
    /// Saved peers are candidates for [`Config::with_connections`], dialled while no known peer is left to dial.
    /// Without `with_connections` they have no effect, which is logged as a warning. A saved peer is not a known
    /// peer: it is [`Discovered`](super::Event::Discovered) and counted for the interval only after it has announced
    /// itself. Its addresses are subject to [`Config::with_received_filter`] and [`Config::with_max_addresses`].
    pub fn with_saved_peers(mut self, saved_peers: impl IntoIterator<Item = SavedPeer>) -> Self {
        self.saved_peers = saved_peers.into_iter().take(MAX_SAVED).collect();
        self
    }

    /// The number of connections to subscribers of the topics to keep. While there are fewer, known peers are
    /// dialled. Defaults to 0, which dials no peer.
    ///
    /// Connections turn a star into a mesh: nodes that know only a hub stay connected to each other after the hub is
    /// gone. All connected subscribers count, whichever side dialled, and hubs count too. Three others keep many
    /// nodes in one piece. A gossipsub of the default configuration keeps five to twelve connections alive for each
    /// topic; more than that end by the idle timeout of the swarm and are dialled again.
    ///
    /// Candidates are known peers that are not connected, in random order; an attempt tries all addresses of a peer.
    /// At most eight attempts run at once, and after the first eight at most two begin per second. A peer that cannot
    /// be reached, or whose connection ends within two minutes, is dialled again after 10 seconds, and after twice
    /// the delay each further time, up to 10 minutes; up to a quarter of the delay is left out at random. A peer that
    /// announces only unsupported addresses is dialled once, and again when they change.
    ///
    /// The result of a dial, also of one by the application, is kept until the next announcement of the peer.
    /// Addresses that have failed are tried last. If all have failed, the peer expires after half of its time to
    /// live. An address where another peer answered is dropped. Dials that this node itself prevents, such as by a
    /// limit on connections, do not count as failures, and no peer expires sooner while this node has no connection
    /// at all.
    ///
    /// Only known peers and saved ones are dialled: [`Config::with_saved_peers`] has no effect without this option.
    /// The first connection of a node comes from [`Config::with_hubs`].
    ///
    /// Dialling sends packets to any host and port that strangers announce, and shows them the address of this node.
    /// Connections made by an attacker count as well, so this option does not protect against eclipse attacks.
    pub fn with_connections(mut self, connections: usize) -> Self {
        self.connections = connections;
        self
    }

    /// The filter for own addresses, in place of the default for nodes on the internet.
    ///
    /// The default announces
    /// - public addresses and names, and relayed addresses (`/p2p-circuit`);
    /// - private addresses only while the node has no public address or name, confirmed or listened on. A relayed
    ///   address does not count as public. Private addresses are those that are not routed on the internet: RFC 1918,
    ///   CGNAT, unique local and link-local, ranges for documentation and benchmarks, and names such as `node.local`,
    ///   `node.lan` or `node`;
    /// - addresses of the host (loopback, `localhost`, `/memory`, `/unix`) only if there are no others.
    ///
    /// Addresses that no transport can dial are never announced, whatever the closure returns: an unspecified IP
    /// (`0.0.0.0`, `::`), port 0, multicast and broadcast, link-local IPv6, `/ip6zone`, names with `*`, no host or no
    /// port, `/http-path`, or anything but `/p2p` and `/p2p-circuit` after `/ws`.
    ///
    /// The closure is called before each announcement, with each address as it is listened on.
    pub fn with_filter(
        mut self,
        filter: impl Fn(&Multiaddr) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.filter = Filter::custom(filter);
        self
    }

    /// The filter for addresses of other peers, in place of the default for nodes on the internet.
    ///
    /// The default is that of [`Config::with_filter`], for each announcement by itself: private addresses are kept
    /// only while this node has no public one, addresses of the host only if the announcement lists no others.
    /// Addresses that no transport can dial are never kept, whatever the closure returns. A peer without remaining
    /// addresses is still known. When this node gains or loses its public address, known peers keep their addresses
    /// until their next announcement.
    ///
    /// The filter selects useful addresses. It does not keep a node from dialling its own network: names are judged
    /// unresolved, relayed addresses pass wherever the relay is, and so does loopback alone.
    ///
    /// The closure is called for up to 256 addresses of each announcement, each ending in `/p2p/<peer id>`, and
    /// blocks the swarm.
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

    /// The rate at which a known peer may announce itself beyond its due announcements: ten times that of js-libp2p, for
    /// each shared topic.
    pub(crate) fn author_rate(&self) -> Rate {
        let topics = u32::try_from(self.topics.len()).map_or(u32::MAX, |topics| topics.max(1));
        Rate::new(topics.saturating_mul(10), Duration::from_secs(1) / topics)
    }

    /// The options of the dialer, for a pubsub with this heartbeat.
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

    /// The options of the core that judges incoming messages.
    pub(crate) fn inbox(&self) -> Settings {
        Settings {
            max_message_size: MAX_MESSAGE_SIZE,
            filter: self.received_filter.clone(),
            max_addresses: self.max_addresses.get(),
            capacity: self.max_peers,
            lifetimes: Lifetimes {
                unknown: self.time_to_live(),
                // Independent of the own interval: peers with a short one expire by theirs.
                shortest: self.interval.min(INTERVAL),
                // Independent of the own maximum: other peers may stretch more, and promise so.
                longest: schedule::longest(self.max_interval().max(MAX_INTERVAL)),
            },
            author_rate: self.author_rate(),
            newcomer_rate: self.newcomer_rate,
        }
    }

    /// The options of the core that decides when to announce.
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
    fn what_is_set_is_in_force() {
        let second = Duration::from_secs(1);
        let rate = Rate::new(7, second);
        let config = Config::default()
            .with_interval(5 * second)
            .with_max_interval(90 * second)
            .with_target_rate(3)
            .with_minimum_gap(2 * second)
            .with_coalescing(4 * second)
            .with_time_to_live(70 * second)
            .with_max_peers(11)
            .with_max_addresses(12)
            .with_newcomer_rate(rate)
            .with_connections(13)
            .with_max_hub_delay(80 * second);
        let timing = config.timing();
        assert_eq!(timing.interval, 5 * second);
        assert_eq!(timing.max_interval, 90 * second);
        assert_eq!(timing.target_rate.get(), 3);
        assert_eq!(timing.minimum_gap, 2 * second);
        assert_eq!(timing.coalescing, 4 * second);
        let inbox = config.inbox();
        assert_eq!(inbox.lifetimes.unknown, 70 * second);
        assert_eq!((inbox.capacity.get(), inbox.max_addresses), (11, 12));
        assert_eq!(config.max_addresses().get(), 12);
        assert_eq!(inbox.newcomer_rate, rate);
        let dialer = config.dialer(second);
        assert_eq!(dialer.target, 13);
        assert_eq!(dialer.max_hub_delay, 80 * second);
        let hubs = [1, 2, 1].map(|port| Multiaddr::from(multiaddr::Protocol::Tcp(port)));
        let config = config.with_hubs(hubs.clone());
        assert_eq!(config.dialer(second).hubs, hubs[..2]);
        let mut config = config.with_topics(["a"]);
        config.add_topic("b".to_owned());
        assert!(config.has_topic("a") && config.has_topic("b"));
        assert!(config.remove_topic("a") && !config.remove_topic("a"));
        assert!(!config.has_topic("a"));
        for listen_only in [true, false] {
            let mut config = Config::default().with_listen_only(listen_only);
            assert_eq!(config.is_listen_only(), listen_only);
            config.set_listen_only(!listen_only);
            assert_eq!(config.is_listen_only(), !listen_only);
        }
    }

    #[test]
    fn what_is_just_allowed_is_accepted() {
        let second = Duration::from_secs(1);
        for config in [
            Config::default().with_topics((0..MAX_TOPICS).map(|topic| topic.to_string())),
            Config::default()
                .with_interval(MIN_INTERVAL)
                .with_coalescing(MIN_INTERVAL),
            Config::default()
                .with_interval(second)
                .with_minimum_gap(second),
            Config::default()
                .with_interval(second)
                .with_time_to_live(second + Duration::from_nanos(1)),
        ] {
            config.validate().unwrap();
        }
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
    fn of_a_saved_peer_the_addresses_are_kept_that_would_be_of_an_announcement() {
        let [kept, other] = ["/ip4/1.2.3.4/tcp/1/ws", "/ip4/1.2.3.4/tcp/2/ws"]
            .map(|address| address.parse::<Multiaddr>().unwrap());
        let peer = PeerId::random();
        let saved = |addresses| SavedPeer::new(peer, addresses, Duration::ZERO);
        let allowed = kept.clone();
        let config = Config::default()
            .with_connections(1)
            .with_received_filter(move |address| *address == allowed)
            .with_saved_peers([saved(vec![other, kept.clone()])]);
        let dialer = config.dialer(Duration::from_secs(1));
        assert_eq!(dialer.saved, [saved(vec![kept])]);
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
        for time_to_live in [second, second / 2] {
            assert!(matches!(
                refused(
                    Config::default()
                        .with_interval(second)
                        .with_time_to_live(time_to_live)
                ),
                ConfigError::TimeToLiveWithinInterval { .. }
            ));
        }
    }
}
