use proptest::prelude::*;

use super::*;
use crate::websocket::stream::{pool, reader::Reader};

const KEY: [u8; 4] = [3, 33, 233, 133];

fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

/// Takes all that can be sent, in pieces of `at_once`.
fn take(writer: &mut Writer, at_once: usize) -> Vec<u8> {
    let mut taken = Vec::new();
    loop {
        let sealed = writer.sealed(|| KEY);
        if sealed.is_empty() {
            return taken;
        }
        let count = sealed.len().min(at_once);
        taken.extend(&sealed[..count]);
        writer.on_sent(count);
    }
}

fn read(role: Role, mut bytes: Vec<u8>) -> Vec<u8> {
    let (count, result) = Reader::new(other(role)).on_bytes(&mut bytes);
    result.unwrap();
    bytes.truncate(count);
    bytes
}

#[test]
fn a_flush_is_one_frame_of_the_shortest_form_and_frees_the_buffer() {
    for (role, mask) in [(Role::Server, 0), (Role::Client, 4)] {
        for (length, header) in [(1, 2), (125, 2), (126, 4), (MAX_PAYLOAD, 4)] {
            let mut writer = Writer::new(role, &pool::OUTGOING);
            let bytes: Vec<u8> = (0..length).map(|i| (i % 255) as u8).collect();
            assert_eq!(writer.append(&bytes[..1], || KEY), 1);
            assert_eq!(writer.append(&bytes[1..], || KEY), length - 1);
            assert!(writer.sealed(|| KEY).is_empty(), "not before it is sealed");
            assert!(!writer.has_to_send());
            writer.seal();
            let sent = take(&mut writer, usize::MAX);
            assert_eq!(sent.len(), header + mask + length);
            assert!(read(role, sent) == bytes);
            assert!(writer.buffer.is_none());
        }
    }
}

#[test]
fn a_buffer_takes_no_more_than_it_holds_and_then_goes_on() {
    static SMALL: Pool = Pool::new(0, 0, 0);
    for pool in [&SMALL, &pool::OUTGOING] {
        for role in [Role::Client, Role::Server] {
            let mut writer = Writer::new(role, pool);
            let bytes = vec![42; 1 << 20];
            let taken = writer.append(&bytes, || KEY);
            assert!(taken > 3000 && taken < bytes.len());
            assert_eq!(writer.append(&bytes, || KEY), 0);
            writer.seal();
            assert_eq!(
                writer.append(&bytes, || KEY),
                0,
                "there is no room for a frame"
            );
            assert_eq!(read(role, take(&mut writer, 1000)).len(), taken);
            // Another buffer may hold a little more or less, since payloads begin where they are copied fastest.
            let again = writer.append(&bytes, || KEY);
            assert!(again.abs_diff(taken) < PAGE, "{again} instead of {taken}");
        }
    }
}

#[test]
fn no_frame_is_begun_for_a_few_bytes_at_the_end_of_a_buffer() {
    static SMALL: Pool = Pool::new(0, 0, 0);
    for role in [Role::Client, Role::Server] {
        // Too few to be put where they are copied fastest, which is not the same place in each buffer.
        let bytes = vec![42; PAGE - 1];
        let full = Writer::new(role, &SMALL).append(&bytes, || KEY);
        for left in [1, header_room(role), header_room(role) + MAX_CONTROL - 1] {
            let mut writer = Writer::new(role, &SMALL);
            writer.append(&bytes[..full - left], || KEY);
            writer.seal();
            assert_eq!(writer.append(&bytes, || KEY), 0, "{left}");
            assert_eq!(read(role, take(&mut writer, 1000)).len(), full - left);
        }
    }
}

/// Wherever in its page each of the two begins.
#[test]
fn many_bytes_are_not_put_where_they_are_copied_slowly() {
    let memory = vec![0; 4 * PAGE];
    for (at, from) in (0..PAGE).step_by(16).map(|at| (at, at / 16)) {
        let buffer = &memory[2 * PAGE + at..];
        for from in [from, PAGE - 1 - from, at, (at + PAGE / 2) % PAGE] {
            let bytes = &memory[from..from + PAGE + from % 2];
            let above = |offset| {
                let to = buffer.as_ptr().addr() + offset;
                (to - bytes.as_ptr().addr()) % PAGE
            };
            let offset = first_payload(buffer, bytes);
            assert!(!SLOW.contains(&above(offset)), "{at}, {from}");
            assert!(offset < FIRST_PAYLOAD + SLOW.end);
            if !SLOW.contains(&above(FIRST_PAYLOAD)) {
                assert_eq!(offset, FIRST_PAYLOAD);
            }
            let few = first_payload(buffer, &bytes[..PAGE - 1]);
            assert_eq!(few, FIRST_PAYLOAD);
        }
    }
}

#[test]
fn frames_follow_each_other_until_the_buffer_is_full() {
    for role in [Role::Client, Role::Server] {
        let mut writer = Writer::new(role, &pool::OUTGOING);
        let bytes: Vec<u8> = (0..1_u32 << 20).map(|i| (i % 251) as u8).collect();
        let mut taken = 0;
        for chunk in bytes.chunks(777) {
            let count = writer.append(chunk, || KEY);
            taken += count;
            if count < chunk.len() {
                break;
            }
        }
        // All of it but the headers of the four frames, the place of the first, and the space for control frames.
        let size = writer.buffer.as_ref().unwrap().len();
        let unused = FIRST_PAYLOAD + SLOW.end + 3 * header_room(role) + CONTROL_ROOM;
        assert!(taken <= size && taken >= size - unused, "{taken} of {size}");
        assert!(writer.end <= size - CONTROL_ROOM);
        // Which is kept for one of each kind.
        writer.on_ping(&[7; MAX_CONTROL]);
        writer.ping();
        assert!(writer.sealed(|| KEY).len() > taken);
        writer.close(Some(Code::NORMAL));
        let mut all = take(&mut writer, usize::MAX);
        let mut reader = Reader::new(other(role));
        let (count, result) = reader.on_bytes(&mut all);
        result.unwrap();
        assert!(all[..count] == bytes[..taken]);
        assert!(reader.take_ping().is_some() && reader.close().is_some());
    }
}

#[test]
fn a_control_frame_stands_behind_the_open_one() {
    for role in [Role::Client, Role::Server] {
        let mut writer = Writer::new(role, &pool::OUTGOING);
        writer.append(b"abc", || KEY);
        writer.on_ping(b"first");
        writer.on_ping(b"hey");
        assert!(writer.has_to_send());
        let sent = writer.sealed(|| KEY).to_vec();
        let mask = if role == Role::Client { 4 } else { 0 };
        assert_eq!(sent.len(), 2 + mask + 3 + 2 + mask + 3);
        assert_eq!(sent[2 + mask + 3], 0x8a);
        // More is written before that has gone.
        writer.append(b"def", || KEY);
        writer.close(Some(Code::NORMAL));
        assert!(writer.is_closing());
        writer.on_ping(b"too late");
        writer.close(Some(Code::PROTOCOL_ERROR));
        let sent = take(&mut writer, 1);
        assert_eq!(
            &sent[sent.len() - 4 - mask..][..2],
            [0x88, 2 | if mask > 0 { 0x80 } else { 0 }]
        );
        assert_eq!(sent.iter().filter(|byte| **byte == 0x88).count(), 1);
        assert_eq!(read(role, sent), b"abcdef");
        assert!(writer.buffer.is_none() && !writer.has_to_send());
    }
}

#[test]
fn pings_do_not_make_it_grow() {
    let mut writer = Writer::new(Role::Client, &pool::OUTGOING);
    for _ in 0..10_000 {
        writer.on_ping(&[1; MAX_CONTROL]);
        assert_eq!(writer.sealed(|| KEY).len(), 2 + 4 + MAX_CONTROL);
    }
    assert_eq!(
        take(&mut writer, usize::MAX).len(),
        2 * (2 + 4 + MAX_CONTROL)
    );
}

#[test]
fn a_ping_waits_until_the_one_before_it_is_out() {
    for (role, mask) in [(Role::Server, 0), (Role::Client, 4)] {
        let mut writer = Writer::new(role, &pool::OUTGOING);
        writer.append(b"abc", || KEY);
        writer.ping();
        assert!(writer.has_to_send());
        let whole = writer.sealed(|| KEY).len();
        assert_eq!(whole, 2 + mask + 3 + 2 + mask);
        writer.ping();
        assert_eq!(writer.sealed(|| KEY).len(), whole, "one is on its way");
        writer.on_sent(whole - 1);
        assert_eq!(writer.sealed(|| KEY).len(), 1);
        writer.on_sent(1);
        assert_eq!(take(&mut writer, usize::MAX).len(), 2 + mask);

        // Nothing drains, however often it is asked: one more at most.
        writer.append(b"abc", || KEY);
        writer.seal();
        for _ in 0..1000 {
            writer.ping();
            let there = writer.sealed(|| KEY).len();
            writer.on_sent(there - 1);
        }
        assert!(take(&mut writer, usize::MAX).len() <= 1 + 2 + mask);
        assert!(writer.buffer.is_none());

        // What is due gives way to a close frame, and nothing is behind it.
        writer.ping();
        writer.on_ping(b"abc");
        writer.close(None);
        writer.ping();
        let close = take(&mut writer, usize::MAX);
        assert_eq!((close[0], close.len()), (0x88, 2 + mask));
    }
}

#[derive(Debug, Clone)]
enum Operation {
    Append(usize),
    Seal,
    Send(usize),
    Ping(usize),
    Ask,
}

proptest! {
    #[test]
    fn whatever_the_order_what_comes_out_is_what_went_in(
        is_client: bool,
        is_small: bool,
        operations in prop::collection::vec(
            prop_oneof![
                (0..300_usize).prop_map(Operation::Append),
                (0..200_000_usize).prop_map(Operation::Append),
                Just(Operation::Seal),
                (1..100_usize).prop_map(Operation::Send),
                (1..300_000_usize).prop_map(Operation::Send),
                (0..=MAX_CONTROL).prop_map(Operation::Ping),
                Just(Operation::Ask),
            ],
            0..60,
        ),
    ) {
        static SMALL: Pool = Pool::new(0, 0, 0);
        let role = if is_client { Role::Client } else { Role::Server };
        let mut writer = Writer::new(role, if is_small { &SMALL } else { &pool::OUTGOING });
        let (mut written, mut sent) = (Vec::<u8>::new(), Vec::<u8>::new());
        for operation in operations {
            match operation {
                Operation::Append(count) => {
                    let start = written.len();
                    let bytes: Vec<u8> = (start..start + count).map(|i| (i % 251) as u8).collect();
                    let taken = writer.append(&bytes, || KEY);
                    written.extend(&bytes[..taken]);
                }
                Operation::Seal => writer.seal(),
                Operation::Send(count) => {
                    let sealed = writer.sealed(|| KEY);
                    let count = count.min(sealed.len());
                    sent.extend(&sealed[..count]);
                    writer.on_sent(count);
                }
                Operation::Ping(length) => writer.on_ping(&vec![9; length]),
                Operation::Ask => writer.ping(),
            }
        }
        writer.close(None);
        sent.extend(take(&mut writer, usize::MAX));
        let read = read(role, sent);
        prop_assert!(read == written);
        prop_assert!(writer.buffer.is_none());
    }
}
