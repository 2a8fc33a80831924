//! Failures over time.

use std::time::Duration;

use super::*;
use crate::lazy::{
    ListenError, State as Shown,
    listeners::{
        due::MIN_HURRY_GAP,
        errors::{APART, STUCK_AFTER},
    },
};

/// A core with one listener, and its time.
struct Subject {
    core: Core,
    now: Instant,
    id: ListenerId,
    address: Multiaddr,
}

impl Subject {
    fn new(address: &str, retry: Retry) -> Self {
        let now = deadline::now();
        let mut core = Core::new(&Config::default().with_retry(retry), 0, now);
        let id = ListenerId::next();
        let address: Multiaddr = address.parse().unwrap();
        core.on_listen(id, address.clone(), Support::Now).unwrap();
        Self {
            core,
            now,
            id,
            address,
        }
    }

    /// The next action of a poll in which the inner transport has nothing to say.
    fn action(&mut self) -> Action<u32, io::Error> {
        loop {
            match self.core.poll_action() {
                Action::PollInner => self.core.on_inner_pending(),
                action => return action,
            }
        }
    }

    fn poll(&mut self) -> Action<u32, io::Error> {
        self.core.on_poll(self.now);
        self.action()
    }

    /// Is to be bound now, and is, at this address below.
    #[track_caller]
    fn bind(&mut self) -> (ListenerId, Multiaddr) {
        let Action::Bind { inner, address, .. } = self.poll() else {
            panic!("a bind");
        };
        self.core.on_bound(self.id);
        (inner, address)
    }

    #[track_caller]
    fn fail(&mut self) -> ListenError {
        let Action::Bind { .. } = self.poll() else {
            panic!("a bind");
        };
        self.core
            .on_bind_failed(self.id, TransportError::Other(in_use()));
        self.failure()
    }

    #[track_caller]
    fn failure(&mut self) -> ListenError {
        match self.action() {
            Action::Report(TransportEvent::ListenerError {
                error: Error::Listen(error),
                ..
            }) => error,
            other => panic!("a failure, not {other:?}"),
        }
    }

    fn say(&mut self, event: TransportEvent<u32, io::Error>) {
        self.core.on_poll(self.now);
        self.core.on_inner_event(event);
    }

    fn die(&mut self, inner: ListenerId) -> ListenError {
        self.say(TransportEvent::ListenerClosed {
            listener_id: inner,
            reason: Ok(()),
        });
        while let Action::Report(event) = self.action() {
            if let TransportEvent::ListenerError {
                error: Error::Listen(error),
                ..
            } = event
            {
                return error;
            }
        }
        panic!("a failure");
    }

    /// The network has changed.
    fn change(&mut self) {
        self.core.on_poll(self.now);
        self.core.on_changed(Changed::Network);
    }

    /// Until its next attempt.
    #[track_caller]
    fn wait(&mut self) {
        assert!(matches!(self.poll(), Action::Rest { again: false }));
        self.now = self.core.next_timeout().expect("it tries again");
    }

    fn announce(&mut self, inner: ListenerId, address: &str) {
        self.say(TransportEvent::NewAddress {
            listener_id: inner,
            listen_addr: address.parse().unwrap(),
        });
        let Action::Report(TransportEvent::NewAddress { .. }) = self.action() else {
            panic!("an address");
        };
    }
}

const ADDRESS: &str = "/ip4/127.0.0.1/tcp/1/ws";

#[test]
fn attempts_are_counted_and_come_when_they_were_told_to() {
    let mut subject = Subject::new(ADDRESS, Retry::default());
    for attempt in 1..20 {
        let error = subject.fail();
        assert_eq!(error.attempt(), attempt);
        let due = subject.now + error.retry_in().unwrap();
        subject.wait();
        assert_eq!(subject.now, due);
    }
    subject.bind();
    assert_eq!(subject.core.next_timeout(), None);
}

#[test]
fn nothing_is_tried_before_its_time() {
    let mut subject = Subject::new(ADDRESS, Retry::default());
    let error = subject.fail();
    subject.now += error.retry_in().unwrap() - Duration::from_nanos(1);
    assert!(matches!(subject.poll(), Action::Rest { again: false }));
    subject.now += Duration::from_nanos(1);
    assert!(matches!(subject.poll(), Action::Bind { .. }));
}

#[test]
fn a_limit_of_attempts_ends_in_one_close() {
    let retry = Retry::default().with_max_attempts(2);
    let mut subject = Subject::new(ADDRESS, retry);
    subject.fail();
    subject.wait();
    let last = subject.fail();
    assert_eq!(last.retry_in(), None);
    assert!(matches!(
        subject.action(),
        Action::Report(TransportEvent::ListenerClosed { reason: Err(Error::Listen(error)), .. })
            if error.attempt() == 2
    ));
    assert!(matches!(subject.poll(), Action::Rest { again: false }));
}

#[test]
fn an_attempt_ahead_of_its_time_changes_nothing_if_it_fails() {
    let retry = Retry::default()
        .with_max_attempts(2)
        .with_first_delay(Duration::from_secs(4));
    let mut subject = Subject::new(ADDRESS, retry);
    let error = subject.fail();
    let due = subject.now + error.retry_in().unwrap();
    while subject.now + MIN_HURRY_GAP < due {
        subject.change();
        let hurried = subject.fail();
        assert_eq!(hurried.attempt(), 1);
        assert_eq!(subject.now + hurried.retry_in().unwrap(), due);
        subject.now += MIN_HURRY_GAP;
    }
    subject.wait();
    assert_eq!(subject.now, due);
    // This one counts, and was the last.
    let error = subject.fail();
    assert_eq!((error.attempt(), error.retry_in()), (2, None));
}

#[test]
fn the_delay_grows_by_attempts_that_were_due() {
    let delays = |changes: bool| {
        let mut subject = Subject::new(ADDRESS, Retry::default());
        let mut delays = Vec::new();
        for _ in 0..12 {
            let error = subject.fail();
            let due = subject.now + error.retry_in().unwrap();
            delays.push(error.retry_in().unwrap());
            if changes {
                subject.change();
                if let Action::Bind { .. } = subject.action() {
                    let error = TransportError::Other(in_use());
                    subject.core.on_bind_failed(subject.id, error);
                    subject.failure();
                }
            }
            subject.now = due;
        }
        delays
    };
    assert_eq!(delays(true), delays(false));
}

#[test]
fn a_failure_that_cannot_heal_closes_ahead_of_its_time_too() {
    let mut subject = Subject::new(ADDRESS, Retry::default());
    subject.fail();
    subject.change();
    let Action::Bind { .. } = subject.action() else {
        panic!("a bind");
    };
    let error = TransportError::Other(io::ErrorKind::PermissionDenied.into());
    subject.core.on_bind_failed(subject.id, error);
    assert_eq!(subject.failure().retry_in(), None);
}

#[test]
fn what_an_attempt_ahead_of_its_time_has_bound_fails_like_any_other() {
    // Closed before it had an address, the attempt has failed; closed after it, the listener has.
    for (announced, attempt) in [(false, 1), (true, 2)] {
        let mut subject = Subject::new(ADDRESS, Retry::default());
        subject.fail();
        subject.change();
        let (inner, _) = subject.bind();
        if announced {
            subject.announce(inner, ADDRESS);
        }
        assert_eq!(subject.die(inner).attempt(), attempt);
    }
}

#[test]
fn an_interface_that_comes_and_goes_makes_no_more_than_an_attempt_a_second() {
    let hour = Duration::from_secs(3600);
    let retry = Retry::default().with_first_delay(hour);
    let mut subject = Subject::new(ADDRESS, retry);
    subject.fail();
    let mut attempts = 0;
    for _ in 0..999 {
        subject.change();
        match subject.action() {
            Action::Bind { .. } => {
                attempts += 1;
                let error = TransportError::Other(in_use());
                subject.core.on_bind_failed(subject.id, error);
                subject.failure();
            }
            Action::Rest { again: false } => {}
            other => panic!("{other:?}"),
        }
        subject.now += Duration::from_millis(10);
    }
    assert_eq!(attempts, 10);
    // The last change is not forgotten.
    subject.wait();
    assert!(matches!(subject.poll(), Action::Bind { .. }));
    assert_eq!(subject.core.next_timeout(), None);
}

#[test]
fn nobody_hurries_because_of_a_change_that_others_have_waited_for() {
    let mut subject = Subject::new(ADDRESS, Retry::default());
    subject.fail();
    subject.change();
    subject.fail();
    subject.change();
    assert!(subject.core.on_remove(subject.id));
    let other = ListenerId::next();
    subject
        .core
        .on_listen(other, address(2), Support::Now)
        .unwrap();
    let Action::Report(TransportEvent::ListenerClosed { .. }) = subject.poll() else {
        panic!("a close");
    };
    subject.id = other;
    subject.now += MIN_HURRY_GAP;
    let error = subject.fail();
    let due = subject.now + error.retry_in().unwrap();
    assert!(matches!(subject.poll(), Action::Rest { again: false }));
    assert_eq!(subject.core.next_timeout(), Some(due));
}

#[test]
fn failures_are_forgotten_once_it_has_worked_for_long() {
    let long = Retry::default().forgets_after();
    for (worked, attempt) in [(long - Duration::from_nanos(1), 3), (long, 1)] {
        let mut subject = Subject::new(ADDRESS, Retry::default());
        subject.fail();
        subject.wait();
        subject.fail();
        subject.wait();
        let (inner, _) = subject.bind();
        subject.now += worked;
        assert_eq!(subject.die(inner).attempt(), attempt);
    }
}

#[test]
fn the_port_that_the_system_has_chosen_is_kept() {
    let mut subject = Subject::new("/ip4/0.0.0.0/tcp/0/ws", Retry::default());
    let (inner, address) = subject.bind();
    assert_eq!(address, subject.address);
    subject.announce(inner, "/ip4/192.0.2.7/tcp/4001/ws");
    subject.die(inner);
    subject.wait();
    let kept: Multiaddr = "/ip4/0.0.0.0/tcp/4001/ws".parse().unwrap();
    let (inner, address) = subject.bind();
    assert_eq!(address, kept);
    // Also when it dies before it has another address, or after it has lost them all.
    subject.die(inner);
    subject.wait();
    let (inner, address) = subject.bind();
    assert_eq!(address, kept);
    subject.announce(inner, "/ip4/192.0.2.8/tcp/4001/ws");
    subject.say(TransportEvent::AddressExpired {
        listener_id: inner,
        listen_addr: "/ip4/192.0.2.8/tcp/4001/ws".parse().unwrap(),
    });
    subject.die(inner);
    subject.wait();
    assert_eq!(subject.bind().1, kept);
}

#[test]
fn a_rebind_waits_until_the_inner_transport_has_nothing_to_say() {
    let mut subject = Subject::new(ADDRESS, Retry::default());
    let (inner, _) = subject.bind();
    let error = subject.die(inner);
    // Others keep the inner transport busy, and it has not been heard out since the close.
    subject.now += error.retry_in().unwrap();
    for _ in 1..pace::MAX_EVENTS_BEFORE_REBIND {
        subject.core.on_poll(subject.now);
        match subject.core.poll_action() {
            Action::PollInner => {}
            Action::Rest { .. } => continue,
            other => panic!("{other:?}"),
        }
        subject.core.on_inner_event(TransportEvent::ListenerError {
            listener_id: ListenerId::next(),
            error: in_use(),
        });
    }
    // But not for ever.
    subject.core.on_poll(subject.now);
    assert!(matches!(subject.core.poll_action(), Action::Bind { .. }));
}

fn accept_fails(inner: ListenerId, error: io::ErrorKind) -> TransportEvent<u32, io::Error> {
    TransportEvent::ListenerError {
        listener_id: inner,
        error: error.into(),
    }
}

fn is_passed_on(action: &Action<u32, io::Error>) -> bool {
    matches!(
        action,
        Action::Report(TransportEvent::ListenerError {
            error: Error::Inner(_),
            ..
        })
    )
}

/// It fails again and again, which is told once, until the next time is one too many.
fn fail_for_long(subject: &mut Subject, inner: ListenerId) {
    let begin = subject.now;
    while subject.now < begin + STUCK_AFTER {
        subject.say(accept_fails(inner, io::ErrorKind::Other));
        match subject.now == begin {
            true => assert!(is_passed_on(&subject.action())),
            false => assert!(is_quiet(subject)),
        }
        subject.now += APART;
    }
    subject.now = begin + STUCK_AFTER;
}

/// Whether no action is due.
fn is_quiet(subject: &mut Subject) -> bool {
    matches!(subject.action(), Action::Rest { again: false })
}

#[test]
fn a_listener_that_only_fails_for_half_a_minute_is_bound_anew() {
    let other = io::ErrorKind::Other;
    let mut subject = Subject::new(ADDRESS, Retry::default());
    let (inner, _) = subject.bind();
    subject.announce(inner, ADDRESS);
    fail_for_long(&mut subject, inner);
    subject.now -= Duration::from_nanos(1);
    subject.say(accept_fails(inner, other));
    assert!(is_quiet(&mut subject));
    subject.now += Duration::from_nanos(1);
    subject.say(accept_fails(inner, other));
    let Action::Report(TransportEvent::AddressExpired { .. }) = subject.action() else {
        panic!("the address expires");
    };
    let Action::Remove { inner: left, .. } = subject.action() else {
        panic!("it is closed");
    };
    assert_eq!(left, inner);
    subject.core.on_removed(subject.id, true);
    assert!(matches!(subject.action(), Action::Rest { again: false }));
    let error = subject.die(inner);
    assert_eq!(
        (error.failure(), error.reason()),
        (Failure::Stuck, io::Error::from(other).to_string())
    );
    subject.wait();
    subject.bind();
}

/// A listener that is stuck is let go, and the inner transport does not know it any more. Returns the error.
fn leave_stuck(subject: &mut Subject, inner: ListenerId) -> ListenError {
    fail_for_long(subject, inner);
    subject.say(accept_fails(inner, io::ErrorKind::Other));
    let Action::Remove { .. } = subject.action() else {
        panic!("it is closed");
    };
    subject.core.on_removed(subject.id, false);
    subject.failure()
}

#[test]
fn a_stuck_listener_that_the_inner_transport_does_not_know_is_bound_anew_too() {
    let mut subject = Subject::new(ADDRESS, Retry::default());
    let (inner, _) = subject.bind();
    assert_eq!(leave_stuck(&mut subject, inner).failure(), Failure::Stuck);
    subject.wait();
    subject.bind();
}

#[test]
fn who_is_stuck_again_and_again_has_not_worked_in_between() {
    for works in [false, true] {
        let mut subject = Subject::new(ADDRESS, Retry::default());
        for n in 1..5 {
            let (inner, _) = subject.bind();
            if works {
                subject.now += Retry::default().forgets_after();
            }
            let error = leave_stuck(&mut subject, inner);
            let expected = if works { 1 } else { n };
            assert_eq!(error.attempt(), expected);
            subject.wait();
        }
    }
}

#[test]
fn errors_now_and_then_are_not_one_that_lasts() {
    let mut subject = Subject::new(ADDRESS, Retry::default());
    let (inner, _) = subject.bind();
    for _ in 0..10 {
        subject.say(accept_fails(inner, io::ErrorKind::Other));
        assert!(is_passed_on(&subject.action()));
        subject.now += APART + Duration::from_nanos(1);
    }
}

#[test]
fn a_connection_or_another_error_in_between_is_a_new_beginning() {
    let others = [io::ErrorKind::TimedOut, io::ErrorKind::ConnectionAborted];
    for in_between in others.map(Some).into_iter().chain([None]) {
        let mut subject = Subject::new(ADDRESS, Retry::default());
        let (inner, _) = subject.bind();
        subject.announce(inner, ADDRESS);
        fail_for_long(&mut subject, inner);
        subject.now -= APART / 2;
        match in_between {
            None => accept(&mut subject, inner),
            Some(kind) => {
                subject.say(accept_fails(inner, kind));
                assert!(matches!(subject.action(), Action::Report(_)));
            }
        }
        subject.now += APART / 2;
        subject.say(accept_fails(inner, io::ErrorKind::Other));
        assert!(is_passed_on(&subject.action()));
    }
}

/// The report of an error that is not a failure, in words.
fn told(action: Action<u32, io::Error>) -> &'static str {
    match action {
        Action::Report(TransportEvent::ListenerError { error, .. }) => match error {
            Error::Exhausted(_) => "exhausted",
            Error::Recovered { .. } => "recovered",
            Error::Inner(_) => "passed on",
            other => panic!("{other}"),
        },
        Action::Rest { again: false } => "quiet",
        other => panic!("{other:?}"),
    }
}

/// A listener that has an address.
fn listening() -> (Subject, ListenerId) {
    let mut subject = Subject::new(ADDRESS, Retry::default());
    let (inner, _) = subject.bind();
    subject.announce(inner, ADDRESS);
    (subject, inner)
}

fn accept(subject: &mut Subject, inner: ListenerId) {
    subject.say(TransportEvent::Incoming {
        listener_id: inner,
        upgrade: 1,
        local_addr: address(1),
        send_back_addr: address(2),
    });
    let Action::Report(TransportEvent::Incoming { .. }) = subject.action() else {
        panic!("a connection");
    };
}

const PAUSE: Duration = Duration::from_millis(100);

/// The errors that a process without descriptors or memory gets.
#[cfg(unix)]
const EXHAUSTED: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
#[cfg(not(unix))]
const EXHAUSTED: [i32; 2] = [10024, 10055];

fn exhausts(inner: ListenerId, n: usize) -> TransportEvent<u32, io::Error> {
    TransportEvent::ListenerError {
        listener_id: inner,
        error: io::Error::from_raw_os_error(EXHAUSTED[n % EXHAUSTED.len()]),
    }
}

#[test]
fn a_listener_without_descriptors_is_kept_however_long_and_told_of_twice() {
    let (mut subject, inner) = listening();
    subject.core.watch();
    while subject.core.poll_note().is_some() {}
    let begin = subject.now;
    // Ten minutes, one error after the other.
    for n in 0..6000 {
        subject.say(exhausts(inner, n));
        let expected = if n == 0 { "exhausted" } else { "quiet" };
        assert_eq!(told(subject.action()), expected);
        subject.now += PAUSE;
    }
    let note = subject.core.poll_note().unwrap();
    assert!(matches!(note.state, Shown::Listening));
    assert_eq!(note.addresses, [subject.address.clone()]);
    let reason = io::Error::from_raw_os_error(EXHAUSTED[0]).to_string();
    assert_eq!(note.exhausted.unwrap().reason(), reason);
    assert!(subject.core.poll_note().is_none());

    accept(&mut subject, inner);
    let Action::Report(TransportEvent::ListenerError {
        error: Error::Recovered { after, .. },
        ..
    }) = subject.action()
    else {
        panic!("it is over");
    };
    assert_eq!(after, subject.now - begin);
    assert!(subject.core.poll_note().unwrap().exhausted.is_none());
    assert_eq!(told(subject.action()), "quiet");
    assert_eq!(subject.core.next_timeout(), None);
}

#[test]
fn a_listener_that_is_quiet_for_long_is_no_longer_without_descriptors() {
    let (mut subject, inner) = listening();
    subject.say(exhausts(inner, 0));
    assert_eq!(told(subject.action()), "exhausted");
    subject.now += APART / 2;
    subject.say(exhausts(inner, 0));
    assert_eq!(told(subject.action()), "quiet");
    let last = subject.now;
    // It is looked at once too early, and once when it is time.
    subject.wait();
    assert_eq!(subject.now, last + APART / 2);
    assert_eq!(told(subject.poll()), "quiet");
    subject.now = subject.core.next_timeout().unwrap();
    assert_eq!(subject.now, last + APART);
    assert_eq!(told(subject.poll()), "recovered");
    assert_eq!(told(subject.poll()), "quiet");
    assert_eq!(subject.core.next_timeout(), None);
}

#[test]
fn a_process_at_its_limit_is_told_of_no_more_than_every_ten_seconds() {
    let (mut subject, inner) = listening();
    let mut reports = Vec::new();
    for _ in 0..600 {
        subject.say(exhausts(inner, 0));
        reports.push(told(subject.action()));
        subject.now += PAUSE / 2;
        accept(&mut subject, inner);
        reports.push(told(subject.action()));
        subject.now += PAUSE / 2;
    }
    reports.retain(|report| *report != "quiet");
    assert_eq!(reports, ["exhausted", "recovered"].repeat(6));
    assert_eq!(subject.core.next_timeout(), None);
}

#[test]
fn being_without_descriptors_ends_with_the_socket() {
    let (mut subject, inner) = listening();
    subject.say(exhausts(inner, 0));
    assert_eq!(told(subject.action()), "exhausted");
    subject.die(inner);
    subject.wait();
    let (inner, _) = subject.bind();
    assert_eq!(subject.core.next_timeout(), None);
    subject.announce(inner, ADDRESS);
    subject.say(exhausts(inner, 0));
    assert_eq!(told(subject.action()), "exhausted");
    assert!(subject.core.next_timeout().is_some());
    assert!(subject.core.on_remove(subject.id));
    assert_eq!(subject.core.next_timeout(), None);
}

#[test]
fn neither_single_connections_nor_rules_of_the_host_close_a_listener() {
    let gone = io::ErrorKind::ConnectionAborted;
    for (kind, is_told_again) in [(gone, true), (io::ErrorKind::PermissionDenied, false)] {
        let (mut subject, inner) = listening();
        for n in 0..6000 {
            subject.say(accept_fails(inner, kind));
            let is_told = n == 0 || is_told_again;
            let expected = if is_told { "passed on" } else { "quiet" };
            assert_eq!(told(subject.action()), expected, "{kind}");
            subject.now += PAUSE;
        }
    }
}

#[test]
fn a_stuck_listener_can_be_removed_while_it_is_being_closed() {
    let mut subject = Subject::new(ADDRESS, Retry::default());
    let (inner, _) = subject.bind();
    fail_for_long(&mut subject, inner);
    subject.say(accept_fails(inner, io::ErrorKind::Other));
    while let Action::Report(_) = subject.core.poll_action() {}
    assert!(subject.core.on_remove(subject.id));
    subject.core.on_removed(subject.id, true);
    subject.say(TransportEvent::ListenerClosed {
        listener_id: inner,
        reason: Ok(()),
    });
    assert!(matches!(
        subject.action(),
        Action::Report(TransportEvent::ListenerClosed { reason: Ok(()), .. })
    ));
    assert!(subject.core.listeners.is_empty() && subject.core.by_inner.is_empty());
}

#[test]
fn who_watches_is_told_every_state_in_order() {
    let mut subject = Subject::new(ADDRESS, Retry::default());
    subject.core.watch();
    subject.fail();
    subject.wait();
    let (inner, _) = subject.bind();
    subject.announce(inner, ADDRESS);
    let error = subject.die(inner);
    subject.core.on_remove(subject.id);
    let mut told = Vec::new();
    while let Some(note) = subject.core.poll_note() {
        assert_eq!(note.listener, subject.id);
        let ready = matches!(note.state, Shown::Listening);
        assert_eq!(note.addresses.len(), usize::from(ready));
        told.push(note.state.to_string());
    }
    assert_eq!(error.attempt(), 2);
    assert_eq!(
        told,
        [
            "registered",
            "binding",
            "retrying in 0.1 s: address in use",
            "binding",
            "listening",
            "retrying in 0.2 s: was closed by the transport below",
            "closed"
        ]
    );
}
