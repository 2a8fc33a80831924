//! What is done to whom, and when: random, by a seed, and no more at once than leaves most of the network whole.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng, seq::IndexedRandom as _};

use crate::rules::Time;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// SIGKILL, and another start after so long.
    Kill(usize, Duration),
    /// It is asked to end, and started again.
    Leave(usize, Duration),
    /// SIGSTOP, and SIGCONT after so long.
    Stop(usize, Duration),
    /// The network carries nothing for so long, and then all that was sent.
    Freeze(usize, Duration),
    /// The network carries nothing for so long, and has forgotten the connections then. Peers hear of that if it `resets`.
    Cut {
        slot: usize,
        lasts: Duration,
        resets: bool,
    },
    /// The certificate of the hub is replaced.
    Rotate,
    /// The hub removes a listener, and adds it again after so long.
    Remove(usize, Duration),
}

/// Long enough for those who are stopped to be forgotten, and shorter than any connection lives without an answer.
const STOP: Duration = Duration::from_secs(40);

/// How long until all is well again once a fault has ended: a start, or the end of a dead connection, and a dial.
const START: Duration = Duration::from_secs(15);
const AFTER_CUT: Duration = Duration::from_secs(60 + 15);

/// Of all slots, so many may have a fault at once: one in this many.
const SHARE: usize = 3;

/// Where there is something to choose from.
const KINDS: [(Name, u32); 7] = [
    (Name::Cut, 4),
    (Name::Stop, 3),
    (Name::Remove, 1),
    (Name::Kill, 5),
    (Name::Freeze, 2),
    (Name::Leave, 2),
    (Name::Rotate, 1),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Name {
    Kill,
    Leave,
    Stop,
    Freeze,
    Cut,
    Rotate,
    Remove,
}

pub(crate) struct Plan {
    rng: SmallRng,
    gap: Duration,
    next_at: Time,
    /// When everybody has to be well again.
    end: Time,
    /// Each once, the longest first.
    first: Vec<Name>,
    listeners: usize,
}

impl Plan {
    /// Begins at `start`, with a fault every `gap` on average, all of which are over by `end`.
    pub(crate) fn new(seed: u64, start: Time, gap: Duration, end: Time, listeners: usize) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed),
            gap,
            next_at: start,
            end,
            first: KINDS.iter().rev().map(|(name, _)| *name).collect(),
            listeners,
        }
    }

    /// The next fault, if it is time for one. `well` are the slots that have none, of so many.
    pub(crate) fn next(
        &mut self,
        now: Time,
        well: &[usize],
        slots: usize,
        is_listener_gone: bool,
    ) -> Option<Fault> {
        if now < self.next_at {
            return None;
        }
        self.next_at = now + self.gap.mul_f64(self.rng.random_range(0.5..1.5));
        let name = match self.first.pop() {
            Some(name) => name,
            None => {
                KINDS
                    .choose_weighted(&mut self.rng, |(_, weight)| *weight)
                    .ok()?
                    .0
            }
        };
        let fault = self.fault(name, well, slots, is_listener_gone)?;
        (now + fault.until_well() <= self.end).then_some(fault)
    }

    fn fault(
        &mut self,
        name: Name,
        well: &[usize],
        slots: usize,
        is_listener_gone: bool,
    ) -> Option<Fault> {
        let mut seconds = |range| Duration::from_secs_f64(self.rng.random_range(range));
        let [down, short, long] = [seconds(0.0..8.0), seconds(2.0..25.0), seconds(5.0..40.0)];
        if name == Name::Rotate {
            return Some(Fault::Rotate);
        }
        if name == Name::Remove {
            let listener = self.rng.random_range(0..self.listeners);
            return (!is_listener_gone).then_some(Fault::Remove(listener, short));
        }
        if (slots - well.len()) * SHARE >= slots {
            return None;
        }
        let slot = *well.choose(&mut self.rng)?;
        Some(match name {
            Name::Kill => Fault::Kill(slot, down),
            Name::Leave => Fault::Leave(slot, down),
            Name::Stop => Fault::Stop(slot, STOP),
            Name::Freeze => Fault::Freeze(slot, short),
            _ => Fault::Cut {
                slot,
                lasts: long,
                resets: self.rng.random(),
            },
        })
    }
}

impl Fault {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Kill(..) => "SIGKILL",
            Self::Leave(..) => "leave",
            Self::Stop(..) => "SIGSTOP for 40 s",
            Self::Freeze(..) => "freeze",
            Self::Cut { resets: false, .. } => "cut",
            Self::Cut { resets: true, .. } => "cut, then reset",
            Self::Rotate => "certificate rotation",
            Self::Remove(..) => "listener removal",
        }
    }

    /// How long until all is well again at the latest.
    fn until_well(&self) -> Duration {
        match *self {
            Self::Kill(_, lasts) | Self::Leave(_, lasts) => lasts + START,
            Self::Stop(_, lasts) | Self::Freeze(_, lasts) => lasts + START,
            // The hub, or the peer, may only notice after a minute.
            Self::Cut { lasts, .. } => lasts.max(AFTER_CUT) + START,
            Self::Rotate => START,
            Self::Remove(_, lasts) => lasts + START,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SLOTS: usize = 15;

    /// The faults of an hour, while those with a fault are well again after a minute.
    fn hour(seed: u64) -> Vec<(Time, Fault)> {
        let seconds = Duration::from_secs;
        let mut plan = Plan::new(seed, seconds(30), seconds(8), seconds(3600), 3);
        let (mut faults, mut busy) = (Vec::new(), Vec::<(Time, usize)>::new());
        for second in 0..4000 {
            let now = seconds(second);
            busy.retain(|(until, _)| *until > now);
            let is_busy = |slot: &usize| busy.iter().any(|(_, of)| of == slot);
            let well = (0..SLOTS).filter(|slot| !is_busy(slot)).collect::<Vec<_>>();
            let Some(fault) = plan.next(now, &well, SLOTS, false) else {
                continue;
            };
            if let Fault::Kill(slot, _)
            | Fault::Leave(slot, _)
            | Fault::Stop(slot, _)
            | Fault::Freeze(slot, _)
            | Fault::Cut { slot, .. } = fault
            {
                assert!(well.contains(&slot));
                assert!(busy.len() * SHARE < SLOTS);
                busy.push((now + seconds(60), slot));
            }
            faults.push((now, fault));
        }
        faults
    }

    #[test]
    fn an_hour_has_each_fault_and_ends_with_none() {
        for seed in 0..20 {
            let faults = hour(seed);
            let names = faults.iter().map(|(_, fault)| fault.name());
            assert_eq!(names.collect::<std::collections::BTreeSet<_>>().len(), 8);
            assert!(faults[0].0 >= Duration::from_secs(30));
            for (at, fault) in &faults {
                assert!(
                    *at + fault.until_well() <= Duration::from_secs(3600),
                    "{fault:?}"
                );
            }
        }
    }

    #[test]
    fn a_seed_repeats_what_is_done() {
        assert_eq!(hour(7), hour(7));
        assert_ne!(hour(7), hour(8));
    }
}
