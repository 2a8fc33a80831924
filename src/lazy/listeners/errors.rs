use std::time::Duration;

use super::due::Place;
use crate::{
    deadline::Instant,
    lazy::{Exhausted, accept::Cause},
};

/// For how long a listener may report the same error without accepting anything, until it is bound anew. Errors
/// of accepting pass by themselves, mostly within seconds; what does not may be the socket's own.
pub(super) const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Errors further apart than this are not one that lasts: that comes back as soon as accepting is tried again, within a
/// tenth of a second with libp2p-tcp. Also how often it is told at most that a listener is exhausted.
pub(super) const APART: Duration = Duration::from_secs(10);

/// What a bound listener has reported since it last accepted a connection.
#[derive(Debug, Default)]
pub(super) struct Errors {
    /// Out of descriptors or memory. That lasts as long as it lasts, and is not the fault of the socket.
    exhaustion: Option<Exhaustion>,
    /// When it was last told of an exhaustion.
    told: Option<Instant>,
    /// Any other error, over and over.
    repeated: Option<Repeated>,
}

#[derive(Debug)]
struct Exhaustion {
    since: Instant,
    last: Instant,
    /// What was told of it, and where its end is waited for.
    told: Option<(Exhausted, Place)>,
}

#[derive(Debug)]
struct Repeated {
    what: String,
    since: Instant,
    last: Instant,
}

/// What is to be done about an error.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Tell it. It is about one connection, or new.
    Tell,
    /// It has been told.
    Known,
    /// Tell that the listener is exhausted, and say so to [`Errors::on_told`].
    Exhausted,
    /// Bind the listener anew: it has not worked since then.
    Stuck { since: Instant },
}

impl Errors {
    /// The listener reports an error with this cause and text.
    pub(super) fn on_error(&mut self, cause: Cause, what: &str, now: Instant) -> Verdict {
        match cause {
            Cause::Connection => {
                // The socket has brought one.
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

    /// It was told that the listener is exhausted; at `place` it is waited for the end of that.
    pub(super) fn on_told(&mut self, exhausted: Exhausted, place: Place) {
        if let Some(exhaustion) = &mut self.exhaustion {
            exhaustion.told = Some((exhausted, place));
        }
    }

    /// The listener has accepted a connection. If it was told that it is exhausted, that is over: returns since when it
    /// was, and where its end was waited for.
    pub(super) fn on_accepted(&mut self) -> Option<(Instant, Place)> {
        self.repeated = None;
        let exhaustion = self.exhaustion.take()?;
        Some((exhaustion.since, exhaustion.told?.1))
    }

    /// The last error that said that the listener is exhausted, while it is.
    pub(super) fn last_exhausted(&self) -> Option<Instant> {
        Some(self.exhaustion.as_ref()?.last)
    }

    /// It is waited elsewhere for the end of that.
    pub(super) fn on_moved(&mut self, to: Place) {
        if let Some(Exhaustion {
            told: Some((_, place)),
            ..
        }) = &mut self.exhaustion
        {
            *place = to;
        }
    }

    /// What has been told and is not over, and where its end is waited for.
    pub(super) fn told(&self) -> Option<&(Exhausted, Place)> {
        self.exhaustion.as_ref()?.told.as_ref()
    }
}

/// Whether these are no further than [`APART`] from each other.
fn is_close(last: Instant, now: Instant) -> bool {
    now.saturating_duration_since(last) <= APART
}
