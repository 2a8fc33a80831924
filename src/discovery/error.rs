use std::time::Duration;

use thiserror::Error;

/// Why a [`Behaviour`](super::Behaviour) or the pubsub below it could not be made.
///
/// All of these are mistakes in the program or its settings; none depends on the network.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The list of topics is empty, so there would be nobody to talk to.
    #[error("no topic to announce on")]
    NoTopics,
    /// More topics than one announcement may be published on.
    #[error("{topics} topics, at most {max} are possible")]
    TooManyTopics {
        /// How many there are, without repetitions.
        topics: usize,
        /// How many there may be.
        max: usize,
    },
    /// A topic without a name.
    #[error("a topic has no name")]
    EmptyTopic,
    /// The interval is zero, or so short that a swarm would do nothing but announce.
    #[error("the interval of {interval:?} between announcements is below {min:?}")]
    IntervalTooShort {
        /// The configured interval.
        interval: Duration,
        /// The shortest one.
        min: Duration,
    },
    /// The time in which changes are collected is longer than the interval.
    #[error("the coalescing of {coalescing:?} is longer than the interval of {interval:?}")]
    CoalescingAboveInterval {
        /// The configured coalescing.
        coalescing: Duration,
        /// The configured interval.
        interval: Duration,
    },
    /// The minimum gap forbids what the interval demands.
    #[error("the minimum gap of {minimum_gap:?} is longer than the interval of {interval:?}")]
    GapAboveInterval {
        /// The configured minimum gap.
        minimum_gap: Duration,
        /// The configured interval.
        interval: Duration,
    },
    /// Peers that announce at the same interval would expire between two announcements.
    #[error("the time to live of {time_to_live:?} is not above the interval of {interval:?}")]
    TimeToLiveWithinInterval {
        /// The configured time to live.
        time_to_live: Duration,
        /// The configured interval.
        interval: Duration,
    },
    /// The pubsub does not verify who wrote a message, so anybody could announce in another's name.
    ///
    /// For gossipsub: the validation mode must be `Strict`. In the permissive modes an unsigned message with a
    /// forged author cannot be told from a signed one.
    #[error("the pubsub does not insist on signed messages")]
    NotAuthenticated,
    /// Gossipsub refused its configuration.
    #[error("gossipsub refused its configuration: {0}")]
    Gossipsub(&'static str),
    /// The pubsub refused the subscription to a topic.
    #[error("cannot subscribe to {topic:?}")]
    Subscribe {
        /// The topic.
        topic: String,
        /// What the pubsub says.
        source: super::SubscribeError,
    },
}
