use futures::{FutureExt as _, StreamExt as _};
use tokio_test::{assert_pending, assert_ready, task};

use super::*;
use crate::deadline;

fn note(listener: ListenerId, state: State, addresses: &[&str]) -> Note {
    Note {
        listener,
        address: "/ip4/127.0.0.1/tcp/0/ws".parse().unwrap(),
        state,
        addresses: addresses.iter().map(|a| a.parse().unwrap()).collect(),
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
    assert!(readiness.addresses(id).is_none());
    let waiting = readiness.ready(id).now_or_never();
    assert!(matches!(waiting, Some(Err(NotReady::Unknown))));
    tell(&publisher, id, State::Registered);
    assert_eq!(readiness.addresses(id), Some(Vec::new()));
    tell(&publisher, id, State::Listening);
    assert_eq!(
        readiness.addresses(id),
        Some(vec![ADDRESS.parse().unwrap()])
    );
    assert_eq!(readiness.statuses().len(), 1);
    tell(&publisher, id, State::Closed(None));
    assert!(readiness.addresses(id).is_none() && readiness.statuses().is_empty());
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

#[test]
fn all_are_ready_when_each_one_is_or_has_closed() {
    let publisher = Publisher::new();
    let readiness = publisher.handle();
    assert!(readiness.all_ready().now_or_never().is_some());
    let ids = [(); 3].map(|()| ListenerId::next());
    for id in ids {
        tell(&publisher, id, State::Registered);
    }
    let mut all = task::spawn(readiness.all_ready());
    assert_pending!(all.poll());
    tell(&publisher, ids[0], State::Listening);
    assert_pending!(all.poll());
    tell(&publisher, ids[1], State::Closed(None));
    assert_pending!(all.poll());
    tell(&publisher, ids[2], State::Listening);
    assert!(all.is_woken());
    assert_ready!(all.poll());
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
        Change::Missed { .. } => panic!("none is missed"),
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
    assert!(matches!(first, Some(Change::Missed { count: 5 })));
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
