//! What does not work, whose fault it is, and how it shows.

use crate::{Case, Kind, Over, Session};

pub(crate) struct Limit {
    pub(crate) kind: Kind,
    pub(crate) cases: &'static [Case],
    pub(crate) sessions: fn(Session) -> bool,
    /// Part of what is printed.
    pub(crate) says: &'static str,
    /// A note below the table.
    pub(crate) why: &'static str,
}

const CONNECT: &[Case] = &[Case::Connect];

pub(crate) const LIMITS: &[Limit] = &[
    Limit {
        kind: Kind::JsChromium,
        cases: CONNECT,
        sessions: |session| session.over == Over::Tcp && !session.we_dial,
        says: "no valid addresses",
        why: "A page has no TCP.",
    },
    Limit {
        kind: Kind::JsChromium,
        cases: CONNECT,
        sessions: |session| session.over == Over::Tcp && session.we_dial,
        says: "UnsupportedListenAddressesError",
        why: "A page has no TCP.",
    },
    Limit {
        kind: Kind::JsChromium,
        cases: CONNECT,
        sessions: |session| session.over != Over::Tcp && session.we_dial,
        says: "WebSocket Servers can not be created in the browser",
        why: "A page cannot listen.",
    },
    Limit {
        kind: Kind::Py,
        cases: CONNECT,
        sessions: |session| session.over == Over::Wss && !session.we_dial,
        says: "fail to open connection",
        why: "py-libp2p appends `/p2p/<peer id>` to the address that it dials, and accepts no `/tls/ws` with anything behind it \
              (`is_valid_websocket_multiaddr` in `transport/websocket/multiaddr_utils.py`). Written `/wss`, the address is good.",
    },
    Limit {
        kind: Kind::Py,
        cases: CONNECT,
        sessions: |session| session.over == Over::Named,
        says: "No supported transport found",
        why: "py-libp2p refuses `/tls/sni/<name>/ws` in the same function, and would ask for the host and not for the name. \
              `/dns4/<name>/tcp/<port>/wss` is good where the name resolves.",
    },
    Limit {
        kind: Kind::Litep2p,
        cases: CONNECT,
        sessions: |session| [Over::Wss, Over::Named].contains(&session.over) && !session.we_dial,
        says: "Transport not supported",
        why: "litep2p parses no `/tls/ws` (`multiaddr_into_url` in `transport/websocket/mod.rs`). Written `/wss`, the address is good, \
              by `/dns4/<name>/tcp/<port>/wss` also with a name.",
    },
    Limit {
        kind: Kind::Litep2p,
        cases: CONNECT,
        sessions: |session| session.over == Over::Wss && session.we_dial,
        says: "it does not listen",
        why: "litep2p has no TLS for listeners.",
    },
    Limit {
        kind: Kind::Litep2p,
        cases: &[
            Case::DiscoveryOfUs,
            Case::DiscoveryOfThem,
            Case::RoomOfUs,
            Case::RoomOfThem,
        ],
        sessions: |_| true,
        says: "it has no gossipsub",
        why: "litep2p has no gossipsub.",
    },
];
