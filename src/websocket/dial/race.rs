//! Which addresses a dial connects to, and when, without a clock or a socket. As in [RFC 8305]: the families take
//! turns, IPv6 first, and an attempt begins 250 ms after the one before, or at once if one has failed.
//!
//! The shell adds addresses as it finds them, also while the race runs. It begins what [`Race::poll_begin`] says, asks
//! again at [`Race::next_timeout`], and says what came of each attempt: [`Race::on_failed`], or [`Race::on_connected`]
//! for the winner, after which it drops the others. If the winner comes to nothing, the race goes on with them.
//!
//! [RFC 8305]: https://www.rfc-editor.org/rfc/rfc8305

use std::{collections::VecDeque, mem, net::IpAddr, time::Duration};

use crate::deadline::{self, Instant};

/// The "Connection Attempt Delay" of RFC 8305, section 8.
const DELAY: Duration = Duration::from_millis(250);

/// How many addresses are tried for one dial, as in libp2p-dns. Each may be a host of somebody who has nothing to do
/// with it. Those beyond are as if there were none more.
pub(super) const MAX_ATTEMPTS: usize = 16;

/// One race for a connection.
#[derive(Debug)]
pub(super) struct Race<A> {
    /// What is to be begun: IPv6 and IPv4, each at most [`MAX_ATTEMPTS`] new ones.
    waiting: [VecDeque<Attempt<A>>; 2],
    /// Which family begins next, if both wait.
    turn: usize,
    /// What has been begun, in this order, and is undecided.
    running: Vec<Attempt<A>>,
    /// How many addresses have been begun at least once.
    begun: usize,
    /// Nothing begins before that.
    next_at: Option<Instant>,
}

#[derive(Debug)]
struct Attempt<A> {
    /// Which of the two that wait it belongs to.
    family: usize,
    /// `None` before it is begun for the first time.
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

    /// An address on this IP. One on a name counts as IPv6.
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

    /// What is to be begun now, and by what it is known from then on.
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

    /// When to ask again, if nothing is to be begun now.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.next_at.filter(|_| !self.all_begun())
    }

    /// Returns what has failed. The next need not wait.
    pub(super) fn on_failed(&mut self, id: usize) -> Option<A> {
        let at = self.running.iter().position(|a| a.id == Some(id))?;
        self.next_at = None;
        Some(self.running.remove(at).address)
    }

    /// Returns what has won. The others are to be dropped, and wait again for the case that it comes to nothing.
    pub(super) fn on_connected(&mut self, id: usize) -> Option<A> {
        let won = self.on_failed(id)?;
        for attempt in mem::take(&mut self.running).into_iter().rev() {
            self.waiting[attempt.family].push_front(attempt);
        }
        Some(won)
    }

    /// Whether nothing waits to be begun.
    pub(super) fn all_begun(&self) -> bool {
        self.waiting.iter().all(VecDeque::is_empty)
    }

    /// What has been begun and is undecided.
    pub(super) fn running(&self) -> impl Iterator<Item = &A> {
        self.running.iter().map(|attempt| &attempt.address)
    }
}

#[cfg(test)]
mod tests;
