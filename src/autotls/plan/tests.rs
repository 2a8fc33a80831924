use proptest::prelude::*;
use rand::SeedableRng as _;

use super::*;
use crate::autotls::Error;

const SECOND: Duration = Duration::from_secs(1);

/// A plan with both clocks.
struct Subject {
    plan: Plan,
    now: Instant,
    wall: SystemTime,
}

impl Subject {
    /// With nothing in the way.
    fn new(config: Config) -> Self {
        let now = deadline::now();
        let mut plan = Plan::new(&config, SmallRng::seed_from_u64(7), now);
        plan.on_obstacle(None, now);
        Self {
            plan,
            now,
            wall: SystemTime::UNIX_EPOCH + 20_000 * DAY,
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.wall += time;
    }

    fn poll(&mut self) -> Option<Action> {
        self.plan.poll(self.now, self.wall)
    }

    /// Sleeps as the shell does until there is something to do, and says after how long.
    #[track_caller]
    fn wait(&mut self) -> (Action, Duration) {
        let begun = self.now;
        for _ in 0..100_000 {
            if let Some(action) = self.poll() {
                return (action, self.now - begun);
            }
            let next = self.plan.next_timeout(self.now, self.wall);
            let next = next.expect("there is something to come");
            assert!(next > self.now, "it would spin");
            self.pass(next - self.now);
        }
        panic!("nothing happens");
    }

    /// For so long from now.
    fn obtained(&mut self, length: Duration) {
        let validity = Validity {
            from: self.wall,
            until: self.wall + length,
        };
        self.plan.on_obtained(validity, self.now, self.wall);
        assert_eq!(self.poll(), Some(Action::AskWindow));
        self.plan.on_window(Ok(None), self.now, self.wall);
    }

    /// Answers questions for the window with nothing.
    #[track_caller]
    fn wait_for(&mut self, wanted: Action) -> Duration {
        let mut waited = Duration::ZERO;
        loop {
            let (action, after) = self.wait();
            waited += after;
            if action == wanted {
                return waited;
            }
            assert_eq!(action, Action::AskWindow);
            self.plan.on_window(Ok(None), self.now, self.wall);
        }
    }

    fn fail(&mut self, step: Step, is_validation: bool, retry_after: Option<Duration>) -> Duration {
        let failure = Failure {
            retry_after,
            is_validation,
            ..Failure::new(
                step,
                Error::Status {
                    server: String::new(),
                    status: 503,
                    text: String::new(),
                },
            )
        };
        self.plan.on_failed(&failure, self.now)
    }
}

const FIRST: Action = Action::Obtain { is_renewal: false };
const RENEWAL: Action = Action::Obtain { is_renewal: true };

#[test]
fn nothing_is_ordered_while_something_is_in_the_way() {
    let mut subject = Subject::new(Config::default());
    subject.pass(QUIET);
    for obstacle in [
        Waiting::NoListener,
        Waiting::NothingToDialBack,
        Waiting::NoPublicAddress,
    ] {
        subject.plan.on_obstacle(Some(obstacle), subject.now);
        assert_eq!(subject.poll(), None);
        assert_eq!(subject.plan.next_timeout(subject.now, subject.wall), None);
        let waiting = subject.plan.waiting(subject.now, subject.wall);
        assert_eq!(waiting, Some(obstacle));
    }
    subject.plan.on_obstacle(None, subject.now);
    assert_eq!(subject.plan.waiting(subject.now, subject.wall), None);
    assert_eq!(subject.poll(), Some(FIRST));
    // One at a time.
    assert_eq!(subject.poll(), None);
}

#[test]
fn it_waits_for_something_only_while_a_certificate_is_wanted_and_none_is_ordered() {
    let mut subject = Subject::new(Config::default());
    let obstacle = Some(Waiting::NoPublicAddress);
    let waiting = |subject: &Subject| subject.plan.waiting(subject.now, subject.wall);
    let state = |subject: &Subject| (subject.plan.is_running(), subject.plan.has_failed());
    assert_eq!(waiting(&subject), None, "there is no delay");
    assert_eq!(state(&subject), (false, false));
    assert_eq!(subject.poll(), Some(FIRST));
    assert_eq!(state(&subject), (true, false));
    subject.plan.on_obstacle(obstacle, subject.now);
    assert_eq!(waiting(&subject), None, "it is ordered");
    subject.fail(Step::Broker, false, None);
    assert_eq!(state(&subject), (false, true));
    assert_eq!(waiting(&subject), obstacle);
    subject.plan.on_obstacle(None, subject.now);
    assert_eq!(waiting(&subject), None, "for the end of a delay");
    subject.obtained(90 * DAY);
    assert_eq!(state(&subject), (false, false));
    subject.plan.on_obstacle(obstacle, subject.now);
    assert_eq!(waiting(&subject), None, "there is one");
    subject.pass(60 * DAY);
    assert_eq!(waiting(&subject), obstacle, "it is to be renewed");
}

#[test]
fn what_it_waits_for_is_told_once_and_not_while_all_have_just_started() {
    let mut subject = Subject::new(Config::default());
    let [port, public] = [Waiting::NothingToDialBack, Waiting::NoPublicAddress].map(Some);
    let told = |subject: &mut Subject| subject.plan.poll_waiting(subject.now, subject.wall);
    subject.plan.on_obstacle(port, subject.now);
    assert_eq!(told(&mut subject), None);
    subject.plan.on_obstacle(public, subject.now);
    let next = subject.plan.next_timeout(subject.now, subject.wall);
    assert_eq!(next, Some(subject.now + QUIET));
    subject.pass(QUIET);
    assert_eq!((told(&mut subject), told(&mut subject)), (public, None));
    subject.plan.on_obstacle(port, subject.now);
    assert_eq!((told(&mut subject), told(&mut subject)), (port, None));
    // Again, after there was nothing to wait for.
    subject.plan.on_obstacle(None, subject.now);
    assert_eq!(told(&mut subject), None);
    subject.plan.on_obstacle(port, subject.now);
    assert_eq!(told(&mut subject), port);
}

#[test]
fn a_fleet_does_not_come_at_once() {
    let delay = 1000 * SECOND;
    let mut delays = Vec::new();
    for seed in 0..50 {
        let config = Config::default().with_registration_delay(delay);
        let now = deadline::now();
        let mut plan = Plan::new(&config, SmallRng::seed_from_u64(seed), now);
        // The delay begins when nothing else is in the way.
        plan.on_obstacle(Some(Waiting::NoPublicAddress), now);
        let now = now + 2 * delay;
        plan.on_obstacle(None, now);
        let wall = SystemTime::UNIX_EPOCH;
        let at = plan.next_timeout(now, wall).unwrap();
        assert!(at <= now + delay);
        if at > now {
            assert_eq!(plan.poll(now, wall), None);
            assert_eq!(plan.waiting(now, wall), Some(Waiting::RegistrationDelay));
        }
        // Other addresses do not hurry it.
        plan.on_addresses(now);
        plan.on_obstacle(Some(Waiting::NoPublicAddress), now);
        plan.on_obstacle(None, now);
        assert_eq!(plan.next_timeout(now, wall), Some(at));
        assert_eq!(plan.poll(at, wall), Some(FIRST));
        delays.push(at - now);
    }
    delays.sort();
    assert!(
        delays[10] < delay / 2 && delays[40] > delay / 2,
        "{delays:?}"
    );
}

#[test]
fn it_renews_after_two_thirds_and_expires_in_the_end() {
    let mut subject = Subject::new(Config::default());
    assert_eq!(subject.wait(), (FIRST, Duration::ZERO));
    subject.obtained(90 * DAY);
    assert_eq!(subject.wait_for(RENEWAL), 60 * DAY);
    subject.obtained(90 * DAY);
    assert_eq!(subject.wait_for(RENEWAL), 60 * DAY);
    let mut waited = Duration::ZERO;
    let mut last = Duration::ZERO;
    loop {
        let retry_in = subject.fail(Step::Order, false, None);
        assert!(retry_in >= last.mul_f64(0.75) && retry_in <= DAY);
        last = retry_in;
        let (action, after) = subject.wait();
        waited += after;
        match action {
            Action::Obtain { is_renewal } => {
                assert!(is_renewal);
                assert_eq!(after, retry_in);
            }
            Action::AskWindow => subject.plan.on_window(Ok(None), subject.now, subject.wall),
            Action::Expire => break,
        }
    }
    assert_eq!(waited, 30 * DAY);
    assert!(last > 18 * HOUR);
    assert!(matches!(subject.wait().0, FIRST));
}

#[test]
fn after_a_failure_it_waits_for_what_the_failure_asks() {
    let day = Some(DAY);
    for (step, is_validation, retry_after, least, most) in [
        (Step::Broker, false, None, 45 * SECOND, MINUTE),
        (Step::Validation, true, None, 15 * MINUTE, 15 * MINUTE),
        (Step::Health, false, None, HOUR, HOUR),
        (Step::Health, false, Some(2 * HOUR), 2 * HOUR, 2 * HOUR),
        (Step::Order, false, Some(2 * HOUR), 2 * HOUR, 2 * HOUR),
        (Step::Order, false, Some(SECOND), 45 * SECOND, MINUTE),
        (Step::Order, false, Some(100 * DAY), DAY, DAY),
        (Step::Validation, true, day, DAY, DAY),
    ] {
        let mut subject = Subject::new(Config::default());
        assert_eq!(subject.poll(), Some(FIRST));
        let retry_in = subject.fail(step, is_validation, retry_after);
        assert!((least..=most).contains(&retry_in), "{step}: {retry_in:?}");
        assert_eq!(subject.wait(), (FIRST, retry_in));
    }
}

/// As of a host that has just started.
#[test]
fn a_broker_that_cannot_be_reached_is_asked_again_soon() {
    let mut subject = Subject::new(Config::default());
    assert_eq!(subject.poll(), Some(FIRST));
    let error = Error::Connection {
        server: String::new(),
        reason: String::new(),
    };
    let failure = Failure::new(Step::Health, error);
    let retry_in = subject.plan.on_failed(&failure, subject.now);
    assert!(retry_in <= MINUTE);
    assert_eq!(subject.wait(), (FIRST, retry_in));
}

#[test]
fn other_addresses_hurry_an_attempt_but_not_what_a_server_asks_for() {
    let mut subject = Subject::new(Config::default());
    assert_eq!(subject.poll(), Some(FIRST));
    for _ in 0..10 {
        subject.fail(Step::Broker, false, None);
    }
    subject.plan.on_addresses(subject.now);
    assert_eq!(subject.wait(), (FIRST, MINUTE));
    subject.fail(Step::Broker, true, None);
    subject.plan.on_addresses(subject.now);
    let (_, after) = subject.wait();
    assert_eq!(after, 15 * MINUTE);
    // Nor do they put it off.
    subject.fail(Step::Order, false, None);
    subject.obtained(DAY);
    subject.plan.on_addresses(subject.now);
    assert_eq!(subject.wait_for(RENEWAL), DAY * 2 / 3);
}

#[test]
fn a_window_is_used_as_far_as_it_is_within_the_lifetime() {
    for (start, end, earliest, latest) in [
        (-24, 24, 5.0, 25.0 / 3.0),
        (6, 7, 6.0, 7.0),
        (9, 20, 25.0 / 3.0, 25.0 / 3.0),
        (-20, 1, 5.0, 5.0),
        (-20, -10, 1.0, 1.0),
        (-20, 0, 1.0, 1.0),
    ] {
        let mut subject = Subject::new(Config::default());
        assert_eq!(subject.poll(), Some(FIRST));
        let validity = Validity {
            from: subject.wall,
            until: subject.wall + 10 * HOUR,
        };
        subject
            .plan
            .on_obtained(validity, subject.now, subject.wall);
        let at = |hours: i32| match hours {
            0.. => subject.wall + HOUR * hours.unsigned_abs(),
            _ => subject.wall - HOUR * hours.unsigned_abs(),
        };
        let window = Window {
            start: at(start),
            end: at(end),
            ask_again_in: Some(HOUR),
        };
        let mut waited = Duration::ZERO;
        loop {
            let (action, after) = subject.wait();
            waited += after;
            match action {
                Action::AskWindow => {
                    let answer = Ok(Some(window.clone()));
                    subject.plan.on_window(answer, subject.now, subject.wall);
                }
                RENEWAL => break,
                other => panic!("{other:?}"),
            }
        }
        let hours = waited.as_secs_f64() / 3600.0;
        let expected = earliest - 0.001..=latest + 0.001;
        assert!(expected.contains(&hours), "{start}..{end}: {hours}");
    }
}

#[test]
fn a_window_that_is_withdrawn_leaves_two_thirds_of_the_lifetime() {
    let mut subject = Subject::new(Config::default());
    assert_eq!(subject.poll(), Some(FIRST));
    subject.obtained(90 * DAY);
    let window = Window {
        start: subject.wall + 46 * DAY,
        end: subject.wall + 47 * DAY,
        ask_again_in: None,
    };
    subject
        .plan
        .on_window(Ok(Some(window)), subject.now, subject.wall);
    assert_eq!(subject.wait_for(RENEWAL), 60 * DAY);
}

#[test]
fn a_clock_that_is_ahead_does_not_renew_in_a_loop() {
    let mut subject = Subject::new(Config::default());
    assert_eq!(subject.poll(), Some(FIRST));
    // By the clock of the server its lifetime has just begun; by ours five sixths are over.
    let validity = Validity {
        from: subject.wall - 75 * DAY,
        until: subject.wall + 15 * DAY,
    };
    subject
        .plan
        .on_obtained(validity, subject.now, subject.wall);
    assert_eq!(subject.wait_for(RENEWAL), 10 * DAY);
    // One whose window is always past is believed once a tenth of the lifetime is over, and not at once.
    for _ in 0..5 {
        subject.plan.on_obtained(
            Validity {
                from: subject.wall,
                until: subject.wall + DAY,
            },
            subject.now,
            subject.wall,
        );
        let window = Window {
            start: subject.wall - DAY,
            end: subject.wall - HOUR,
            ask_again_in: None,
        };
        assert_eq!(subject.poll(), Some(Action::AskWindow));
        subject
            .plan
            .on_window(Ok(Some(window)), subject.now, subject.wall);
        assert_eq!(subject.wait_for(RENEWAL), DAY / 10);
    }
}

#[test]
fn a_stored_certificate_whose_window_is_past_is_renewed_at_once() {
    let mut subject = Subject::new(Config::default());
    let validity = Validity {
        from: subject.wall - 10 * DAY,
        until: subject.wall + 80 * DAY,
    };
    subject.plan.on_stored(validity, subject.now);
    let window = Window {
        start: subject.wall - 2 * DAY,
        end: subject.wall - DAY,
        ask_again_in: None,
    };
    assert_eq!(subject.poll(), Some(Action::AskWindow));
    subject
        .plan
        .on_window(Ok(Some(window)), subject.now, subject.wall);
    assert_eq!(subject.poll(), Some(RENEWAL));
}

#[test]
fn a_certificate_that_is_early_is_looked_at_each_minute() {
    let mut subject = Subject::new(Config::default());
    assert_eq!(subject.poll(), Some(FIRST));
    let reason = "not yet".to_owned();
    let failure = Failure {
        is_early: true,
        ..Failure::new(Step::Download, Error::Certificate { reason })
    };
    for _ in 0..20 {
        assert!(subject.plan.on_failed(&failure, subject.now) <= MINUTE);
    }
}

/// A timer that is set anew at each poll costs more than the poll.
#[test]
fn the_next_look_at_the_clock_does_not_move_with_each_poll() {
    let mut subject = Subject::new(Config::default());
    let validity = Validity {
        from: subject.wall,
        until: subject.wall + 90 * DAY,
    };
    subject.plan.on_stored(validity, subject.now);
    let mut timeouts = Vec::new();
    subject.plan.ask_at = None;
    for _ in 0..3 {
        assert_eq!(subject.poll(), None);
        timeouts.push(subject.plan.next_timeout(subject.now, subject.wall));
        subject.now += MINUTE;
        subject.wall += MINUTE;
    }
    assert!(timeouts.iter().all(|at| *at == timeouts[0]), "{timeouts:?}");
}

#[test]
fn a_stored_certificate_is_used_and_renewed_when_it_is_due() {
    for (used, expected) in [(10 * DAY, 50 * DAY), (70 * DAY, Duration::ZERO)] {
        let mut subject = Subject::new(Config::default());
        let validity = Validity {
            from: subject.wall - used,
            until: subject.wall - used + 90 * DAY,
        };
        subject.plan.on_stored(validity, subject.now);
        assert_eq!(subject.wait_for(RENEWAL), expected);
    }
}

/// A fleet does not come at once for those: they were obtained at different times.
#[test]
fn the_renewal_of_a_stored_certificate_is_not_delayed() {
    let now = deadline::now();
    let wall = SystemTime::UNIX_EPOCH + 20_000 * DAY;
    let config = Config::default().with_registration_delay(DAY);
    let mut plan = Plan::new(&config, SmallRng::seed_from_u64(7), now);
    let validity = Validity {
        from: wall - 70 * DAY,
        until: wall + 20 * DAY,
    };
    plan.on_stored(validity, now);
    plan.on_obstacle(None, now);
    assert_eq!(plan.waiting(now, wall), None);
    assert_eq!(plan.poll(now, wall), Some(RENEWAL));
}

#[test]
fn a_wall_clock_that_is_set_is_noticed_within_an_hour() {
    let mut subject = Subject::new(Config::default());
    assert_eq!(subject.poll(), Some(FIRST));
    subject.obtained(90 * DAY);
    let next = subject
        .plan
        .next_timeout(subject.now, subject.wall)
        .unwrap();
    assert!(next <= subject.now + HOUR);
    subject.wall += 100 * DAY;
    subject.now = next;
    assert_eq!(subject.poll(), Some(Action::Expire));
}

proptest! {
    /// Whatever happens: it never spins, has one attempt at a time, and a failure is followed by a delay.
    #[test]
    fn it_neither_spins_nor_hurries(inputs in prop::collection::vec((0..8_u8, any::<u16>()), 0..100)) {
        let mut subject = Subject::new(Config::default());
        let mut running = false;
        let mut failed_at = None;
        for (input, n) in inputs {
            match input {
                0 => subject.plan.on_obstacle(Some(Waiting::NoPublicAddress), subject.now),
                1 => subject.plan.on_obstacle(None, subject.now),
                2 => subject.plan.on_addresses(subject.now),
                3 if running => {
                    running = false;
                    let validity = Validity {
                        from: subject.wall,
                        until: subject.wall + SECOND * u32::from(n),
                    };
                    subject.plan.on_obtained(validity, subject.now, subject.wall);
                    failed_at = Some(subject.now);
                }
                4 if running => {
                    running = false;
                    subject.fail(Step::Order, n % 2 == 0, None);
                    failed_at = Some(subject.now);
                }
                5 => subject.pass(SECOND * u32::from(n)),
                6 => subject.plan.on_window(Ok(None), subject.now, subject.wall),
                _ => subject.wall += SECOND * u32::from(n),
            }
            for polls in 0.. {
                prop_assert!(polls < 10, "it spins");
                match subject.poll() {
                    Some(Action::Obtain { .. }) => {
                        prop_assert!(!running, "two at once");
                        running = true;
                        if let Some(failed_at) = failed_at {
                            prop_assert!(subject.now - failed_at >= 44 * SECOND);
                        }
                    }
                    Some(_) => {}
                    None => break,
                }
            }
            if let Some(next) = subject.plan.next_timeout(subject.now, subject.wall) {
                prop_assert!(next > subject.now, "it would spin");
            }
        }
    }
}
