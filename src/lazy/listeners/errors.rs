use std::time::Duration;

use super::due::Place;
use crate::{
    deadline::Instant,
    lazy::{Exhausted, accept::Cause},
};

/// Time for which a listener may report the same error without accepting anything, before it is bound again. Most errors
/// of `accept` pass within seconds. One that does not may be a fault of the socket.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Errors further apart than this are separate ones: a lasting error recurs with the next `accept`, in libp2p-tcp within
/// 100 ms. Also the minimum time between two reports of exhaustion.
pub(super) const APART: Duration = Duration::from_secs(10);

/// The errors that a bound listener has reported since it last accepted a connection.
#[derive(Debug, Default)]
pub(super) struct Errors {
    /// Out of descriptors or memory, which is not a fault of the socket.
    exhaustion: Option<Exhaustion>,
    /// The time of the last report of an exhaustion.
    told: Option<Instant>,
    /// Any other error, and its repetitions.
    repeated: Option<Repeated>,
}

#[derive(Debug)]
struct Exhaustion {
    since: Instant,
    last: Instant,
    /// The report, and the place of the timer for its end.
    told: Option<(Exhausted, Place)>,
}

#[derive(Debug)]
struct Repeated {
    what: String,
    since: Instant,
    last: Instant,
}

/// The treatment of an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Report it: it is new, or concerns one connection.
    Tell,
    /// It has been reported.
    Known,
    /// Report that the listener is exhausted, and call [`Errors::on_told`].
    Exhausted,
    /// Bind the listener again. It has not worked since `since`.
    Stuck { since: Instant },
}

impl Errors {
    /// The listener reports an error with this cause and text.
    pub(super) fn on_error(&mut self, cause: Cause, what: &str, now: Instant) -> Verdict {
        match cause {
            Cause::Connection => {
                // The socket works.
                self.repeated = None;
                Verdict::Tell
            }
            Cause::Resources => self.on_exhausted(now),
            Cause::Rules | Cause::Listener => self.on_repeated(cause, what, now),
        }
    }

    fn on_exhausted(&mut self, now: Instant) -> Verdict {
        self.repeated = None;
        let goes_on = |exhaustion: &Exhaustion| is_close(exhaustion.last, now);
        let before = self.exhaustion.take();
        let exhaustion = before.filter(|e| e.told.is_some() || goes_on(e));
        let exhaustion = self.exhaustion.insert(exhaustion.unwrap_or(Exhaustion {
            since: now,
            last: now,
            told: None,
        }));
        exhaustion.last = now;
        // A process at its limit accepts one connection whenever it has closed another.
        if exhaustion.told.is_some() || self.told.is_some_and(|told| is_close(told, now)) {
            return Verdict::Known;
        }
        self.told = Some(now);
        Verdict::Exhausted
    }

    fn on_repeated(&mut self, cause: Cause, what: &str, now: Instant) -> Verdict {
        match &mut self.repeated {
            Some(same) if same.what == what && is_close(same.last, now) => {
                same.last = now;
                let is_stuck = now.saturating_duration_since(same.since) >= STUCK_AFTER;
                match cause {
                    Cause::Listener if is_stuck => Verdict::Stuck { since: same.since },
                    _ => Verdict::Known,
                }
            }
            other => {
                *other = Some(Repeated {
                    what: what.to_owned(),
                    since: now,
                    last: now,
                });
                Verdict::Tell
            }
        }
    }

    /// The exhaustion has been reported. `place` is that of the timer for its end.
    pub(super) fn on_told(&mut self, exhausted: Exhausted, place: Place) {
        if let Some(exhaustion) = &mut self.exhaustion {
            exhaustion.told = Some((exhausted, place));
        }
    }

    /// The listener has accepted a connection. Returns the beginning and the timer of a reported exhaustion, which has now
    /// ended.
    pub(super) fn on_accepted(&mut self) -> Option<(Instant, Place)> {
        self.repeated = None;
        let exhaustion = self.exhaustion.take()?;
        Some((exhaustion.since, exhaustion.told?.1))
    }

    /// The time of the last error of a current exhaustion.
    pub(super) fn last_exhausted(&self) -> Option<Instant> {
        Some(self.exhaustion.as_ref()?.last)
    }

    /// The timer for its end has moved.
    pub(super) fn on_moved(&mut self, to: Place) {
        if let Some(Exhaustion {
            told: Some((_, place)),
            ..
        }) = &mut self.exhaustion
        {
            *place = to;
        }
    }

    /// The report of a current exhaustion, and the place of the timer for its end.
    pub(super) fn told(&self) -> Option<&(Exhausted, Place)> {
        self.exhaustion.as_ref()?.told.as_ref()
    }
}

/// Whether these are at most [`APART`] apart.
fn is_close(last: Instant, now: Instant) -> bool {
    now.saturating_duration_since(last) <= APART
}
