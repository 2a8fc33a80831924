//! Listeners that cannot be bound, or die.

use std::{error::Error as _, time::Duration};

use super::*;
use crate::lazy::{Failure, ListenError, Retry};

/// The failure that is reported.
pub(super) fn failure(event: Reported, id: ListenerId) -> ListenError {
    match event {
        TransportEvent::ListenerError {
            listener_id,
            error: Error::Listen(error),
        } if listener_id == id => error,
        other => panic!("a failure, not {other:?}"),
    }
}

/// Whether the listener gives up with that very failure.
pub(super) fn closes_with(event: Reported, id: ListenerId, error: &ListenError) -> bool {
    match event {
        TransportEvent::ListenerClosed {
            listener_id,
            reason: Err(Error::Listen(reason)),
        } => listener_id == id && reason.to_string() == error.to_string(),
        _ => false,
    }
}

fn fail_once(subject: &Subject, address: Multiaddr, kind: io::ErrorKind) {
    let error = TransportError::Other(kind.into());
    subject.inner.script().failures.insert(address, error);
}

/// Waits for the timer that the transport has set.
fn next(subject: &mut Subject) -> Reported {
    futures::executor::block_on(futures::future::poll_fn(|cx| {
        Pin::new(&mut *subject.task).poll(cx)
    }))
}

#[test]
fn what_can_heal_is_reported_and_tried_again_when_its_time_has_come() {
    let mut subject = Subject::new();
    fail_once(&subject, address(1), io::ErrorKind::AddrInUse);
    let id = subject.listen(&address(1));
    let error = failure(subject.ready(), id);
    assert_eq!(error.attempt(), 1);
    assert_eq!(error.retry_in(), Some(Duration::from_millis(100)));
    let cause: &io::Error = error.source().unwrap().downcast_ref().unwrap();
    assert_eq!(cause.kind(), io::ErrorKind::AddrInUse);
    // Queued events for the id that failed are dropped.
    let failed = subject.inner.script().inner_id(0);
    subject.say(new_address(failed, &address(1)));
    subject.idle();

    assert!(is_new_address(&next(&mut subject), id, &address(1)));
    let inner = subject.inner.script().inner_id(1);
    assert_ne!(inner, failed);
    subject.idle();
}

#[test]
fn what_cannot_heal_closes_with_the_error_that_was_reported() {
    for (retry, kind) in [
        (Retry::default(), io::ErrorKind::PermissionDenied),
        (Retry::never(), io::ErrorKind::AddrInUse),
    ] {
        let mut subject = Subject::over_wildcards(Config::default().with_retry(retry));
        fail_once(&subject, address(1), kind);
        let id = subject.listen(&address(1));
        let error = failure(subject.ready(), id);
        assert_eq!(error.retry_in(), None);
        // Too late to remove it: the close is on its way, and comes with its reason.
        assert!(!subject.task.remove_listener(id));
        assert!(closes_with(subject.ready(), id, &error));
        subject.idle();
        assert!(!subject.task.remove_listener(id));
    }
}

#[test]
fn an_address_refused_at_the_bind_closes_with_the_address_that_came_in() {
    let mut subject = Subject::new();
    let stripped = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
    subject
        .inner
        .script()
        .failures
        .insert(address(1), TransportError::MultiaddrNotSupported(stripped));
    let id = subject.listen(&address(1));
    let error = failure(subject.ready(), id);
    assert_eq!(error.failure(), Failure::Unsupported);
    assert_eq!(error.address(), &address(1));
    assert!(closes_with(subject.ready(), id, &error));
    subject.idle();
}

#[test]
fn a_listener_that_waits_for_its_next_attempt_can_be_removed() {
    let mut subject = Subject::new();
    fail_once(&subject, address(1), io::ErrorKind::AddrInUse);
    let id = subject.listen(&address(1));
    failure(subject.ready(), id);
    assert!(subject.task.remove_listener(id));
    assert!(is_clean_close(&subject.ready(), id));
    subject.idle();
    // Not even a change of the network brings it back.
    subject.inner.script().change(Changed::Network);
    subject.idle();
    assert_eq!(subject.inner.script().bound.len(), 1);
}

#[test]
fn a_change_of_the_network_is_an_attempt_at_once() {
    let never = Duration::from_secs(3600);
    let retry = Retry::default().with_first_delay(never);
    let mut subject = Subject::over_wildcards(Config::default().with_retry(retry));
    subject.inner.script().announces = true;
    fail_once(&subject, address(1), io::ErrorKind::AddrNotAvailable);
    let id = subject.listen(&address(1));
    assert_eq!(failure(subject.ready(), id).retry_in(), Some(never));
    subject.idle();
    // A certificate is none of its concern.
    subject.inner.script().change(Changed::Support);
    subject.idle();
    subject.inner.script().change(Changed::Network);
    assert!(subject.task.is_woken());
    assert!(is_new_address(&subject.ready(), id, &address(1)));
}

#[test]
fn a_listener_that_dies_is_bound_again_after_its_addresses_have_expired() {
    for reason in [Ok(()), Err(io::Error::other("interface gone"))] {
        let mut subject = Subject::new();
        let (id, inner) = subject.listening(&address(1));
        subject.say(new_address(inner, &address(2)));
        assert!(is_new_address(&subject.ready(), id, &address(2)));
        subject.say(incoming(inner, 1));
        subject.say(closed(inner, reason));
        assert_eq!(number(subject.ready(), id), 1);
        assert!(is_expired(&subject.ready(), id, &address(1)));
        assert!(is_expired(&subject.ready(), id, &address(2)));
        let error = failure(subject.ready(), id);
        assert_eq!(error.failure(), Failure::Closed);
        subject.idle();
        assert!(is_new_address(&next(&mut subject), id, &address(1)));
    }
}

#[test]
fn a_listener_without_retries_that_dies_closes() {
    let mut subject = Subject::over_wildcards(Config::default().with_retry(Retry::never()));
    subject.inner.script().announces = true;
    let (id, inner) = subject.listening(&address(1));
    subject.say(closed(inner, Err(io::Error::other("interface gone"))));
    assert!(is_expired(&subject.ready(), id, &address(1)));
    let error = failure(subject.ready(), id);
    assert!(closes_with(subject.ready(), id, &error));
    subject.idle();
}

#[test]
fn errors_of_a_bound_listener_pass_through() {
    let mut subject = Subject::new();
    let (id, inner) = subject.listening(&address(1));
    subject.say(TransportEvent::ListenerError {
        listener_id: inner,
        error: io::Error::other("accept"),
    });
    assert!(matches!(
        subject.ready(),
        TransportEvent::ListenerError { listener_id, error: Error::Inner(e) }
            if listener_id == id && e.to_string() == "accept"
    ));
    subject.idle();
}

#[test]
fn a_poll_costs_the_same_with_one_and_with_ten_thousand_that_wait_for_an_attempt() {
    let mut costs = Vec::new();
    for count in [1, 10_000] {
        let retry = Retry::default().with_first_delay(Duration::from_secs(3600));
        let mut subject = Subject::over_wildcards(Config::default().with_retry(retry));
        for port in 0..count {
            let address: Multiaddr = format!("/memory/{}", port + 1).parse().unwrap();
            fail_once(&subject, address.clone(), io::ErrorKind::AddrInUse);
            subject.listen(&address);
        }
        for _ in 0..count {
            subject.ready();
        }
        subject.idle();
        let before = subject.counts();
        subject.idle();
        let after = subject.counts();
        costs.push((after.0 - before.0, after.1 - before.1, after.2 - before.2));
    }
    assert_eq!(costs, [(1, 0, 0); 2]);
}
