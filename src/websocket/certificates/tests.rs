use std::{
    sync::{Mutex, atomic::AtomicU32},
    time::SystemTime as StdTime,
};

use tokio_test::{assert_pending, assert_ready, task};

use super::{expiry::Warning, *};
use crate::logged::logged;

/// In PEM, valid for a day from about now, or from so many days later. No two have the same dates, so that these
/// tell them apart.
pub(super) fn pem(days_later: i64) -> (String, String) {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    let now = StdTime::now();
    let later = DAY * u32::try_from(days_later.abs()).unwrap();
    let begin = if days_later < 0 {
        now - later
    } else {
        now + later
    };
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let begin = begin - COUNT.fetch_add(1, Ordering::Relaxed) * Duration::from_secs(10);
    parameters.not_before = begin.into();
    parameters.not_after = (begin + DAY).into();
    let certificate = parameters.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

pub(super) fn certificate(days_later: i64) -> Certificate {
    let (chain, key) = pem(days_later);
    Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
}

fn is(subject: Option<&Certificate>, expected: &Certificate) -> bool {
    subject.is_some_and(|certificate| certificate.not_after() == expected.not_after())
}

fn accepts(offered: Option<Offered>, expected: &Certificate) -> bool {
    matches!(offered, Some(Offered::Accepted(certificate)) if is(Some(&certificate), expected))
}

fn subscribers(certificates: &Certificates) -> usize {
    certificates.0.state().subscribers.len()
}

#[test]
fn only_what_is_valid_now_replaces_what_is_in_use() {
    let certificates = Certificates::new();
    assert!(certificates.current().is_none() && certificates.time_left().is_none());

    let first = certificate(0);
    certificates.set(first.clone()).unwrap();
    assert!(is(certificates.current().as_ref(), &first));
    assert!(certificates.time_left().unwrap() > Duration::ZERO);

    let refused = certificates.set(certificate(2)).unwrap_err();
    assert!(matches!(refused, CertificateError::NotYetValid { .. }));
    assert!(matches!(
        *certificates.last_error().unwrap(),
        CertificateError::NotYetValid { .. }
    ));
    let refused = certificates.set(certificate(-2)).unwrap_err();
    assert!(matches!(refused, CertificateError::Expired { .. }));
    assert!(matches!(
        *certificates.last_error().unwrap(),
        CertificateError::Expired { .. }
    ));
    assert!(is(certificates.current().as_ref(), &first));

    let second = certificate(0);
    certificates.set(second.clone()).unwrap();
    assert!(is(certificates.current().as_ref(), &second));
    assert!(certificates.last_error().is_none());
}

#[test]
fn what_was_good_once_expires_and_stays() {
    let certificates = Certificates::new();
    let expired = certificate(-2);
    certificates
        .set_at(expired.clone(), expired.not_before())
        .unwrap();
    assert_eq!(certificates.time_left(), Some(Duration::ZERO));
    assert!(is(certificates.current().as_ref(), &expired));
}

#[test]
fn every_subscriber_hears_of_each_certificate_once() {
    let certificates = Certificates::new();
    let mut early = certificates.subscribe();
    let mut other = certificates.subscribe();
    let mut early_task = task::spawn(());
    let mut other_task = task::spawn(());
    assert_pending!(early_task.enter(|cx, _| early.poll(cx)));
    assert_pending!(other_task.enter(|cx, _| other.poll(cx)));

    let first = certificate(0);
    certificates.clone().set(first.clone()).unwrap();
    for (task, subscription) in [(&mut early_task, &mut early), (&mut other_task, &mut other)] {
        assert!(task.is_woken());
        let taken = assert_ready!(task.enter(|cx, _| subscription.poll(cx)));
        assert!(accepts(Some(taken), &first));
        assert_pending!(task.enter(|cx, _| subscription.poll(cx)));
        assert!(!task.is_woken());
    }

    // What is refused wakes nobody while there is one in use.
    certificates.set(certificate(-2)).unwrap_err();
    assert!(!early_task.is_woken());

    // Of two between two polls, the last.
    let last = certificate(0);
    certificates.set(certificate(0)).unwrap();
    certificates.set(last.clone()).unwrap();
    assert!(early_task.is_woken());
    let taken = assert_ready!(early_task.enter(|cx, _| early.poll(cx)));
    assert!(accepts(Some(taken), &last));
    assert_pending!(early_task.enter(|cx, _| early.poll(cx)));

    // Whoever comes late hears of the one that is there.
    let mut late = certificates.subscribe();
    assert!(accepts(late.take(), &last));
    assert!(late.take().is_none());
}

#[test]
fn every_subscriber_hears_of_refusals_until_there_is_a_certificate() {
    let certificates = Certificates::new();
    let mut subscription = certificates.subscribe();
    let mut task = task::spawn(());
    assert_pending!(task.enter(|cx, _| subscription.poll(cx)));
    for days_later in [2, -2] {
        certificates.set(certificate(days_later)).unwrap_err();
        assert!(task.is_woken());
        let offered = assert_ready!(task.enter(|cx, _| subscription.poll(cx)));
        assert!(matches!(offered, Offered::Refused));
        assert!(Arc::ptr_eq(
            &subscription.last_error().unwrap(),
            &certificates.last_error().unwrap()
        ));
        assert_pending!(task.enter(|cx, _| subscription.poll(cx)));
    }
    // Whatever else was offered between two polls, the certificate counts.
    let first = certificate(0);
    certificates.set(certificate(2)).unwrap_err();
    certificates.set(first.clone()).unwrap();
    certificates.set(certificate(2)).unwrap_err();
    assert!(accepts(subscription.take(), &first));
    assert!(subscription.take().is_none());
    // One who comes late to a handle without a certificate.
    let certificates = Certificates::new();
    certificates.set(certificate(2)).unwrap_err();
    assert!(matches!(
        certificates.subscribe().take(),
        Some(Offered::Refused)
    ));
}

#[test]
fn a_subscriber_that_is_gone_is_neither_woken_nor_kept() {
    let certificates = Certificates::new();
    let mut gone = certificates.subscribe();
    let stays = certificates.subscribe();
    let mut task = task::spawn(());
    assert_pending!(task.enter(|cx, _| gone.poll(cx)));
    assert_eq!(subscribers(&certificates), 2);
    drop(gone);
    assert_eq!(subscribers(&certificates), 1);
    certificates.set(certificate(0)).unwrap();
    assert!(!task.is_woken());
    drop(stays);
    assert_eq!(subscribers(&certificates), 0);
    assert_eq!(Arc::strong_count(&certificates.0), 1);
}

/// Fails a test that would hang.
fn within(test: impl FnOnce() + Send + 'static) {
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        test();
        done.send(())
    });
    is_done
        .recv_timeout(Duration::from_secs(30))
        .expect("it succeeds within 30 s");
}

/// Wakes by dropping a transport, as an executor may that runs a task in `wake`.
struct Drops(Mutex<Option<Subscription>>);

impl futures::task::ArcWake for Drops {
    fn wake_by_ref(this: &Arc<Self>) {
        let subscription = this.0.lock().unwrap().take();
        drop(subscription);
    }
}

#[test]
fn a_waker_may_drop_what_it_wakes() {
    within(|| {
        let certificates = Certificates::new();
        let mut subscription = certificates.subscribe();
        let drops = Arc::new(Drops(Mutex::new(None)));
        let waker = futures::task::waker(Arc::clone(&drops));
        assert_pending!(subscription.poll(&mut Context::from_waker(&waker)));
        *drops.0.lock().unwrap() = Some(subscription);
        certificates.set(certificate(0)).unwrap();
        assert_eq!(subscribers(&certificates), 0);
    });
}

#[test]
fn no_certificate_is_lost_between_threads() {
    const ROUNDS: usize = 5_000;

    within(|| {
        let certificates = Certificates::new();
        let mut subscription = certificates.subscribe();
        let both = Arc::new(std::sync::Barrier::new(2));
        let writer = {
            let both = Arc::clone(&both);
            let certificate = certificate(0);
            std::thread::spawn(move || {
                for _ in 0..ROUNDS {
                    both.wait();
                    certificates.set(certificate.clone()).unwrap();
                }
            })
        };
        for _ in 0..ROUNDS {
            both.wait();
            let taken = std::future::poll_fn(|cx| subscription.poll(cx));
            futures::executor::block_on(taken);
        }
        writer.join().unwrap();
    });
}

#[test]
fn a_leaf_that_is_an_authority_is_accepted_and_warned_of_once() {
    let authority = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let signed = parameters.self_signed(&key).unwrap();
        Certificate::from_der(vec![signed.der().to_vec()], key.serialize_der()).unwrap()
    };
    let log = logged(|| {
        let certificates = Certificates::new();
        certificates.set(certificate(0)).unwrap();
        certificates.set(authority()).unwrap();
        certificates.clone().set(authority()).unwrap();
        certificates.set(authority()).unwrap();
    });
    assert_eq!(log.matches("CA:TRUE").count(), 1, "{log}");
    assert!(log.contains("-addext basicConstraints=critical,CA:FALSE"));
    let log = logged(|| Certificates::new().set(certificate(0)).unwrap());
    assert_eq!(log, "");
}

#[test]
fn the_end_is_said_once_to_all_subscribers_and_again_for_the_next() {
    let expired = certificate(-2);
    let log = logged(|| {
        let certificates = Certificates::new();
        let mut first = certificates.subscribe();
        let mut second = certificates.subscribe();
        let mut task = task::spawn(());
        task.enter(|cx, _| assert_pending!(first.poll(cx)));
        for _ in 0..2 {
            certificates
                .set_at(expired.clone(), expired.not_before())
                .unwrap();
            for subscription in [&mut first, &mut second] {
                task.enter(|cx, _| {
                    assert_ready!(subscription.poll(cx));
                    assert_pending!(subscription.poll(cx));
                });
            }
        }
    });
    assert_eq!(log.matches("has expired").count(), 2, "{log}");
    assert_eq!(log.lines().count(), 2, "{log}");
}

#[test]
fn the_timer_wakes_when_the_end_comes() {
    within(|| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        parameters.not_before = (StdTime::now() - Duration::from_secs(60)).into();
        parameters.not_after = (StdTime::now() + Duration::from_secs(2)).into();
        let signed = parameters.self_signed(&key).unwrap();
        let soon = Certificate::from_der(vec![signed.der().to_vec()], key.serialize_der()).unwrap();
        let end = soon.not_after();
        let certificates = Certificates::new();
        certificates
            .set_at(soon, end - Duration::from_secs(1))
            .unwrap();
        let mut subscription = certificates.subscribe();
        futures::executor::block_on(std::future::poll_fn(|cx| {
            let _ = subscription.poll(cx);
            match certificates.0.state().expiry.has_said(Warning::Expired) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        assert!(deadline::wall_clock() >= end);
    });
}

#[test]
fn what_is_cleared_is_told_once_and_the_next_is_used() {
    let certificates = Certificates::new();
    let mut subscription = certificates.subscribe();
    certificates.clear();
    assert!(subscription.take().is_none(), "there was none");
    for _ in 0..2 {
        certificates.set(certificate(0)).unwrap();
        assert!(matches!(subscription.take(), Some(Offered::Accepted(_))));
        certificates.clear();
        certificates.clear();
        assert!(matches!(subscription.take(), Some(Offered::Cleared)));
        assert!(subscription.take().is_none());
        assert!(certificates.current().is_none() && certificates.time_left().is_none());
    }
    // Of several changes the last.
    certificates.set(certificate(0)).unwrap();
    certificates.clear();
    assert!(matches!(subscription.take(), Some(Offered::Cleared)));
    certificates.set(certificate(0)).unwrap();
    certificates.clear();
    certificates.set(certificate(0)).unwrap();
    assert!(matches!(subscription.take(), Some(Offered::Accepted(_))));
}
