use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig};

use super::*;

/// A name server on a socket of this host, which knows the TXT records of some names.
struct NameServer {
    address: SocketAddr,
    zone: Arc<Mutex<HashMap<String, Vec<Vec<u8>>>>>,
}

impl NameServer {
    fn new() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = socket.local_addr().unwrap();
        let zone: Arc<Mutex<HashMap<_, Vec<Vec<u8>>>>> = Arc::default();
        let known = Arc::clone(&zone);
        thread::spawn(move || {
            let mut query = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut query).unwrap();
                let answer = answer(&query[..length], &known.lock().unwrap());
                socket.send_to(&answer, from).unwrap();
            }
        });
        Self { address, zone }
    }

    fn set(&self, name: &str, texts: &[&[u8]]) {
        let texts = texts.iter().map(|text| text.to_vec());
        let mut zone = self.zone.lock().unwrap();
        zone.insert(name.to_owned(), texts.collect());
    }
}

fn only(name_server: SocketAddr) -> ResolverConfig {
    let mut connection = ConnectionConfig::udp();
    connection.port = name_server.port();
    let mut server = NameServerConfig::udp(name_server.ip());
    server.connections = vec![connection];
    ResolverConfig::from_parts(None, Vec::new(), vec![server])
}

/// RFC 1035, section 4: the header with the question, and a record for each text. A name that is not known has none.
fn answer(query: &[u8], zone: &HashMap<String, Vec<Vec<u8>>>) -> Vec<u8> {
    const RESPONSE: [u8; 2] = [0x81, 0x80];
    const NO_SUCH_NAME: [u8; 2] = [0x81, 0x83];
    /// The name of the question.
    const SAME_NAME: [u8; 2] = [0xc0, 12];
    const TXT_IN: [u8; 4] = [0, 16, 0, 1];

    let mut labels = Vec::new();
    let mut at = 12;
    while query[at] != 0 {
        let label = &query[at + 1..][..usize::from(query[at])];
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        at += 1 + label.len();
    }
    let question = &query[12..at + 5];
    let found = match zone.get(&labels.join(".")) {
        Some(texts) if question.ends_with(&TXT_IN) => Some(texts),
        _ => None,
    };
    let count = found.map_or(0, Vec::len).try_into().unwrap();
    let mut answer = query[..2].to_vec();
    answer.extend(found.map_or(NO_SUCH_NAME, |_| RESPONSE));
    answer.extend([0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(question);
    for text in found.into_iter().flatten() {
        // Pieces as short as they may be long, so that most texts have several.
        let pieces = text.chunks(40).flat_map(|piece| {
            let length = u8::try_from(piece.len()).unwrap();
            [&[length], piece].concat()
        });
        let pieces: Vec<u8> = pieces.collect();
        answer.extend(SAME_NAME);
        answer.extend(TXT_IN);
        answer.extend(60u32.to_be_bytes());
        answer.extend(u16::try_from(pieces.len()).unwrap().to_be_bytes());
        answer.extend(pieces);
    }
    answer
}

async fn kind(asked: &NameServers, name: &str) -> io::ErrorKind {
    asked.txt(name.to_owned()).await.unwrap_err().kind()
}

#[tokio::test]
async fn the_texts_of_a_name_are_found_whole() {
    let names = NameServer::new();
    let long = "a".repeat(255 + 41);
    names.set(
        "_dnsaddr.a.example",
        &[b"v=spf1 -all", long.as_bytes(), b"\xff"],
    );
    let address = names.address;
    let asked = NameServers::new(Box::new(move || Ok((only(address), Default::default()))));
    let mut found = asked.txt("_dnsaddr.a.example".to_owned()).await.unwrap();
    found.sort();
    assert_eq!(found, [long.as_str(), "v=spf1 -all"]);
    let none = asked.txt("_dnsaddr.b.example".to_owned()).await;
    assert!(none.unwrap().is_empty());
    assert_eq!(kind(&asked, &"a".repeat(64)).await, io::ErrorKind::Other);
}

#[tokio::test]
async fn no_answer_is_kept_for_longer_than_a_minute() {
    let names = NameServer::new();
    let address = names.address;
    let asked = NameServers::new(Box::new(move || Ok((only(address), Default::default()))));
    let resolver = asked.resolver().unwrap();
    let options = resolver.options();
    let longest = [options.positive_max_ttl, options.negative_max_ttl];
    assert_eq!(longest, [Some(MAX_TTL); 2]);
}

#[tokio::test]
async fn the_configuration_is_read_for_a_name_and_again_after_a_failure() {
    static READ: AtomicUsize = AtomicUsize::new(0);
    let names = NameServer::new();
    names.set("a.example", &[b"a"]);
    let address = names.address;
    let asked = NameServers::new(Box::new(move || {
        match READ.fetch_add(1, Ordering::Relaxed) {
            0 => Err(io::Error::other("no nameservers found in config").into()),
            _ => Ok((only(address), Default::default())),
        }
    }));
    let read = || READ.load(Ordering::Relaxed);
    assert_eq!(read(), 0);
    let error = asked.txt("a.example".to_owned()).await.unwrap_err();
    assert!(error.to_string().contains("no nameservers"), "{error}");
    for _ in 0..2 {
        assert_eq!(asked.txt("a.example".to_owned()).await.unwrap(), ["a"]);
        let none = asked.txt("b.example".to_owned()).await;
        assert!(none.unwrap().is_empty());
        assert_eq!(read(), 2);
    }
    // As if the file had been written since.
    asked.made().as_mut().unwrap().of = Some(SystemTime::UNIX_EPOCH);
    asked.txt("a.example".to_owned()).await.unwrap();
    assert_eq!(read(), 3);
    // No name at all is a failure of the lookup.
    kind(&asked, &"a".repeat(64)).await;
    asked.txt("a.example".to_owned()).await.unwrap();
    assert_eq!(read(), 4);
}
