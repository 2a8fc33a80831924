//! Many nodes at once, in one process. `cargo bench --bench crowd` measures more of them.

#![cfg(feature = "gossipsub")]

#[path = "common/crowd.rs"]
mod crowd;

use std::{num::NonZeroU32, time::Duration};

use crowd::Crowd;
use futures::future;
use libp2p_lazy_websocket::discovery;

const TARGET: NonZeroU32 = NonZeroU32::new(10).unwrap();

/// At an interval that twice, and six times, as many share as the target rate allows.
#[tokio::test(flavor = "multi_thread")]
async fn all_find_all_and_announce_no_more_than_they_shall() {
    let crowds = [20, 60].map(|count| async move {
        let config = discovery::Config::default()
            .with_interval(Duration::from_secs(1))
            .with_target_rate(TARGET);
        let mut crowd = Crowd::start(count, config, count as u64).await;
        crowd.all_know_all().await;
        let received = crowd.receives(1).await;
        crowd.join(1).await;
        crowd.the_last_knows(count).await;
        (count, received.rate)
    });
    for (count, rate) in future::join_all(crowds).await {
        // A machine that is busy makes it less. Were the interval not stretched, it would be as many as there are.
        assert!(
            rate <= 1.5 * f64::from(TARGET.get()),
            "each of {count} receives {rate} a second"
        );
    }
}
