//! The metrics of the listeners.

use prometheus_client::registry::Registry;

use super::*;
use crate::metrics::shown;

/// The series of listeners that there are, and that are not zero.
fn non_zero(registry: &Registry) -> Vec<String> {
    let is_zero = |line: &String| line.ends_with(" 0");
    let mut lines = shown(registry);
    assert_eq!(lines.len(), 13, "none is missing: {lines:?}");
    lines.retain(|line| !is_zero(line));
    lines
}

#[test]
fn a_scrape_tells_what_the_listeners_are_doing_and_what_befell_them() {
    let mut subject = Subject::over_wildcards(Config::default());
    let mut registry = Registry::default();
    subject.task.readiness().register_metrics(&mut registry);
    assert_eq!(non_zero(&registry), [""; 0]);

    let missing = Support::Waiting(Missing::Certificate { last_error: None });
    let waits = address(1);
    subject
        .inner
        .script()
        .support
        .insert(waits.clone(), missing);
    subject.listen(&waits);
    let (fails, never) = (address(2), address(3));
    for (address, error) in [
        (
            &fails,
            TransportError::Other(io::ErrorKind::AddrInUse.into()),
        ),
        (&never, TransportError::MultiaddrNotSupported(never.clone())),
    ] {
        subject
            .inner
            .script()
            .failures
            .insert(address.clone(), error);
        subject.listen(address);
    }
    subject.listen(&address(4));
    let removed = subject.listen(&address(5));
    assert_eq!(
        non_zero(&registry),
        [
            r#"libp2p_lazy_listeners{state="registered"} 4"#,
            r#"libp2p_lazy_listeners{state="waiting"} 1"#,
        ]
    );

    while subject.poll().is_ready() {}
    let (bound, to_remove) = {
        let script = subject.inner.script();
        (script.inner_id(2), script.inner_id(3))
    };
    subject.say(new_address(bound, &address(4)));
    while subject.poll().is_ready() {}
    assert_eq!(
        non_zero(&registry),
        [
            r#"libp2p_lazy_listeners{state="waiting"} 1"#,
            r#"libp2p_lazy_listeners{state="binding"} 1"#,
            r#"libp2p_lazy_listeners{state="retrying"} 1"#,
            r#"libp2p_lazy_listeners{state="listening"} 1"#,
            "libp2p_lazy_ready_listeners 1",
            r#"libp2p_lazy_failures_total{failure="bind"} 1"#,
            r#"libp2p_lazy_failures_total{failure="unsupported"} 1"#,
            r#"libp2p_lazy_closed_total{reason="failed"} 1"#,
        ]
    );

    assert!(subject.task.remove_listener(removed));
    assert!(
        non_zero(&registry).contains(&r#"libp2p_lazy_listeners{state="closing"} 1"#.to_owned())
    );
    subject.say(closed(to_remove, Ok(())));
    subject.say(closed(bound, Err(io::ErrorKind::NetworkDown.into())));
    while subject.poll().is_ready() {}
    assert_eq!(
        non_zero(&registry),
        [
            r#"libp2p_lazy_listeners{state="waiting"} 1"#,
            r#"libp2p_lazy_listeners{state="retrying"} 2"#,
            r#"libp2p_lazy_failures_total{failure="bind"} 1"#,
            r#"libp2p_lazy_failures_total{failure="closed"} 1"#,
            r#"libp2p_lazy_failures_total{failure="unsupported"} 1"#,
            r#"libp2p_lazy_closed_total{reason="failed"} 1"#,
            r#"libp2p_lazy_closed_total{reason="removed"} 1"#,
        ]
    );

    drop(subject);
    let left = non_zero(&registry);
    assert!(left.iter().all(|line| line.contains("_total")), "{left:?}");
}
