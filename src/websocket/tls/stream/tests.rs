//! Against rustls' buffered connections and futures-rustls, in both roles and versions.

use std::{
    cell::RefCell,
    io::{Read as _, Write as _},
};

use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use proptest::prelude::*;
use rustls::{
    AlertDescription, ClientConnection, Connection, ServerConnection, SupportedProtocolVersion,
    version::{TLS12, TLS13},
};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};

use super::{input::MAX_SIZE, *};
use crate::websocket::{
    below,
    scripted::{self, Direction, Pipe, Script, Shared},
    tls::tests::configs,
};

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// More than what a server sends at the end of its handshake, when its client is through already and may not read.
const TICKET: usize = 1000;

/// More than any test writes.
const LARGE: usize = 1 << 24;

fn name() -> ServerName<'static> {
    "localhost".try_into().unwrap()
}

/// A stream, and one of rustls' own at its other end.
struct Tested<C> {
    stream: TlsStream<Pipe, C>,
    peer: Connection,
    /// What the peer has read.
    received: Vec<u8>,
    there: Shared,
    back: Shared,
}

fn pipe(portions: &[u8]) -> (Pipe, Shared, Shared) {
    let [incoming, outgoing] = [(); 2].map(|()| Direction::shared(portions, LARGE, false));
    let pipe = Pipe {
        incoming: incoming.clone(),
        outgoing: outgoing.clone(),
    };
    (pipe, outgoing, incoming)
}

fn server(version: &'static SupportedProtocolVersion) -> Tested<UnbufferedServerConnection> {
    let (server, client) = configs(version);
    let (pipe, there, back) = pipe(&[0xff]);
    Tested {
        stream: TlsStream::server(pipe, server).unwrap(),
        peer: ClientConnection::new(client, name()).unwrap().into(),
        received: Vec::new(),
        there,
        back,
    }
}

fn client(version: &'static SupportedProtocolVersion) -> Tested<UnbufferedClientConnection> {
    let (mut server, client) = configs(version);
    // It sends before it has heard that the handshake is over, if told to.
    Arc::get_mut(&mut server).unwrap().send_half_rtt_data = true;
    let (pipe, there, back) = pipe(&[0xff]);
    Tested {
        stream: TlsStream::client(pipe, client, name()).unwrap(),
        peer: ServerConnection::new(server).unwrap().into(),
        received: Vec::new(),
        there,
        back,
    }
}

impl<C: Session + Unpin> Tested<C> {
    /// After its handshake.
    fn connected(mut self) -> Self {
        self.handshake().unwrap();
        self.pass().unwrap();
        self
    }

    fn handshake(&mut self) -> io::Result<()> {
        let mut handshake = task::spawn(self.stream.handshake());
        loop {
            if let Poll::Ready(result) = handshake.poll() {
                return result;
            }
            // If it fails, the alert is still to come.
            let _ = pass(&mut self.peer, &self.there, &self.back, &mut self.received);
        }
    }

    /// Brings the peer what was sent, and back what it sends.
    fn pass(&mut self) -> Result<(), rustls::Error> {
        pass(&mut self.peer, &self.there, &self.back, &mut self.received)
    }

    fn peer_writes(&mut self, bytes: &[u8]) {
        self.peer.writer().write_all(bytes).unwrap();
        self.pass().unwrap();
    }

    fn peer_reads(&mut self) -> Vec<u8> {
        self.pass().unwrap();
        std::mem::take(&mut self.received)
    }

    fn read(&mut self, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        task::spawn(()).enter(|cx, _| Pin::new(&mut self.stream).poll_read(cx, buf))
    }

    /// All that there is.
    fn read_all(&mut self, size: usize) -> Vec<u8> {
        let mut read = Vec::new();
        let mut buf = vec![0; size];
        while let Poll::Ready(Ok(count @ 1..)) = self.read(&mut buf) {
            read.extend(&buf[..count]);
        }
        read
    }

    fn write(&mut self, bytes: &[u8]) -> Poll<io::Result<usize>> {
        task::spawn(()).enter(|cx, _| Pin::new(&mut self.stream).poll_write(cx, bytes))
    }

    fn close(&mut self) -> Poll<io::Result<()>> {
        task::spawn(()).enter(|cx, _| Pin::new(&mut self.stream).poll_close(cx))
    }

    fn assert_owns_no_buffer(&self) {
        assert_eq!(self.stream.input.capacity(), 0);
        assert_eq!(self.stream.records.capacity(), 0);
    }
}

fn pass(
    peer: &mut Connection,
    there: &Shared,
    back: &Shared,
    received: &mut Vec<u8>,
) -> Result<(), rustls::Error> {
    let bytes: Vec<_> = there.lock().bytes.drain(..).collect();
    there.lock().wake_all();
    let mut bytes = &bytes[..];
    let mut result = Ok(());
    while !bytes.is_empty() && result.is_ok() {
        peer.read_tls(&mut bytes).unwrap();
        result = peer.process_new_packets().map(|_| ());
        // An error if there is nothing more for now.
        let _ = peer.reader().read_to_end(received);
    }
    let mut bytes = Vec::new();
    while peer.wants_write() {
        peer.write_tls(&mut bytes).unwrap();
    }
    back.lock().bytes.extend(bytes);
    back.lock().wake_all();
    result
}

/// Not the same for a while, so that what is lost or twice is found.
fn payload(count: usize) -> Vec<u8> {
    (0..count)
        .map(|at| (at % 251) as u8 ^ (at / 251) as u8)
        .collect()
}

fn cause(error: &io::Error) -> &rustls::Error {
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    error.get_ref().unwrap().downcast_ref().unwrap()
}

#[test]
fn an_idle_stream_owns_no_buffer() {
    fn check<C: Session + Unpin>(tested: Tested<C>) {
        let mut tested = tested.connected();
        tested.assert_owns_no_buffer();
        let bytes = payload(200_000);
        for size in [1_000, 10_000, 100_000] {
            tested.peer.set_buffer_limit(None);
            tested.peer_writes(&bytes);
            assert!(tested.read_all(size) == bytes);
            tested.assert_owns_no_buffer();
            assert_eq!(assert_ready_ok!(tested.write(&bytes)), bytes.len());
            tested.assert_owns_no_buffer();
            assert!(tested.peer_reads() == bytes);
        }
        tested.peer.send_close_notify();
        tested.pass().unwrap();
        assert_eq!(assert_ready_ok!(tested.read(&mut [0; 10])), 0);
        tested.assert_owns_no_buffer();
    }
    for version in VERSIONS {
        check(server(version));
        check(client(version));
    }
}

#[test]
fn records_are_read_wherever_they_are_split() {
    fn check<C: Session + Unpin>(new: impl Fn() -> Tested<C>) {
        for at in 0.. {
            let mut tested = new().connected();
            for bytes in [&b"one"[..], b"two", b"three"] {
                tested.peer_writes(bytes);
            }
            tested.peer.send_close_notify();
            tested.pass().unwrap();
            if at > tested.back.lock().bytes.len() {
                assert!(at > 80);
                return;
            }
            let later = tested.back.lock().bytes.split_off(at);
            let mut read = tested.read_all(4);
            // What has come of a record is kept, whatever is written meanwhile.
            assert_eq!(assert_ready_ok!(tested.write(b"four")), 4);
            tested.back.lock().bytes.extend(later);
            read.extend(tested.read_all(4));
            assert_eq!(read, b"onetwothree");
            assert_eq!(assert_ready_ok!(tested.read(&mut [0; 10])), 0);
            assert_eq!(tested.peer_reads(), b"four");
            tested.assert_owns_no_buffer();
        }
    }
    for version in VERSIONS {
        check(|| server(version));
        check(|| client(version));
    }
}

#[test]
fn what_comes_with_the_end_of_the_handshake_is_read() {
    let mut tested = client(&TLS13);
    tested.peer.writer().write_all(b"early").unwrap();
    let tested = &mut tested.connected();
    assert_eq!(tested.read_all(3), b"early");

    let mut tested = server(&TLS13);
    tested.peer.writer().write_all(b"early").unwrap();
    let tested = &mut tested.connected();
    assert_eq!(tested.read_all(3), b"early");
}

#[test]
fn a_record_that_was_tampered_with_is_answered_by_an_alert() {
    fn check<C: Session + Unpin>(tested: Tested<C>) {
        let mut tested = tested.connected();
        tested.peer_writes(b"good");
        let good = tested.back.lock().bytes.len();
        tested.peer_writes(b"bad");
        tested.back.lock().bytes[good + 15] ^= 1;
        assert_eq!(tested.read_all(10), b"good");
        for _ in 0..2 {
            let error = assert_ready_err!(tested.read(&mut [0; 10]));
            assert_eq!(*cause(&error), rustls::Error::DecryptError);
        }
        let error = assert_ready_err!(tested.write(b"more"));
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_ready_ok!(tested.close());
        assert_eq!(
            tested.pass(),
            Err(rustls::Error::AlertReceived(AlertDescription::BadRecordMac))
        );
        assert!(tested.there.lock().is_closed);
        tested.assert_owns_no_buffer();
    }
    for version in VERSIONS {
        check(server(version));
        check(client(version));
    }
}

/// Otherwise the reader would take the place of a waiting writer, and the caller would not know.
#[test]
fn an_alert_is_sent_with_the_error_and_not_with_what_was_read_before_it() {
    let mut tested = server(&TLS13).connected();
    tested.peer_writes(b"good");
    let good = tested.back.lock().bytes.len();
    tested.peer_writes(b"bad");
    tested.back.lock().bytes[good + 15] ^= 1;
    tested.there.lock().capacity = 0;
    assert_ready_ok!(tested.write(b"a"));
    let mut writer = task::spawn(());
    assert_pending!(writer.enter(|cx, _| Pin::new(&mut tested.stream).poll_write(cx, b"a")));
    assert_eq!(assert_ready_ok!(tested.read(&mut [0; 10])), 4);
    tested.there.lock().wake_all();
    assert!(writer.is_woken());
    assert_ready_err!(tested.read(&mut [0; 10]));
}

#[test]
fn a_failed_handshake_is_answered_by_an_alert() {
    for version in VERSIONS {
        let mut tested = server(version);
        let (_, stranger) = configs(version);
        tested.peer = ClientConnection::new(stranger, name()).unwrap().into();
        let error = tested.handshake().unwrap_err();
        assert!(
            matches!(cause(&error), rustls::Error::AlertReceived(_)),
            "{error}"
        );

        let mut tested = client(version);
        let (stranger, _) = configs(version);
        tested.peer = ServerConnection::new(stranger).unwrap().into();
        let error = tested.handshake().unwrap_err();
        assert!(
            matches!(cause(&error), rustls::Error::InvalidCertificate(_)),
            "{error}"
        );
        assert!(matches!(
            tested.pass(),
            Err(rustls::Error::AlertReceived(_))
        ));
    }
}

#[test]
fn what_is_not_tls_is_answered_by_an_alert() {
    let mut tested = server(&TLS13);
    tested.back.lock().bytes.extend(b"GET / HTTP/1.1\r\n\r\n");
    let error = task::spawn(tested.stream.handshake()).poll();
    let error = assert_ready_err!(error);
    assert!(
        matches!(cause(&error), rustls::Error::InvalidMessage(_)),
        "{error}"
    );
    assert_eq!(tested.there.lock().bytes[0], 0x15);
}

/// A handshake message is kept in whole, so there is an end to its size, also to that of what is around it.
#[test]
fn a_large_handshake_message_is_refused() {
    let record = |bytes: &[u8]| {
        let [high, low] = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        [&[0x16, 3, 1, high, low], bytes].concat()
    };
    let begin = |size: u8| record(&[1, size, 0xff, 0xff]);
    for (begin, record) in [
        (begin(0xff), record(&[0; 1])),
        (begin(0), record(&[0; 1])),
        (begin(0), record(&[0; 100])),
        (begin(0), record(&[0; 1 << 14])),
    ] {
        let mut tested = server(&TLS13);
        tested.back.lock().bytes.extend(begin);
        let (back, mut brought) = (tested.back.clone(), 0);
        let mut handshake = task::spawn(tested.stream.handshake());
        let error = loop {
            if let Poll::Ready(result) = handshake.poll() {
                break result.unwrap_err();
            }
            back.lock().bytes.extend(&record);
            brought += record.len();
            assert!(brought < 2 * MAX_SIZE);
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        drop(handshake);
        assert!(tested.stream.input.capacity() <= MAX_SIZE);
    }
}

#[test]
fn an_end_without_a_close_notify_is_an_error() {
    for (at, version) in [(0, &TLS13), (10, &TLS13), (0, &TLS12), (10, &TLS12)] {
        let mut tested = client(version).connected();
        tested.peer_writes(b"whole");
        let whole = tested.back.lock().bytes.len();
        tested.peer_writes(b"in part");
        tested.back.lock().bytes.truncate(whole + at);
        tested.back.lock().is_closed = true;
        assert!(tested.read_all(10).ends_with(b"whole"));
        for _ in 0..2 {
            let error = assert_ready_err!(tested.read(&mut [0; 10]));
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }
    let mut tested = server(&TLS13);
    tested.back.lock().is_closed = true;
    let error = tested.handshake().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(error.to_string(), "tls handshake eof");
}

#[test]
fn a_close_is_told_once_and_nothing_is_written_after_it() {
    for version in VERSIONS {
        let mut tested = server(version).connected();
        assert_ready_ok!(tested.write(b"last"));
        assert_ready_ok!(tested.close());
        assert_ready_ok!(tested.close());
        let error = assert_ready_err!(tested.write(b"more"));
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(tested.peer_reads(), b"last");
        assert!(tested.peer.process_new_packets().unwrap().peer_has_closed());
        assert!(tested.there.lock().is_closed);
        // The other half is open still.
        tested.peer_writes(b"answer");
        assert_eq!(tested.read_all(10), b"answer");
    }
}

#[test]
fn a_peer_that_does_not_read_is_not_written_for_without_end() {
    let mut tested = server(&TLS13).connected();
    tested.there.lock().capacity = 100_000;
    let bytes = payload(1_000_000);
    let taken = assert_ready_ok!(tested.write(&bytes));
    assert!(taken < 100_000 + 2 * MAX_UNSENT, "{taken}");
    assert_pending!(tested.write(&bytes));
    assert!(tested.stream.records.capacity() <= MAX_UNSENT + 4096);

    tested.there.lock().capacity = LARGE;
    let rest = assert_ready_ok!(tested.write(&bytes[taken..]));
    assert_eq!(taken + rest, bytes.len());
    assert!(tested.peer_reads() == bytes);
    tested.assert_owns_no_buffer();
}

#[test]
fn keys_are_updated() {
    fn check<C: Session + Unpin>(tested: Tested<C>) {
        let mut tested = tested.connected();
        for _ in 0..3 {
            tested.peer.refresh_traffic_keys().unwrap();
            tested.peer_writes(b"question");
            assert_eq!(tested.read_all(10), b"question");
            assert_ready_ok!(tested.write(b"answer"));
            assert_eq!(tested.peer_reads(), b"answer");
        }
    }
    check(server(&TLS13));
    check(client(&TLS13));
}

#[test]
fn a_buffer_of_its_own_grows_with_what_comes() {
    let mut input = Input::from(vec![0; 4096]);
    let mut total = 0;
    while let Ok(room) = input.room(0) {
        let count = room.len();
        room.fill(total as u8);
        input.on_received(count);
        total += count;
        assert!(input.capacity() <= 2 * total);
        assert_eq!(input.bytes().len(), total);
        assert_eq!(input.bytes()[0], 0);
    }
    assert_eq!(total, MAX_SIZE);
    input.discard(total);
    assert_eq!(input.capacity(), 0);
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Ours,
    Theirs,
}

async fn accept(kind: Kind, pipe: Pipe, config: Arc<ServerConfig>) -> below::Io {
    match kind {
        Kind::Ours => {
            let mut stream = TlsStream::server(pipe, config).unwrap();
            stream.handshake().await.unwrap();
            Box::pin(stream)
        }
        Kind::Theirs => {
            let acceptor = futures_rustls::TlsAcceptor::from(config);
            Box::pin(acceptor.accept(pipe).await.unwrap())
        }
    }
}

async fn connect(kind: Kind, pipe: Pipe, config: Arc<ClientConfig>) -> below::Io {
    match kind {
        Kind::Ours => {
            let mut stream = TlsStream::client(pipe, config, name()).unwrap();
            stream.handshake().await.unwrap();
            Box::pin(stream)
        }
        Kind::Theirs => {
            let connector = futures_rustls::TlsConnector::from(config);
            Box::pin(connector.connect(name(), pipe).await.unwrap())
        }
    }
}

async fn write(mut half: impl AsyncWrite + Unpin, sizes: &[usize]) {
    let bytes = payload(sizes.iter().sum());
    let mut left = &bytes[..];
    for (number, size) in sizes.iter().enumerate() {
        let (now, later) = left.split_at(*size);
        half.write_all(now).await.unwrap();
        if number % 2 == 0 {
            half.flush().await.unwrap();
        }
        left = later;
    }
    half.close().await.unwrap();
}

async fn read(mut half: impl AsyncRead + Unpin, sizes: &[usize], read: &RefCell<Vec<u8>>) {
    for size in sizes.iter().cycle() {
        let mut buf = vec![0; *size];
        match half.read(&mut buf).await.unwrap() {
            0 => break,
            count => read.borrow_mut().extend(&buf[..count]),
        }
    }
}

#[derive(Debug, Clone)]
struct Way {
    script: Vec<u8>,
    capacity: usize,
    needs_flush: bool,
    written: Vec<usize>,
    read: Vec<usize>,
}

fn way() -> impl Strategy<Value = Way> {
    let script = prop::collection::vec(any::<u8>(), 0..20);
    let capacity = prop_oneof![1..40_usize, 1..5000_usize, Just(200_000)];
    let size = || prop_oneof![1..300_usize, 1..40_000_usize, 60_000..300_000_usize];
    let sizes = (
        prop::collection::vec(size(), 0..6),
        prop::collection::vec(size(), 1..5),
    );
    (script, capacity, any::<bool>(), sizes).prop_map(
        |(script, capacity, needs_flush, (written, read))| Way {
            script,
            capacity,
            needs_flush,
            written,
            read,
        },
    )
}

fn check(
    version: &'static SupportedProtocolVersion,
    kinds: [Kind; 2],
    ways: &[Way; 2],
    order: &[u8],
) {
    let (server_config, client_config) = configs(version);
    let [there, back] = ways
        .each_ref()
        .map(|way| Direction::shared(&way.script, way.capacity.max(TICKET), way.needs_flush));
    for (kind, direction) in kinds.iter().zip([&there, &back]) {
        // A flush that has to wait in a handshake is not waited for by futures-rustls.
        direction.lock().needs_flush &= *kind == Kind::Ours;
    }
    let client = Pipe {
        incoming: back.clone(),
        outgoing: there.clone(),
    };
    let server = Pipe {
        incoming: there.clone(),
        outgoing: back.clone(),
    };
    let order = &mut Script::new(order);
    let connected = [RefCell::new(None), RefCell::new(None)];
    scripted::run(
        vec![
            Box::pin(async {
                let io = connect(kinds[0], client, client_config).await;
                connected[0].replace(Some(io));
            }),
            Box::pin(async {
                let io = accept(kinds[1], server, server_config).await;
                connected[1].replace(Some(io));
            }),
        ],
        &[&there, &back],
        order,
    );
    for (way, direction) in ways.iter().zip([&there, &back]) {
        direction.lock().capacity = way.capacity;
    }
    let [(client_read, client_write), (server_read, server_write)] =
        connected.map(|io| io.into_inner().unwrap().split());
    let received = [RefCell::default(), RefCell::default()];
    scripted::run(
        vec![
            Box::pin(write(client_write, &ways[0].written)),
            Box::pin(write(server_write, &ways[1].written)),
            Box::pin(read(client_read, &ways[1].read, &received[1])),
            Box::pin(read(server_read, &ways[0].read, &received[0])),
        ],
        &[&there, &back],
        order,
    );
    for (way, received) in ways.iter().zip(received) {
        assert!(received.into_inner() == payload(way.written.iter().sum()));
    }
}

#[test]
fn much_passes_both_ways_at_once() {
    let way = Way {
        script: vec![0xff, 0xa0, 0, 0x90],
        capacity: 30_000,
        needs_flush: false,
        written: vec![70_000; 8],
        read: vec![65_536],
    };
    for version in VERSIONS {
        for kinds in [
            [Kind::Ours; 2],
            [Kind::Ours, Kind::Theirs],
            [Kind::Theirs, Kind::Ours],
        ] {
            check(version, kinds, &[way.clone(), way.clone()], &[0, 1, 2, 3]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn nothing_is_lost_and_nothing_hangs(
        version in prop::sample::select(&VERSIONS[..]),
        kinds in prop::sample::select(vec![
            [Kind::Ours; 2],
            [Kind::Ours, Kind::Theirs],
            [Kind::Theirs, Kind::Ours],
        ]),
        ways in [way(), way()],
        order in prop::collection::vec(any::<u8>(), 1..30),
    ) {
        check(version, kinds, &ways, &order);
    }
}
