//! Listeners that wait for what the inner transport does not have yet.

use std::sync::Arc;

use super::*;
use crate::lazy::{Change, Failure};

#[test]
fn a_waiting_listener_binds_once_what_it_waits_for_is_there() {
    let mut subject = Subject::new();
    let waiting = Support::Waiting(Missing::Certificate { last_error: None });
    subject.inner.script().support.insert(address(1), waiting);
    let id = subject.listen(&address(1));
    let other = subject.listen(&address(2));
    assert!(is_new_address(&subject.ready(), other, &address(2)));
    subject.idle();

    // A change that is none for this one.
    subject.inner.script().change(Changed::Support);
    assert!(subject.task.is_woken());
    subject.idle();

    subject.inner.script().support.clear();
    subject.inner.script().change(Changed::Support);
    assert!(subject.task.is_woken());
    assert!(is_new_address(&subject.ready(), id, &address(1)));
    subject.idle();
}

#[test]
fn a_waiting_listener_closes_when_its_address_can_never_be_served_after_all() {
    let mut subject = Subject::new();
    let waiting = Support::Waiting(Missing::Certificate { last_error: None });
    subject.inner.script().support.insert(address(1), waiting);
    let id = subject.listen(&address(1));
    subject.idle();
    {
        let mut script = subject.inner.script();
        script.support.insert(address(1), Support::Never);
        script.change(Changed::Support);
    }
    let error = failing::failure(subject.ready(), id);
    assert_eq!(
        (error.failure(), error.address()),
        (Failure::Unsupported, &address(1))
    );
    assert!(failing::closes_with(subject.ready(), id, &error));
    subject.idle();
}

#[test]
fn a_poll_costs_the_same_with_one_and_with_ten_thousand_waiting() {
    let mut costs = Vec::new();
    for count in [1, 10_000] {
        let mut subject = Subject::new();
        for port in 0..count {
            let waiting = Support::Waiting(Missing::Certificate { last_error: None });
            let address: Multiaddr = format!("/memory/{}", port + 1).parse().unwrap();
            subject
                .inner
                .script()
                .support
                .insert(address.clone(), waiting);
            subject.listen(&address);
        }
        let before = subject.counts();
        subject.idle();
        let after = subject.counts();
        costs.push((after.0 - before.0, after.1 - before.1, after.2 - before.2));
    }
    assert_eq!(costs, [(1, 0, 0); 2]);
}

#[test]
fn a_change_asks_about_all_waiting_ones_once_and_in_portions() {
    let mut subject = Subject::over_wildcards(Config::default());
    let addresses: Vec<Multiaddr> = (0..10_000)
        .map(|n| format!("/memory/{}", n + 1).parse().unwrap())
        .collect();
    for address in &addresses {
        let waiting = Support::Waiting(Missing::Certificate { last_error: None });
        subject
            .inner
            .script()
            .support
            .insert(address.clone(), waiting);
        subject.listen(address);
    }
    subject.idle();
    let (_, before, _) = subject.counts();
    subject.inner.script().change(Changed::Support);
    let mut asks = before;
    loop {
        assert!(subject.poll().is_pending());
        let (_, now, _) = subject.counts();
        assert!(now - asks <= 64, "{}", now - asks);
        asks = now;
        if !subject.task.is_woken() {
            break;
        }
    }
    assert_eq!(asks - before, addresses.len());
    subject.idle();
    assert_eq!(subject.counts().1, asks);
}

#[test]
fn what_comes_from_outside_is_taken_up_before_the_inner_transport_is_polled() {
    let mut subject = Subject::new();
    let (_, inner) = subject.listening(&address(1));
    subject.say(incoming(inner, 1));
    subject.inner.script().change(Changed::Support);
    let polls = subject.inner.script().polls;
    subject.ready();
    assert_eq!(subject.inner.script().polls_at_change, Some(polls));
}

#[test]
fn a_handle_tells_of_every_listener_whenever_it_was_made() {
    let mut subject = Subject::new();
    let waiting = Support::Waiting(Missing::Certificate { last_error: None });
    subject.inner.script().support.insert(address(1), waiting);
    let early = subject.listen(&address(1));
    let readiness = subject.task.readiness();
    let state = |id| readiness.status(id).map(|status| status.state.to_string());
    assert_eq!(state(early).as_deref(), Some("waiting for certificate"));

    let late = subject.listen(&address(2));
    assert_eq!(state(late).as_deref(), Some("registered"));
    let mut ready = task::spawn(subject.task.readiness().ready(late));
    assert!(ready.poll().is_pending());
    assert!(is_new_address(&subject.ready(), late, &address(2)));
    // It is there as soon as the application can know of it.
    assert!(ready.is_woken() && ready.poll().is_ready());
    assert_eq!(readiness.status(late).unwrap().addresses, [address(2)]);

    subject.task.remove_listener(early);
    assert_eq!(state(early), None);
    drop(subject);
    assert_eq!(state(late), None);
}

#[test]
fn another_reason_to_wait_is_told_to_those_who_watch() {
    let mut subject = Subject::new();
    let waiting = |last_error| Support::Waiting(Missing::Certificate { last_error });
    subject
        .inner
        .script()
        .support
        .insert(address(1), waiting(None));
    let id = subject.listen(&address(1));
    let readiness = subject.task.readiness();
    subject.idle();
    let since = readiness.status(id).unwrap().since;
    let mut changes = task::spawn(readiness.changes());
    assert!(changes.poll_next().is_pending());

    for reason in ["key.pem does not exist", "key.pem is empty"] {
        let error = Arc::new(io::Error::other(reason));
        // It is told once, however often it is asked about.
        for is_new in [true, false] {
            let mut script = subject.inner.script();
            script
                .support
                .insert(address(1), waiting(Some(error.clone())));
            script.change(Changed::Support);
            drop(script);
            assert!(subject.task.is_woken());
            subject.idle();
            assert_eq!(changes.is_woken(), is_new);
            match changes.poll_next() {
                Poll::Ready(Some(Change::Status { status, .. })) if is_new => assert_eq!(
                    status.to_string(),
                    format!("{}: waiting for certificate: {reason}", address(1))
                ),
                other => assert!(other.is_pending() && !is_new, "{other:?}"),
            }
        }
    }
    // It has waited all the time, and goes on to.
    assert_eq!(readiness.status(id).unwrap().since, since);
    subject.inner.script().support.clear();
    subject.inner.script().change(Changed::Support);
    assert!(is_new_address(&subject.ready(), id, &address(1)));
}

/// Also if it has come back while the socket was being closed.
#[test]
fn a_bound_listener_waits_again_when_what_it_needs_has_gone() {
    let mut subject = Subject::new();
    let waiting = Support::Waiting(Missing::Certificate { last_error: None });
    let (id, mut inner) = subject.listening(&address(1));
    let (_, other) = subject.listening(&address(2));
    for comes_back_at_once in [false, true] {
        let mut script = subject.inner.script();
        script.support.insert(address(1), waiting.clone());
        script.change(Changed::Support);
        drop(script);
        assert!(is_expired(&subject.ready(), id, &address(1)));
        subject.idle();
        assert_eq!(subject.inner.script().removed.last(), Some(&inner));
        if comes_back_at_once {
            subject.inner.script().support.clear();
        }
        subject.say(closed(inner, Ok(())));
        if !comes_back_at_once {
            subject.idle();
            subject.inner.script().support.clear();
            subject.inner.script().change(Changed::Support);
        }
        assert!(is_new_address(&subject.ready(), id, &address(1)));
        inner = subject.inner.script().bound.last().unwrap().0;
    }
    assert!(!subject.inner.script().removed.contains(&other));
    subject.idle();
}

#[test]
fn what_has_gone_before_the_bind_is_waited_for() {
    let mut subject = Subject::new();
    let waiting = Support::Waiting(Missing::Certificate { last_error: None });
    let id = subject.listen(&address(1));
    subject.inner.script().support.insert(address(1), waiting);
    subject.idle();
    assert!(subject.inner.script().bound.is_empty());
    subject.inner.script().support.clear();
    subject.inner.script().change(Changed::Support);
    assert!(is_new_address(&subject.ready(), id, &address(1)));
}
