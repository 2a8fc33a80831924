//! The payload of a close frame, [RFC 6455 section 7.4](https://www.rfc-editor.org/rfc/rfc6455#section-7.4).

use crate::websocket::stream::ProtocolError;

/// Why a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(u16);

impl Code {
    pub(super) const NORMAL: Self = Self(1000);
    pub(super) const PROTOCOL_ERROR: Self = Self(1002);
    pub(super) const UNSUPPORTED_DATA: Self = Self(1003);

    /// The code for a peer that has broken this rule.
    pub(super) fn of(broken: &ProtocolError) -> Self {
        match broken {
            ProtocolError::Text => Self::UNSUPPORTED_DATA,
            _ => Self::PROTOCOL_ERROR,
        }
    }

    pub(super) fn to_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }

    /// Whether a frame may contain it: the codes of the RFC and of IANA's registry, and those for libraries and
    /// applications. 1005, 1006 and 1015 are never sent.
    fn may_be_sent(self) -> bool {
        matches!(self.0, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }
}

/// Reads the payload. An empty one has no code.
pub(super) fn parse(payload: &[u8]) -> Result<Option<Code>, ProtocolError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => Ok(None),
            _ => Err(ProtocolError::ClosePayload),
        };
    };
    let code = Code(u16::from_be_bytes(*code));
    if !code.may_be_sent() || std::str::from_utf8(reason).is_err() {
        return Err(ProtocolError::ClosePayload);
    }
    Ok(Some(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(code: u16, reason: &[u8]) -> Vec<u8> {
        [&code.to_be_bytes()[..], reason].concat()
    }

    #[test]
    fn a_payload_is_nothing_or_a_good_code_and_a_text() {
        assert_eq!(parse(&[]), Ok(None));
        for code in [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999] {
            for reason in ["", "gone", "f\u{fc}r immer"] {
                let payload = payload(code, reason.as_bytes());
                assert_eq!(parse(&payload), Ok(Some(Code(code))));
            }
        }
        for code in [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, u16::MAX] {
            assert_eq!(parse(&payload(code, b"")), Err(ProtocolError::ClosePayload));
        }
        for bad in [
            vec![3],
            payload(1000, &[0xff]),
            payload(1000, &[b'a', 0xc3]),
        ] {
            assert_eq!(parse(&bad), Err(ProtocolError::ClosePayload));
        }
    }
}
