//! CORE: the order and times of the connection attempts of a dial, without a clock or a socket. As in [RFC 8305]: the
//! families alternate, IPv6 first, and an attempt begins 250 ms after the previous one, or at once after a failure.
//!
//! The shell adds addresses as it finds them, also while the race runs. It begins the attempts of [`Race::poll_begin`],
//! calls again at [`Race::next_timeout`], and reports the result of each attempt: [`Race::on_failed`], or
//! [`Race::on_connected`] for the winner, after which it drops the others. If the winner fails later, the race continues
//! with them.
//!
//! [RFC 8305]: https://www.rfc-editor.org/rfc/rfc8305

use std::{collections::VecDeque, mem, net::IpAddr, time::Duration};

use crate::deadline::{self, Instant};

/// The "Connection Attempt Delay" of RFC 8305, section 8.
const DELAY: Duration = Duration::from_millis(250);

/// Maximum number of addresses tried for one dial, as in libp2p-dns: each may belong to an uninvolved host. Further ones are
/// ignored.
pub(super) const MAX_ATTEMPTS: usize = 16;

/// One race for a connection.
#[derive(Debug)]
pub(super) struct Race<A> {
    /// The waiting addresses, IPv6 and IPv4, each at most [`MAX_ATTEMPTS`] new ones.
    waiting: [VecDeque<Attempt<A>>; 2],
    /// The family of the next attempt, if both wait.
    turn: usize,
    /// The pending attempts, in order.
    running: Vec<Attempt<A>>,
    /// The number of addresses with at least one attempt.
    begun: usize,
    /// The earliest time of the next attempt.
    next_at: Option<Instant>,
}

#[derive(Debug)]
struct Attempt<A> {
    /// The index of its family in the waiting addresses.
    family: usize,
    /// `None` before its first attempt.
    id: Option<usize>,
    address: A,
}

impl<A> Race<A> {
    pub(super) fn new() -> Self {
        Self {
            waiting: [VecDeque::new(), VecDeque::new()],
            turn: 0,
            running: Vec::new(),
            begun: 0,
            next_at: None,
        }
    }

    /// Adds an address on this IP. One on a name counts as IPv6.
    pub(super) fn add(&mut self, ip: Option<IpAddr>, address: A) {
        let family = usize::from(ip.is_some_and(|ip| ip.is_ipv4()));
        if self.begun < MAX_ATTEMPTS && self.waiting[family].len() < MAX_ATTEMPTS {
            self.waiting[family].push_back(Attempt {
                family,
                id: None,
                address,
            });
        }
    }

    /// The next attempt to begin now, and its key.
    pub(super) fn poll_begin(&mut self, now: Instant) -> Option<(usize, &A)> {
        if self.next_at.is_some_and(|at| now < at) {
            return None;
        }
        let family = match self.waiting[self.turn].is_empty() {
            true => 1 - self.turn,
            false => self.turn,
        };
        let mut attempt = self.waiting[family].pop_front()?;
        self.turn = 1 - family;
        self.next_at = Some(deadline::after(now, DELAY));
        let id = *attempt.id.get_or_insert_with(|| {
            self.begun += 1;
            self.begun
        });
        if self.begun == MAX_ATTEMPTS {
            for family in &mut self.waiting {
                family.retain(|attempt| attempt.id.is_some());
            }
        }
        self.running.push(attempt);
        self.running.last().map(|attempt| (id, &attempt.address))
    }

    /// The time of the next call, if no attempt is due now.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.next_at.filter(|_| !self.all_begun())
    }

    /// An attempt has failed. Returns its address. The next attempt is due at once.
    pub(super) fn on_failed(&mut self, id: usize) -> Option<A> {
        let at = self.running.iter().position(|a| a.id == Some(id))?;
        self.next_at = None;
        Some(self.running.remove(at).address)
    }

    /// An attempt has connected. Returns its address. The caller drops the others, which wait again in case this one fails.
    pub(super) fn on_connected(&mut self, id: usize) -> Option<A> {
        let won = self.on_failed(id)?;
        for attempt in mem::take(&mut self.running).into_iter().rev() {
            self.waiting[attempt.family].push_front(attempt);
        }
        Some(won)
    }

    /// Whether no address waits.
    pub(super) fn all_begun(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }

    /// The pending attempts.
    pub(super) fn running(&self) -> impl Iterator<Item = &A> {
        self.running.iter().map(|attempt| &attempt.address)
    }
}

#[cfg(test)]
mod tests;
