//! PURE: a peer that is kept over a restart, as one line of a file.

use std::{fmt, num::ParseIntError, str::FromStr, time::Duration};

use libp2p_identity::{ParseError as ParsePeerIdError, PeerId};
use multiaddr::Multiaddr;
use thiserror::Error;

/// The maximum number of peers that are kept.
pub(crate) const MAX_SAVED: usize = 1000;

/// A known peer, kept over a restart as a candidate to dial: see [`Behaviour::saved_peers`](super::Behaviour::saved_peers)
/// and [`Config::with_saved_peers`](super::Config::with_saved_peers).
///
/// `Display` and `FromStr` use one line of text: the peer id, the age in seconds, and the addresses separated by commas.
///
/// ```
/// # use libp2p_lazy_websocket::discovery::SavedPeer;
/// let line = "12D3KooWHLNZaMLS6fWam6vRHABeE489zpABExqJ8tTqm8jKbtf4 90 /dns4/a.example/tcp/443/tls/ws,/ip4/10.0.0.7/tcp/9000/ws";
/// let peer: SavedPeer = line.parse()?;
/// assert_eq!(peer.age.as_secs(), 90);
/// assert_eq!(peer.to_string(), line);
/// # Ok::<_, libp2p_lazy_websocket::discovery::ParseSavedPeerError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SavedPeer {
    /// The peer.
    pub peer_id: PeerId,
    /// Its last announced addresses.
    pub addresses: Vec<Multiaddr>,
    /// The time from its last announcement to the moment when it was saved.
    pub age: Duration,
}

impl SavedPeer {
    /// A peer from another source than a [`Behaviour`](super::Behaviour).
    pub fn new(peer_id: PeerId, addresses: Vec<Multiaddr>, age: Duration) -> Self {
        Self {
            peer_id,
            addresses,
            age,
        }
    }
}

impl fmt::Display for SavedPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.peer_id, self.age.as_secs())?;
        for (number, address) in self.addresses.iter().enumerate() {
            let separator = if number == 0 { ' ' } else { ',' };
            write!(f, "{separator}{address}")?;
        }
        Ok(())
    }
}

/// The error of parsing a [`SavedPeer`].
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ParseSavedPeerError {
    /// The line does not have the three fields, with a space after each of the first two, or an address is empty.
    #[error("not a peer id, an age and addresses")]
    Form,
    /// The first field is not a peer id.
    #[error("the peer id is not valid")]
    PeerId(#[source] ParsePeerIdError),
    /// The second field is not a number of seconds.
    #[error("the age is not a number of seconds")]
    Age(#[source] ParseIntError),
    /// An item of the third field is not a multiaddr.
    #[error("an address is not valid")]
    Address(#[source] multiaddr::Error),
}

impl FromStr for SavedPeer {
    type Err = ParseSavedPeerError;

    fn from_str(line: &str) -> Result<Self, Self::Err> {
        let mut fields = line.split(' ');
        let (Some(peer_id), Some(age), Some(addresses), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(ParseSavedPeerError::Form);
        };
        let seconds = age.parse().map_err(ParseSavedPeerError::Age)?;
        // The empty text is an address without protocols.
        if addresses.split(',').any(str::is_empty) {
            return Err(ParseSavedPeerError::Form);
        }
        let addresses = addresses
            .split(',')
            .map(|address| address.parse().map_err(ParseSavedPeerError::Address));
        Ok(Self {
            peer_id: peer_id.parse().map_err(ParseSavedPeerError::PeerId)?,
            addresses: addresses.collect::<Result<_, _>>()?,
            age: Duration::from_secs(seconds),
        })
    }
}

#[cfg(test)]
mod tests {
    use multiaddr::multihash::Multihash;
    use proptest::prelude::*;

    use super::*;

    const PEER: &str = "12D3KooWHLNZaMLS6fWam6vRHABeE489zpABExqJ8tTqm8jKbtf4";

    fn error(line: &str) -> ParseSavedPeerError {
        line.parse::<SavedPeer>().unwrap_err()
    }

    #[test]
    fn what_is_wrong_with_a_line_is_named() {
        use ParseSavedPeerError::{Address, Age, Form, PeerId};

        let at = "/ip4/127.0.0.1/tcp/1/ws";
        for line in [
            "",
            "\0",
            PEER,
            &format!("{PEER} 1"),
            &format!("{PEER} 1 {at} {at}"),
        ] {
            assert!(matches!(error(line), Form), "{line:?}");
        }
        assert!(matches!(error(&format!("{PEER}x 1 {at}")), PeerId(_)));
        for age in ["", "-1", "1.5", "99999999999999999999999", "x"] {
            assert!(
                matches!(error(&format!("{PEER} {age} {at}")), Age(_)),
                "{age}"
            );
        }
        for addresses in ["x", &format!("{at},x"), "/ip4/127.0.0.1/tcp/70000"] {
            let error = error(&format!("{PEER} 1 {addresses}"));
            assert!(matches!(error, Address(_)), "{addresses}");
        }
    }

    proptest! {
        #[test]
        fn a_line_is_read_as_it_was_written(
            seed: u64,
            ports in prop::collection::vec(any::<u16>(), 1..17),
            seconds: u64,
        ) {
            let peer_id = PeerId::from_multihash(Multihash::wrap(0, &seed.to_be_bytes()).unwrap()).unwrap();
            let address = |port| format!("/dns6/a.example/tcp/{port}/tls/ws").parse().unwrap();
            let addresses = ports.into_iter().map(address).collect();
            let peer = SavedPeer::new(peer_id, addresses, Duration::from_secs(seconds));
            let line = peer.to_string();
            prop_assert!(!line.contains(char::is_control));
            prop_assert_eq!(line.parse::<SavedPeer>().unwrap(), peer);
        }

        #[test]
        fn no_line_makes_it_panic(line: String) {
            let _ = line.parse::<SavedPeer>();
        }
    }
}
