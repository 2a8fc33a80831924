//! Many nodes at once, in one process. `cargo bench --bench crowd` measures more of them.

#![cfg(feature = "gossipsub")]

#[path = "common/crowd.rs"]
mod crowd;

use std::time::Duration;

use crowd::Crowd;
use futures::future;
use libp2p_lazy_websocket::discovery;

const TARGET: u32 = 10;

/// At an interval that twice, and six times, as many share as the target rate allows.
#[tokio::test(flavor = "multi_thread")]
async fn all_find_all_and_announce_no_more_than_they_shall() {
    let crowds = [20, 60].map(|count| async move {
        let config = discovery::Config::default()
            .with_interval(Duration::from_secs(1))
            .with_target_rate(TARGET);
        let mut crowd = Crowd::start(count, config, count as u64).await;
        crowd.all_know_all().await;
        // The first ones come after a part of the interval only, and newcomers make them come sooner.
        crowd.receives(1).await;
        let received = crowd.receives(2).await;
        crowd.join(1).await;
        crowd.the_last_knows(count).await;
        (count, received.rate)
    });
    for (count, rate) in future::join_all(crowds).await {
        // A machine that is busy makes it less. Were the interval not stretched, it would be as many as there are.
        assert!(
            rate <= 1.5 * f64::from(TARGET),
            "each of {count} receives {rate} a second"
        );
    }
}

/// Two that have been there for long may at most double their interval. The others, who come at once, announce themselves
/// every eight seconds and promise nothing yet, while the time to live by the interval of the two is six.
#[tokio::test(flavor = "multi_thread")]
async fn those_who_have_settled_forget_nobody_who_slows_down_more_than_they_do() {
    let interval = Duration::from_secs(1);
    let config = discovery::Config::default()
        .with_interval(interval)
        .with_max_interval(8 * interval)
        .with_time_to_live(3 * interval)
        .with_target_rate(5);
    let mut crowd = Crowd::start(2, config, 7).await;
    // For as long as the longest interval, at least.
    crowd.receives(10).await;
    crowd.join(40).await;
    crowd.all_know_all().await;
    crowd.receives(2).await;
    let counters = crowd.counters().await;
    let expired = counters.iter().map(|counters| counters.expired);
    assert_eq!(expired.collect::<Vec<_>>(), vec![0; 42]);
}
