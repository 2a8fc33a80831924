//! Holds what is read of any bytes against what the reader promises.

use libp2p_identity::PublicKey;
use multiaddr::{Multiaddr, Protocol};

use super::{
    Config,
    intake::Settings,
    message::{Announcement, Limits, MAX_ADDRESS_LEN, MAX_ENTRIES, decode, encode, public_key},
};

/// Reads the bytes, and what has been read once more after writing it.
///
/// # Panics
///
/// If a promise is broken.
pub(crate) fn run(data: &[u8]) {
    let settings = Config::default().intake();
    let announcement = decode(data, &settings.limits, |offered| offered.collect()).ok();
    let key = public_key(data);
    if let Some(announcement) = &announcement {
        let key = key.as_ref().expect("it has been read");
        assert_eq!(key.to_peer_id(), announcement.peer);
        check(data, announcement, &settings);
        check_again(key, announcement);
    }
    #[cfg(feature = "gossipsub")]
    check_ids(data, announcement.and(key));
}

fn check(data: &[u8], announcement: &Announcement, settings: &Settings) {
    let Announcement {
        peer,
        addresses,
        dropped,
        ..
    } = announcement;
    assert!(data.len() <= settings.limits.max_message_size);
    assert!(addresses.len() + dropped <= MAX_ENTRIES);
    let suffix = Multiaddr::from(Protocol::P2p(*peer));
    for address in addresses {
        assert!(address.ends_with(&suffix), "{address}");
        assert!(address.len() <= MAX_ADDRESS_LEN + suffix.len(), "{address}");
        let text = address.to_string();
        assert!(!text.chars().any(char::is_control), "{text:?}");
        // Not every protocol can be read from its text, but none as something else.
        if let Ok(read) = text.parse::<Multiaddr>() {
            assert_eq!(read, *address, "{text}");
        }
    }
    for is_public in [false, true] {
        let most = settings.max_addresses;
        let select = |offered: &mut dyn Iterator<Item = Multiaddr>| {
            settings.filter.select(is_public, most, offered)
        };
        let selected = decode(data, &settings.limits, select).expect("as before");
        assert!(selected.addresses.len() <= most);
        assert!(selected.addresses.iter().all(|one| addresses.contains(one)));
        assert_eq!(
            selected.addresses.len() + selected.dropped,
            addresses.len() + dropped
        );
        assert_eq!((selected.peer, selected.stamp), (*peer, announcement.stamp));
    }
}

fn check_again(key: &PublicKey, announcement: &Announcement) {
    let any_size = Limits {
        max_message_size: usize::MAX,
    };
    // Those that have become too long with the id that has been added are not read again.
    let mut expected = announcement.clone();
    expected
        .addresses
        .retain(|address| address.len() <= MAX_ADDRESS_LEN);
    expected.dropped = announcement.addresses.len() - expected.addresses.len();
    let payload = encode(key, announcement.addresses.clone(), announcement.stamp);
    let read = decode(&payload, &any_size, |offered| offered.collect());
    assert_eq!(read.expect("we have written it"), expected);
}

#[cfg(feature = "gossipsub")]
fn check_ids(data: &[u8], key: Option<PublicKey>) {
    use libp2p_gossipsub::{Message, TopicHash};

    let number = u64::MAX / 3;
    let id = |source| {
        super::gossipsub::message_id(&Message {
            source,
            data: data.to_vec(),
            sequence_number: Some(number),
            topic: TopicHash::from_raw("any"),
        })
    };
    assert_eq!(id(None).0, number.to_be_bytes());
    if let Some(key) = key {
        let expected = [&key.encode_protobuf()[..], &number.to_be_bytes()].concat();
        assert_eq!(id(Some(key.to_peer_id())).0, expected);
    }
    // Whoever signed it, it is not a key of theirs that stands in the message.
    let other = super::outside::key(0).expect("it is valid");
    let id = id(Some(other.to_peer_id()));
    assert!(id.0.ends_with(&number.to_be_bytes()));
}
