use proptest::prelude::*;

use super::*;

/// A frame as a peer of `role` is sent it.
pub(in crate::websocket::stream) fn frame(
    role: Role,
    is_final: bool,
    opcode: Opcode,
    payload: &[u8],
) -> Vec<u8> {
    let mask = (role == Role::Server).then_some([7, 77, 17, 177]);
    let header = Header {
        is_final,
        opcode,
        length: payload.len() as u64,
        mask,
    };
    let (header, length) = header.write();
    let mut payload = payload.to_vec();
    if let Some(key) = mask {
        Mask::new(key).apply(&mut payload);
    }
    [&header[..length], &payload].concat()
}

/// What is read of bytes that come in pieces of these lengths, and then the rest.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    payload: Vec<u8>,
    pings: Vec<Vec<u8>>,
    close: Option<Closed>,
    broken: Option<ProtocolError>,
    is_between_messages: bool,
}

fn read(role: Role, bytes: &[u8], pieces: &[usize]) -> Read {
    let mut reader = Reader::new(role);
    let mut read = Read::default();
    let mut rest = bytes;
    let mut pieces = pieces.iter();
    while !rest.is_empty() && read.broken.is_none() {
        let count = pieces.next().map_or(rest.len(), |piece| *piece);
        let (piece, later) = rest.split_at(count.min(rest.len()));
        rest = later;
        let mut piece = piece.to_vec();
        let (count, result) = reader.on_bytes(&mut piece);
        read.payload.extend(&piece[..count]);
        read.pings.extend(reader.take_ping().map(<[u8]>::to_vec));
        read.broken = result.err();
    }
    read.close = reader.close();
    read.is_between_messages = reader.is_between_messages();
    read
}

use Opcode::{Binary, Close, Continuation, Ping, Pong};

#[test]
fn frames_are_the_bytes_that_they_carry() {
    for role in [Role::Client, Role::Server] {
        let long: Vec<u8> = (0..70_000).map(|i| (i % 253) as u8).collect();
        let f = |is_final, opcode, payload: &[u8]| frame(role, is_final, opcode, payload);
        for (frames, payload, pings, is_between) in [
            (vec![], &b""[..], vec![], true),
            (vec![f(true, Binary, b"abc")], b"abc", vec![], true),
            (vec![f(true, Binary, b"")], b"", vec![], true),
            (vec![f(false, Binary, b"ab")], b"ab", vec![], false),
            (
                vec![f(false, Binary, b"ab"), f(true, Continuation, b"c")],
                b"abc",
                vec![],
                true,
            ),
            (
                vec![
                    f(false, Binary, b""),
                    f(true, Ping, b"hey"),
                    f(false, Continuation, b"ab"),
                    f(true, Pong, b"what"),
                    f(true, Continuation, b""),
                    f(true, Binary, b"c"),
                ],
                b"abc",
                vec![&b"hey"[..]],
                true,
            ),
            (vec![f(true, Ping, b"")], b"", vec![b""], true),
            (
                vec![f(true, Ping, &long[..125])],
                b"",
                vec![&long[..125]],
                true,
            ),
            (
                vec![f(true, Binary, &long[..126])],
                &long[..126],
                vec![],
                true,
            ),
            (
                vec![f(true, Binary, &long[..65_535])],
                &long[..65_535],
                vec![],
                true,
            ),
            (vec![f(true, Binary, &long)], &long, vec![], true),
        ] {
            let bytes = frames.concat();
            let read = read(role, &bytes, &[]);
            assert!(read.payload == payload, "{role:?} {frames:x?}");
            assert_eq!(read.pings, pings);
            assert_eq!((read.close, &read.broken), (None, &None));
            assert_eq!(read.is_between_messages, is_between);
        }
    }
}

#[test]
fn what_is_broken_is_told_behind_what_was_good() {
    for role in [Role::Client, Role::Server] {
        let other = match role {
            Role::Client => (Role::Server, ProtocolError::Masked),
            Role::Server => (Role::Client, ProtocolError::NotMasked),
        };
        let good = frame(role, true, Binary, b"good");
        let text = |mut frame: Vec<u8>| {
            frame[0] = 0x81;
            frame
        };
        for (bad, broken) in [
            (frame(other.0, true, Binary, b"x"), other.1.clone()),
            (frame(other.0, true, Ping, b"x"), other.1.clone()),
            (text(frame(role, true, Binary, b"x")), ProtocolError::Text),
            (
                frame(role, true, Continuation, b"x"),
                ProtocolError::NothingToContinue,
            ),
            (
                [
                    frame(role, false, Binary, b""),
                    frame(role, true, Binary, b"x"),
                ]
                .concat(),
                ProtocolError::Unfinished,
            ),
            (
                frame(role, false, Ping, b"x"),
                ProtocolError::FragmentedControl,
            ),
            (
                frame(role, true, Pong, &[0; 126]),
                ProtocolError::LongControl { length: 126 },
            ),
            (frame(role, true, Close, b"x"), ProtocolError::ClosePayload),
            (
                frame(role, true, Close, &[0x03, 0xed]),
                ProtocolError::ClosePayload,
            ),
        ] {
            let bytes = [&good[..], &bad].concat();
            for cut in 0..bytes.len() {
                let read = read(role, &bytes, &[cut]);
                assert_eq!(read.payload, b"good");
                assert_eq!(read.broken, Some(broken.clone()), "{role:?} {bad:x?}");
            }
        }
    }
}

#[test]
fn nothing_is_read_behind_a_close_frame() {
    for role in [Role::Client, Role::Server] {
        for (payload, code) in [(&b""[..], None), (b"\x03\xe8bye", Some(Code::NORMAL))] {
            let bytes = [
                frame(role, true, Binary, b"abc"),
                frame(role, true, Close, payload),
                frame(role, true, Binary, b"def"),
                vec![0xff; 20],
            ]
            .concat();
            for cut in 0..bytes.len() {
                let read = read(role, &bytes, &[cut]);
                assert_eq!(read.payload, b"abc");
                assert_eq!(read.close, Some(Closed { code }));
                assert_eq!(read.broken, None);
                assert!(read.is_between_messages);
            }
        }
    }
}

#[test]
fn a_declared_length_sets_nothing_aside() {
    let mut bytes = [&[0x82, 127][..], &(u64::MAX >> 1).to_be_bytes(), b"abc"].concat();
    let mut reader = Reader::new(Role::Client);
    let (count, result) = reader.on_bytes(&mut bytes);
    assert_eq!((&bytes[..count], result), (&b"abc"[..], Ok(())));
    assert!(!reader.is_between_messages());
}

proptest! {
    #[test]
    fn pieces_change_nothing(
        is_server: bool,
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            // Mostly good ones.
            prop::collection::vec((any::<bool>(), 0..8_usize, 0..200_usize), 0..6).prop_map(|frames| {
                let frames = frames.into_iter().map(|(is_final, opcode, length)| {
                    let opcode = [Binary, Binary, Continuation, Binary, Continuation, Ping, Pong, Close][opcode];
                    let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
                    frame(Role::Server, is_final || opcode.is_control(), opcode, &payload)
                });
                frames.collect::<Vec<_>>().concat()
            }),
        ],
        pieces in prop::collection::vec(1..20_usize, 0..60),
    ) {
        let role = if is_server { Role::Server } else { Role::Client };
        let whole = read(role, &bytes, &[]);
        let mut in_pieces = read(role, &bytes, &pieces);
        // Of several pings in one piece only the last is told.
        if let Some(last) = whole.pings.last() {
            prop_assert_eq!(in_pieces.pings.last(), Some(last));
        }
        in_pieces.pings.clone_from(&whole.pings);
        prop_assert_eq!(in_pieces, whole);
    }
}
