use std::io;

use futures::{FutureExt as _, StreamExt as _};
use proptest::prelude::*;
use tokio_test::{assert_pending, assert_ready, task};

use super::*;
use crate::{
    deadline,
    lazy::{Exhausted, Failure, ListenError, status::MAX_NAMED},
};

fn note(listener: ListenerId, state: State, addresses: &[&str]) -> Note {
    Note {
        listener,
        address: "/ip4/127.0.0.1/tcp/0/ws".parse().unwrap(),
        state,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
        exhausted: None,
    }
}

const ADDRESS: &str = "/ip4/127.0.0.1/tcp/1/ws";

fn tell(publisher: &Publisher, listener: ListenerId, state: State) {
    let addresses: &[&str] = match state {
        State::Listening => &[ADDRESS],
        _ => &[],
    };
    publisher.publish(note(listener, state, addresses), deadline::now());
}

#[test]
fn a_listener_that_nobody_knows_is_told_apart_from_one_without_addresses() {
    let publisher = Publisher::new();
    let readiness = publisher.handle();
    let id = ListenerId::next();
    let addresses = |id| readiness.status(id).map(|status| status.addresses);
    assert!(addresses(id).is_none());
    let waiting = readiness.ready(id).now_or_never();
    assert!(matches!(waiting, Some(Err(NotReady::Unknown))));
    tell(&publisher, id, State::Registered);
    assert_eq!(addresses(id), Some(Vec::new()));
    tell(&publisher, id, State::Listening);
    assert_eq!(addresses(id), Some(vec![ADDRESS.parse().unwrap()]));
    assert_eq!(readiness.statuses().len(), 1);
    tell(&publisher, id, State::Closed(None));
    assert!(addresses(id).is_none() && readiness.statuses().is_empty());
}

#[test]
fn who_waits_for_a_listener_is_woken_by_its_address_alone() {
    let publisher = Publisher::new();
    let (id, other) = (ListenerId::next(), ListenerId::next());
    tell(&publisher, id, State::Registered);
    tell(&publisher, other, State::Registered);
    let mut ready = task::spawn(publisher.handle().ready(id));
    assert_pending!(ready.poll());
    tell(&publisher, other, State::Listening);
    assert!(!ready.is_woken());
    tell(&publisher, id, State::Listening);
    assert!(ready.is_woken());
    assert_eq!(
        assert_ready!(ready.poll()).unwrap(),
        [ADDRESS.parse().unwrap()]
    );
}

#[test]
fn who_waits_for_a_listener_hears_that_it_closes_or_goes_with_the_transport() {
    let publisher = Publisher::new();
    let (id, other) = (ListenerId::next(), ListenerId::next());
    tell(&publisher, id, State::Binding);
    tell(&publisher, other, State::Binding);
    let mut one = task::spawn(publisher.handle().ready(id));
    let mut another = task::spawn(publisher.handle().ready(other));
    assert_pending!(one.poll());
    assert_pending!(another.poll());
    tell(&publisher, id, State::Closed(None));
    assert!(one.is_woken());
    assert!(matches!(
        assert_ready!(one.poll()),
        Err(NotReady::Closed(None))
    ));
    drop(publisher);
    assert!(another.is_woken());
    assert!(matches!(
        assert_ready!(another.poll()),
        Err(NotReady::Closed(None))
    ));
}

#[test]
fn a_listener_that_closes_before_anybody_has_waited_says_why() {
    let publisher = Publisher::new();
    let id = ListenerId::next();
    tell(&publisher, id, State::Binding);
    let ready = publisher.handle().ready(id);
    tell(&publisher, id, State::Closed(None));
    assert!(matches!(
        ready.now_or_never(),
        Some(Err(NotReady::Closed(None)))
    ));
}

fn failure() -> ListenError {
    let address = "/ip4/127.0.0.1/tcp/0/ws".parse().unwrap();
    let source = io::Error::from(io::ErrorKind::PermissionDenied);
    let source: Box<dyn std::error::Error + Send + Sync> = Box::new(source);
    ListenError::new(address, Failure::Bind, 1, None, Some(source))
}

/// What it says by now.
#[track_caller]
fn all_ready(readiness: &Readiness) -> Result<(), NotAllReady> {
    readiness.all_ready().now_or_never().expect("it is clear")
}

#[test]
fn all_are_ready_when_each_one_is_or_has_been_removed() {
    let publisher = Publisher::new();
    let readiness = publisher.handle();
    let ids = [(); 3].map(|()| ListenerId::next());
    for id in ids {
        tell(&publisher, id, State::Registered);
    }
    let mut all = task::spawn(readiness.all_ready());
    assert_pending!(all.poll());
    tell(&publisher, ids[0], State::Listening);
    tell(&publisher, ids[1], State::Closed(None));
    assert!(!all.is_woken());
    tell(&publisher, ids[2], State::Listening);
    assert!(all.is_woken());
    assert!(assert_ready!(all.poll()).is_ok());
    // One that has lost its address is waited for again.
    publisher.publish(note(ids[2], State::Listening, &[]), deadline::now());
    assert!(readiness.all_ready().now_or_never().is_none());
}

#[test]
fn no_listener_is_not_all_of_them() {
    let publisher = Publisher::new();
    let readiness = publisher.handle();
    let error = all_ready(&readiness).unwrap_err();
    assert_eq!(error.to_string(), "there is no listener");
    assert!(error.listeners().is_empty());

    let id = ListenerId::next();
    tell(&publisher, id, State::Listening);
    assert!(all_ready(&readiness).is_ok());
    tell(&publisher, id, State::Closed(None));
    let error = all_ready(&readiness).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a listener cannot be reached: /ip4/127.0.0.1/tcp/0/ws: closed"
    );
    assert_eq!(error.listeners()[0].0, id);
}

#[test]
fn one_that_fails_for_good_is_named_with_all_others_that_cannot_be_reached() {
    let publisher = Publisher::new();
    let readiness = publisher.handle();
    let [ready, waits, fails] = [(); 3].map(|()| ListenerId::next());
    tell(&publisher, ready, State::Listening);
    tell(&publisher, waits, State::Registered);
    tell(&publisher, fails, State::Binding);
    let mut all = task::spawn(readiness.all_ready());
    assert_pending!(all.poll());
    tell(&publisher, fails, State::Closed(Some(failure())));
    assert!(all.is_woken());
    // Whether it is asked before or after.
    let later = all_ready(&readiness).unwrap_err();
    for error in [assert_ready!(all.poll()).unwrap_err(), later] {
        let named = error.listeners().iter().map(|(id, _)| *id);
        assert!(named.eq([fails, waits]));
        assert_eq!(
            error.to_string(),
            "2 listeners cannot be reached: /ip4/127.0.0.1/tcp/0/ws: closed: permission denied; \
             /ip4/127.0.0.1/tcp/0/ws: registered"
        );
    }
    // Another one in its place.
    tell(&publisher, ListenerId::next(), State::Listening);
    assert!(readiness.all_ready().now_or_never().is_none());
    tell(&publisher, waits, State::Listening);
    assert!(all_ready(&readiness).is_ok());
}

#[test]
fn all_close_with_the_transport() {
    let publisher = Publisher::new();
    let readiness = publisher.handle();
    let id = ListenerId::next();
    tell(&publisher, id, State::Registered);
    let mut all = task::spawn(readiness.all_ready());
    assert_pending!(all.poll());
    drop(publisher);
    assert!(all.is_woken());
    let error = assert_ready!(all.poll()).unwrap_err();
    assert_eq!(error.listeners()[0].0, id);
    assert!(all_ready(&readiness).is_err());
}

#[test]
fn why_a_listener_has_closed_is_remembered_of_so_many() {
    let publisher = Publisher::new();
    let readiness = publisher.handle();
    let why = |id| readiness.ready(id).now_or_never().unwrap().unwrap_err();
    let close = |state: State| {
        let id = ListenerId::next();
        tell(&publisher, id, state);
        id
    };
    let failed = close(State::Closed(Some(failure())));
    let removed = close(State::Closed(None));
    assert!(matches!(why(failed), NotReady::Closed(Some(_))));
    assert!(matches!(why(removed), NotReady::Closed(None)));
    for _ in 0..MAX_CLOSED - 1 {
        close(State::Closed(None));
    }
    assert!(matches!(why(removed), NotReady::Unknown));
    assert!(matches!(why(failed), NotReady::Closed(Some(_))));
    for _ in 0..MAX_CLOSED {
        close(State::Closed(Some(failure())));
    }
    assert!(matches!(why(failed), NotReady::Unknown));
    assert_eq!(publisher.0.board().closed.len(), MAX_CLOSED);
    let text = all_ready(&readiness).unwrap_err().to_string();
    assert_eq!(text.matches("permission denied").count(), MAX_NAMED);
    assert!(text.ends_with("; and 56 more"), "{text}");
}

#[test]
fn who_waits_for_thousands_is_woken_once() {
    let publisher = Publisher::new();
    let ids: Vec<_> = (0..8000).map(|_| ListenerId::next()).collect();
    for id in &ids {
        tell(&publisher, *id, State::Registered);
    }
    let mut all = task::spawn(publisher.handle().all_ready());
    assert_pending!(all.poll());
    for id in &ids {
        assert!(!all.is_woken());
        tell(&publisher, *id, State::Binding);
        assert!(!all.is_woken());
        tell(&publisher, *id, State::Listening);
    }
    assert!(all.is_woken());
    assert!(assert_ready!(all.poll()).is_ok());
}

proptest! {
    #[test]
    fn what_is_counted_is_what_there_is(told in prop::collection::vec((0..6_usize, 0..5_u8), 0..200)) {
        let publisher = Publisher::new();
        let readiness = publisher.handle();
        let mut ids = [(); 6].map(|()| ListenerId::next());
        for (n, what) in told {
            let state = match what {
                0 => State::Registered,
                1 | 2 => State::Listening,
                3 => State::Closed(None),
                _ => State::Closed(Some(failure())),
            };
            let is_closed = matches!(state, State::Closed(_));
            tell(&publisher, ids[n], state);
            if is_closed {
                ids[n] = ListenerId::next();
            }
            let statuses = readiness.statuses();
            let unready = statuses.iter().filter(|(_, status)| status.addresses.is_empty());
            prop_assert_eq!(publisher.0.board().unready, unready.count());
        }
    }
}

#[test]
fn changes_come_in_order_and_end_with_the_transport() {
    let publisher = Publisher::new();
    let id = ListenerId::next();
    tell(&publisher, id, State::Registered);
    let mut changes = task::spawn(publisher.handle().changes());
    assert_pending!(changes.poll_next());
    tell(&publisher, id, State::Binding);
    assert!(changes.is_woken());
    tell(&publisher, id, State::Listening);
    drop(publisher);
    let told = changes.by_ref().collect::<Vec<_>>().now_or_never().unwrap();
    let told = told.iter().map(|change| match change {
        Change::Status { status, .. } => status.state.to_string(),
        Change::Lagged { .. } => panic!("none is missed"),
    });
    assert!(told.eq(["binding", "listening"]));
}

#[test]
fn a_slow_reader_is_told_how_much_it_has_missed_and_the_board_stays_small() {
    let publisher = Publisher::new();
    let mut changes = task::spawn(publisher.handle().changes());
    for _ in 0..MAX_CHANGES + 5 {
        tell(&publisher, ListenerId::next(), State::Closed(None));
    }
    let first = assert_ready!(changes.poll_next());
    assert!(matches!(first, Some(Change::Lagged { count: 5 })));
    for _ in 0..MAX_CHANGES {
        let next = assert_ready!(changes.poll_next());
        assert!(matches!(next, Some(Change::Status { .. })));
    }
    assert_pending!(changes.poll_next());
    let board = publisher.0.board();
    assert_eq!((board.rows.len(), board.changes.len()), (0, MAX_CHANGES));
}

#[test]
fn a_status_shows_itself_in_a_line() {
    let publisher = Publisher::new();
    let id = ListenerId::next();
    let shown = |state, addresses: &[&str]| {
        publisher.publish(note(id, state, addresses), deadline::now());
        publisher.handle().status(id).unwrap().to_string()
    };
    assert_eq!(
        shown(State::Binding, &[]),
        "/ip4/127.0.0.1/tcp/0/ws: binding"
    );
    assert_eq!(
        shown(State::Listening, &[ADDRESS, "/ip4/192.0.2.1/tcp/1/ws"]),
        "/ip4/127.0.0.1/tcp/0/ws: listening at /ip4/127.0.0.1/tcp/1/ws, /ip4/192.0.2.1/tcp/1/ws"
    );
    let source = Box::new(io::Error::other("too many open files"));
    let mut note = note(id, State::Listening, &[ADDRESS]);
    note.exhausted = Some(Exhausted::new(note.address.clone(), source));
    publisher.publish(note, deadline::now());
    let status = publisher.handle().status(id).unwrap();
    assert_eq!(
        status.to_string(),
        "/ip4/127.0.0.1/tcp/0/ws: listening at /ip4/127.0.0.1/tcp/1/ws, accepting nothing: too many open files"
    );
}

#[test]
fn another_address_is_no_other_state() {
    let publisher = Publisher::new();
    let readiness = publisher.handle();
    let id = ListenerId::next();
    let start = deadline::now();
    let later = start + std::time::Duration::from_secs(1);
    publisher.publish(note(id, State::Listening, &[ADDRESS]), start);
    publisher.publish(note(id, State::Listening, &[]), later);
    let status = readiness.status(id).unwrap();
    assert_eq!(status.since, start);
    assert!(status.addresses.is_empty());
    publisher.publish(note(id, State::Binding, &[]), later);
    assert_eq!(readiness.status(id).unwrap().since, later);
}
