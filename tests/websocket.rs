//! WebSocket with and without TLS, on real sockets, without anything of libp2p above it.
#![cfg(all(
    feature = "libp2p-websocket",
    any(feature = "async-std", feature = "smol", feature = "tokio")
))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
mod common;
#[path = "common/echo.rs"]
mod echo;

use std::{
    io::{self, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    pin::Pin,
    sync::Arc,
    task::Poll,
    thread,
    time::Duration,
};

use authority::{Authority, Leaf, Signed};
#[cfg(feature = "tokio")]
use common::Runtime;
use common::{Case, Engine, cause, on_each, socket_address, within};
use echo::{Error, answers, assert_echoes, dial, echo, port};
use futures::future::poll_fn;
use libp2p::{
    Multiaddr, Transport as _,
    core::{
        Endpoint,
        transport::{DialOpts, ListenerId, PortUse, TransportError},
    },
    multiaddr::Protocol,
};
use libp2p_lazy_websocket::{
    lazy,
    websocket::{self, TlsError},
};
use rustls::{
    ProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};

on_each!(plain_addresses_are_listened_on_as_given_and_dialled_by_ip_and_name);

async fn plain_addresses_are_listened_on_as_given_and_dialled_by_ip_and_name(case: Case) {
    let listen = [
        "/ip4/127.0.0.1/tcp/0/ws",
        "/ip4/127.0.0.1/tcp/0/x-parity-ws/%2Fa",
    ];
    let addresses = echo(case, case.config(), &listen).await;
    for (address, given) in addresses.iter().zip(listen) {
        assert_ne!(port(address), 0);
        let expected = given.replace("/tcp/0/", &format!("/tcp/{}/", port(address)));
        assert_eq!(*address, expected.parse().unwrap());
        for host in ["/ip4/127.0.0.1", "/dns4/localhost", "/dns/localhost"] {
            let rest = address.iter().skip(1);
            let address = rest.fold(host.parse().unwrap(), Multiaddr::with);
            let connection = dial(case, case.config(), &address).await;
            assert_echoes(connection.unwrap_or_else(|e| panic!("{address}: {e:?}"))).await;
        }
    }
}

on_each!(tls_addresses_are_listened_on_as_given_and_dialled_in_every_form);

async fn tls_addresses_are_listened_on_as_given_and_dialled_in_every_form(case: Case) {
    let authority = Authority::new();
    let certificates = authority.sign(&Leaf::default()).in_use();
    let listener = case.config().with_certificates(certificates);
    let dialer = case.config().with_trust_anchor(authority.anchor());
    let listen = ["/ip4/127.0.0.1/tcp/0/tls/ws", "/ip4/127.0.0.1/tcp/0/wss"];
    let addresses = echo(case, listener, &listen).await;
    for (address, suffix) in addresses.iter().zip(["/tls/ws", "/wss"]) {
        assert!(address.to_string().ends_with(suffix), "{address}");
        let port = port(address);
        for form in [
            format!("/ip4/127.0.0.1/tcp/{port}/tls/ws"),
            format!("/ip4/127.0.0.1/tcp/{port}/wss"),
            format!("/ip4/127.0.0.1/tcp/{port}/tls/sni/localhost/ws"),
            format!("/dns4/localhost/tcp/{port}/tls/ws"),
            format!("/dns4/localhost/tcp/{port}/wss"),
            format!("/dns/localhost/tcp/{port}/tls/sni/localhost/ws"),
        ] {
            let connection = dial(case, dialer.clone(), &form.parse().unwrap()).await;
            assert_echoes(connection.unwrap_or_else(|e| panic!("{form}: {e:?}"))).await;
        }
    }
}

on_each!(a_certificate_that_does_not_fit_is_a_typed_error_and_ends_nothing);

async fn a_certificate_that_does_not_fit_is_a_typed_error_and_ends_nothing(case: Case) {
    let authority = Authority::new();
    let certificates = authority.sign(&Leaf::default()).in_use();
    let listener = case.config().with_certificates(certificates);
    let addresses = echo(case, listener, &["/ip4/127.0.0.1/tcp/0/tls/ws"]).await;
    let trusting = case.config().with_trust_anchor(authority.anchor());
    let port = port(&addresses[0]);
    let wrong_name: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}/tls/sni/example.com/ws")
        .parse()
        .unwrap();
    for (config, address) in [
        (case.config(), &addresses[0]),
        (trusting.clone(), &wrong_name),
    ] {
        let refused = dial(case, config, address).await.unwrap_err();
        assert!(
            matches!(refused, Error::Inner(websocket::Error::Tls(_))),
            "{refused:?}"
        );
    }
    assert_echoes(dial(case, trusting, &addresses[0]).await.unwrap()).await;
}

on_each!(a_certificate_that_a_node_has_signed_itself_is_trusted_as_it_is);

async fn a_certificate_that_a_node_has_signed_itself_is_trusted_as_it_is(case: Case) {
    for is_ca in [false, true] {
        let own = Signed::by_itself(&Leaf::default(), is_ca);
        let listener = case.config().with_certificates(own.in_use());
        let addresses = echo(case, listener, &["/ip4/127.0.0.1/tcp/0/tls/ws"]).await;
        let port = port(&addresses[0]);
        let dial_as = async |anchor, name: &str| {
            let config = case.config().with_trust_anchor(anchor);
            let address = format!("/ip4/127.0.0.1/tcp/{port}/tls{name}/ws");
            dial(case, config, &address.parse().unwrap()).await
        };
        for name in ["", "/sni/localhost"] {
            let dialled = dial_as(own.anchor(), name).await;
            if case.engine == Engine::Libp2p && is_ca {
                let refused = tls_error(dialled);
                assert!(
                    matches!(refused, TlsError::CaUsedAsEndEntity),
                    "{refused:?}"
                );
                assert!(
                    refused.to_string().contains("`Engine::Libp2p` cannot"),
                    "{refused}"
                );
            } else {
                assert_echoes(dialled.unwrap()).await;
            }
        }
        if case.engine == Engine::Stream || !is_ca {
            let refused = tls_error(dial_as(own.anchor(), "/sni/example.com").await);
            assert!(
                matches!(refused, TlsError::NotValidForName { .. }),
                "{refused:?}"
            );
        }
        // One with the same subject and the same names is another one.
        let other = Signed::by_itself(&Leaf::default(), is_ca);
        let refused = tls_error(dial_as(other.anchor(), "").await);
        assert!(
            matches!(refused, TlsError::CaUsedAsEndEntity) == is_ca,
            "{refused:?}"
        );
    }
}

fn tls_error(dialled: Result<websocket::Connection, Error>) -> TlsError {
    match dialled {
        Err(Error::Inner(websocket::Error::Tls(error))) => error,
        other => panic!("an error of TLS, not {other:?}"),
    }
}

on_each!(what_is_wrong_with_a_certificate_is_named);

async fn what_is_wrong_with_a_certificate_is_named(case: Case) {
    let authority = Authority::new();
    let now = std::time::SystemTime::now();
    let day = Duration::from_secs(24 * 60 * 60);
    let trusting = case.config().with_trust_anchor(authority.anchor());
    let refused = async |config: websocket::Config, leaf: Leaf<'_>| {
        let address = serve(authority.sign(&leaf), &[&TLS13]);
        tls_error(dial(case, config, &address).await)
    };
    let unknown = refused(case.config(), Leaf::default()).await;
    assert!(matches!(unknown, TlsError::UnknownIssuer), "{unknown:?}");
    let expired = Leaf {
        valid: now - 2 * day..now - day,
        ..Leaf::default()
    };
    let expired = refused(trusting.clone(), expired).await;
    assert!(matches!(expired, TlsError::Expired { .. }), "{expired:?}");
    let early = Leaf {
        valid: now + day..now + 2 * day,
        ..Leaf::default()
    };
    let early = refused(trusting.clone(), early).await;
    assert!(matches!(early, TlsError::NotYetValid { .. }), "{early:?}");
    let nameless = Leaf {
        names: &[],
        ..Leaf::default()
    };
    let nameless = refused(trusting.clone(), nameless).await;
    assert!(
        matches!(nameless, TlsError::NoSubjectAltName),
        "{nameless:?}"
    );
    let others = Leaf {
        names: &["example.com", "example.org"],
        ..Leaf::default()
    };
    let others = refused(trusting, others).await;
    let text = others.to_string();
    assert!(
        text.contains("not valid for 127.0.0.1") && text.contains("example.org"),
        "{text}"
    );
}

/// A server that speaks these versions of TLS to one who connects, and then says that there is nothing.
fn serve(signed: Signed, versions: &[&'static rustls::SupportedProtocolVersion]) -> Multiaddr {
    let provider = ring::default_provider();
    let chain = signed.chain_der().into_iter().map(CertificateDer::from);
    let config = rustls::ServerConfig::builder_with_provider(provider.into())
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.collect(), signed.key_der().try_into().unwrap())
        .unwrap();
    serve_one(move |mut tcp| {
        let mut server = rustls::ServerConnection::new(Arc::new(config)).unwrap();
        let mut tls = rustls::Stream::new(&mut server, &mut tcp);
        let _ = tls.read(&mut [0; 4096]);
        let _ = tls.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    })
}

fn serve_one(serve: impl FnOnce(TcpStream) + Send + 'static) -> Multiaddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || serve(listener.accept().unwrap().0));
    format!("/ip4/127.0.0.1/tcp/{port}/tls/ws").parse().unwrap()
}

on_each!(tls_1_2_is_spoken_by_those_who_dial_and_by_listeners);

async fn tls_1_2_is_spoken_by_those_who_dial_and_by_listeners(case: Case) {
    let authority = Authority::new();
    let trusting = case.config().with_trust_anchor(authority.anchor());
    for version in [&TLS12, &TLS13] {
        let server = serve(authority.sign_number(1), &[version]);
        let refused = dial(case, trusting.clone(), &server).await.unwrap_err();
        // What comes after TLS.
        assert!(
            matches!(refused, Error::Inner(websocket::Error::Handshake(_))),
            "{version:?}: {refused:?}"
        );
    }

    let certificates = authority.sign_number(1).in_use();
    let listener = case.config().with_certificates(certificates);
    let addresses = echo(case, listener, &["/ip4/127.0.0.1/tcp/0/tls/ws"]).await;
    for (versions, spoken) in [
        (&[&TLS12][..], ProtocolVersion::TLSv1_2),
        (&[&TLS12, &TLS13], ProtocolVersion::TLSv1_3),
    ] {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(authority.der())).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let address = socket_address(&addresses[0]);
        let (sender, version) = futures::channel::oneshot::channel();
        thread::spawn(move || {
            let mut tcp = TcpStream::connect(address).unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let mut tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
            while tls.is_handshaking() {
                tls.complete_io(&mut tcp).unwrap();
            }
            let _ = sender.send(tls.protocol_version());
        });
        assert_eq!(within(version).await.unwrap(), Some(spoken));
    }
}

on_each!(a_peer_that_speaks_another_tls_is_named_so);

async fn a_peer_that_speaks_another_tls_is_named_so(case: Case) {
    let alert = |description| {
        serve_one(move |mut tcp| {
            let _ = tcp.read(&mut [0; 4096]);
            let _ = tcp.write_all(&[21, 3, 1, 0, 2, 2, description]);
        })
    };
    // What a server of TLS 1.1 answers, and one without a cipher suite in common.
    let refused = tls_error(dial(case, case.config(), &alert(70)).await);
    assert!(
        matches!(refused, TlsError::UnsupportedVersion),
        "{refused:?}"
    );
    let refused = tls_error(dial(case, case.config(), &alert(40)).await);
    assert!(
        matches!(refused, TlsError::NoAlgorithmsInCommon),
        "{refused:?}"
    );
}

on_each!(without_a_certificate_tls_is_refused_unchanged);

async fn without_a_certificate_tls_is_refused_unchanged(case: Case) {
    for address in [
        "/ip4/127.0.0.1/tcp/0/tls/ws",
        "/ip4/127.0.0.1/tcp/0/wss",
        "/ip4/127.0.0.1/tcp/0/tls/sni/localhost/ws",
    ] {
        let address: Multiaddr = address.parse().unwrap();
        match case
            .transport(case.config())
            .listen_on(ListenerId::next(), address.clone())
        {
            Err(TransportError::MultiaddrNotSupported(refused)) => assert_eq!(refused, address),
            other => panic!("{address}: {other:?}"),
        }
    }
}

on_each!(what_goes_wrong_in_a_dial_is_told_apart);

async fn what_goes_wrong_in_a_dial_is_told_apart(case: Case) {
    let config = || case.config();
    let no_websocket = answers("SSH-2.0-OpenSSH\r\n\r\n");
    let refused = dial(case, config(), &no_websocket).await.unwrap_err();
    assert!(
        matches!(refused, Error::Inner(websocket::Error::Handshake(_))),
        "{refused:?}"
    );

    let redirect = "HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\n\r\n";
    let refused = dial(case, config(), &answers(redirect)).await.unwrap_err();
    assert!(
        matches!(refused, Error::Inner(websocket::Error::TooManyRedirects)),
        "{refused:?}"
    );

    // Nobody is there: the kind of the I/O error can still be found.
    let nobody = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!(
        "/ip4/127.0.0.1/tcp/{}/ws",
        nobody.local_addr().unwrap().port()
    );
    drop(nobody);
    let refused = dial(case, config(), &address.parse().unwrap())
        .await
        .unwrap_err();
    assert_eq!(
        cause::<io::Error>(&refused).unwrap().kind(),
        io::ErrorKind::ConnectionRefused,
        "{refused:?}"
    );
}

on_each!(a_redirect_is_followed_if_allowed);

async fn a_redirect_is_followed_if_allowed(case: Case) {
    let addresses = echo(case, case.config(), &["/ip4/127.0.0.1/tcp/0/ws"]).await;
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:{}/\r\n\r\n",
        port(&addresses[0])
    );
    let config = case.config().with_max_redirects(1);
    let connection = dial(case, config, &answers(redirect.leak())).await.unwrap();
    assert_echoes(connection).await;
}

on_each!(what_cannot_be_dialled_comes_back_unchanged);

async fn what_cannot_be_dialled_comes_back_unchanged(case: Case) {
    for address in [
        "/ip4/127.0.0.1/tcp/1",
        "/memory/1",
        "/dnsaddr/localhost/tcp/1",
        "/dnsaddr/localhost/udp/1/quic-v1",
        "/ip4/127.0.0.1/dnsaddr/localhost/ws",
    ] {
        assert_refused(case, case.config(), address);
    }
}

on_each!(a_dnsaddr_is_refused_where_nothing_looks_it_up);

async fn a_dnsaddr_is_refused_where_nothing_looks_it_up(case: Case) {
    let config = case.config();
    let config = match case.runtime {
        #[cfg(feature = "tokio")]
        Runtime::Tokio => config.with_dnsaddr(false),
        // The others need not be told.
        #[cfg(any(feature = "async-std", feature = "smol"))]
        _ => config,
    };
    for address in [
        "/dnsaddr/localhost",
        "/dnsaddr/localhost/tcp/1/ws",
        "/dnsaddr/localhost/p2p/12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5",
    ] {
        assert_refused(case, config.clone(), address);
    }
}

fn assert_refused(case: Case, config: websocket::Config, address: &str) {
    let address: Multiaddr = address.parse().unwrap();
    let opts = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    match case.transport(config).dial(address.clone(), opts) {
        Err(TransportError::MultiaddrNotSupported(refused)) => assert_eq!(refused, address),
        Err(other) => panic!("{address}: {other:?}"),
        Ok(_) => panic!("{address}"),
    }
}

on_each!(what_cannot_be_dialled_is_told_by_the_very_address);

async fn what_cannot_be_dialled_is_told_by_the_very_address(case: Case) {
    for nested in ["/wss/ws", "/ws/wss", "/tls/wss", "/tls/ws/tls/ws"] {
        assert_refused(
            case,
            case.config(),
            &format!("/ip4/127.0.0.1/tcp/1{nested}"),
        );
    }
    let opts = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let error =
        |address: &Multiaddr| match case.transport(case.config()).dial(address.clone(), opts) {
            Err(TransportError::Other(lazy::Error::Inner(error))) => error,
            Err(other) => panic!("{address}: {other:?}"),
            Ok(_) => panic!("{address}"),
        };
    for (nowhere, why) in [
        ("/ip4/127.0.0.1/tcp/0/ws", "its port is 0"),
        ("/dns4/localhost/tcp/0/tls/ws", "its port is 0"),
        ("/ip4/0.0.0.0/tcp/1/ws", "its IP address is unspecified"),
    ] {
        let text = error(&nowhere.parse().unwrap()).to_string();
        assert_eq!(text, format!("cannot dial {nowhere}: {why}"));
    }
    let address = Multiaddr::empty()
        .with(Protocol::Dns4("a b".into()))
        .with(Protocol::Tcp(1))
        .with(Protocol::Ws("/".into()));
    match error(&address) {
        websocket::Error::Lookup { name, source, .. } => {
            assert_eq!(
                (&*name, source.kind()),
                ("a b", io::ErrorKind::InvalidInput)
            );
        }
        other => panic!("{other:?}"),
    }
}

on_each!(a_dial_does_nothing_until_it_is_polled);

async fn a_dial_does_nothing_until_it_is_polled(case: Case) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = format!(
        "/ip4/127.0.0.1/tcp/{}/ws",
        listener.local_addr().unwrap().port()
    );
    let opts = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let mut transport = case.transport(case.config());
    let mut dial = transport.dial(address.parse().unwrap(), opts).unwrap();
    assert_eq!(
        listener.accept().unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    within(poll_fn(|cx| {
        assert!(Pin::new(&mut dial).poll(cx).is_pending());
        match listener.accept() {
            Ok(_) => Poll::Ready(()),
            Err(_) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }))
    .await;
}

/// Over the TCP that is there to be taken.
#[cfg(feature = "tokio")]
mod with_tokio {
    use libp2p::core::transport::TransportEvent;

    use super::*;

    /// Of a name whose records nobody asks a server for, by the resolver of the system.
    #[tokio::test]
    async fn a_dnsaddr_that_cannot_be_looked_up_is_a_typed_error() {
        for engine in [Engine::Libp2p, Engine::Stream] {
            let case = Runtime::Tokio.with(engine);
            let address = "/dnsaddr/localhost/tcp/1/ws".parse().unwrap();
            let refused = dial(case, case.config(), &address).await.unwrap_err();
            match &refused {
                Error::Inner(websocket::Error::Lookup { name, source, .. }) => {
                    assert_eq!(name, "_dnsaddr.localhost");
                    assert_eq!(source.kind(), io::ErrorKind::NotFound);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn another_tcp_can_be_put_below() {
        let tcp = libp2p_tcp::tokio::Transport::new(libp2p_tcp::Config::default());
        let mut websocket = websocket::Transport::new(tcp, websocket::Config::default());
        let opts = DialOpts {
            role: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        // Nothing is below that could look it up.
        for address in ["/dnsaddr/localhost", "/dnsaddr/localhost/tcp/1/ws"] {
            let address: Multiaddr = address.parse().unwrap();
            match websocket.dial(address.clone(), opts) {
                Err(TransportError::MultiaddrNotSupported(refused)) => assert_eq!(refused, address),
                Err(other) => panic!("{address}: {other:?}"),
                Ok(_) => panic!("{address}"),
            }
        }
        // By itself too, it gives back what it refuses.
        let address: Multiaddr = "/dnsaddr/localhost/tcp/0/ws".parse().unwrap();
        match websocket.listen_on(ListenerId::next(), address.clone()) {
            Err(TransportError::MultiaddrNotSupported(refused)) => assert_eq!(refused, address),
            other => panic!("{other:?}"),
        }
        let mut transport = lazy::Transport::new(websocket, lazy::Config::default());
        let id = ListenerId::next();
        transport
            .listen_on(id, "/ip4/127.0.0.1/tcp/0/ws".parse().unwrap())
            .unwrap();
        let event = within(poll_fn(|cx| Pin::new(&mut transport).poll(cx))).await;
        assert!(
            matches!(event, TransportEvent::NewAddress { listener_id, .. } if listener_id == id)
        );
    }
}
