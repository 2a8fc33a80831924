//! CORE: when to send a ping, and when to give up a silent peer.

use std::time::Duration;

use crate::deadline::{self, Instant};

/// Decides when a silent connection gets a ping, and when it is dead.
///
/// Every received byte is a sign of life. After `interval` without one, a ping is due. The peer then has `interval` for
/// another byte. The time starts again whenever a blocked write continues: then the peer reads, however slowly, and the ping
/// or its answer waits behind other bytes.
///
/// Inputs are `on_*`. The caller calls [`on_timeout`](Self::on_timeout) at [`next_timeout`](Self::next_timeout), after
/// it has tried to read: what has arrived and was not read must not count as silence. Calls that come too early do
/// nothing.
#[derive(Debug)]
pub(super) struct KeepAlive {
    interval: Duration,
    /// Whether there was a ping since the last byte.
    is_asked: bool,
    /// The start of the current wait.
    since: Instant,
}

/// The action at a timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Wait,
    /// Send a ping.
    Ping,
    /// The peer was silent for too long.
    Dead,
}

impl KeepAlive {
    pub(super) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            is_asked: false,
            since: now,
        }
    }

    pub(super) fn next_timeout(&self) -> Instant {
        deadline::after(self.since, self.interval)
    }

    /// Bytes of any kind were received.
    pub(super) fn on_received(&mut self, now: Instant) {
        self.is_asked = false;
        self.since = now;
    }

    /// A blocked write has continued, so the peer has read.
    pub(super) fn on_write_resumed(&mut self, now: Instant) {
        if self.is_asked {
            self.since = now;
        }
    }

    pub(super) fn on_timeout(&mut self, now: Instant) -> Outcome {
        if now < self.next_timeout() {
            return Outcome::Wait;
        }
        if self.is_asked {
            return Outcome::Dead;
        }
        self.is_asked = true;
        self.since = now;
        Outcome::Ping
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Instant {
        thread_local!(static START: Instant = deadline::now());
        START.with(|start| *start) + Duration::from_secs(seconds)
    }

    fn keep_alive() -> KeepAlive {
        KeepAlive::new(INTERVAL, at(0))
    }

    #[test]
    fn silence_is_asked_after_once_and_then_is_death() {
        let mut keep_alive = keep_alive();
        assert_eq!(keep_alive.next_timeout(), at(30));
        assert_eq!(keep_alive.on_timeout(at(29)), Outcome::Wait);
        assert_eq!(keep_alive.on_timeout(at(30)), Outcome::Ping);
        assert_eq!(keep_alive.next_timeout(), at(60));
        assert_eq!(keep_alive.on_timeout(at(59)), Outcome::Wait);
        assert_eq!(keep_alive.on_timeout(at(60)), Outcome::Dead);
    }

    #[test]
    fn what_is_heard_begins_it_anew_before_the_ping_and_after() {
        let mut keep_alive = keep_alive();
        keep_alive.on_received(at(20));
        assert_eq!(keep_alive.on_timeout(at(30)), Outcome::Wait);
        assert_eq!(keep_alive.on_timeout(at(50)), Outcome::Ping);
        keep_alive.on_received(at(55));
        // The ping may still go out, and nobody waits for its answer.
        keep_alive.on_write_resumed(at(56));
        assert_eq!(keep_alive.next_timeout(), at(85));
        assert_eq!(keep_alive.on_timeout(at(85)), Outcome::Ping);
        keep_alive.on_received(at(114));
        assert_eq!(keep_alive.on_timeout(at(115)), Outcome::Wait);
        assert_eq!(keep_alive.on_timeout(at(144)), Outcome::Ping);
    }

    #[test]
    fn who_reads_slowly_lives() {
        let mut keep_alive = keep_alive();
        assert_eq!(keep_alive.on_timeout(at(30)), Outcome::Ping);
        for now in (50..500).step_by(20) {
            keep_alive.on_write_resumed(at(now));
            assert_eq!(keep_alive.on_timeout(at(now + 19)), Outcome::Wait);
        }
        let stopped = at(490 + 30);
        assert_eq!(keep_alive.next_timeout(), stopped);
        assert_eq!(keep_alive.on_timeout(stopped), Outcome::Dead);
    }

    #[test]
    fn what_is_taken_is_not_heard() {
        let mut keep_alive = keep_alive();
        keep_alive.on_write_resumed(at(29));
        assert_eq!(keep_alive.on_timeout(at(30)), Outcome::Ping);
    }

    #[test]
    fn an_endless_interval_never_ends() {
        let keep_alive = KeepAlive::new(Duration::MAX, at(0));
        assert!(keep_alive.next_timeout() > at(365 * 24 * 60 * 60));
    }

    #[derive(Debug, Clone, Copy)]
    enum Input {
        Received,
        WriteResumed,
        Timeout,
    }

    proptest! {
        /// Whatever comes, and whenever: it is dead exactly if it was asked, and for an interval there was no sign.
        #[test]
        fn death_is_an_interval_without_a_sign_after_being_asked(
            inputs in prop::collection::vec(
                (0..40_u64, prop::sample::select(vec![
                    Input::Received,
                    Input::WriteResumed,
                    Input::Timeout,
                ])),
                0..100,
            ),
        ) {
            let mut keep_alive = keep_alive();
            let (mut last_sign, mut is_asked) = (0, false);
            let mut now = 0;
            for (passed, input) in inputs {
                now += passed;
                match input {
                    Input::Received => {
                        keep_alive.on_received(at(now));
                        (last_sign, is_asked) = (now, false);
                    }
                    Input::WriteResumed => {
                        keep_alive.on_write_resumed(at(now));
                        if is_asked {
                            last_sign = now;
                        }
                    }
                    Input::Timeout => {
                        let outcome = keep_alive.on_timeout(at(now));
                        if now - last_sign < 30 {
                            prop_assert_eq!(outcome, Outcome::Wait);
                        } else if is_asked {
                            prop_assert_eq!(outcome, Outcome::Dead);
                            return Ok(());
                        } else {
                            prop_assert_eq!(outcome, Outcome::Ping);
                            (last_sign, is_asked) = (now, true);
                        }
                    }
                }
            }
        }
    }
}
