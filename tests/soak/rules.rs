//! What has to hold during a soak: who has to know whom by when, and which fault explains which loss. Time is passed in, as the
//! time since the start in which everybody had the processor.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    time::Duration,
};

pub(crate) type Time = Duration;

/// A silent connection ends after 60 s (`websocket::Config::with_keep_alive`). The rest is for a busy machine.
const DEAD: Duration = Duration::from_secs(60 + 20);

/// A connection whose other side has closed it is closed at once. So much for a busy machine.
const CLOSING: Duration = Duration::from_secs(10);

/// How far the line of a hub and the end of the connection that it tells of may be apart.
const TELLING: Duration = Duration::from_secs(5);

/// How long after a stop or a freeze the timers of go and js may still close a connection for it: go pings every 30 s and waits
/// for 10 s.
const AFTERMATH: Duration = Duration::from_secs(60);

/// How long the longest way back takes: a dead connection, then a dial that times out, then the longest delay between two dials.
const RETURN: Duration = DEAD.saturating_add(Duration::from_secs(30 + 60));

/// An interval that counts for the expiry of a peer is at least this long.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(10);

/// A peer that expires and returns may have so long an interval.
const LONGEST_INTERVAL: Duration = Duration::from_secs(22 * 60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// With this crate.
    Ours,
    Js,
    Go,
    Py,
    /// rust-libp2p without this crate.
    Stock,
}

/// Who knows others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Who {
    Hub,
    Slot(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    Hub,
    Peer,
}

/// What explains a loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    Kill,
    Leave,
    Stop,
    Freeze,
    Cut,
    /// The peer has given up its dial, or was not through with it.
    Dial,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Down,
    Runs,
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Path {
    Open,
    Frozen,
    Cut,
}

/// The place of one process after another.
#[derive(Debug)]
struct Slot {
    kind: Kind,
    listener: usize,
    id: Option<String>,
    process: Process,
    path: Path,
    /// The last fault that timers may still act on, and when it ended.
    aftermath: Option<(Cause, Time)>,
    /// Since when all is as it should be.
    well_since: Option<Time>,
    /// Since when nothing keeps it from a connection.
    free_since: Option<Time>,
    knows: BTreeMap<String, Time>,
}

/// One through the proxy.
#[derive(Debug)]
struct Connection {
    slot: usize,
    /// Once the hub has told of it.
    id: Option<String>,
    /// The peer has told of it too.
    is_complete: bool,
    /// The process at the other end is no more.
    bereft: Option<Cause>,
    /// Since when nothing comes through any more.
    dead: Option<Time>,
    closed_by_hub: Option<Time>,
    closed_by_peer: Option<Time>,
    loss: Option<Cause>,
}

impl Connection {
    /// Since when both sides have closed it.
    fn over(&self) -> Option<Time> {
        Some(self.closed_by_hub?.max(self.closed_by_peer?))
    }
}

/// What the hub tells of a peer, beside what has become of its connections.
#[derive(Debug, Default)]
struct Ledger {
    /// That the hub has told of and not closed.
    open: BTreeSet<u32>,
    /// It has to tell of the end of all connections.
    owed: Option<(Time, Option<Cause>)>,
    /// It has told that these are closed, and why, before the proxy has seen it.
    early: Vec<(Time, String, BTreeSet<u32>)>,
}

/// What the report tells.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) losses: BTreeMap<(Cause, String), usize>,
    pub(crate) longest_to_know: BTreeMap<(Option<Kind>, Option<Kind>), Duration>,
    pub(crate) longest_return: BTreeMap<Kind, Duration>,
    pub(crate) pairs_checked: usize,
    pub(crate) pairs_learnt: usize,
    /// How often one that was well was forgotten, and had to be learnt again.
    pub(crate) forgotten: usize,
}

#[derive(Debug)]
pub(crate) struct Rules {
    interval: Duration,
    hub: String,
    hub_knows: BTreeMap<String, Time>,
    slots: Vec<Slot>,
    connections: BTreeMap<u32, Connection>,
    ledgers: BTreeMap<String, Ledger>,
    listeners_gone: BTreeSet<usize>,
    /// Processes that have ended, by their ids.
    gone: BTreeMap<String, (Kind, Time)>,
    /// Ids that have expired somewhere: from then on their interval may be taken for a long one.
    expired: BTreeSet<String>,
    /// When a table has forgotten a peer. Peers are forgotten by the clock, in which one without the processor is silent for
    /// longer than it counts here: they have to be known again as soon as ever.
    forgotten: BTreeMap<(Who, String), Time>,
    /// Since when each pair has been connected when it was last found to know each other.
    learnt: BTreeMap<(Who, String), Time>,
    said: BTreeSet<String>,
    broken: Vec<String>,
    pub(crate) figures: Figures,
    is_ending: bool,
}

impl Figures {
    fn count(&mut self, loss: Option<Cause>, cause: &str) {
        // One without an explanation has been told as such.
        if let Some(loss) = loss {
            *self.losses.entry((loss, cause.to_owned())).or_default() += 1;
        }
    }
}

impl Rules {
    /// One slot for each kind and listener that is dialled.
    pub(crate) fn new(interval: Duration, hub: &str, slots: &[(Kind, usize)]) -> Self {
        let slot = |&(kind, listener): &(Kind, usize)| Slot {
            kind,
            listener,
            id: None,
            process: Process::Down,
            path: Path::Open,
            aftermath: None,
            well_since: None,
            free_since: None,
            knows: BTreeMap::new(),
        };
        Self {
            interval,
            hub: hub.to_owned(),
            hub_knows: BTreeMap::new(),
            slots: slots.iter().map(slot).collect(),
            connections: BTreeMap::new(),
            ledgers: BTreeMap::new(),
            listeners_gone: BTreeSet::new(),
            gone: BTreeMap::new(),
            expired: BTreeSet::new(),
            forgotten: BTreeMap::new(),
            learnt: BTreeMap::new(),
            said: BTreeSet::new(),
            broken: Vec::new(),
            figures: Figures::default(),
            is_ending: false,
        }
    }

    pub(crate) fn on_started(&mut self, slot: usize, id: &str, now: Time) {
        self.gone.remove(id);
        let of = &mut self.slots[slot];
        of.id = Some(id.to_owned());
        of.process = Process::Runs;
        of.aftermath = None;
        self.review(slot, now);
    }

    /// Before the process is told to end.
    pub(crate) fn on_down(&mut self, slot: usize, cause: Cause, now: Time) {
        let of = &mut self.slots[slot];
        of.process = Process::Down;
        of.knows.clear();
        for connection in self.connections.values_mut() {
            if connection.slot == slot {
                connection.bereft.get_or_insert(cause);
            }
        }
        self.learnt.retain(|(who, _), _| *who != Who::Slot(slot));
        if let Some(id) = &of.id {
            self.gone.insert(id.clone(), (of.kind, now));
        }
        self.review(slot, now);
    }

    pub(crate) fn on_stopped(&mut self, slot: usize, now: Time) {
        self.slots[slot].process = Process::Stopped;
        self.review(slot, now);
    }

    pub(crate) fn on_continued(&mut self, slot: usize, now: Time) {
        let of = &mut self.slots[slot];
        of.process = Process::Runs;
        of.aftermath = Some((Cause::Stop, now));
        self.review(slot, now);
    }

    /// Nothing comes through for a while, but nothing is lost.
    pub(crate) fn on_frozen(&mut self, slot: usize, now: Time) {
        self.slots[slot].path = Path::Frozen;
        self.review(slot, now);
    }

    /// Nothing comes through the connections that there are, for ever.
    pub(crate) fn on_cut(&mut self, slot: usize, now: Time) {
        self.slots[slot].path = Path::Cut;
        for connection in self.connections.values_mut() {
            if connection.slot == slot {
                connection.dead.get_or_insert(now);
            }
        }
        self.review(slot, now);
    }

    pub(crate) fn on_mended(&mut self, slot: usize, now: Time) {
        let of = &mut self.slots[slot];
        if of.path == Path::Frozen {
            of.aftermath = Some((Cause::Freeze, now));
        }
        of.path = Path::Open;
        self.review(slot, now);
    }

    pub(crate) fn on_listener_gone(&mut self, listener: usize, now: Time) {
        self.listeners_gone.insert(listener);
        (0..self.slots.len()).for_each(|slot| self.review(slot, now));
    }

    pub(crate) fn on_listener_back(&mut self, listener: usize, now: Time) {
        self.listeners_gone.remove(&listener);
        (0..self.slots.len()).for_each(|slot| self.review(slot, now));
    }

    /// From here on everybody is told to end.
    pub(crate) fn on_ending(&mut self) {
        self.is_ending = true;
    }

    /// The proxy has connected a peer to the hub.
    pub(crate) fn on_opened(&mut self, connection: u32, slot: usize) {
        self.connections.insert(
            connection,
            Connection {
                slot,
                id: None,
                is_complete: false,
                bereft: None,
                dead: None,
                closed_by_hub: None,
                closed_by_peer: None,
                loss: None,
            },
        );
    }

    /// A peer tells that it is connected: by the connections that there are.
    pub(crate) fn on_connected(&mut self, slot: usize, now: Time) {
        let connections = self.connections.values_mut();
        for connection in connections.filter(|connection| connection.slot == slot) {
            connection.is_complete = true;
        }
        self.review(slot, now);
    }

    /// The hub tells of a connection that it has accepted.
    pub(crate) fn on_incoming(&mut self, connection: u32, id: &str, now: Time) {
        let Some(of) = self.connections.get_mut(&connection) else {
            return self.breaks(
                now,
                format!("a connection that is none of the proxy's: {id}"),
            );
        };
        of.id = Some(id.to_owned());
        let (slot, loss, is_closed) = (of.slot, of.loss, of.closed_by_hub.is_some());
        let ledger = self.ledgers.entry(id.to_owned()).or_default();
        if !is_closed {
            ledger.open.insert(connection);
            // Another one was there before it had noticed the end of the last.
            ledger.owed = None;
        } else if ledger.open.is_empty() {
            ledger.owed = Some((now, loss));
        }
        self.review(slot, now);
    }

    /// The proxy sees one side close a connection.
    pub(crate) fn on_closed(&mut self, connection: u32, side: Side, now: Time) {
        let Some(of) = self.connections.get(&connection) else {
            return;
        };
        let is_first = of.closed_by_hub.is_none() && of.closed_by_peer.is_none();
        let (slot, id) = (of.slot, of.id.clone());
        let loss = match is_first {
            true if of.dead.is_some() => Some(Cause::Cut),
            true if of.bereft.is_some() => of.bereft,
            // On a busy machine ten seconds may be too few for a handshake.
            true if !of.is_complete => Some(Cause::Dial),
            true => self.explanation(slot, side, now),
            false => of.loss,
        };
        let Some(of) = self.connections.get_mut(&connection) else {
            return;
        };
        of.loss = loss;
        match side {
            Side::Hub => of.closed_by_hub = Some(now),
            Side::Peer => of.closed_by_peer = Some(now),
        }
        if let Some(id) = &id {
            if side == Side::Hub {
                self.settle(id, connection, loss, now);
            }
            if is_first && loss.is_none() {
                let kind = self.slots[slot].kind;
                self.breaks(
                    now,
                    format!("the {side:?} closed connection {connection} of {kind:?} {slot} ({id}), and no fault explains it"),
                );
            }
        }
        self.review(slot, now);
    }

    /// The hub tells that the last connection of a peer has ended.
    pub(crate) fn on_disconnected(&mut self, id: &str, cause: &str, now: Time) {
        if cause.is_empty() {
            self.breaks(now, format!("the hub gave no cause for the loss of {id}"));
        }
        let ledger = self.ledgers.entry(id.to_owned()).or_default();
        match ledger.owed.take() {
            Some((_, loss)) => self.figures.count(loss, cause),
            None => {
                let open = ledger.open.clone();
                ledger.early.push((now, cause.to_owned(), open));
            }
        }
    }

    pub(crate) fn on_heard(&mut self, who: Who, id: &str, now: Time) {
        let was_known = self.knows_mut(who).insert(id.to_owned(), now).is_some();
        // A table tells only of what is new in it.
        let has_table = match who {
            Who::Hub => true,
            Who::Slot(slot) => self.slots[slot].kind == Kind::Ours,
        };
        if !(was_known && has_table) {
            self.learn(who, id, now);
        }
    }

    pub(crate) fn on_expired(&mut self, who: Who, id: &str, now: Time) {
        self.knows_mut(who).remove(id);
        self.forgotten.insert((who, id.to_owned()), now);
        let is_well = |slot: &Slot| slot.id.as_deref() == Some(id) && slot.well_since.is_some();
        self.figures.forgotten += usize::from(self.slots.iter().any(is_well));
        self.expired.insert(id.to_owned());
    }

    /// Looks at everything that may be late.
    pub(crate) fn on_tick(&mut self, now: Time) {
        self.check_lines(now);
        self.check_connections(now);
        self.check_returns(now);
        self.check_knowledge(now);
        self.check_rows(now);
    }

    /// What has been found to be broken since this was last called.
    pub(crate) fn broken(&mut self) -> Vec<String> {
        std::mem::take(&mut self.broken)
    }

    pub(crate) fn is_well(&self, slot: usize) -> bool {
        self.slots[slot].well_since.is_some()
    }

    pub(crate) fn all_well_since(&self) -> Option<Time> {
        let since = self.slots.iter().map(|slot| slot.well_since);
        since.min_by_key(|since| since.is_some()).flatten()?;
        self.slots.iter().filter_map(|slot| slot.well_since).max()
    }

    /// For the descriptors that it may have.
    pub(crate) fn held_by_hub(&self) -> usize {
        let held = self.connections.values();
        held.filter(|of| of.closed_by_hub.is_none()).count()
    }

    /// The state of whoever is not well, for a report.
    pub(crate) fn unwell(&self) -> Vec<String> {
        let slots = self.slots.iter().enumerate();
        let unwell = slots.filter(|(_, slot)| slot.well_since.is_none());
        unwell
            .map(|(at, slot)| {
                let connections = self.connections.iter().filter(|(_, of)| of.slot == at);
                format!(
                    "{:?} {at}: {:?}, {:?}, {:?}",
                    slot.kind,
                    slot.process,
                    slot.path,
                    connections.collect::<Vec<_>>()
                )
            })
            .collect()
    }

    fn knows_mut(&mut self, who: Who) -> &mut BTreeMap<String, Time> {
        match who {
            Who::Hub => &mut self.hub_knows,
            Who::Slot(slot) => &mut self.slots[slot].knows,
        }
    }

    /// Of the end of a connection of a process that is there, over a network that has not lost it.
    fn explanation(&self, slot: usize, side: Side, now: Time) -> Option<Cause> {
        let slot = &self.slots[slot];
        if self.is_ending {
            return Some(Cause::End);
        }
        // A silence of less than a minute ends no connection of ours, and neither does the hub end one.
        if slot.kind == Kind::Ours || side == Side::Hub {
            return None;
        }
        match (slot.process, slot.path, slot.aftermath) {
            (Process::Stopped, _, _) => Some(Cause::Stop),
            (_, Path::Frozen, _) => Some(Cause::Freeze),
            (_, _, Some((cause, ended))) if now < ended + AFTERMATH => Some(cause),
            _ => None,
        }
    }

    /// Brings together what the hub tells and what it owes, once it has closed a connection.
    fn settle(&mut self, id: &str, connection: u32, loss: Option<Cause>, now: Time) {
        let ledger = self.ledgers.entry(id.to_owned()).or_default();
        let was_open = ledger.open.remove(&connection);
        for (_, _, open) in &mut ledger.early {
            open.remove(&connection);
        }
        let told = ledger.early.extract_if(.., |(_, _, open)| open.is_empty());
        let told = told.map(|(_, cause, _)| cause).collect::<Vec<_>>();
        if told.is_empty() && was_open && ledger.open.is_empty() {
            ledger.owed = Some((now, loss));
        }
        for cause in told {
            self.figures.count(loss, &cause);
        }
    }

    /// Whether a slot is well, and since when, after anything about it has changed.
    fn review(&mut self, slot: usize, now: Time) {
        let of = &self.slots[slot];
        let is_free = of.process == Process::Runs && of.path == Path::Open;
        let may_dial = is_free && !self.listeners_gone.contains(&of.listener);
        let (mut is_up, mut is_burdened) = (false, false);
        for connection in self.connections.values() {
            if connection.id.is_none() || connection.id != of.id {
                continue;
            }
            // py leaves the socket of a connection that has been closed open.
            let is_left = of.kind == Kind::Py && connection.closed_by_hub.is_some();
            if connection.over().is_some() || is_left {
                continue;
            }
            let is_open = connection.closed_by_hub.is_none() && connection.closed_by_peer.is_none();
            match connection.dead.is_none() && is_open {
                true => is_up |= connection.is_complete,
                false => is_burdened = true,
            }
        }
        let is_well = is_free && is_up && !is_burdened;
        let of = &mut self.slots[slot];
        if let Some(free) = of.free_since.filter(|_| is_well && of.well_since.is_none()) {
            let longest = self.figures.longest_return.entry(of.kind).or_default();
            *longest = (*longest).max(now.saturating_sub(free));
        }
        of.well_since = is_well.then(|| of.well_since.unwrap_or(now));
        of.free_since = may_dial.then(|| of.free_since.unwrap_or(now));
    }

    fn check_lines(&mut self, now: Time) {
        let mut broken = Vec::new();
        self.ledgers.retain(|id, ledger| {
            if let Some((since, loss)) = ledger.owed.filter(|(since, _)| now > *since + TELLING) {
                ledger.owed = None;
                broken.push(format!("the hub tells nothing of the loss of {id} at {since:.0?} ({loss:?})"));
            }
            let early = ledger.early.extract_if(.., |(since, ..)| now > *since + TELLING);
            for (since, cause, open) in early {
                broken.push(format!("the hub has lost {id} ({cause}) at {since:.0?}, and these have not ended: {open:?}"));
            }
            !ledger.open.is_empty() || ledger.owed.is_some() || !ledger.early.is_empty()
        });
        broken
            .into_iter()
            .for_each(|broken| self.breaks(now, broken));
    }

    fn check_connections(&mut self, now: Time) {
        let mut broken = Vec::new();
        self.connections
            .retain(|_, of| of.over().is_none_or(|over| now <= over + 2 * TELLING));
        for (number, connection) in &self.connections {
            let slot = &self.slots[connection.slot];
            let what = format!("connection {number} of {:?} {}", slot.kind, connection.slot);
            if connection.dead.is_some_and(|dead| now > dead + DEAD) {
                if connection.closed_by_hub.is_none() {
                    broken.push(format!("the hub still holds {what}, which is dead"));
                }
                let is_there = slot.process == Process::Runs;
                if slot.kind == Kind::Ours && is_there && connection.closed_by_peer.is_none() {
                    broken.push(format!("the peer still holds {what}, which is dead"));
                }
            }
            if let Some(closed) = connection.closed_by_peer
                && connection.dead.is_none()
                && connection.closed_by_hub.is_none()
                && slot.path == Path::Open
                && now > closed.max(slot.free_since.unwrap_or_default()) + CLOSING
            {
                broken.push(format!(
                    "the hub still holds {what}, which the peer has closed"
                ));
            }
        }
        broken
            .into_iter()
            .for_each(|broken| self.breaks(now, broken));
    }

    fn check_returns(&mut self, now: Time) {
        let late = |slot: &Slot| {
            let free = slot.free_since.filter(|_| slot.well_since.is_none())?;
            (now > free + RETURN).then_some(free)
        };
        let slots = self.slots.iter().enumerate();
        let late = slots.filter_map(|(at, slot)| Some((at, slot.kind, late(slot)?)));
        for (at, kind, since) in late.collect::<Vec<_>>() {
            self.breaks(now, format!("{kind:?} {at} is not connected, and nothing keeps it from that since {since:.0?}"));
        }
    }

    /// Everybody who may be known, and since when.
    fn well(&self) -> Vec<(Who, String, Option<Kind>, Time)> {
        let slots = self.slots.iter().enumerate();
        let slots = slots.filter_map(|(at, slot)| {
            let (id, since) = (slot.id.clone()?, slot.well_since?);
            Some((Who::Slot(at), id, Some(slot.kind), since))
        });
        let hub = (Who::Hub, self.hub.clone(), None, Time::ZERO);
        slots.chain([hub]).collect()
    }

    /// Whether `who` knows that peer now: has it in the table, or has heard it lately if it is of a kind that has none.
    fn knows(&self, who: Who, id: &str, now: Time) -> bool {
        let last = match who {
            Who::Slot(slot) if self.slots[slot].kind != Kind::Ours => self.last_heard(who, id),
            _ if self.last_heard(who, id).is_some() => return true,
            _ => self.forgotten.get(&(who, id.to_owned())).copied(),
        };
        last.is_some_and(|last| now <= last + 3 * self.interval)
    }

    fn check_knowledge(&mut self, now: Time) {
        let well = self.well();
        for (who, own, kind, since) in &well {
            for (_, id, of_kind, other_since) in &well {
                let since = *since.max(other_since);
                if own == id || now <= since + 3 * self.interval {
                    continue;
                }
                self.figures.pairs_checked += 1;
                if !self.knows(*who, id, now) {
                    self.breaks_once(
                        format!("{who:?} {own} {id} {since:?}"),
                        now,
                        format!(
                            "{kind:?} {who:?} ({own}) does not know {of_kind:?} {id}, both connected since {since:.1?}; last heard {:.1?}",
                            self.last_heard(*who, id)
                        ),
                    );
                }
            }
        }
    }

    fn last_heard(&self, who: Who, id: &str) -> Option<Time> {
        let knows = match who {
            Who::Hub => &self.hub_knows,
            Who::Slot(slot) => &self.slots[slot].knows,
        };
        knows.get(id).copied()
    }

    /// How long a pair took to know each other, the first time it does.
    fn learn(&mut self, who: Who, id: &str, now: Time) {
        let slots = self.slots.iter();
        let of = slots.filter(|slot| slot.id.as_deref() == Some(id));
        let of = of.filter_map(|slot| Some((Some(slot.kind), slot.well_since?)));
        let hub = (id == self.hub).then_some((None, Time::ZERO));
        let Some((of_kind, of_since)) = of.chain(hub).next() else {
            return;
        };
        let (kind, since) = match who {
            Who::Hub => (None, Some(Time::ZERO)),
            Who::Slot(slot) => (Some(self.slots[slot].kind), self.slots[slot].well_since),
        };
        let Some(since) = since.map(|since| since.max(of_since)) else {
            return;
        };
        if self.learnt.insert((who, id.to_owned()), since) == Some(since) {
            return;
        }
        self.figures.pairs_learnt += 1;
        let longest = self
            .figures
            .longest_to_know
            .entry((kind, of_kind))
            .or_default();
        *longest = (*longest).max(now.saturating_sub(since));
    }

    /// Nodes with this crate forget who is gone.
    fn check_rows(&mut self, now: Time) {
        let interval = self.interval.max(SHORTEST_INTERVAL);
        let knowers = self.slots.iter().enumerate();
        let ours = knowers.filter(|(_, slot)| slot.kind == Kind::Ours && slot.well_since.is_some());
        let ours = ours.map(|(at, slot)| (Who::Slot(at), &slot.knows, slot.well_since));
        let mut broken = Vec::new();
        for (who, known, well) in ours.chain([(Who::Hub, &self.hub_knows, None)]) {
            for (id, heard) in known {
                let Some((kind, since)) = self.gone.get(id) else {
                    continue;
                };
                // Twice the interval while there are newcomers, three of these, and one to be late.
                let limit = match *kind != Kind::Ours && self.expired.contains(id) {
                    true => LONGEST_INTERVAL,
                    false => 2 * 3 * interval + interval,
                };
                // What was sent before may be read by one who was stopped long after, and py sends what it has kept to whom it
                // hears subscribe.
                if now > well.unwrap_or_default().max(*since).max(*heard) + limit {
                    broken.push((
                        format!("{who:?} {id} {since:?}"),
                        format!("{who:?} still knows {kind:?} {id}, which has been gone since {since:.1?}"),
                    ));
                }
            }
        }
        for (key, text) in broken {
            self.breaks_once(key, now, text);
        }
        self.gone
            .retain(|_, (_, since)| now < *since + LONGEST_INTERVAL + interval);
        self.learnt.retain(|(_, id), _| !self.gone.contains_key(id));
        self.forgotten
            .retain(|(_, id), _| !self.gone.contains_key(id));
    }

    fn breaks(&mut self, now: Time, what: String) {
        self.breaks_once(what.clone(), now, what);
    }

    fn breaks_once(&mut self, key: String, now: Time, what: impl Display) {
        if self.said.insert(key) {
            self.broken
                .push(format!("{what} (after {:.1} s)", now.as_secs_f64()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = "hub";
    const INTERVAL: Duration = Duration::from_secs(10);

    fn at(seconds: u64) -> Time {
        Duration::from_secs(seconds)
    }

    /// A network in which all is well since the first second: one slot of each kind, whose ids are `a`, `b` and `c`, and whose
    /// connections 1, 2 and 3. All know each other, and go on announcing.
    struct Network {
        rules: Rules,
        /// Who announces no more.
        silent: BTreeSet<&'static str>,
    }

    const IDS: [&str; 3] = ["a", "b", "c"];
    const OURS: usize = 0;
    const JS: usize = 1;

    impl Network {
        fn new() -> Self {
            let slots = [(Kind::Ours, 0), (Kind::Js, 1), (Kind::Go, 2)];
            let mut network = Self {
                rules: Rules::new(INTERVAL, HUB, &slots),
                silent: BTreeSet::new(),
            };
            for (slot, id) in IDS.into_iter().enumerate() {
                network.rules.on_started(slot, id, at(0));
                network.connect(slot, slot as u32 + 1, at(0));
            }
            network.announce(at(1));
            network
        }

        fn connect(&mut self, slot: usize, connection: u32, now: Time) {
            self.rules.on_opened(connection, slot);
            self.rules.on_incoming(connection, IDS[slot], now);
            self.rules.on_connected(slot, now);
        }

        fn announce(&mut self, now: Time) {
            let well = self.rules.well();
            for (who, own, ..) in &well {
                for (_, id, ..) in &well {
                    if own != id && !self.silent.contains(id.as_str()) {
                        self.rules.on_heard(*who, id, now);
                    }
                }
            }
        }

        /// Whoever is well announces itself every ten seconds.
        fn pass(&mut self, from: u64, to: u64) -> Vec<String> {
            for second in from..to {
                if second % 10 == 0 {
                    self.announce(at(second));
                }
                self.rules.on_tick(at(second));
            }
            self.rules.broken()
        }

        /// Both sides of a connection close, this one first.
        fn close(&mut self, connection: u32, first: Side, now: Time) {
            let second = match first {
                Side::Hub => Side::Peer,
                Side::Peer => Side::Hub,
            };
            self.rules.on_closed(connection, first, now);
            self.rules.on_closed(connection, second, now);
        }
    }

    fn assert_says(broken: &[String], what: &str) {
        assert!(
            !broken.is_empty(),
            "nothing is broken, but should be: {what}"
        );
        for broken in broken {
            assert!(broken.contains(what), "{broken}");
        }
    }

    #[test]
    fn all_is_well_for_hours() {
        let mut network = Network::new();
        assert_eq!(network.pass(1, 7200), Vec::<String>::new());
        assert!(network.rules.figures.pairs_checked > 10_000);
    }

    #[test]
    fn who_is_connected_has_to_be_known_within_three_intervals() {
        let mut network = Network::new();
        network.silent.insert("b");
        assert_eq!(network.pass(2, 31), Vec::<String>::new());
        // js and go have no table, and are heard or not.
        let broken = network.pass(31, 60);
        assert_says(&broken, "does not know Some(Js) b");
        assert_eq!(broken.len(), 1);
        network.rules.on_expired(Who::Hub, "b", at(60));
        assert_eq!(network.pass(60, 91), Vec::<String>::new());
        let broken = network.pass(91, 93);
        assert_says(&broken, "None Hub (hub) does not know Some(Js) b");
        assert_eq!(network.rules.figures.forgotten, 1);
    }

    #[test]
    fn who_is_not_connected_need_not_be_known_and_counts_from_its_return() {
        let mut network = Network::new();
        network.rules.on_stopped(JS, at(5));
        network.rules.on_expired(Who::Hub, "b", at(5));
        network.rules.on_expired(Who::Slot(OURS), "b", at(5));
        assert_eq!(network.pass(5, 45), Vec::<String>::new());
        network.rules.on_continued(JS, at(45));
        network.silent.insert("b");
        assert_eq!(network.pass(45, 75), Vec::<String>::new());
        assert_says(&network.pass(75, 80), "does not know Some(Js) b");
    }

    #[test]
    fn a_loss_needs_a_fault_and_a_line() {
        let mut network = Network::new();
        network.rules.on_down(OURS, Cause::Kill, at(10));
        network.close(1, Side::Peer, at(10));
        network.rules.on_disconnected("a", "reset", at(10));
        assert_eq!(network.pass(10, 40), Vec::<String>::new());
        let losses = BTreeMap::from([((Cause::Kill, "reset".to_owned()), 1)]);
        assert_eq!(network.rules.figures.losses, losses);

        network.close(2, Side::Peer, at(40));
        network.rules.on_disconnected("b", "reset", at(40));
        assert_says(&network.rules.broken(), "no fault explains it");

        network.rules.on_down(2, Cause::Leave, at(41));
        network.close(3, Side::Peer, at(41));
        assert_says(
            &network.pass(41, 50),
            "the hub tells nothing of the loss of c",
        );
    }

    #[test]
    fn a_line_may_come_before_the_end_that_it_tells_of_but_not_without_it() {
        let mut network = Network::new();
        network.rules.on_down(OURS, Cause::Kill, at(10));
        network.rules.on_disconnected("a", "reset", at(10));
        network.rules.on_started(OURS, "a", at(11));
        network.connect(OURS, 4, at(11));
        network.close(1, Side::Peer, at(12));
        assert_eq!(network.pass(12, 40), Vec::<String>::new());
        network.rules.on_disconnected("a", "reset", at(40));
        assert_says(&network.pass(40, 50), "have not ended: {4}");
    }

    #[test]
    fn a_silence_below_a_minute_ends_none_of_ours_and_the_hub_ends_none_at_all() {
        for (slot, side, is_explained) in [
            (OURS, Side::Peer, false),
            (OURS, Side::Hub, false),
            (JS, Side::Peer, true),
            (JS, Side::Hub, false),
        ] {
            let mut network = Network::new();
            network.rules.on_frozen(slot, at(10));
            network.rules.on_mended(slot, at(30));
            network.close(slot as u32 + 1, side, at(31));
            assert_eq!(
                network.rules.broken().is_empty(),
                is_explained,
                "{slot} {side:?}"
            );
        }
        let mut network = Network::new();
        network.rules.on_frozen(JS, at(10));
        network.rules.on_mended(JS, at(30));
        network.close(2, Side::Peer, at(91));
        assert_says(&network.rules.broken(), "no fault explains it");
    }

    #[test]
    fn a_dial_may_be_given_up_and_a_connection_may_not() {
        for is_connected in [false, true] {
            let mut network = Network::new();
            network.rules.on_opened(9, JS);
            network.rules.on_incoming(9, "b", at(10));
            if is_connected {
                network.rules.on_connected(JS, at(10));
            }
            network.close(9, Side::Peer, at(20));
            assert_eq!(network.rules.broken().is_empty(), !is_connected);
        }
    }

    #[test]
    fn who_was_stopped_may_hear_late_from_one_that_is_gone() {
        for (continued, is_late) in [(60, false), (20, true)] {
            let mut network = Network::new();
            network.rules.on_stopped(OURS, at(9));
            network.rules.on_down(JS, Cause::Kill, at(10));
            network.close(2, Side::Peer, at(10));
            network.rules.on_disconnected("b", "reset", at(10));
            network.rules.hub_knows.remove("b");
            network.rules.on_continued(OURS, at(continued));
            let broken = network.pass(continued, 100);
            assert_eq!(!broken.is_empty(), is_late, "{broken:?}");
        }
    }

    #[test]
    fn a_dead_connection_is_closed_in_time_and_until_then_nobody_is_well() {
        let mut network = Network::new();
        network.rules.on_cut(JS, at(10));
        network.rules.on_mended(JS, at(20));
        network.rules.on_closed(2, Side::Peer, at(20));
        network.connect(JS, 4, at(21));
        assert!(!network.rules.is_well(JS));
        assert_eq!(network.pass(21, 70), Vec::<String>::new());
        network.rules.on_closed(2, Side::Hub, at(70));
        assert!(network.rules.is_well(JS));
        assert_eq!(network.pass(70, 120), Vec::<String>::new());

        let mut network = Network::new();
        network.rules.on_cut(OURS, at(10));
        network.rules.on_mended(OURS, at(20));
        let broken = network.pass(20, 100);
        assert!(
            broken
                .iter()
                .any(|broken| broken.contains("the hub still holds")),
            "{broken:?}"
        );
        assert!(
            broken
                .iter()
                .any(|broken| broken.contains("the peer still holds")),
            "{broken:?}"
        );
    }

    #[test]
    fn what_a_peer_closes_the_hub_closes_too() {
        let mut network = Network::new();
        network.rules.on_down(JS, Cause::Kill, at(10));
        network.rules.on_closed(2, Side::Peer, at(10));
        assert_eq!(network.pass(10, 20), Vec::<String>::new());
        assert_says(&network.pass(20, 25), "which the peer has closed");
    }

    #[test]
    fn who_can_connect_has_to_and_who_cannot_need_not() {
        for is_listener_gone in [true, false] {
            let mut network = Network::new();
            network.rules.on_down(OURS, Cause::Kill, at(10));
            network.close(1, Side::Peer, at(10));
            network.rules.on_disconnected("a", "reset", at(10));
            if is_listener_gone {
                network.rules.on_listener_gone(0, at(10));
            }
            network.rules.on_started(OURS, "a", at(11));
            network.rules.on_expired(Who::Hub, "a", at(11));
            let broken = network.pass(11, 300);
            match is_listener_gone {
                true => assert_eq!(broken, Vec::<String>::new()),
                false => assert_says(&broken, "nothing keeps it from that"),
            }
        }
    }

    #[test]
    fn ours_forget_who_is_gone() {
        let mut network = Network::new();
        network.rules.on_down(JS, Cause::Kill, at(10));
        network.close(2, Side::Peer, at(10));
        network.rules.on_disconnected("b", "reset", at(10));
        network.rules.on_expired(Who::Slot(OURS), "b", at(5));
        network.rules.expired.clear();
        assert_eq!(network.pass(10, 80), Vec::<String>::new());
        assert_says(&network.pass(80, 100), "Hub still knows Js b");
    }

    #[test]
    fn the_longest_time_to_know_is_from_when_both_are_well() {
        let mut network = Network::new();
        network.rules.on_down(JS, Cause::Kill, at(100));
        network.close(2, Side::Peer, at(100));
        network.rules.on_disconnected("b", "reset", at(100));
        network.rules.on_expired(Who::Hub, "b", at(5));
        network.rules.on_started(JS, "b2", at(110));
        network.rules.on_opened(5, JS);
        network.rules.on_incoming(5, "b2", at(112));
        network.rules.on_connected(JS, at(112));
        network.rules.on_heard(Who::Hub, "b2", at(119));
        let longest = &network.rules.figures.longest_to_know;
        assert_eq!(longest[&(None, Some(Kind::Js))], at(7));
    }
}
