mod failing;

use std::io;

use proptest::prelude::*;

use super::{
    pace::{MAX_EVENTS_BEFORE_BIND, MAX_RUN},
    *,
};
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
    core.on_poll(deadline::now);
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
        core.on_poll(deadline::now);
        assert!(matches!(core.poll_action(), Action::PollInner));
        core.on_inner_event(
            TransportEvent::ListenerError {
                listener_id: ListenerId::next(),
                error: in_use(),
            },
            deadline::now,
        );
    }
    core.on_poll(deadline::now);
    assert!(matches!(core.poll_action(), Action::Bind { .. }));
}

/// Registers this many and binds the first one, whose address is out.
fn in_a_run(count: usize) -> (Core, Vec<ListenerId>) {
    let mut core = core();
    let ids: Vec<_> = (0..count).map(|_| ListenerId::next()).collect();
    for (n, id) in ids.iter().enumerate() {
        core.on_listen(*id, address(n), Support::Now).unwrap();
    }
    core.on_poll(deadline::now);
    core.on_inner_pending();
    bind_and_announce(&mut core);
    (core, ids)
}

/// Carries out the bind that is next, and reports its address.
fn bind_and_announce(core: &mut Core) {
    let Action::Bind {
        listener,
        inner,
        address,
    } = core.poll_action()
    else {
        panic!("a bind");
    };
    core.on_bound(listener);
    assert!(matches!(core.poll_action(), Action::PollInner));
    let announced = TransportEvent::NewAddress {
        listener_id: inner,
        listen_addr: address,
    };
    assert!(matches!(
        core.on_inner_event(announced, deadline::now),
        Some(TransportEvent::NewAddress { listener_id, .. }) if listener_id == listener
    ));
    core.on_poll(deadline::now);
}

#[test]
fn binds_follow_each_other_but_not_without_end() {
    let (mut core, _) = in_a_run(2 * MAX_RUN);
    for _ in 1..MAX_RUN {
        bind_and_announce(&mut core);
    }
    assert!(matches!(core.poll_action(), Action::PollInner));
    core.on_inner_pending();
    bind_and_announce(&mut core);
    bind_and_announce(&mut core);
}

#[test]
fn a_run_ends_when_anything_else_happens() {
    let elsewhere = TransportEvent::ListenerClosed {
        listener_id: ListenerId::next(),
        reason: Ok(()),
    };
    let (mut core, _) = in_a_run(3);
    assert!(matches!(core.poll_action(), Action::Bind { .. }));
    core.on_inner_event(elsewhere, deadline::now);
    assert!(matches!(core.poll_action(), Action::PollInner));

    // The port that is left here may be the one that the next listener wants.
    let (mut core, ids) = in_a_run(3);
    assert!(matches!(core.on_remove(ids[0]), Removal::AskInner(_)));
    assert!(matches!(core.poll_action(), Action::PollInner));

    // Nobody waits, so who comes later begins a new one.
    let (mut core, _) = in_a_run(1);
    core.on_listen(ListenerId::next(), address(1), Support::Now)
        .unwrap();
    assert!(matches!(core.poll_action(), Action::PollInner));
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let mut core = core();
    let (id, unknown) = (ListenerId::next(), ListenerId::next());
    core.on_listen(id, address(1), Support::Now).unwrap();
    for id in [id, unknown] {
        core.on_bound(id);
        core.on_bind_failed(id, TransportError::Other(in_use()), deadline::now);
        core.on_removal_answered(id, false);
        core.on_answer(id, Support::Never, deadline::now);
    }
    assert_eq!(core.on_remove(unknown), Removal::Unknown);
    core.on_poll(deadline::now);
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
        core.on_poll(deadline::now);
        core.on_inner_pending();
        let Action::Bind { inner, .. } = core.poll_action() else {
            panic!("a bind");
        };
        assert_eq!(core.on_remove(id), Removal::AskInner(inner));
        if fails {
            core.on_bind_failed(id, TransportError::Other(in_use()), deadline::now);
        } else {
            core.on_bound(id);
        }
        core.on_removal_answered(id, !fails);
        if !fails {
            core.on_inner_event(
                TransportEvent::ListenerClosed {
                    listener_id: inner,
                    reason: Ok(()),
                },
                deadline::now,
            );
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
            assert_eq!(core.on_remove(id), Removal::Done);
        }
        assert!(core.to_bind.is_empty());
        assert!(!core.waiting.has_before(Turn::MAX));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_contracts_hold_whatever_happens(
        operations in prop::collection::vec(any::<u8>(), 0..400)
    ) {
        outside::run(&operations);
    }
}
