use std::{io, time::Duration};

/// How long a listener accepts nobody after an error of its own, as in libp2p-tcp: it would be the same error at once.
pub(super) const PAUSE: Duration = Duration::from_millis(100);

/// What an error while accepting is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// One connection, which is gone. The next one may be waiting.
    Connection,
    /// The listener or the whole process, for instance since there are no descriptors left.
    Listener,
}

impl Meaning {
    /// Linux passes errors of the network on to `accept`, and its manual says to try again:
    /// <https://man7.org/linux/man-pages/man2/accept.2.html#DESCRIPTION>.
    pub(super) fn of(error: &io::Error) -> Self {
        #[cfg(unix)]
        if matches!(
            error.raw_os_error(),
            Some(libc::EPROTO | libc::ENOPROTOOPT | libc::EHOSTDOWN | libc::EOPNOTSUPP)
        ) {
            return Self::Connection;
        }
        match error.kind() {
            io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::Interrupted => Self::Connection,
            _ => Self::Listener,
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_be_the_same_at_once_pauses() {
        for (code, meaning) in [
            (libc::ECONNABORTED, Meaning::Connection),
            (libc::ECONNRESET, Meaning::Connection),
            (libc::EINTR, Meaning::Connection),
            (libc::EPROTO, Meaning::Connection),
            (libc::EHOSTUNREACH, Meaning::Connection),
            (libc::ENETDOWN, Meaning::Connection),
            (libc::EMFILE, Meaning::Listener),
            (libc::ENFILE, Meaning::Listener),
            (libc::ENOBUFS, Meaning::Listener),
            (libc::ENOMEM, Meaning::Listener),
            (libc::EPERM, Meaning::Listener),
            (libc::EBADF, Meaning::Listener),
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(Meaning::of(&error), meaning, "{error}");
        }
    }
}
