mod failing;

use std::io;

use proptest::prelude::*;

use super::{pace::MAX_EVENTS_BEFORE_BIND, *};
use crate::deadline;

type Core = Listeners<u32, io::Error>;

fn in_use() -> io::Error {
    io::ErrorKind::AddrInUse.into()
}

fn address(n: usize) -> Multiaddr {
    format!("/ip4/127.0.0.1/tcp/{n}/ws").parse().unwrap()
}

fn core() -> Core {
    Listeners::new(&Config::default(), 0, deadline::now())
}

#[test]
fn the_inner_transport_is_polled_before_anything_is_bound() {
    let mut core = core();
    let id = ListenerId::next();
    core.on_listen(id, address(1), Support::Now).unwrap();
    core.on_poll(deadline::now());
    assert!(matches!(core.poll_action(), Action::PollInner));
    core.on_inner_pending();
    assert!(matches!(core.poll_action(), Action::Bind { listener, .. } if listener == id));
    core.on_bound(id);
    assert!(matches!(core.poll_action(), Action::PollInner));
    core.on_inner_pending();
    assert!(matches!(core.poll_action(), Action::Rest { again: false }));
}

#[test]
fn a_bind_goes_ahead_after_so_many_events_in_a_row_and_no_earlier() {
    let mut core = core();
    core.on_listen(ListenerId::next(), address(1), Support::Now)
        .unwrap();
    for _ in 0..MAX_EVENTS_BEFORE_BIND {
        core.on_poll(deadline::now());
        assert!(matches!(core.poll_action(), Action::PollInner));
        core.on_inner_event(TransportEvent::ListenerError {
            listener_id: ListenerId::next(),
            error: in_use(),
        });
    }
    core.on_poll(deadline::now());
    assert!(matches!(core.poll_action(), Action::Bind { .. }));
}

#[test]
fn each_bind_waits_until_the_inner_transport_has_nothing_to_say() {
    let mut core = core();
    let ids = [(); 3].map(|()| ListenerId::next());
    for (n, id) in ids.iter().enumerate() {
        core.on_listen(*id, address(n), Support::Now).unwrap();
    }
    core.on_poll(deadline::now());
    for id in ids {
        assert!(matches!(core.poll_action(), Action::PollInner));
        core.on_inner_pending();
        assert!(matches!(core.poll_action(), Action::Bind { listener, .. } if listener == id));
        core.on_bound(id);
    }
    // The port that is left here may be the one that the next listener wants.
    assert!(matches!(core.poll_action(), Action::PollInner));
    core.on_inner_pending();
    core.on_listen(ListenerId::next(), address(3), Support::Now)
        .unwrap();
    assert!(core.on_remove(ids[0]));
    assert!(matches!(core.poll_action(), Action::Remove { listener, .. } if listener == ids[0]));
    core.on_removed(ids[0], true);
    assert!(matches!(core.poll_action(), Action::PollInner));
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let mut core = core();
    let (id, unknown) = (ListenerId::next(), ListenerId::next());
    core.on_listen(id, address(1), Support::Now).unwrap();
    for id in [id, unknown] {
        core.on_bound(id);
        core.on_bind_failed(id, TransportError::Other(in_use()));
        core.on_removed(id, false);
        core.on_answer(id, Support::Never);
    }
    assert!(!core.on_remove(unknown));
    core.on_poll(deadline::now());
    assert!(matches!(core.poll_action(), Action::PollInner));
    core.on_inner_pending();
    assert!(matches!(core.poll_action(), Action::Bind { listener, .. } if listener == id));
}

#[test]
fn a_removal_in_the_middle_of_a_bind_still_closes_once() {
    for fails in [false, true] {
        let mut core = core();
        let id = ListenerId::next();
        core.on_listen(id, address(1), Support::Now).unwrap();
        core.on_poll(deadline::now());
        core.on_inner_pending();
        let Action::Bind { inner, .. } = core.poll_action() else {
            panic!("a bind");
        };
        assert!(core.on_remove(id));
        if fails {
            core.on_bind_failed(id, TransportError::Other(in_use()));
        } else {
            core.on_bound(id);
        }
        assert!(matches!(core.poll_action(), Action::Remove { inner: it, .. } if it == inner));
        core.on_removed(id, !fails);
        if !fails {
            core.on_inner_event(TransportEvent::ListenerClosed {
                listener_id: inner,
                reason: Ok(()),
            });
        }
        assert!(matches!(
            core.poll_action(),
            Action::Report(TransportEvent::ListenerClosed { listener_id, reason: Ok(()) })
                if listener_id == id
        ));
        assert!(core.listeners.is_empty() && core.by_inner.is_empty());
    }
}

#[test]
fn the_queues_hold_no_more_than_there_are_listeners() {
    let mut core = core();
    for n in 0..1000 {
        for support in [
            Support::Now,
            Support::Waiting(Missing::Certificate { last_error: None }),
        ] {
            let id = ListenerId::next();
            core.on_listen(id, address(n), support).unwrap();
            assert!(core.on_remove(id));
        }
        assert!(core.registered.is_empty() && core.waiting.is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_contracts_hold_whatever_happens(
        operations in prop::collection::vec(any::<u8>(), 0..400)
    ) {
        fuzz::run(&operations);
    }
}
