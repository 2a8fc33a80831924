//! What the neighbours may still deliver.

use std::{collections::HashMap, time::Duration};

use libp2p_identity::PeerId;

use crate::{deadline::Instant, discovery::rate::Bucket};

/// Bounds the memory for neighbours to about one MiB. Only those count whose buckets have not refilled, which by
/// default takes 20 ms after a message, so that far more than these may be connected.
pub(super) const MAX_NEIGHBOURS: usize = 4096;

/// At the bound all neighbours are looked at, but not for every message.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// What each neighbour may still deliver, for at most [`MAX_NEIGHBOURS`] of them.
#[derive(Debug, Default)]
pub(super) struct Allowances {
    pub(super) rows: HashMap<PeerId, Allowance>,
    pub(super) swept_at: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Allowance {
    pub(super) known: Bucket,
    pub(super) newcomers: Bucket,
}

impl Allowances {
    /// The neighbour's buckets, new ones if it has none; `None` if there is no room for them.
    pub(super) fn get(&mut self, now: Instant, neighbour: PeerId) -> Option<&mut Allowance> {
        if self.rows.len() >= MAX_NEIGHBOURS && !self.rows.contains_key(&neighbour) {
            self.sweep(now);
            if self.rows.len() >= MAX_NEIGHBOURS {
                return None;
            }
        }
        Some(self.rows.entry(neighbour).or_default())
    }

    /// Forgets the neighbours whose buckets are full: new ones would be the same.
    pub(super) fn sweep(&mut self, now: Instant) {
        let since = |at| now.checked_duration_since(at);
        if self
            .swept_at
            .and_then(since)
            .is_some_and(|elapsed| elapsed < SWEEP_INTERVAL)
        {
            return;
        }
        self.swept_at = Some(now);
        self.rows
            .retain(|_, row| !(row.known.is_full(now) && row.newcomers.is_full(now)));
    }
}
