//! The header of a frame, [RFC 6455 section 5.2](https://www.rfc-editor.org/rfc/rfc6455#section-5.2).

use crate::websocket::stream::ProtocolError;

/// The role of this side of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Masks what it sends.
    Client,
    /// Requires masked frames.
    Server,
}

/// The longest header: two bytes, eight of length, four of mask.
pub(super) const MAX_HEADER: usize = 14;

/// The longest payload of a control frame.
pub(super) const MAX_CONTROL: usize = 125;

/// The longest payload whose length fits into two bytes.
pub(super) const MAX_SHORT: usize = u16::MAX as usize;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0f;
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7f;
const TWO_BYTES: u8 = 126;
const EIGHT_BYTES: u8 = 127;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opcode {
    Continuation,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn parse(code: u8) -> Result<Self, ProtocolError> {
        Ok(match code {
            0 => Self::Continuation,
            1 => return Err(ProtocolError::Text),
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            opcode => return Err(ProtocolError::UnknownOpcode { opcode }),
        })
    }

    fn code(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) is_final: bool,
    pub(super) opcode: Opcode,
    /// The length of the payload, in bytes.
    pub(super) length: u64,
    pub(super) mask: Option<[u8; 4]>,
}

/// The length of the header that begins with these bytes, or the number of bytes needed to determine it.
pub(super) fn header_length(bytes: &[u8]) -> usize {
    let Some(second) = bytes.get(1) else { return 2 };
    let length = match second & LENGTH {
        TWO_BYTES => 2,
        EIGHT_BYTES => 8,
        _ => 0,
    };
    let mask = if second & MASKED == 0 { 0 } else { 4 };
    2 + length + mask
}

impl Header {
    /// Reads a header of [`header_length`]; `None` if it is shorter.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<Self>, ProtocolError> {
        let Some((&[first, second], rest)) = bytes.split_first_chunk::<2>() else {
            return Ok(None);
        };
        if first & RESERVED != 0 {
            return Err(ProtocolError::ReservedBits);
        }
        let opcode = Opcode::parse(first & OPCODE)?;
        let is_final = first & FIN != 0;
        if opcode.is_control() && !is_final {
            return Err(ProtocolError::FragmentedControl);
        }
        let (length, rest, least) = match second & LENGTH {
            TWO_BYTES => {
                let Some((length, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                (u16::from_be_bytes(*length).into(), rest, TWO_BYTES.into())
            }
            EIGHT_BYTES => {
                let Some((length, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                (u64::from_be_bytes(*length), rest, u64::from(u16::MAX) + 1)
            }
            short => (short.into(), rest, 0),
        };
        // "the most significant bit MUST be 0", and "the minimal number of bytes MUST be used".
        if length >> 63 != 0 {
            return Err(ProtocolError::LengthTooLarge);
        }
        if length < least {
            return Err(ProtocolError::LengthNotMinimal { length });
        }
        if opcode.is_control() && length > MAX_CONTROL as u64 {
            return Err(ProtocolError::LongControl { length });
        }
        let mask = if second & MASKED == 0 {
            None
        } else {
            let Some(key) = rest.first_chunk::<4>() else {
                return Ok(None);
            };
            Some(*key)
        };
        Ok(Some(Self {
            is_final,
            opcode,
            length,
            mask,
        }))
    }

    /// Writes it; returns the bytes and how many of them there are.
    pub(super) fn write(&self) -> ([u8; MAX_HEADER], usize) {
        let mut bytes = [0; MAX_HEADER];
        bytes[0] = self.opcode.code() | if self.is_final { FIN } else { 0 };
        let mut end = 2;
        bytes[1] = match (u8::try_from(self.length), u16::try_from(self.length)) {
            (Ok(short), _) if short < TWO_BYTES => short,
            (_, Ok(length)) => {
                bytes[2..4].copy_from_slice(&length.to_be_bytes());
                end = 4;
                TWO_BYTES
            }
            _ => {
                bytes[2..10].copy_from_slice(&self.length.to_be_bytes());
                end = 10;
                EIGHT_BYTES
            }
        };
        if let Some(key) = self.mask {
            bytes[1] |= MASKED;
            bytes[end..end + 4].copy_from_slice(&key);
            end += 4;
        }
        (bytes, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_of_the_shortest_form() {
        for (length, bytes) in [
            (0, 2),
            (125, 2),
            (126, 4),
            (65_535, 4),
            (65_536, 10),
            (u64::MAX >> 1, 10),
        ] {
            for mask in [None, Some([1, 2, 3, 4])] {
                for (is_final, opcode) in [(true, Opcode::Binary), (false, Opcode::Continuation)] {
                    let header = Header {
                        is_final,
                        opcode,
                        length,
                        mask,
                    };
                    let (written, end) = header.write();
                    let written = &written[..end];
                    assert_eq!(end, bytes + mask.map_or(0, |key| key.len()));
                    assert_eq!(header_length(written), end);
                    assert_eq!(Header::parse(written).unwrap(), Some(header));
                    for short in 0..end {
                        assert_eq!(Header::parse(&written[..short]).unwrap(), None);
                        assert!(header_length(&written[..short]) > short);
                    }
                }
            }
        }
    }

    #[test]
    fn each_rule_that_is_broken_has_its_error() {
        let length = |bytes: u64| bytes.to_be_bytes();
        let long = |bytes: u64| [&[0x82, 127][..], &length(bytes)].concat();
        let not_minimal = |length| ProtocolError::LengthNotMinimal { length };
        for (bytes, broken) in [
            (vec![0xc2, 0], ProtocolError::ReservedBits),
            (vec![0xa2, 0], ProtocolError::ReservedBits),
            (vec![0x92, 0], ProtocolError::ReservedBits),
            (vec![0x81, 0], ProtocolError::Text),
            (vec![0x83, 0], ProtocolError::UnknownOpcode { opcode: 3 }),
            (vec![0x8b, 0], ProtocolError::UnknownOpcode { opcode: 11 }),
            (vec![0x09, 0], ProtocolError::FragmentedControl),
            (vec![0x08, 0], ProtocolError::FragmentedControl),
            (
                vec![0x89, 126, 0, 126],
                ProtocolError::LongControl { length: 126 },
            ),
            (
                [&[0x88, 127][..], &length(65_536)].concat(),
                ProtocolError::LongControl { length: 65_536 },
            ),
            (vec![0x89, 126, 0, 0], not_minimal(0)),
            (vec![0x8a, 126, 0, 125], not_minimal(125)),
            ([&[0x88, 127][..], &length(126)].concat(), not_minimal(126)),
            (vec![0x82, 126, 0, 125], not_minimal(125)),
            (long(65_535), not_minimal(65_535)),
            (long(1 << 63), ProtocolError::LengthTooLarge),
        ] {
            assert_eq!(Header::parse(&bytes).unwrap_err(), broken, "{bytes:x?}");
        }
        assert!(Header::parse(&long(65_536)).unwrap().is_some());
    }
}
