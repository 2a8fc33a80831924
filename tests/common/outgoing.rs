//! A SOCKS5 or HTTP proxy on this host, which knows names that nobody else knows and remembers what it was asked for.
#![allow(dead_code, reason = "each test uses its part")]

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Socks5,
    Http,
}

pub(crate) const USER: &str = "aladdin";
pub(crate) const PASSWORD: &str = "opensesame";

/// What a proxy does.
pub(crate) struct Rules {
    pub(crate) kind: Kind,
    /// Whether the credentials above are required.
    pub(crate) is_closed: bool,
    /// Where targets lead. What is not among them cannot be reached.
    pub(crate) targets: HashMap<&'static str, SocketAddr>,
}

pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    pub(crate) fn new(rules: Rules) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (rules, all) = (Arc::new(rules), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (rules, asked) = (Arc::clone(&rules), Arc::clone(&all));
                // Who connects may leave at any time.
                thread::spawn(move || serve(stream?, &rules, &asked));
            }
        });
        Self { address, asked }
    }

    /// The targets that were asked for since the last call, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn serve(mut client: TcpStream, rules: &Rules, asked: &Mutex<Vec<String>>) -> io::Result<()> {
    let target = match rules.kind {
        Kind::Socks5 => asked_by_socks5(&mut client, rules)?,
        Kind::Http => asked_by_http(&mut client, rules)?,
    };
    asked.lock().unwrap().push(target.clone());
    let server = rules.targets.get(&*target);
    let server = server.and_then(|server| TcpStream::connect(server).ok());
    let answer: &[u8] = match (rules.kind, server.is_some()) {
        (Kind::Socks5, true) => &[5, 0, 0, 1, 0, 0, 0, 0, 0, 0],
        (Kind::Socks5, false) => &[5, 4, 0, 1, 0, 0, 0, 0, 0, 0],
        (Kind::Http, true) => b"HTTP/1.1 200 Connection established\r\n\r\n",
        (Kind::Http, false) => b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nnone",
    };
    client.write_all(answer)?;
    let Some(server) = server else { return Ok(()) };
    let (to, from) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || copy(from, to));
    copy(server, client);
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn bytes<const COUNT: usize>(from: &mut impl Read) -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn text(from: &mut impl Read) -> io::Result<String> {
    let [length] = bytes(from)?;
    let mut text = vec![0; length.into()];
    from.read_exact(&mut text)?;
    String::from_utf8(text).map_err(io::Error::other)
}

fn asked_by_socks5(client: &mut TcpStream, rules: &Rules) -> io::Result<String> {
    let [version] = bytes(client)?;
    assert_eq!(version, 5);
    let offered = text(client)?;
    let wanted = if rules.is_closed { 2 } else { 0 };
    if !offered.as_bytes().contains(&wanted) {
        client.write_all(&[5, 0xff])?;
        return Err(io::Error::other("credentials are required"));
    }
    client.write_all(&[5, wanted])?;
    if rules.is_closed {
        assert_eq!(bytes(client)?, [1]);
        let (user, password) = (text(client)?, text(client)?);
        if user != USER || password != PASSWORD {
            client.write_all(&[1, 1])?;
            return Err(io::Error::other("other credentials are required"));
        }
        client.write_all(&[1, 0])?;
    }
    assert_eq!(bytes(client)?, [5, 1, 0]);
    let host = match bytes(client)? {
        [1] => Ipv4Addr::from(bytes::<4>(client)?).to_string(),
        [4] => format!("[{}]", Ipv6Addr::from(bytes::<16>(client)?)),
        [3] => text(client)?,
        other => panic!("no type of address: {other:?}"),
    };
    Ok(format!("{host}:{}", u16::from_be_bytes(bytes(client)?)))
}

fn asked_by_http(client: &mut TcpStream, rules: &Rules) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(bytes::<1>(client)?);
    }
    let head = String::from_utf8(head).map_err(io::Error::other)?;
    if rules.is_closed
        && !head.contains("\r\nProxy-Authorization: Basic YWxhZGRpbjpvcGVuc2VzYW1l\r\n")
    {
        client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")?;
        return Err(io::Error::other("other credentials are required"));
    }
    let target = head.strip_prefix("CONNECT ").unwrap();
    let (target, rest) = target.split_once(" HTTP/1.1\r\n").unwrap();
    assert!(rest.starts_with(&format!("Host: {target}\r\n")));
    Ok(target.to_owned())
}
