//! SHELL: carries out the rounds of the schedule, and those that the application asks for.

use libp2p_swarm::ToSwarm;

use super::Behaviour;
use crate::{
    deadline::{self, Instant},
    discovery::{
        AnnounceOutcome, Event, PubSub, PublishError, SkipReason,
        addresses::announceable,
        message::{self, Stamp},
        schedule::Outcome,
    },
};

impl<P: PubSub> Behaviour<P> {
    /// Announces the listen addresses and the confirmed external ones now, on all topics.
    ///
    /// Optional: the behaviour announces by itself when addresses change, when a peer subscribes, and at its interval.
    /// It never fails; the outcome has the result.
    ///
    /// ```
    /// # use libp2p_lazy_websocket::discovery;
    /// # #[cfg(feature = "gossipsub")]
    /// # fn example(discovery: &mut discovery::Behaviour<discovery::Gossipsub>) {
    /// match discovery.announce() {
    ///     discovery::AnnounceOutcome::Published => println!("announced"),
    ///     discovery::AnnounceOutcome::Delayed { until } => println!("in {:?}", until - std::time::Instant::now()),
    ///     discovery::AnnounceOutcome::Skipped(reason) => println!("not announced: {reason}"),
    ///     _ => {}
    /// }
    /// # }
    /// ```
    pub fn announce(&mut self) -> AnnounceOutcome {
        self.wake();
        let now = deadline::now();
        let announced = match self.schedule.on_request(now) {
            Ok(()) => {
                let outcome = self.publish(now);
                self.schedule.on_outcome(now, outcome)
            }
            Err(not_now) => not_now,
        };
        self.rounds.on_announced(announced);
        announced
    }

    pub(super) fn on_round_due(&mut self, now: Instant) {
        let outcome = self.publish(now);
        let announced = self.schedule.on_outcome(now, outcome);
        self.rounds.on_announced(announced);
        if let AnnounceOutcome::Skipped(reason) = announced {
            tracing::debug!(%reason, "skipped an announcement");
            self.tell(Event::Skipped { reason });
        }
    }

    /// Publishes the listen addresses and the external ones on all topics.
    fn publish(&mut self, now: Instant) -> Outcome {
        self.unreached.clear();
        let public_key = self.pubsub.public_key();
        let announceable = announceable(
            public_key.to_peer_id(),
            self.external.iter(),
            self.listening.iter(),
            self.config.filter(),
            self.config.max_addresses().get(),
        );
        let (addresses, promise) = match announceable {
            Ok(addresses) => (addresses, Some(self.schedule.promise(now))),
            Err(SkipReason::NoListeners) if self.schedule.may_solicit(now) => (Vec::new(), None),
            Err(reason) => return Outcome::Skipped(reason),
        };
        let stamp = Stamp {
            sequence: Some(self.sequence.next(deadline::wall_clock())),
            promise,
        };
        let payload = message::encode(&public_key, addresses.iter().cloned(), stamp);
        let (mut topics, mut failed) = (Vec::new(), 0);
        for topic in self.config.topics() {
            match self.pubsub.publish(topic, payload.clone()) {
                Ok(()) => topics.push(topic.to_owned()),
                Err(PublishError::NoSubscribers) => {
                    self.unreached.insert(topic.to_owned());
                }
                Err(error) => {
                    failed += 1;
                    self.rounds.publish_failures += 1;
                    let event = Event::PublishFailed {
                        topic: topic.to_owned(),
                        error,
                    };
                    self.outputs.push_back(ToSwarm::GenerateEvent(event));
                }
            }
        }
        let outcome = Outcome::of_topics(topics.len(), failed, addresses.len());
        if !topics.is_empty() {
            tracing::debug!(?topics, ?addresses, "announced");
            self.tell(Event::Announced { topics, addresses });
        }
        outcome
    }
}
