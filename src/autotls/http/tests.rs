use std::net::Ipv4Addr;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    },
};

use super::*;

fn headers(name: &'static str, values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(name, value.parse().unwrap());
    }
    headers
}

#[test]
fn the_families_of_a_server_alternate_from_its_first_address_on() {
    let of = |addresses: &[&str]| {
        let addresses = addresses
            .iter()
            .map(|ip| SocketAddr::new(ip.parse().unwrap(), 443));
        addresses.collect::<Vec<_>>()
    };
    let found = of(&["::1", "::2", "::3", "1.1.1.1", "2.2.2.2"]);
    let expected = of(&["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"]);
    assert_eq!(alternating(found), expected);
    assert_eq!(
        alternating(of(&["1.1.1.1", "::1"])),
        of(&["1.1.1.1", "::1"])
    );
    assert_eq!(alternating(Vec::new()), []);
    let many = (0..20).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    assert_eq!(alternating(many.collect()).len(), MAX_ADDRESSES);
}

#[tokio::test]
async fn an_address_that_does_not_answer_or_refuses_is_no_reason_to_wait_for_it() {
    // It accepts nobody, and has no room for those who wait.
    let full = tokio::net::TcpSocket::new_v4().unwrap();
    full.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let full = full.listen(0).unwrap();
    let stuck = full.local_addr().unwrap();
    let waiting = TcpStream::connect(stuck).await.unwrap();
    let closed = tokio::net::TcpSocket::new_v4().unwrap();
    closed.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let closed = closed.local_addr().unwrap();
    let good = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let good = good.local_addr().unwrap();

    // One that waits for each in turn takes longer.
    let time = 2 * HEAD_START + CONNECT_TIMEOUT / 2;
    let raced = within(time, pin!(race(vec![stuck, closed, good]))).await;
    assert_eq!(raced.unwrap().unwrap().peer_addr().unwrap(), good);
    let refused = race(vec![closed, closed]).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    drop(waiting);
}

#[test]
fn a_wait_is_seconds_or_a_date_and_at_most_a_day() {
    let now = httpdate::parse_http_date("Fri, 31 Dec 1999 23:59:00 GMT").unwrap();
    let cases = [
        ("0", Some(0)),
        (" 120 ", Some(120)),
        ("86401", Some(86_400)),
        ("18446744073709551615", Some(86_400)),
        ("Fri, 31 Dec 1999 23:59:59 GMT", Some(59)),
        ("Fri, 31 Dec 1999 23:58:59 GMT", Some(0)),
        ("Fri, 31 Dec 9999 23:59:59 GMT", Some(86_400)),
        ("18446744073709551616", None),
        ("-1", None),
        ("soon", None),
    ];
    for (value, expected) in cases {
        let wait = retry_after(&headers("retry-after", &[value]), now);
        assert_eq!(wait, expected.map(Duration::from_secs), "{value}");
    }
    assert_eq!(retry_after(&HeaderMap::new(), now), None);
}

#[test]
fn the_host_is_without_the_port_of_the_scheme() {
    let cases = [
        ("https://Example.com/a", "example.com"),
        ("https://example.com:443", "example.com"),
        ("https://example.com:80", "example.com:80"),
        ("http://example.com:80/", "example.com"),
        ("http://127.0.0.1:5380", "127.0.0.1:5380"),
        ("http://[::1]:443", "[::1]:443"),
    ];
    for (text, expected) in cases {
        assert_eq!(host(&url("broker", text).unwrap()), expected);
    }
}

#[test]
fn cookies_come_back_by_their_last_values() {
    let mut cookies = Cookies::default();
    let set = [
        "a=1; Path=/; HttpOnly",
        "b=2",
        "a=3; Secure",
        "strange",
        "=4",
    ];
    cookies.read(&headers("set-cookie", &set));
    let mut sent = HeaderMap::new();
    cookies.write(&mut sent);
    assert_eq!(sent["cookie"], "b=2; a=3; =4");
    let many: Vec<_> = (0..100).map(|n| format!("c{n}=1")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    cookies.read(&headers("set-cookie", &many));
    let large = format!("large={}", "a".repeat(MAX_COOKIE));
    cookies.read(&headers("set-cookie", &["a=5", &large]));
    assert_eq!(cookies.0.len(), MAX_COOKIES);
    assert!(!cookies.0.iter().any(|(name, _)| name == "large"));
    let mut sent = HeaderMap::new();
    Cookies::default().write(&mut sent);
    assert!(sent.is_empty());
}

/// What answers each connection, whatever it asks, on a port of its own.
async fn server(answer: Vec<u8>) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let _ = tcp.read(&mut [0; 1024]).await;
                let _ = tcp.write_all(&answer).await;
                if answer.is_empty() {
                    std::future::pending::<()>().await;
                }
            });
        }
    });
    port
}

async fn get(client: &Client, url: &str, timeout: Duration) -> Result<Response<Bytes>, Error> {
    let request = Request::get(url).body(Bytes::new()).unwrap();
    client.send(request, timeout).await
}

#[tokio::test]
async fn a_body_ends_at_a_mebibyte_and_a_head_at_64_kib() {
    let client = Client::new(&[]);
    let body = |size: usize| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n");
        [head.into_bytes(), vec![b'a'; size]].concat()
    };
    let url = format!("http://127.0.0.1:{}/", server(body(MAX_BODY)).await);
    let whole = get(&client, &url, TIMEOUT).await.unwrap();
    assert_eq!(whole.body().len(), MAX_BODY);
    let endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    let long = "a".repeat(2 * MAX_HEAD);
    let head = format!("HTTP/1.1 204 No Content\r\na: {long}\r\n\r\n");
    let answers = [
        body(MAX_BODY + 1),
        [endless, vec![b'a'; MAX_BODY + 1]].concat(),
        head.into_bytes(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na".to_vec(),
        b"SSH-2.0\r\n".to_vec(),
    ];
    for answer in answers {
        let start = String::from_utf8_lossy(&answer[..20.min(answer.len())]).into_owned();
        let url = format!("http://127.0.0.1:{}/", server(answer).await);
        let refused = get(&client, &url, TIMEOUT).await;
        assert!(
            matches!(refused, Err(Error::Connection { .. })),
            "{start}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let port = server(Vec::new()).await;
    for scheme in ["http", "https"] {
        let url = format!("{scheme}://127.0.0.1:{port}/");
        let after = Duration::from_millis(50);
        let refused = get(&Client::new(&[]), &url, after).await.unwrap_err();
        let server = format!("127.0.0.1:{port}");
        assert_eq!(refused, Error::TimedOut { server, after });
    }
}

/// A TLS server with a chain of one, and what signed it.
async fn tls_server(names: &[&str]) -> (u16, TrustAnchor, TrustAnchor) {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority
        .distinguished_name
        .push(DnType::CommonName, "an authority");
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let issuer: &Issuer<'_, _> = &authority;
    let leaf = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, issuer)
        .unwrap();
    let der = leaf.der().clone();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![der.clone()], key.into())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (tcp, _) = listener.accept().await.unwrap();
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut tls) = acceptor.accept(tcp).await else {
                    return;
                };
                let _ = tls.read(&mut [0; 1024]).await;
                let _ = tls.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
                let _ = tls.shutdown().await;
            });
        }
    });
    let anchor = |der: &CertificateDer<'_>| TrustAnchor::from_der(der.to_vec()).unwrap();
    (port, anchor(&der), anchor(authority.der()))
}

#[tokio::test]
async fn tls_servers_are_those_that_the_anchors_vouch_for() {
    let (port, own, authority) = tls_server(&["localhost", "127.0.0.1"]).await;
    let (_, other, _) = tls_server(&["localhost"]).await;
    for anchor in [own, authority.clone()] {
        let client = Client::new(&[other.clone(), anchor]);
        for host in ["localhost", "127.0.0.1"] {
            let url = format!("https://{host}:{port}/");
            let response = get(&client, &url, TIMEOUT).await.unwrap();
            assert_eq!(response.status(), 204);
        }
    }
    let url = format!("https://127.0.0.1:{port}/");
    let refused = get(&Client::new(&[other]), &url, TIMEOUT)
        .await
        .unwrap_err();
    let text = refused.to_string();
    assert!(text.contains("`Config::with_trust_anchor`"), "{text}");
    let (port, _, authority) = tls_server(&["other.example.com"]).await;
    let url = format!("https://127.0.0.1:{port}/");
    let refused = get(&Client::new(&[authority]), &url, TIMEOUT)
        .await
        .unwrap_err();
    let text = refused.to_string();
    assert!(text.ends_with("is not valid for 127.0.0.1"), "{text}");
}

#[tokio::test]
async fn a_server_without_tls_is_told_as_one() {
    let port = server(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()).await;
    let url = format!("https://127.0.0.1:{port}/");
    let refused = get(&Client::new(&[]), &url, TIMEOUT).await.unwrap_err();
    let expected = format!("no connection to 127.0.0.1:{port}: it does not speak TLS on this port");
    assert_eq!(refused.to_string(), expected);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let url = format!("http://127.0.0.1:{port}/");
    let refused = get(&Client::new(&[]), &url, TIMEOUT).await.unwrap_err();
    let text = refused.to_string();
    let expected = format!("no connection to 127.0.0.1:{port}: ");
    assert!(
        text.starts_with(&expected) && text.contains("refused"),
        "{text}"
    );
    for strange in ["/path", "ftp://example.com/", "http://a:b@example.com/"] {
        let refused = get(&Client::new(&[]), strange, TIMEOUT).await.unwrap_err();
        assert!(matches!(refused, Error::Answer { .. }), "{refused:?}");
    }
}
