//! How listeners end.

use super::*;

#[test]
fn a_listener_that_never_bound_is_removed_without_the_inner_transport() {
    let mut subject = Subject::new();
    subject.inner.script().support.insert(
        address(2),
        Support::Waiting(Missing::Certificate { last_error: None }),
    );
    for port in [1, 2] {
        let id = subject.listen(&address(port));
        if port == 2 {
            subject.idle();
        }
        assert!(subject.task.remove_listener(id));
        assert!(!subject.task.remove_listener(id));
        if port == 2 {
            assert!(subject.task.is_woken());
        }
        assert!(is_clean_close(&subject.ready(), id));
        assert!(!subject.task.remove_listener(id));
    }
    // Nor is it bound or asked about later.
    let asks = subject.inner.script().asks;
    subject.inner.script().change(Changed::Support);
    subject.idle();
    let script = subject.inner.script();
    assert!(script.bound.is_empty() && script.removed.is_empty());
    assert_eq!(script.asks, asks);
}

#[test]
fn a_bound_listener_closes_when_the_inner_transport_says_so() {
    let mut subject = Subject::new();
    let (id, inner) = subject.listening(&address(1));
    subject.idle();
    assert!(subject.task.remove_listener(id));
    assert!(subject.task.is_woken());
    assert!(!subject.task.remove_listener(id));
    subject.idle();
    assert_eq!(subject.inner.script().removed, [inner]);

    subject.say(incoming(inner, 1));
    subject.say(new_address(inner, &address(2)));
    subject.say(expired(inner, &address(1)));
    subject.say(TransportEvent::ListenerError {
        listener_id: inner,
        error: io::Error::other("late"),
    });
    subject.idle();
    subject.say(closed(inner, Ok(())));
    assert!(is_clean_close(&subject.ready(), id));
    subject.say(closed(inner, Ok(())));
    subject.idle();
    assert!(!subject.task.remove_listener(id));
    assert_eq!(subject.inner.script().removed, [inner]);
}

#[test]
fn a_removal_takes_back_what_was_about_to_be_reported() {
    for forgetful in [false, true] {
        let mut subject = Subject::over_wildcards(Config::default());
        subject.inner.script().forgetful = forgetful;
        let id = subject.listen(&address(1));
        subject.idle();
        let inner = subject.inner.script().inner_id(0);
        subject.say(incoming(inner, 1));
        subject.say(incoming(inner, 2));
        subject.say(new_address(inner, &address(1)));
        assert!(is_new_address(&subject.ready(), id, &address(1)));
        // Two connections are next, but their listener is removed.
        assert!(subject.task.remove_listener(id));
        if !forgetful {
            subject.say(closed(inner, Ok(())));
        }
        assert!(is_clean_close(&subject.ready(), id));
        subject.idle();
    }
}

#[test]
fn a_listener_that_the_inner_transport_has_forgotten_is_closed_all_the_same() {
    let mut subject = Subject::new();
    subject.inner.script().forgetful = true;
    let (id, inner) = subject.listening(&address(1));
    assert!(subject.task.remove_listener(id));
    assert!(is_clean_close(&subject.ready(), id));
    subject.say(closed(inner, Ok(())));
    subject.idle();
}
