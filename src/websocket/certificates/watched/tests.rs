use std::time::Duration;

use super::*;
use crate::{
    deadline::{self, wall_clock},
    websocket::certificates::tests::pem,
};

fn reading((chain, key): &(String, String)) -> Reading {
    Reading::Pem {
        chain: chain.clone().into_bytes(),
        key: key.clone().into_bytes(),
    }
}

fn failed(kind: io::ErrorKind) -> Reading {
    Reading::Failed {
        path: "key.pem".into(),
        error: kind.into(),
    }
}

impl Watched {
    fn read(&mut self, files: &(String, String)) -> Step {
        self.read_at(reading(files), wall_clock())
    }

    /// At this time of day, whatever the time is otherwise.
    fn read_at(&mut self, reading: Reading, date: SystemTime) -> Step {
        self.on_read(reading, deadline::now(), date)
    }

    /// Reads the same twice, as one who finds it at rest.
    fn find(&mut self, files: &(String, String)) -> Step {
        assert_waits(&self.read(files), Again::Soon);
        self.read(files)
    }
}

fn assert_waits(step: &Step, again: Again) {
    assert!(
        step.outcome.is_none() && step.again == again,
        "{step:?}, not {again:?}"
    );
}

fn assert_accepts(step: &Step, (chain, key): &(String, String)) {
    let expected = Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
    match &step.outcome {
        Some(Outcome::Accept(certificate)) => {
            assert_eq!(certificate.not_after(), expected.not_after());
        }
        other => panic!("accepted, not {other:?}"),
    }
    assert_eq!(step.again, Again::Later);
}

fn refusal(step: Step) -> CertificateError {
    assert_eq!(step.again, Again::Later);
    match step.outcome {
        Some(Outcome::Refuse(error)) => error,
        other => panic!("refused, not {other:?}"),
    }
}

#[test]
fn what_stays_the_same_is_accepted_once() {
    let files = pem(0);
    let mut watched = Watched::default();
    assert_accepts(&watched.find(&files), &files);
    for _ in 0..3 {
        assert_waits(&watched.read(&files), Again::Later);
    }
    let next = pem(0);
    assert_accepts(&watched.find(&next), &next);
    assert_waits(&watched.read(&next), Again::Later);
}

#[test]
fn an_exchange_is_not_reported_whichever_file_comes_first() {
    let (old, new) = (pem(0), pem(0));
    for between in [
        (old.0.clone(), new.1.clone()),
        (new.0.clone(), old.1.clone()),
    ] {
        // However far it gets between two readings.
        for readings in 0..3 {
            let mut watched = Watched::default();
            assert_accepts(&watched.find(&old), &old);
            for again in [Again::Soon, Again::Later].into_iter().take(readings) {
                assert_waits(&watched.read(&between), again);
            }
            assert_accepts(&watched.find(&new), &new);
        }
    }
}

#[test]
fn a_mismatch_that_stays_is_refused_once() {
    let (old, new) = (pem(0), pem(0));
    let wrong = (new.0.clone(), old.1.clone());
    let mut watched = Watched::default();
    assert_accepts(&watched.find(&old), &old);
    assert_waits(&watched.find(&wrong), Again::Later);
    let refused = refusal(watched.read(&wrong));
    assert!(matches!(refused, CertificateError::KeyMismatch { .. }));
    for _ in 0..3 {
        assert_waits(&watched.read(&wrong), Again::Later);
    }
    // What comes back is accepted again, which tells that nothing is wrong any more.
    assert_accepts(&watched.find(&old), &old);
}

#[test]
fn what_is_being_written_is_not_taken_for_a_shorter_chain() {
    let (own, key) = pem(0);
    let (issuer, _) = pem(0);
    let whole = (format!("{own}{issuer}"), key.clone());
    let mut watched = Watched::default();
    // The middle one would do by itself.
    for length in [own.len() / 2, own.len(), own.len() + issuer.len() / 2] {
        let part = (whole.0[..length].to_owned(), key.clone());
        assert_waits(&watched.read(&part), Again::Soon);
    }
    assert_accepts(&watched.find(&whole), &whole);
}

#[test]
fn files_that_are_missing_are_waited_for_and_told_of_once() {
    let mut watched = Watched::default();
    let missing = || failed(io::ErrorKind::NotFound);
    assert_waits(&watched.read_at(missing(), wall_clock()), Again::Soon);
    assert_waits(&watched.read_at(missing(), wall_clock()), Again::Later);
    match refusal(watched.read_at(missing(), wall_clock())) {
        CertificateError::File { path, error } => {
            assert_eq!(path, PathBuf::from("key.pem"));
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
        }
        other => panic!("{other:?}"),
    }
    assert_waits(&watched.read_at(missing(), wall_clock()), Again::Later);

    let files = pem(0);
    assert_accepts(&watched.find(&files), &files);
    // Gone for a moment, as in a rename.
    assert_waits(&watched.read_at(missing(), wall_clock()), Again::Soon);
    assert_accepts(&watched.find(&files), &files);
    // Another reason is another reading.
    assert_waits(&watched.read_at(missing(), wall_clock()), Again::Soon);
    for again in [Again::Soon, Again::Later] {
        let denied = failed(io::ErrorKind::PermissionDenied);
        assert_waits(&watched.read_at(denied, wall_clock()), again);
    }
}

#[test]
fn whatever_is_in_the_files_ends_nothing() {
    let good = pem(0);
    let cut = |text: &str| text[..text.len() - 40].to_owned();
    let mut watched = Watched::default();
    for bad in [
        (String::new(), String::new()),
        ("garbage".to_owned(), good.1.clone()),
        (good.0.clone(), "garbage".to_owned()),
        (cut(&good.0), good.1.clone()),
        (good.0.clone(), cut(&good.1)),
    ] {
        assert_waits(&watched.find(&bad), Again::Later);
        refusal(watched.read(&bad));
    }
    assert_accepts(&watched.find(&good), &good);
}

#[test]
fn one_whose_time_has_not_come_is_refused_once_and_accepted_when_it_has() {
    let files = pem(2);
    let mut watched = Watched::default();
    let refused = refusal(watched.find(&files));
    assert!(matches!(refused, CertificateError::NotYetValid { .. }));
    for _ in 0..3 {
        assert_waits(&watched.read(&files), Again::Later);
    }
    let later = wall_clock() + Duration::from_secs(60 * 60 * 60);
    assert_accepts(&watched.read_at(reading(&files), later), &files);
    assert_waits(&watched.read_at(reading(&files), later), Again::Later);
}

#[test]
fn one_that_a_wrong_clock_takes_for_expired_is_accepted_when_it_is_set() {
    let files = pem(0);
    let wrong = wall_clock() + Duration::from_secs(60 * 60 * 60);
    let mut watched = Watched::default();
    assert_waits(&watched.read_at(reading(&files), wrong), Again::Soon);
    let refused = refusal(watched.read_at(reading(&files), wrong));
    assert!(matches!(refused, CertificateError::Expired { .. }));
    assert_accepts(&watched.read(&files), &files);
}

#[test]
fn one_bundle_is_as_good_as_two_files() {
    let (chain, key) = pem(0);
    let bundle = format!("{key}{chain}");
    let files = (bundle.clone(), bundle);
    let mut watched = Watched::default();
    assert_accepts(&watched.find(&files), &files);
}

#[test]
fn a_file_that_stays_missing_is_told_once_more_after_ten_seconds() {
    let start = deadline::now();
    let mut watched = Watched::default();
    let mut read = |kind, seconds| {
        let now = start + Duration::from_secs(seconds);
        watched.on_read(failed(kind), now, wall_clock()).outcome
    };
    for (kind, is_told) in [
        (io::ErrorKind::NotFound, true),
        (io::ErrorKind::PermissionDenied, false),
        // It is counted from anew.
        (io::ErrorKind::NotFound, true),
    ] {
        assert!(read(kind, 100).is_none() && read(kind, 101).is_none());
        assert!(matches!(read(kind, 102), Some(Outcome::Refuse(_))));
        assert!(read(kind, 110).is_none());
        let told = read(kind, 112);
        assert_eq!(
            matches!(told, Some(Outcome::StillMissing(_))),
            is_told,
            "{told:?}"
        );
        assert!(read(kind, 113).is_none() && read(kind, 1000).is_none());
    }
}
