//! The only access to the clocks: [`now`], [`wall_clock`], and a timer for the next deadline.
//!
//! The cores take time as an argument. Only the shells use this module, so a test of a core never waits, and a search for
//! `deadline::` finds every place that reads the clock.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use futures::FutureExt as _;
use futures_timer::Delay;
pub(crate) use web_time::{Instant, SystemTime};

/// The current time.
#[expect(
    clippy::disallowed_methods,
    reason = "the door that the others go through"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The date and time of day, only for comparison with dates from outside: it may jump.
#[expect(
    clippy::disallowed_methods,
    reason = "the door that the others go through"
)]
pub(crate) fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// `now + duration`, or a time some thirty years ahead if that cannot be represented: options may be [`Duration::MAX`], for
/// "never".
pub(crate) fn after(now: Instant, duration: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

    now.checked_add(duration.min(FAR)).unwrap_or(now)
}

/// Done after this long.
pub(crate) async fn passed(duration: Duration) {
    let at = after(now(), duration);
    let mut deadline = Deadline::default();
    std::future::poll_fn(|cx| deadline.poll(now(), Some(at), cx)).await;
}

/// That of timers.
const PRECISION: Duration = Duration::from_millis(1);

/// A timer for the earliest of all deadlines of one core.
///
/// `next_timeout()` of a core returns the time of its next call. The shell passes it to [`Deadline::poll`] each time it is
/// polled. The timer is re-armed only when the deadline has moved by a millisecond, so a shell that is polled a thousand times
/// a second does not touch the timer wheel, also if the deadline is one of the clock on the wall, which runs a little apart.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    armed: Option<(Instant, Delay)>,
}

impl Deadline {
    /// Ready once `now` has reached `at`; otherwise the task is woken at that time. Never ready for `None`.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        at: Option<Instant>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(at) = at else {
            self.armed = None;
            return Poll::Pending;
        };
        if at <= now {
            self.armed = None;
            return Poll::Ready(());
        }
        let delay = match &mut self.armed {
            Some((armed, delay)) => {
                if at.saturating_duration_since(*armed) >= PRECISION
                    || armed.saturating_duration_since(at) >= PRECISION
                {
                    *armed = at;
                    delay.reset(at - now);
                }
                delay
            }
            None => &mut self.armed.insert((at, Delay::new(at - now))).1,
        };
        if delay.poll_unpin(cx).is_pending() {
            return Poll::Pending;
        }
        // A timer may fire a little early by the clock of the caller. If this returned "ready", the core would find nothing
        // due and the shell would spin. A fresh timer waits for the rest.
        self.armed = None;
        if at <= self::now() {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(deadline: &mut Deadline, at: Option<Instant>) -> (Poll<()>, bool) {
        let mut task = tokio_test::task::spawn(());
        let polled = task.enter(|cx, _| deadline.poll(now(), at, cx));
        (polled, task.is_woken())
    }

    #[test]
    fn a_deadline_that_hardly_moves_leaves_the_timer_as_it_is() {
        let mut deadline = Deadline::default();
        let armed = |deadline: &Deadline| deadline.armed.as_ref().map(|(at, _)| *at);
        let at = now() + Duration::from_secs(60);
        for moved in [at, at + PRECISION / 2, at - PRECISION / 2] {
            assert_eq!(poll(&mut deadline, Some(moved)), (Poll::Pending, false));
            assert_eq!(armed(&deadline), Some(at));
        }
        for moved in [at + PRECISION, at - PRECISION] {
            assert_eq!(poll(&mut deadline, Some(moved)), (Poll::Pending, false));
            assert_eq!(armed(&deadline), Some(moved));
        }
    }

    #[test]
    fn none_is_never_ready_and_the_past_always_is() {
        let mut deadline = Deadline::default();
        assert_eq!(poll(&mut deadline, None), (Poll::Pending, false));
        assert_eq!(poll(&mut deadline, Some(now())), (Poll::Ready(()), false));
    }

    #[test]
    fn wakes_at_the_deadline_it_was_last_given() {
        let mut deadline = Deadline::default();
        let far = now() + Duration::from_secs(3600);
        let near = now() + Duration::from_millis(5);
        let mut task = tokio_test::task::spawn(());
        task.enter(|cx, _| {
            assert!(deadline.poll(now(), Some(far), cx).is_pending());
            assert!(deadline.poll(now(), Some(near), cx).is_pending());
        });
        futures::executor::block_on(std::future::poll_fn(|cx| {
            deadline.poll(now(), Some(near), cx)
        }));
        assert!(now() >= near);
    }
}
