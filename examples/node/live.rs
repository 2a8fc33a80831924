//! A node of its own: what it is told by arguments, one line per event.

use std::{
    collections::HashMap,
    error::Error,
    fs,
    io::{self, BufRead as _},
    path::Path,
    time::Duration,
};

use async_signal::{Signal, Signals};
use futures::StreamExt as _;
use futures_timer::Delay;
use libp2p::{
    Multiaddr, PeerId, Swarm,
    core::{
        ConnectedPoint,
        transport::{ListenerId, TransportError},
    },
    identity::Keypair,
    swarm::{ConnectionError, DialError, ListenError, SwarmEvent},
};
use libp2p_lazy_websocket::{
    discovery,
    lazy::{self, Change, State},
    websocket::{self, HandshakeError},
};
use tokio::sync::mpsc;

#[cfg(feature = "autotls")]
use crate::autotls;
use crate::{
    Arguments, Behaviour, BehaviourEvent, Engine, chain, known, list, page::Page, say, swarm,
    with_peer,
};

/// How many peers of this node can be in its gossipsub mesh: it may be the hub that others meet at.
const LEAVES: usize = 64;

/// How often the known peers are saved.
const SAVE: Duration = Duration::from_secs(60);

/// How long connections may take to close when the node ends.
const CLOSING: Duration = Duration::from_secs(5);

/// What it prints, for `--help`.
pub(crate) const LINES: &str = "\
Lines on standard output, one per event:
  listening <multiaddr>/p2p/<own id>   an address at which this node can be dialled
  no longer <multiaddr>/p2p/<own id>   and one at which it cannot any more
  page <url>                           where a browser finds the page of --page
  listener <multiaddr> <state>         what becomes of a --listen
  incoming <id> <multiaddr>            an accepted connection, and the address of the peer or of the client of a proxy
  connected <id>                       the first connection to a peer
  disconnected <id> <cause>            the last connection to a peer is closed, and why
  hub <multiaddr> <state>              what becomes of a --hub
  autotls <state>                      what becomes of the certificate of --autotls
  discovered <id> <addresses>          a peer has announced itself for the first time
  updated <id> <addresses>             it has announced other addresses
  expired <id>                         it has not announced itself for too long
  announced <topic> <addresses>        this node has announced itself
  skipped <reason>                     this node has had nothing to announce
  error <what and why>
With --until-stdin-closes, lines on standard input:
  listen <multiaddr>                   as --listen
  remove <multiaddr>                   end the listeners of that address; connections stay
<addresses> are multiaddrs with commas in between and no spaces. There may be none: then the line ends
with the space before them.";

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut ending = ending()?;
    let keypair = match &arguments.key {
        Some(file) => key(file).map_err(|error| format!("{}: {error}", file.display()))?,
        None => Keypair::generate_ed25519(),
    };
    let mut discovery = arguments.discovery(Duration::from_secs(10));
    if let Some(file) = &arguments.known {
        let saved = known::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
        discovery = discovery.with_saved_peers(saved);
    }
    let mut websocket = arguments.websocket()?;
    let (chains, keys) = (&arguments.tls_cert, &arguments.tls_key);
    if chains.len() != keys.len() {
        return Err("each --tls-cert needs a --tls-key".into());
    }
    let mut certificates = Vec::new();
    for (chain, key) in chains.iter().zip(keys) {
        let watched = websocket::Certificates::watch(chain, key)?;
        websocket = websocket.with_certificates(watched.clone());
        let name = chain.file_name().unwrap_or_default().to_string_lossy();
        certificates.push((name.into_owned(), watched));
    }
    if let Some(file) = &arguments.trust {
        let anchor = trust_anchor(file)
            .map_err(|error| format!("{}: {}", file.display(), chain(&*error)))?;
        websocket = websocket.with_trust_anchor(anchor);
    }
    #[cfg(feature = "autotls")]
    let (autotls, websocket) = arguments.autotls.behaviour(&keypair, websocket)?;
    let (mut page, websocket) = match (arguments.page, arguments.engine) {
        (false, _) => (None, websocket),
        (true, Engine::Stream) => {
            let (mut page, websocket) = Page::new(arguments.runtime, websocket);
            page.certificates = certificates;
            (Some(page), websocket)
        }
        #[cfg(feature = "libp2p-websocket")]
        (true, Engine::Libp2p) => return Err("--page needs --engine stream".into()),
    };
    let (mut swarm, readiness) = swarm(
        arguments.runtime,
        keypair,
        websocket,
        discovery::gossipsub::hub_config(LEAVES).build()?,
        discovery,
        page.as_ref().map(|page| &*page.metrics),
    )?;
    #[cfg(feature = "autotls")]
    {
        swarm.behaviour_mut().autotls = autotls.into();
        autotls::listen(&mut swarm, &arguments.listen);
    }
    #[cfg(feature = "autotls")]
    let mut told_autotls = None;
    if let Some(page) = &mut page {
        page.begin(&mut swarm, readiness.clone());
    }
    let mut states = readiness.changes();
    let mut told = HashMap::new();
    let mut listeners = Vec::new();
    for address in &arguments.listen {
        listen(&mut swarm, address.clone(), &mut listeners);
    }
    for address in &arguments.external {
        swarm.add_external_address(address.clone());
    }
    for address in &arguments.dial {
        if let Err(error) = swarm.dial(address.clone()) {
            say(format_args!("error {address}: {}", chain(&error)));
        }
    }

    let mut save = Delay::new(SAVE);
    let mut stdin = stdin(arguments.until_stdin_closes);
    let local = *swarm.local_peer_id();
    loop {
        tokio::select! {
            event = swarm.select_next_some() => {
                if let Some(page) = &mut page {
                    page.on_event(&event);
                }
                match event {
                    #[cfg(feature = "autotls")]
                    SwarmEvent::Behaviour(BehaviourEvent::Autotls(event)) => {
                        autotls::tell(&event, &swarm, &mut told_autotls);
                    }
                    event => tell(event, local, &arguments.hub),
                }
            }
            Some(change) = states.next() => tell_state(change, &mut told),
            page = Page::due(&mut page) => page.show(&swarm),
            () = &mut save => {
                save.reset(SAVE);
                save_known(arguments, &swarm);
            }
            line = stdin.recv() => match line {
                Some(line) => command(&line, &mut swarm, &mut listeners),
                None => break,
            },
            _ = ending.next() => break,
        }
    }
    save_known(arguments, &swarm);
    close(&mut swarm, &arguments.hub).await;
    Ok(())
}

fn save_known(arguments: &Arguments, swarm: &Swarm<Behaviour>) {
    let Some(file) = &arguments.known else {
        return;
    };
    if let Err(error) = known::write(file, &swarm.behaviour().discovery.saved_peers()) {
        say(format_args!("error {}: {error}", file.display()));
    }
}

/// Closes all connections, also those that are established meanwhile.
async fn close(swarm: &mut Swarm<Behaviour>, hubs: &[Multiaddr]) {
    let local = *swarm.local_peer_id();
    let discovery = &mut swarm.behaviour_mut().discovery;
    for hub in discovery.hubs().cloned().collect::<Vec<_>>() {
        discovery.remove_hub(&hub);
    }
    for peer in swarm.connected_peers().copied().collect::<Vec<_>>() {
        let _ = swarm.disconnect_peer_id(peer);
    }
    let mut give_up = Delay::new(CLOSING);
    while swarm.network_info().num_peers() > 0 {
        tokio::select! {
            mut event = swarm.select_next_some() => {
                match &mut event {
                    SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                        swarm.close_connection(*connection_id);
                    }
                    // If the other side was quicker, closing has failed, but that is not why.
                    SwarmEvent::ConnectionClosed { cause, .. } => *cause = None,
                    _ => {}
                }
                tell(event, local, hubs);
            }
            () = &mut give_up => return,
        }
    }
}

fn trust_anchor(file: &Path) -> Result<websocket::TrustAnchor, Box<dyn Error + Send + Sync>> {
    Ok(websocket::TrustAnchor::from_pem(&fs::read(file)?)?)
}

/// Prints what a listener is doing, if that is another thing than what was printed last.
fn tell_state(change: Change, told: &mut HashMap<ListenerId, String>) {
    let Change::Status {
        listener, status, ..
    } = change
    else {
        return;
    };
    let state = status.state.to_string();
    if told.get(&listener) == Some(&state) {
        return;
    }
    say(format_args!("listener {} {state}", status.address));
    match status.state {
        State::Closed(_) => told.remove(&listener),
        _ => told.insert(listener, state),
    };
}

/// Prints the line of an event, if it has one.
fn tell(event: SwarmEvent<BehaviourEvent>, local: PeerId, hubs: &[Multiaddr]) {
    match event {
        SwarmEvent::NewListenAddr { address, .. } => {
            say(format_args!("listening {}", with_peer(&address, local)));
        }
        SwarmEvent::ExpiredListenAddr { address, .. } => {
            say(format_args!("no longer {}", with_peer(&address, local)));
        }
        SwarmEvent::ConnectionEstablished {
            peer_id,
            num_established,
            endpoint,
            ..
        } => {
            if let ConnectedPoint::Listener { send_back_addr, .. } = endpoint {
                say(format_args!("incoming {peer_id} {send_back_addr}"));
            }
            if num_established.get() == 1 {
                say(format_args!("connected {peer_id}"));
            }
        }
        SwarmEvent::ConnectionClosed {
            peer_id,
            num_established: 0,
            cause,
            ..
        } => say(format_args!("disconnected {peer_id} {}", why(cause))),
        // A listener that fails has said so by its state.
        SwarmEvent::ListenerError { error, .. } if lazy::ListenError::find(&error).is_none() => {
            say(format_args!("error {}", chain(&error)));
        }
        SwarmEvent::OutgoingConnectionError {
            error: DialError::Transport(attempts),
            ..
        } => {
            // What is wrong with a hub is told with it.
            for (address, error) in attempts
                .into_iter()
                .filter(|(address, _)| !hubs.contains(address))
            {
                say(format_args!("error {address}: {}", failure(&error)));
            }
        }
        SwarmEvent::OutgoingConnectionError { error, .. } => {
            say(format_args!("error {}", chain(&error)));
        }
        SwarmEvent::IncomingConnectionError {
            send_back_addr,
            error,
            ..
        } if !is_visit(&error) => {
            say(format_args!("error {send_back_addr}: {}", chain(&error)));
        }
        SwarmEvent::Behaviour(BehaviourEvent::Discovery(event)) => match event {
            discovery::Event::Announced {
                topics, addresses, ..
            } => {
                for topic in topics {
                    say(format_args!("announced {topic} {}", list(&addresses)));
                }
            }
            discovery::Event::Skipped { reason, .. } => say(format_args!("skipped {reason}")),
            discovery::Event::Discovered {
                peer_id, addresses, ..
            } => {
                say(format_args!("discovered {peer_id} {}", list(&addresses)));
            }
            discovery::Event::Updated {
                peer_id, addresses, ..
            } => {
                say(format_args!("updated {peer_id} {}", list(&addresses)));
            }
            discovery::Event::Expired { peer_id, .. } => say(format_args!("expired {peer_id}")),
            discovery::Event::PublishFailed { topic, error, .. } => {
                say(format_args!("error {topic}: {}", chain(&error)));
            }
            event => {
                if let Some((hub, _, state)) = hub_state(&event) {
                    say(format_args!("hub {hub} {state}"));
                }
            }
        },
        _ => {}
    }
}

/// Whether a hub is connected, and what has become of it.
pub(crate) fn hub_state<E>(event: &discovery::Event<E>) -> Option<(&Multiaddr, bool, String)> {
    Some(match event {
        discovery::Event::HubConnected { hub, peer_id, .. } => {
            (hub, true, format!("connected {peer_id}"))
        }
        discovery::Event::HubLost { hub, retry_in, .. } => {
            (hub, false, format!("lost, {}", again(Some(*retry_in))))
        }
        discovery::Event::HubUnreachable {
            hub,
            error,
            attempt,
            retry_in,
            ..
        } => {
            let again = again(*retry_in);
            let state = format!("unreachable, attempt {attempt}, {again}: {error}");
            (hub, false, state)
        }
        _ => return None,
    })
}

/// When a hub is dialled again.
fn again(retry_in: Option<Duration>) -> String {
    match retry_in {
        Some(delay) => format!("retrying in {:.1} s", delay.as_secs_f64()),
        None => "not retrying until the addresses change".to_owned(),
    }
}

/// Why a connection has ended.
fn why(cause: Option<ConnectionError>) -> String {
    match cause {
        None => "closed by this node".to_owned(),
        Some(ConnectionError::KeepAliveTimeout) => "idle for too long".to_owned(),
        Some(ConnectionError::IO(error)) => chain(&error),
    }
}

/// Whether it is only somebody who looks at the page.
pub(crate) fn is_visit(error: &ListenError) -> bool {
    let ListenError::Transport(TransportError::Other(error)) = error else {
        return false;
    };
    let Some(websocket::Error::Handshake(cause)) = websocket::Error::find(error) else {
        return false;
    };
    matches!(cause.downcast_ref(), Some(HandshakeError::Visitor))
}

/// The cause, and if that is of a proxy, its name.
fn failure(error: &TransportError<io::Error>) -> String {
    if let TransportError::Other(found) = error
        && let Some(of_proxy @ websocket::Error::Proxy { .. }) = websocket::Error::find(found)
    {
        return chain(of_proxy);
    }
    root(error)
}

/// What is at the bottom of an error: what is above only says that a dial has failed.
fn root(error: &(dyn Error + 'static)) -> String {
    match error.source() {
        Some(cause) => root(cause),
        None => chain(error),
    }
}

/// Has an item on Ctrl-C, and where there is SIGTERM, on that. On any runtime.
pub(crate) fn ending() -> io::Result<Signals> {
    Signals::new([
        Signal::Int,
        #[cfg(unix)]
        Signal::Term,
    ])
}

/// The lines of standard input, until it ends. Neither lines nor an end if they are not `wanted`.
fn stdin(wanted: bool) -> mpsc::Receiver<String> {
    let (lines, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        if wanted {
            for line in io::stdin().lock().lines().map_while(Result::ok) {
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
        } else {
            std::thread::park();
        }
    });
    receiver
}

fn command(line: &str, swarm: &mut Swarm<Behaviour>, listeners: &mut Vec<(Multiaddr, ListenerId)>) {
    let words = line.split_whitespace().collect::<Vec<_>>();
    let (&[verb @ ("listen" | "remove"), address], Some(Ok(parsed))) = (
        &words[..],
        words.last().map(|word| word.parse::<Multiaddr>()),
    ) else {
        return say(format_args!(
            "error {line}: the commands are listen <multiaddr> and remove <multiaddr>"
        ));
    };
    match verb {
        "listen" => listen(swarm, parsed, listeners),
        _ => {
            let mut removed = listeners.extract_if(.., |(of, _)| *of == parsed).peekable();
            if removed.peek().is_none() {
                say(format_args!("error {address}: no --listen"));
            }
            removed.for_each(|(_, id)| _ = swarm.remove_listener(id));
        }
    }
}

fn listen(
    swarm: &mut Swarm<Behaviour>,
    address: Multiaddr,
    listeners: &mut Vec<(Multiaddr, ListenerId)>,
) {
    match swarm.listen_on(address.clone()) {
        Ok(id) => listeners.push((address, id)),
        // The other addresses may be good.
        Err(error) => say(format_args!("error {address}: {}", chain(&error))),
    }
}

/// Reads the key, or makes one where there is no file.
fn key(file: &Path) -> Result<Keypair, Box<dyn Error + Send + Sync>> {
    match fs::read(file) {
        Ok(bytes) => Ok(Keypair::from_protobuf_encoding(&bytes)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let keypair = Keypair::generate_ed25519();
            write_private(file, &keypair.to_protobuf_encoding()?)?;
            Ok(keypair)
        }
        Err(error) => Err(error.into()),
    }
}

fn write_private(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    io::Write::write_all(&mut options.open(file)?, bytes)
}
