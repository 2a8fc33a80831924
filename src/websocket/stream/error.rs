use std::io;

/// A violation of [RFC 6455](https://www.rfc-editor.org/rfc/rfc6455) by the other side, with
/// [`Engine::Stream`](crate::websocket::Engine::Stream).
///
/// It is inside the `io::Error`, of the kind `InvalidData`, of a read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtocolError {
    /// A reserved bit is set, although no extension was agreed on (section 5.2).
    #[error("a frame has a reserved bit set, and there is no extension (RFC 6455, 5.2)")]
    ReservedBits,
    /// An unknown opcode (section 5.2).
    #[error("a frame has the unknown opcode {opcode:#x} (RFC 6455, 5.2)")]
    #[non_exhaustive]
    UnknownOpcode {
        /// The opcode.
        opcode: u8,
    },
    /// A text frame, which the RFC allows and libp2p does not use.
    #[error("a text frame, but libp2p uses binary ones")]
    Text,
    /// A length that is not encoded in the minimal number of bytes (section 5.2).
    #[error("the length of a frame, {length}, is not encoded in the fewest bytes (RFC 6455, 5.2)")]
    #[non_exhaustive]
    LengthNotMinimal {
        /// The length of the payload, in bytes.
        length: u64,
    },
    /// A length whose most significant bit is set (section 5.2).
    #[error("the length of a frame has its most significant bit set (RFC 6455, 5.2)")]
    LengthTooLarge,
    /// A server received a frame that is not masked (section 5.1).
    #[error("a client sent a frame that is not masked (RFC 6455, 5.1)")]
    NotMasked,
    /// A client received a masked frame (section 5.1).
    #[error("a server sent a masked frame (RFC 6455, 5.1)")]
    Masked,
    /// A control frame that is not the last of its message (section 5.5).
    #[error("a control frame is fragmented (RFC 6455, 5.5)")]
    FragmentedControl,
    /// A control frame with a payload of more than 125 bytes (section 5.5).
    #[error("a control frame has {length} bytes of payload, more than 125 (RFC 6455, 5.5)")]
    #[non_exhaustive]
    LongControl {
        /// The length of the payload, in bytes.
        length: u64,
    },
    /// A continuation frame without a message (section 5.4).
    #[error("a frame continues a message that has not begun (RFC 6455, 5.4)")]
    NothingToContinue,
    /// A new message before the end of the previous one (section 5.4).
    #[error("a message begins before the end of the previous one (RFC 6455, 5.4)")]
    Unfinished,
    /// The payload of a close frame is one byte long, or has an invalid code or a reason that is not UTF-8 (sections 5.5.1
    /// and 7.4).
    #[error("a close frame has an invalid payload (RFC 6455, 5.5.1 and 7.4)")]
    ClosePayload,
}

impl From<ProtocolError> for io::Error {
    fn from(error: ProtocolError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}
