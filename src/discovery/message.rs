//! The encoding of an announcement.
//!
//! ```protobuf
//! message Peer {
//!     bytes publicKey = 1;
//!     repeated bytes addrs = 2;
//!     optional uint64 sequence = 2001;
//!     optional uint64 promise = 2002;
//!     reserved 2003;
//! }
//! ```
//!
//! The first two fields are those of js-libp2p, which skips the others. `sequence` grows with each announcement of a peer,
//! also over its restarts: it is the time of day in milliseconds, or one more than the last. `promise` is the longest time
//! until the next one, in milliseconds. Field 2003 is no longer sent, and is skipped. A signed peer record (libp2p RFC 0003)
//! would repeat the key, the addresses and a signature, and prove nothing beyond the signature of the pubsub.
//!
//! Decoding expects hostile bytes: sizes are checked before anything is allocated, and the sender chooses the size of no
//! allocation. An unreadable address does not invalidate the others, because other implementations know protocols that this
//! one does not.

use std::{error::Error, time::Duration};

use libp2p_identity::{DecodingError, PeerId, PublicKey};
use multiaddr::{Multiaddr, Protocol};
use prost::{
    Message as _,
    encoding::{self, DecodeContext, WireType},
};

use crate::deadline::SystemTime;

/// Maximum number of entries, above that of any honest peer. All are read, because the useful ones may come last.
pub(super) const MAX_ENTRIES: usize = 256;

/// Maximum size of an address: any host name, or two certificate hashes and a relay.
pub(super) const MAX_ADDRESS_LEN: usize = 512;

/// Maximum size of a key. An RSA key of 8192 bits, the longest whose signatures libp2p verifies, takes 1,062 bytes.
const MAX_PUBLIC_KEY_LEN: usize = 2048;

/// A decoded announcement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// The peer whose key the message carries. The caller has to compare it with the author.
    pub(crate) peer: PeerId,
    /// Its selected addresses, each ending in `/p2p/<peer>`.
    pub(crate) addresses: Vec<Multiaddr>,
    /// The number of entries that are not in `addresses`: unreadable, too long, empty, of another peer, or not selected.
    pub(crate) dropped: usize,
    pub(crate) stamp: Stamp,
}

impl Announcement {
    /// Whether the peer cannot be dialled and announced itself only to be answered, so without an interval. (js-libp2p
    /// announces an empty list at its interval.)
    pub(crate) fn is_solicitation(&self) -> bool {
        let Stamp {
            sequence, promise, ..
        } = self.stamp;
        self.addresses.is_empty() && self.dropped == 0 && sequence.is_some() && promise.is_none()
    }
}

/// The number and the promise of an announcement. js-libp2p sends neither.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// Greater than that of any earlier announcement of the same peer.
    pub(crate) sequence: Option<u64>,
    /// The longest time until the next one, in whole milliseconds.
    pub(crate) promise: Option<Duration>,
}

/// The numbers of the own announcements.
#[derive(Debug, Default)]
pub(crate) struct Sequence(u64);

impl Sequence {
    /// The number of an announcement made at this time of day.
    pub(crate) fn next(&mut self, wall_clock: SystemTime) -> u64 {
        let elapsed = wall_clock.duration_since(SystemTime::UNIX_EPOCH);
        let millis = elapsed.map_or(0, |elapsed| elapsed.as_millis());
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        self.0 = millis.max(self.0.saturating_add(1));
        self.0
    }
}

/// The reason for which an announcement cannot be decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DecodeError {
    /// The message is longer than the configured limit. Nothing of it has been read.
    #[error("announcement of {size} bytes exceeds the limit of {max}")]
    TooLarge {
        /// Length of the message, in bytes.
        size: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The message lists more addresses than any honest peer has.
    #[error("announcement lists more than {max} addresses")]
    TooManyAddresses {
        /// How many it may list.
        max: usize,
    },
    /// The bytes are cut short or are no protobuf message of the announcement's form. Something else may be published
    /// on the topic.
    #[error("announcement is not a protobuf message `Peer`")]
    Malformed(#[source] Box<dyn Error + Send + Sync + 'static>),
    /// The message carries no public key.
    #[error("announcement carries no public key")]
    MissingPublicKey,
    /// The public key is longer than any key that libp2p can use.
    #[error("public key of {size} bytes in the announcement exceeds the limit of {max}")]
    PublicKeyTooLong {
        /// Length of the key, in bytes.
        size: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The public key is of an unknown type, or damaged.
    #[error("public key in the announcement cannot be decoded")]
    InvalidPublicKey(#[source] DecodingError),
}

/// Decodes an announcement. `select` selects the addresses to keep.
///
/// Addresses are decoded one by one as `select` takes them, so only the kept ones use memory. A payload of more than
/// `max_size` bytes is not read.
pub(crate) fn decode(
    payload: &[u8],
    max_size: usize,
    select: impl FnOnce(&mut dyn Iterator<Item = Multiaddr>) -> Vec<Multiaddr>,
) -> Result<Announcement, DecodeError> {
    if payload.len() > max_size {
        return Err(DecodeError::TooLarge {
            size: payload.len(),
            max: max_size,
        });
    }

    // Two passes over the bytes rather than one with a list of the fields: the key, which the addresses need, may
    // come last.
    let mut public_key: &[u8] = &[];
    let mut entries = 0;
    let mut stamp = Stamp::default();
    for field in Fields(payload) {
        match field.map_err(|error| DecodeError::Malformed(Box::new(error)))? {
            Field::PublicKey(bytes) => public_key = bytes,
            Field::Address(_) => entries += 1,
            Field::Sequence(number) => stamp.sequence = Some(number),
            Field::Promise(millis) => stamp.promise = Some(Duration::from_millis(millis)),
        }
        if entries > MAX_ENTRIES {
            return Err(DecodeError::TooManyAddresses { max: MAX_ENTRIES });
        }
    }
    let peer = decode_public_key(public_key)?.to_peer_id();

    let mut offered = Fields(payload).filter_map(|field| match field {
        Ok(Field::Address(bytes)) => decode_address(bytes, peer),
        _ => None,
    });
    let addresses = select(&mut offered);
    Ok(Announcement {
        peer,
        dropped: entries.saturating_sub(addresses.len()),
        addresses,
        stamp,
    })
}

/// Encodes an announcement as js-libp2p does, each address ending in `/p2p/<own id>`.
///
/// Addresses that end in the id of another peer are left out, because a reader drops them.
pub(crate) fn encode(
    public_key: &PublicKey,
    addresses: impl IntoIterator<Item = Multiaddr>,
    stamp: Stamp,
) -> Vec<u8> {
    let local = public_key.to_peer_id();
    Peer {
        public_key: public_key.encode_protobuf(),
        addrs: addresses
            .into_iter()
            .filter_map(|address| address.with_p2p(local).ok())
            .map(|address| address.to_vec())
            .collect(),
        sequence: stamp.sequence,
        promise: stamp.promise.map(whole_millis),
    }
    .encode_to_vec()
}

/// Rounded up.
fn whole_millis(duration: Duration) -> u64 {
    let millis = duration.as_nanos().div_ceil(1_000_000);
    u64::try_from(millis).unwrap_or(u64::MAX)
}

/// The public key in an announcement, `None` if the bytes are no announcement.
#[cfg(any(feature = "gossipsub", test, fuzzing))]
pub(crate) fn public_key(payload: &[u8]) -> Option<PublicKey> {
    let mut public_key: &[u8] = &[];
    for field in Fields(payload) {
        if let Field::PublicKey(bytes) = field.ok()? {
            public_key = bytes;
        }
    }
    decode_public_key(public_key).ok()
}

fn decode_public_key(bytes: &[u8]) -> Result<PublicKey, DecodeError> {
    if bytes.is_empty() {
        return Err(DecodeError::MissingPublicKey);
    }
    if bytes.len() > MAX_PUBLIC_KEY_LEN {
        return Err(DecodeError::PublicKeyTooLong {
            size: bytes.len(),
            max: MAX_PUBLIC_KEY_LEN,
        });
    }
    PublicKey::try_decode_protobuf(bytes).map_err(DecodeError::InvalidPublicKey)
}

/// The address with the id of `peer` at its end, if it can be decoded and can belong to `peer`.
fn decode_address(bytes: &[u8], peer: PeerId) -> Option<Multiaddr> {
    if bytes.len() > MAX_ADDRESS_LEN {
        return None;
    }
    let address = Multiaddr::try_from(bytes.to_vec()).ok()?;
    // Ids alone cannot be dialled. A relay given by its id is followed by `/p2p-circuit`.
    let mut components = address.iter();
    if components.all(|component| matches!(component, Protocol::P2p(_))) || !is_legible(&address) {
        return None;
    }
    address.with_p2p(peer).ok()
}

/// Whether the text of the address can only be read as that address.
///
/// Names are printed as they are. With a slash in it one would pass for another address, and with a line break for
/// another line of a log.
fn is_legible(address: &Multiaddr) -> bool {
    address.iter().all(|protocol| match protocol {
        Protocol::Dns(name)
        | Protocol::Dns4(name)
        | Protocol::Dns6(name)
        | Protocol::Dnsaddr(name)
        | Protocol::Sni(name)
        | Protocol::Ip6zone(name) => {
            let is_legible = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
            !name.is_empty() && name.chars().all(is_legible)
        }
        Protocol::Unix(path) => !path.chars().any(char::is_control),
        _ => true,
    })
}

/// The message for encoding. It is not used for decoding: a list of byte strings costs its reader many times what
/// it costs its sender.
#[derive(Clone, PartialEq, prost::Message)]
struct Peer {
    #[prost(bytes = "vec", tag = "1")]
    public_key: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    addrs: Vec<Vec<u8>>,
    #[prost(uint64, optional, tag = "2001")]
    sequence: Option<u64>,
    #[prost(uint64, optional, tag = "2002")]
    promise: Option<u64>,
}

const PUBLIC_KEY: u32 = 1;
const ADDRESS: u32 = 2;
const SEQUENCE: u32 = 2001;
const PROMISE: u32 = 2002;

/// A known field of the message, borrowed from its bytes.
enum Field<'a> {
    PublicKey(&'a [u8]),
    Address(&'a [u8]),
    Sequence(u64),
    Promise(u64),
}

/// The fields of a message one by one, up to the first error.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The next field, `None` for an unknown one.
    ///
    /// These functions of prost are called by its derived code, so they stay within prost 0.14.
    fn read(&mut self) -> Result<Option<Field<'a>>, prost::DecodeError> {
        let (tag, wire_type) = encoding::decode_key(&mut self.0)?;
        let known: fn(&'a [u8]) -> Field<'a> = match tag {
            PUBLIC_KEY => Field::PublicKey,
            ADDRESS => Field::Address,
            SEQUENCE => return self.read_number(wire_type).map(Field::Sequence).map(Some),
            PROMISE => return self.read_number(wire_type).map(Field::Promise).map(Some),
            _ => {
                encoding::skip_field(wire_type, tag, &mut self.0, DecodeContext::default())?;
                return Ok(None);
            }
        };
        encoding::check_wire_type(WireType::LengthDelimited, wire_type)?;
        let mut value = self.0;
        encoding::decode_varint(&mut value)?;
        // Checks the length against the remaining bytes.
        encoding::skip_field(wire_type, tag, &mut self.0, DecodeContext::default())?;
        let (value, _rest) = value.split_at(value.len() - self.0.len());
        Ok(Some(known(value)))
    }

    fn read_number(&mut self, wire_type: WireType) -> Result<u64, prost::DecodeError> {
        encoding::check_wire_type(WireType::Varint, wire_type)?;
        encoding::decode_varint(&mut self.0)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, prost::DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.0.is_empty() {
            match self.read() {
                Ok(Some(field)) => return Some(Ok(field)),
                Ok(None) => {}
                Err(error) => {
                    self.0 = &[];
                    return Some(Err(error));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
