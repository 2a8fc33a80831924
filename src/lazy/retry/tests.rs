use proptest::prelude::*;
use rand::SeedableRng as _;

use super::*;

fn kind(kind: io::ErrorKind) -> io::Error {
    kind.into()
}

/// The delays after one failure after the other, until it gives up.
fn delays(retry: &Retry, seed: u64, most: usize) -> Vec<Duration> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let attempts = 1..=u32::try_from(most).unwrap();
    attempts.map_while(|n| retry.delay(n, &mut rng)).collect()
}

#[test]
fn the_table_says_what_can_heal() {
    use io::ErrorKind as Kind;
    for heals in [
        Kind::AddrInUse,
        Kind::AddrNotAvailable,
        Kind::NetworkDown,
        Kind::NetworkUnreachable,
        Kind::HostUnreachable,
        Kind::OutOfMemory,
        Kind::Interrupted,
        Kind::WouldBlock,
        Kind::TimedOut,
        Kind::Other,
    ] {
        assert!(Retry::can_heal(&kind(heals)), "{heals}");
    }
    for cannot in [
        Kind::PermissionDenied,
        Kind::Unsupported,
        Kind::InvalidInput,
    ] {
        assert!(!Retry::can_heal(&kind(cannot)), "{cannot}");
    }
    assert!(Retry::can_heal(&fmt::Error));
}

#[cfg(target_os = "linux")]
#[test]
fn the_table_holds_for_the_codes_of_linux() {
    for heals in [98, 99, 100, 101, 113, 24, 23, 105, 12, 19, 4, 11, 110] {
        let error = io::Error::from_raw_os_error(heals);
        assert!(Retry::can_heal(&error), "{error}");
    }
    for cannot in [13, 1, 95, 38, 97, 93, 22] {
        let error = io::Error::from_raw_os_error(cannot);
        assert!(!Retry::can_heal(&error), "{error}");
    }
}

#[test]
fn the_io_error_is_found_wherever_it_is() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);

    let denied = || kind(io::ErrorKind::PermissionDenied);
    let outer = Outer(denied());
    assert!(!Retry::can_heal(&outer));
    assert!(!Retry::can_heal(&io::Error::other(outer)));
    assert!(!Retry::can_heal(&io::Error::other(io::Error::other(
        denied()
    ))));
    assert!(Retry::can_heal(&io::Error::other("only said")));
}

#[test]
fn delays_double_from_the_first_to_the_longest() {
    for seed in 0..100 {
        let delays = delays(&Retry::default(), seed, 40);
        assert_eq!(delays.len(), 40);
        assert_eq!(delays[0], FIRST_DELAY);
        for (n, delay) in delays.iter().enumerate() {
            let longest = (FIRST_DELAY * 2_u32.pow(n.min(20) as u32)).min(MAX_DELAY);
            assert!(
                *delay <= longest && *delay >= longest.mul_f64(1.0 - JITTER),
                "{n}: {delay:?}"
            );
        }
    }
    assert_ne!(
        delays(&Retry::default(), 1, 40),
        delays(&Retry::default(), 2, 40)
    );
}

#[test]
fn without_a_first_delay_the_next_ones_grow_all_the_same() {
    for seed in 0..100 {
        let delays = delays(&Retry::default().with_first_delay(Duration::ZERO), seed, 40);
        assert_eq!(delays[0], Duration::ZERO);
        assert!(delays[1] >= MIN_DOUBLED, "{delays:?}");
        assert!(delays[30] >= MAX_DELAY.mul_f64(1.0 - JITTER), "{delays:?}");
    }
}

#[test]
fn failures_are_forgotten_after_the_longest_delay() {
    let retry = Retry::default();
    assert_eq!(retry.forgets_after(), MAX_DELAY);
    let minute = Duration::from_secs(60);
    assert_eq!(retry.with_first_delay(minute).forgets_after(), minute);
}

#[test]
fn attempts_can_be_limited() {
    let three = Retry::default().with_max_attempts(3);
    assert_eq!(delays(&three, 0, 40).len(), 2);
    for one in [Retry::never(), Retry::default().with_max_attempts(0)] {
        assert!(delays(&one, 0, 40).is_empty());
    }
}

#[test]
fn what_cannot_heal_is_not_tried_again_unless_the_policy_says_so() {
    let error = kind(io::ErrorKind::PermissionDenied);
    let retry = Retry::default();
    assert!(!retry.heals(Some(&error)));
    // A listener that was closed without a word may be bound again.
    assert!(retry.heals(None));
    assert!(retry.with_retry_if(|_| true).heals(Some(&error)));
}

proptest! {
    #[test]
    fn any_options_give_a_delay_between_the_first_and_the_longest(
        first: Duration, max: Duration, attempts: u32, seed: u64
    ) {
        let retry = Retry::default().with_first_delay(first).with_max_delay(max);
        let mut rng = SmallRng::seed_from_u64(seed);
        let delay = retry.delay(attempts, &mut rng).unwrap();
        prop_assert!(delay >= first && delay <= max.max(first));
    }
}
