//! HTTP by hand: one request on each connection, with or without TLS.
#![allow(dead_code, reason = "each test uses its part")]

use std::{
    io::{BufRead as _, BufReader, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::ring};
use serde_json::Value;

use crate::authority::Authority;

/// Fails a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a server listens.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    ip: &'static str,
    port: u16,
    /// For `localhost`.
    tls: Option<Arc<ClientConfig>>,
}

pub(crate) trait Connection: Read + Write + Send {}

impl<T: Read + Write + Send> Connection for T {}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The first line and the headers.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        let found = headers.find(|(header, _)| header.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }
}

impl Server {
    pub(crate) fn plain(ip: &'static str, port: u16) -> Self {
        let tls = None;
        Self { ip, port, tls }
    }

    pub(crate) fn tls(ip: &'static str, port: u16, authority: &Authority) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().into()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tls = Some(Arc::new(config));
        Self { ip, port, tls }
    }

    pub(crate) fn connect(&self) -> Box<dyn Connection> {
        let socket = TcpStream::connect((self.ip, self.port)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        match &self.tls {
            None => Box::new(socket),
            Some(config) => {
                let name = "localhost".try_into().unwrap();
                let session = ClientConnection::new(Arc::clone(config), name).unwrap();
                Box::new(StreamOwned::new(session, socket))
            }
        }
    }

    /// Everything up to the end of the connection, which has to be a proper one.
    pub(crate) fn ask(&self, request: &str) -> Answer {
        let mut connection = self.connect();
        connection.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.request("GET", path)
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> Answer {
        self.ask(&format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))
    }

    pub(crate) fn status(&self) -> Value {
        serde_json::from_str(&self.get("/status.json").body).unwrap()
    }

    /// Or how it is refused.
    pub(crate) fn events(&self) -> Result<Events, u16> {
        let mut connection = self.connect();
        // Without chunks, through proxies too.
        connection
            .write_all(b"GET /events HTTP/1.0\r\nHost: localhost\r\n\r\n")
            .unwrap();
        let mut events = Events {
            lines: BufReader::new(connection),
            head: String::new(),
        };
        while !events.head.ends_with("\r\n\r\n") {
            assert!(events.lines.read_line(&mut events.head).unwrap() > 0);
        }
        match events.head.split(' ').nth(1).unwrap() {
            "200" => Ok(events),
            status => Err(status.parse().unwrap()),
        }
    }
}

/// Server-sent events.
pub(crate) struct Events {
    lines: BufReader<Box<dyn Connection>>,
    pub(crate) head: String,
}

impl Events {
    /// The next line that is not empty. Nothing at the end.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        while line.trim().is_empty() {
            line.clear();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
        }
        Some(line.trim_end().to_owned())
    }

    /// The next state.
    pub(crate) fn state(&mut self) -> Value {
        loop {
            let line = self.line().expect("one more state");
            if let Some(data) = line.strip_prefix("data: ") {
                return serde_json::from_str(data).unwrap();
            }
        }
    }

    /// The first state like this.
    pub(crate) fn until(&mut self, mut is_it: impl FnMut(&Value) -> bool) -> Value {
        loop {
            let state = self.state();
            if is_it(&state) {
                return state;
            }
        }
    }
}
