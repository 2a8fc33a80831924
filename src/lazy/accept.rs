use std::io;

/// The cause of an error while accepting connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// One connection, which is lost. The next one may be waiting.
    Connection,
    /// The process or the system is out of descriptors or memory.
    Resources,
    /// Rules of the host, such as a firewall.
    Rules,
    /// The listening socket, or anything else.
    Listener,
}

impl Cause {
    /// Linux passes errors of the network on to `accept`, and its manual says to try again:
    /// <https://man7.org/linux/man-pages/man2/accept.2.html#DESCRIPTION>.
    pub(crate) fn of(error: &io::Error) -> Self {
        if error.raw_os_error().is_some_and(is_exhausted) {
            return Self::Resources;
        }
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
            io::ErrorKind::OutOfMemory => Self::Resources,
            io::ErrorKind::PermissionDenied => Self::Rules,
            _ => Self::Listener,
        }
    }
}

fn is_exhausted(code: i32) -> bool {
    #[cfg(unix)]
    const CODES: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM];
    // WSAEMFILE, WSAENOBUFS
    #[cfg(not(unix))]
    const CODES: [i32; 2] = [10024, 10055];

    CODES.contains(&code)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_blamed_on_what_has_caused_it() {
        for (code, cause) in [
            (libc::ECONNABORTED, Cause::Connection),
            (libc::ECONNRESET, Cause::Connection),
            (libc::EINTR, Cause::Connection),
            (libc::EPROTO, Cause::Connection),
            (libc::EHOSTUNREACH, Cause::Connection),
            (libc::ENETDOWN, Cause::Connection),
            (libc::EMFILE, Cause::Resources),
            (libc::ENFILE, Cause::Resources),
            (libc::ENOBUFS, Cause::Resources),
            (libc::ENOMEM, Cause::Resources),
            (libc::EPERM, Cause::Rules),
            (libc::EBADF, Cause::Listener),
            (libc::EINVAL, Cause::Listener),
        ] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(Cause::of(&error), cause, "{error}");
        }
        let without_code = io::Error::from(io::ErrorKind::OutOfMemory);
        assert_eq!(Cause::of(&without_code), Cause::Resources);
    }
}
