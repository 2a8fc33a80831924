//! Certificates that come late and are replaced, with real TLS on real sockets.
#![cfg(any(feature = "async-std", feature = "smol", feature = "tokio"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/authority.rs"]
mod authority;
mod common;
#[path = "common/echo.rs"]
mod echo;

use std::{
    fs,
    net::TcpStream,
    path::{Path, PathBuf},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use authority::{Authority, Leaf, Signed};
use common::{Case, new_address, next, on_each, socket_address, swarm, within};
use echo::{answers, assert_echoes, dial, dial_with, echo, port, send_back};
use futures::{
    AsyncReadExt as _, AsyncWriteExt as _, FutureExt as _,
    channel::oneshot,
    future::{self, poll_fn},
};
use futures_timer::Delay;
use libp2p::{
    Multiaddr, Transport as _,
    core::transport::{ListenerId, TransportEvent},
    futures::StreamExt as _,
    multiaddr::Protocol,
    swarm::SwarmEvent,
};
use libp2p_lazy_websocket::{
    lazy::Change,
    websocket::{CertificateError, Certificates, Config, Connection},
};
use tokio::sync::mpsc;

const TLS: &str = "/ip4/127.0.0.1/tcp/0/tls/ws";
const PLAIN: &str = "/ip4/127.0.0.1/tcp/0/ws";

/// The serial number of the certificate that a new handshake is shown.
async fn served(authority: &Authority, address: &Multiaddr) -> u64 {
    let (address, authority) = (socket_address(address), authority.der());
    let (sender, handshake) = oneshot::channel();
    thread::spawn(move || {
        let mut tcp = TcpStream::connect(address).unwrap();
        let _ = sender.send(authority::served(authority, &mut tcp).unwrap());
    });
    within(handshake).await.unwrap()
}

/// Waits until that is shown, without a failing handshake in between.
async fn until_served(authority: &Authority, address: &Multiaddr, serial: u64) {
    within(async { while served(authority, address).await != serial {} }).await;
}

/// Listens in a task of its own, sends everything back, and tells of everything else that happens.
fn listen(
    case: Case,
    config: Config,
    address: &str,
) -> mpsc::UnboundedReceiver<Result<Multiaddr, String>> {
    let (sender, events) = mpsc::unbounded_channel();
    let mut transport = case.transport(config);
    let id = ListenerId::next();
    transport.listen_on(id, address.parse().unwrap()).unwrap();
    case.spawn(async move {
        loop {
            let event = poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
            let told = match event {
                TransportEvent::Incoming { upgrade, .. } => {
                    case.spawn(async move {
                        if let Ok(connection) = upgrade.await {
                            let _ = send_back(connection).await;
                        }
                    })
                    .forget();
                    continue;
                }
                TransportEvent::NewAddress { listen_addr, .. } => Ok(listen_addr),
                other => Err(format!("{other:?}")),
            };
            if sender.send(told).is_err() {
                return;
            }
        }
    })
    .forget();
    events
}

async fn assert_answers(connection: &mut Connection) {
    let sent = [7; 100];
    let mut received = [0; 100];
    within(async {
        connection.write_all(&sent).await?;
        connection.flush().await?;
        connection.read_exact(&mut received).await
    })
    .await
    .unwrap();
    assert_eq!(sent, received);
}

on_each!(a_listener_without_a_certificate_waits_and_holds_up_nobody);

async fn a_listener_without_a_certificate_waits_and_holds_up_nobody(case: Case) {
    let authority = Authority::new();
    let certificates = Certificates::new();
    let config = case.config().with_certificates(certificates.clone());
    let mut node = swarm(case, case.transport(config));
    let waits = node.listen_on(TLS.parse().unwrap()).unwrap();
    for _ in 0..5 {
        node.listen_on(PLAIN.parse().unwrap()).unwrap();
    }
    for _ in 0..5 {
        let address = new_address(&mut node).await;
        assert!(!address.to_string().contains("tls"), "{address}");
    }
    assert!(node.select_next_some().now_or_never().is_none());

    certificates
        .set(authority.sign_number(1).certificate())
        .unwrap();
    let address = match next(&mut node).await {
        SwarmEvent::NewListenAddr {
            listener_id,
            address,
        } if listener_id == waits => address,
        other => panic!("an address of the listener that waited, not {other:?}"),
    };
    let config = case.config().with_trust_anchor(authority.anchor());
    let mut other = swarm(case, case.transport(config));
    other.dial(address).unwrap();
    within(async {
        loop {
            match future::select(node.select_next_some(), other.select_next_some()).await {
                future::Either::Left((event, _)) => assert!(
                    !matches!(event, SwarmEvent::IncomingConnectionError { .. }),
                    "{event:?}"
                ),
                future::Either::Right((event, _)) => match event {
                    SwarmEvent::ConnectionEstablished { .. } => break,
                    SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error:?}"),
                    _ => {}
                },
            }
        }
    })
    .await;
}

on_each!(a_connection_and_its_listener_live_on_over_a_rotation);

async fn a_connection_and_its_listener_live_on_over_a_rotation(case: Case) {
    let authority = Authority::new();
    let certificates = authority.sign_number(1).in_use();
    let config = case.config().with_certificates(certificates.clone());
    let mut events = listen(case, config, TLS);
    let address = within(events.recv()).await.unwrap().unwrap();
    assert_eq!(served(&authority, &address).await, 1);

    let config = case.config().with_trust_anchor(authority.anchor());
    let mut connection = dial(case, config, &address).await.unwrap();
    assert_answers(&mut connection).await;
    for serial in 2..5 {
        // Half of it is on its way when the certificate changes.
        connection.write_all(&[1; 50]).await.unwrap();
        connection.flush().await.unwrap();
        certificates
            .set(authority.sign_number(serial).certificate())
            .unwrap();
        within(connection.read_exact(&mut [0; 50])).await.unwrap();
        assert_answers(&mut connection).await;
        assert_eq!(served(&authority, &address).await, serial);
    }
    // One that is refused changes nothing.
    let expired = authority.sign(&Leaf {
        serial: 9,
        valid: std::time::UNIX_EPOCH..std::time::UNIX_EPOCH + Duration::from_secs(1),
        ..Leaf::default()
    });
    let refused = certificates.set(expired.certificate()).unwrap_err();
    assert!(matches!(refused, CertificateError::Expired { .. }));
    assert_eq!(served(&authority, &address).await, 4);
    assert_answers(&mut connection).await;
    assert_eq!(events.try_recv(), Err(mpsc::error::TryRecvError::Empty));
}

on_each!(one_handle_serves_two_transports);

async fn one_handle_serves_two_transports(case: Case) {
    let authority = Authority::new();
    let certificates = Certificates::new();
    let config = case.config().with_certificates(certificates.clone());
    let mut listeners = [listen(case, config.clone(), TLS), listen(case, config, TLS)];
    certificates
        .set(authority.sign_number(1).certificate())
        .unwrap();
    let mut addresses = Vec::new();
    for events in &mut listeners {
        let address = within(events.recv()).await.unwrap().unwrap();
        assert_eq!(served(&authority, &address).await, 1);
        addresses.push(address);
    }
    certificates
        .set(authority.sign_number(2).certificate())
        .unwrap();
    for address in &addresses {
        assert_eq!(served(&authority, address).await, 2);
    }
}

on_each!(what_a_dial_trusts_and_follows_is_the_same_after_a_rotation);

async fn what_a_dial_trusts_and_follows_is_the_same_after_a_rotation(case: Case) {
    let authority = Authority::new();
    let addresses = echo(
        case,
        case.config()
            .with_certificates(authority.sign_number(1).in_use()),
        &[TLS],
    )
    .await;
    let certificates = Certificates::new();
    let mut dialler = case.transport(
        case.config()
            .with_certificates(certificates.clone())
            .with_trust_anchor(authority.anchor())
            .with_max_redirects(1),
    );
    // It has a listener of its own, whose address tells that the certificate was taken up.
    dialler
        .listen_on(ListenerId::next(), TLS.parse().unwrap())
        .unwrap();
    for serial in 1..4 {
        certificates
            .set(authority.sign_number(serial).certificate())
            .unwrap();
        let polled = poll_fn(|cx| Pin::new(&mut dialler).poll(cx));
        match serial {
            1 => assert!(within(polled).await.into_new_address().is_some()),
            _ => assert!(polled.now_or_never().is_none()),
        }
        let direct = dial_with(&mut dialler, &addresses[0]).await;
        assert_echoes(direct.unwrap()).await;
        let redirect = format!(
            "HTTP/1.1 302 Found\r\nLocation: wss://127.0.0.1:{}/\r\n\r\n",
            port(&addresses[0])
        );
        let redirected = dial_with(&mut dialler, &answers(redirect.leak())).await;
        assert_echoes(redirected.unwrap()).await;
    }
}

on_each!(no_dial_fails_while_a_hundred_certificates_follow_each_other);

async fn no_dial_fails_while_a_hundred_certificates_follow_each_other(case: Case) {
    const ROTATIONS: u64 = 100;

    let authority = Authority::new();
    let certificates = authority.sign_number(1).in_use();
    let config = case.config().with_certificates(certificates.clone());
    let mut events = listen(case, config, TLS);
    let address = within(events.recv()).await.unwrap().unwrap();
    let dialled = Arc::new(AtomicUsize::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let (one_more, mut dials) = mpsc::channel(1);
    let diallers: Vec<_> = (0..4)
        .map(|_| {
            let config = case.config().with_trust_anchor(authority.anchor());
            let (address, dialled) = (address.clone(), Arc::clone(&dialled));
            let (is_over, one_more) = (Arc::clone(&is_over), one_more.clone());
            case.spawn(async move {
                let mut transport = case.transport(config);
                while !is_over.load(Ordering::Relaxed) {
                    let mut connection = dial_with(&mut transport, &address).await.unwrap();
                    assert_answers(&mut connection).await;
                    dialled.fetch_add(1, Ordering::Relaxed);
                    let _ = one_more.try_send(());
                }
            })
        })
        .collect();
    drop(one_more);
    for serial in 2..ROTATIONS + 2 {
        certificates
            .set(authority.sign_number(serial).certificate())
            .unwrap();
        within(dials.recv()).await.unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    for dialler in diallers {
        within(dialler).await;
    }
    assert!(dialled.load(Ordering::Relaxed) >= 100);
    until_served(&authority, &address, ROTATIONS + 1).await;
    assert_eq!(events.try_recv(), Err(mpsc::error::TryRecvError::Empty));
}

/// A directory of this test alone, gone with the value.
struct Directory(PathBuf);

impl Directory {
    fn new(case: Case, name: &str) -> Self {
        let name = format!("{name}-{:?}-{:?}", case.runtime, case.engine);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Puts a file in the place of another, as one step.
    fn replace(&self, name: &str, contents: &str) {
        let new = self.file("new");
        fs::write(&new, contents).unwrap();
        fs::rename(new, self.file(name)).unwrap();
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn watch(chain: PathBuf, key: PathBuf) -> Certificates {
    Certificates::watch(chain, key).unwrap()
}

/// Waits until the last that was offered is refused for this.
async fn refused(certificates: &Certificates, expected: fn(&CertificateError) -> bool) {
    within(async {
        while !certificates
            .last_error()
            .is_some_and(|error| expected(&error))
        {
            Delay::new(Duration::from_millis(5)).await;
        }
    })
    .await;
}

on_each!(files_are_followed_from_before_they_exist);

async fn files_are_followed_from_before_they_exist(case: Case) {
    let authority = Authority::new();
    let directory = Directory::new(case, "followed");
    let certificates = watch(directory.file("chain.pem"), directory.file("key.pem"));
    let config = case.config().with_certificates(certificates.clone());
    let mut events = listen(case, config, TLS);
    let is_missing = |error: &CertificateError| matches!(error, CertificateError::File { .. });
    refused(&certificates, is_missing).await;
    assert_eq!(events.try_recv(), Err(mpsc::error::TryRecvError::Empty));

    // The key first, in place.
    let first = authority.sign_number(1);
    fs::write(directory.file("key.pem"), first.key_pem()).unwrap();
    fs::write(directory.file("chain.pem"), first.chain_pem()).unwrap();
    let address = within(events.recv()).await.unwrap().unwrap();
    until_served(&authority, &address, 1).await;
    assert!(certificates.last_error().is_none());

    // The chain first, as certbot does it, and the key a good while later.
    let second = authority.sign_number(2);
    directory.replace("chain.pem", &second.chain_pem());
    let is_mismatch =
        |error: &CertificateError| matches!(error, CertificateError::KeyMismatch { .. });
    refused(&certificates, is_mismatch).await;
    assert_eq!(served(&authority, &address).await, 1);
    directory.replace("key.pem", &second.key_pem());
    until_served(&authority, &address, 2).await;

    // What is wrong, or gone, leaves it as it is.
    directory.replace("key.pem", &authority.sign_number(7).key_pem());
    refused(&certificates, is_mismatch).await;
    assert_eq!(served(&authority, &address).await, 2);
    fs::remove_file(directory.file("key.pem")).unwrap();
    refused(&certificates, is_missing).await;
    assert_eq!(served(&authority, &address).await, 2);
    let third = authority.sign_number(3);
    directory.replace("key.pem", &third.key_pem());
    directory.replace("chain.pem", &third.chain_pem());
    until_served(&authority, &address, 3).await;
    assert!(certificates.last_error().is_none());
    assert_eq!(events.try_recv(), Err(mpsc::error::TryRecvError::Empty));
}

#[cfg(unix)]
on_each!(symbolic_links_are_followed_to_where_they_lead_now);

#[cfg(unix)]
async fn symbolic_links_are_followed_to_where_they_lead_now(case: Case) {
    let authority = Authority::new();
    let directory = Directory::new(case, "links");
    let put = |serial: u64, signed: &Signed| {
        let name = format!("..{serial}");
        fs::create_dir(directory.file(&name)).unwrap();
        for (file, text) in [
            ("chain.pem", signed.chain_pem()),
            ("key.pem", signed.key_pem()),
        ] {
            fs::write(directory.file(&name).join(file), text).unwrap();
        }
        // As Kubernetes does it: the files are links through `..data`, which is renamed over the old one.
        std::os::unix::fs::symlink(name, directory.file("new")).unwrap();
        fs::rename(directory.file("new"), directory.file("..data")).unwrap();
    };
    for file in ["chain.pem", "key.pem"] {
        let target = Path::new("..data").join(file);
        std::os::unix::fs::symlink(target, directory.file(file)).unwrap();
    }
    let certificates = watch(directory.file("chain.pem"), directory.file("key.pem"));
    let config = case.config().with_certificates(certificates);
    let mut events = listen(case, config, TLS);
    put(1, &authority.sign_number(1));
    let address = within(events.recv()).await.unwrap().unwrap();
    for serial in 2..5 {
        put(serial, &authority.sign_number(serial));
        until_served(&authority, &address, serial).await;
    }
    assert_eq!(events.try_recv(), Err(mpsc::error::TryRecvError::Empty));
}

on_each!(a_listener_says_why_it_waits);

async fn a_listener_says_why_it_waits(case: Case) {
    let authority = Authority::new();
    let directory = Directory::new(case, "why");
    let (chain, key) = (directory.file("chain.pem"), directory.file("key.pem"));
    let certificates = watch(chain.clone(), key.clone());
    let mut transport = case.transport(case.config().with_certificates(certificates));
    let readiness = transport.readiness();
    let mut changes = readiness.changes();
    let id = ListenerId::next();
    transport.listen_on(id, TLS.parse().unwrap()).unwrap();
    case.spawn(async move {
        loop {
            poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
        }
    })
    .forget();
    let mut waits_for = async |reason: String| {
        let expected = format!("{TLS}: waiting for certificate: {reason}");
        within(async {
            loop {
                match changes.next().await {
                    Some(Change::Status { status, .. }) if status.to_string() == expected => break,
                    Some(_) => {}
                    None => panic!("the transport is gone"),
                }
            }
        })
        .await;
    };

    waits_for(format!("{} does not exist", chain.display())).await;
    let signed = authority.sign_number(1);
    directory.replace("chain.pem", &signed.key_pem());
    waits_for(format!("{} does not exist", key.display())).await;
    directory.replace("key.pem", &signed.chain_pem());
    waits_for(format!(
        "{} has a private key in place of a certificate; perhaps chain and key are swapped",
        chain.display()
    ))
    .await;
    // A byte order mark, and line ends that were lost on the way, are no reason.
    directory.replace("key.pem", &signed.key_pem().replace('\n', "\\n"));
    directory.replace("chain.pem", &format!("\u{feff}{}", signed.chain_pem()));
    within(readiness.ready(id)).await.unwrap();
}

on_each!(one_file_with_both_is_followed);

async fn one_file_with_both_is_followed(case: Case) {
    let authority = Authority::new();
    let directory = Directory::new(case, "bundle");
    let bundle = directory.file("bundle.pem");
    let config = case
        .config()
        .with_certificates(watch(bundle.clone(), bundle));
    let mut events = listen(case, config, TLS);
    let mut address = None;
    for serial in 1..4 {
        let signed = authority.sign_number(serial);
        let both = format!("{}{}", signed.key_pem(), signed.chain_pem());
        directory.replace("bundle.pem", &both);
        let address = match &mut address {
            Some(address) => address,
            none => none.insert(within(events.recv()).await.unwrap().unwrap()),
        };
        until_served(&authority, address, serial).await;
    }
}

on_each!(a_name_waits_for_a_certificate_that_has_it);

async fn a_name_waits_for_a_certificate_that_has_it(case: Case) {
    let authority = Authority::new();
    let named = |names: &[&str]| {
        let leaf = Leaf {
            names,
            ..Leaf::default()
        };
        authority.sign(&leaf).certificate()
    };
    for address in [
        "/dns4/localhost/tcp/0/tls/ws",
        "/ip4/127.0.0.1/tcp/0/tls/sni/localhost/ws",
    ] {
        let certificates = Certificates::new();
        certificates
            .set(named(&["a.example", "127.0.0.1"]))
            .unwrap();
        let config = case.config().with_certificates(certificates.clone());
        let mut transport = case.transport(config);
        let readiness = transport.readiness();
        let id = ListenerId::next();
        transport.listen_on(id, address.parse().unwrap()).unwrap();
        let status = readiness.status(id).unwrap();
        assert_eq!(
            status.to_string(),
            format!(
                "{address}: waiting for a certificate for its name; the present one is for a.example, 127.0.0.1"
            )
        );
        case.spawn(async move {
            loop {
                poll_fn(|cx| Pin::new(&mut transport).poll(cx)).await;
            }
        })
        .forget();
        certificates.set(named(&["localhost"])).unwrap();
        within(readiness.ready(id)).await.unwrap();
    }
}

on_each!(addresses_are_those_that_the_certificate_verifies);

async fn addresses_are_those_that_the_certificate_verifies(case: Case) {
    let authority = Authority::new();
    let named = |names: &[&str]| {
        let leaf = Leaf {
            names,
            ..Leaf::default()
        };
        authority.sign(&leaf).certificate()
    };
    let certificates = Certificates::new();
    certificates
        .set(named(&["*.example", "192.0.2.1"]))
        .unwrap();
    let config = case.config().with_certificates(certificates.clone());
    let mut events = listen(case, config, TLS);

    // Nobody could verify it, so it waits for another one.
    certificates
        .set(named(&["*.example", "localhost"]))
        .unwrap();
    let by_name = within(events.recv()).await.unwrap().unwrap();
    let Some(Protocol::Tcp(port)) = by_name.iter().nth(1) else {
        panic!("{by_name}");
    };
    let expected = format!("/ip4/127.0.0.1/tcp/{port}/tls/sni/localhost/ws");
    assert_eq!(by_name.to_string(), expected);
    let config = || case.config().with_trust_anchor(authority.anchor());
    assert_echoes(dial(case, config(), &by_name).await.unwrap()).await;

    certificates
        .set(named(&["localhost", "127.0.0.1"]))
        .unwrap();
    let bare = within(events.recv()).await.unwrap().unwrap();
    assert_eq!(
        bare.to_string(),
        format!("/ip4/127.0.0.1/tcp/{port}/tls/ws")
    );
    let expired = within(events.recv()).await.unwrap().unwrap_err();
    assert!(
        expired.contains("AddressExpired") && expired.contains("/sni/localhost"),
        "{expired}"
    );
    assert_echoes(dial(case, config(), &bare).await.unwrap()).await;
}
