use std::collections::HashSet;

use proptest::{collection::vec, prelude::*};

use super::*;

const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::LOCALHOST);

/// One of these addresses, in this order.
fn race(addresses: &[(IpAddr, &'static str)]) -> Race<&'static str> {
    let mut race = Race::new();
    for (ip, address) in addresses {
        race.add(Some(*ip), *address);
    }
    race
}

/// What begins now, one after the other.
fn begin(race: &mut Race<&'static str>, now: Instant) -> Vec<(usize, &'static str)> {
    let mut begun = Vec::new();
    while let Some((id, address)) = race.poll_begin(now) {
        begun.push((id, *address));
    }
    begun
}

fn only(race: &mut Race<&'static str>, now: Instant) -> (usize, &'static str) {
    let begun = begin(race, now);
    assert_eq!(begun.len(), 1, "{begun:?}");
    begun[0]
}

#[test]
fn families_take_turns_and_each_attempt_has_a_head_start() {
    let mut race = race(&[(V4, "a4"), (V4, "b4"), (V4, "c4"), (V6, "a6"), (V6, "b6")]);
    let mut now = deadline::now();
    let mut order = Vec::new();
    for _ in 0..5 {
        order.push(only(&mut race, now).1);
        if race.all_begun() {
            break;
        }
        let next = race.next_timeout().unwrap();
        assert_eq!(next - now, DELAY);
        assert!(begin(&mut race, next - Duration::from_millis(1)).is_empty());
        now = next;
    }
    assert_eq!(order, ["a6", "a4", "b6", "b4", "c4"]);
    assert_eq!(race.next_timeout(), None);
    assert!(race.running().eq(&order));
}

#[test]
fn a_failure_lets_the_next_begin_at_once() {
    let mut race = race(&[(V4, "a"), (V4, "b"), (V4, "c")]);
    let now = deadline::now();
    let (a, _) = only(&mut race, now);
    assert_eq!(race.on_failed(a), Some("a"));
    assert_eq!(race.on_failed(a), None);
    assert_eq!(only(&mut race, now).1, "b");
    // That of one that has been overtaken, too.
    assert_eq!(only(&mut race, now + DELAY).1, "c");
    assert!(race.running().eq(&["b", "c"]));
}

#[test]
fn what_is_found_later_begins_as_soon_as_the_head_start_is_over() {
    let mut race = race(&[(V4, "a")]);
    let now = deadline::now();
    only(&mut race, now);
    assert_eq!(race.next_timeout(), None);
    race.add(None, "name");
    race.add(Some(V4), "b");
    assert!(begin(&mut race, now).is_empty());
    assert_eq!(race.next_timeout(), Some(now + DELAY));
    assert_eq!(only(&mut race, now + DELAY).1, "name");
    assert_eq!(only(&mut race, now + 9 * DELAY).1, "b");
}

#[test]
fn if_the_winner_comes_to_nothing_the_race_goes_on_with_those_it_had_beaten() {
    let mut race = race(&[(V4, "a"), (V4, "b"), (V6, "c"), (V4, "d")]);
    let now = deadline::now();
    let (c, _) = only(&mut race, now);
    let (a, _) = only(&mut race, now + DELAY);
    only(&mut race, now + 2 * DELAY);
    assert_eq!(race.on_connected(a), Some("a"));
    assert_eq!(race.running().count(), 0);
    let now = now + 3 * DELAY;
    let mut order = Vec::new();
    for n in 0..3 {
        order.push(only(&mut race, now + n * DELAY));
    }
    let names: Vec<_> = order.iter().map(|(_, name)| *name).collect();
    assert_eq!(names, ["c", "b", "d"]);
    assert_eq!(order[0].0, c);
    assert!(race.all_begun());
}

#[test]
fn a_bounded_number_is_tried_of_both_families() {
    let mut race = Race::new();
    for n in 0..1000 {
        race.add(Some(V6), n);
    }
    race.add(Some(V4), 1000);
    let mut now = deadline::now();
    let mut begun = Vec::new();
    while let Some((id, n)) = race.poll_begin(now) {
        begun.push((id, *n));
        now += DELAY;
    }
    assert_eq!(begun.len(), MAX_ATTEMPTS);
    assert_eq!(begun[1].1, 1000);
    assert!(race.all_begun());
    race.add(Some(V4), 1001);
    assert!(race.all_begun());
    // Those that had been begun are not lost with a winner.
    race.on_connected(begun[3].0);
    let again = std::iter::from_fn(|| {
        now += DELAY;
        race.poll_begin(now).map(|(id, _)| id)
    });
    assert_eq!(again.count(), MAX_ATTEMPTS - 1);
}

#[derive(Debug, Clone)]
enum Operation {
    Add(bool),
    Wait(u64),
    /// Of those that run, modulo their number.
    Fail(usize),
    Win(usize),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        any::<bool>().prop_map(Operation::Add),
        (0..600u64).prop_map(Operation::Wait),
        (0..16usize).prop_map(Operation::Fail),
        (0..16usize).prop_map(Operation::Win),
    ]
}

proptest! {
    #[test]
    fn every_address_is_tried_until_it_has_failed(operations in vec(operation(), 0..120)) {
        let mut race = Race::new();
        let mut now = deadline::now();
        let (mut added, mut tried, mut ended) = (0, HashSet::new(), HashSet::new());
        let mut running: Vec<(usize, usize)> = Vec::new();
        // When the last one began, unless one has failed since.
        let mut last: Option<Instant> = None;
        for operation in operations.into_iter().chain((0..40).flat_map(|_| [Operation::Wait(250), Operation::Fail(0)])) {
            match operation {
                Operation::Add(is_ip4) => {
                    race.add(Some(if is_ip4 { V4 } else { V6 }), added);
                    added += 1;
                }
                Operation::Wait(millis) => now += Duration::from_millis(millis),
                Operation::Fail(n) if !running.is_empty() => {
                    let (id, address) = running.remove(n % running.len());
                    prop_assert_eq!(race.on_failed(id), Some(address));
                    prop_assert!(ended.insert(address));
                    last = None;
                }
                Operation::Win(n) if !running.is_empty() => {
                    let (id, address) = running.remove(n % running.len());
                    prop_assert_eq!(race.on_connected(id), Some(address));
                    prop_assert!(ended.insert(address));
                    running.clear();
                    last = None;
                }
                Operation::Fail(_) | Operation::Win(_) => {}
            }
            while let Some((id, address)) = race.poll_begin(now) {
                prop_assert!(last.is_none_or(|last| now - last >= DELAY));
                prop_assert!(!ended.contains(address));
                last = Some(now);
                tried.insert(*address);
                running.push((id, *address));
            }
            prop_assert!(tried.len() <= MAX_ATTEMPTS);
            prop_assert!(race.waiting.iter().all(|family| family.len() <= 2 * MAX_ATTEMPTS));
            prop_assert!(race.running().eq(running.iter().map(|(_, address)| address)));
            match race.next_timeout() {
                Some(at) => prop_assert!(at > now && at - now <= DELAY),
                None => prop_assert!(race.all_begun()),
            }
        }
        prop_assert!(race.all_begun() && running.is_empty());
        prop_assert_eq!(&tried, &ended);
        prop_assert_eq!(tried.len(), added.min(MAX_ATTEMPTS));
    }
}
