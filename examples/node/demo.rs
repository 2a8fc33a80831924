//! A hub and peers that know only the hub: what happens as it happens, and a table of when.

use std::{
    collections::HashSet,
    error::Error,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, future};
use futures_timer::Delay;
use libp2p::{Multiaddr, PeerId, Swarm, identity::Keypair, swarm::SwarmEvent};
use libp2p_lazy_websocket::discovery;
use tokio::sync::{mpsc, watch};

use crate::{
    Arguments, Behaviour, BehaviourEvent, Engine, chain, live,
    page::{Page, Union},
    say, swarm, with_peer,
};

/// After how long the demonstration is given up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where every node listens: on a loopback port that the system chooses.
const ADDRESS: &str = "/ip4/127.0.0.1/tcp/0/ws";

pub(crate) async fn run(arguments: &Arguments) -> Result<(), Box<dyn Error + Send + Sync>> {
    let start = Instant::now();
    let count = arguments.peers as usize + 1;
    let (reports, mut reported) = mpsc::channel(count);
    let (found, hub) = watch::channel(None);
    // Each node hears of ten announcements a second, however many there are.
    let interval = Duration::from_secs(1).max(Duration::from_millis(100) * arguments.peers);
    let mut nodes = Vec::new();
    let mut rows = Vec::new();
    let union = Union::default();
    for index in 0..count {
        let name = match index {
            0 => "hub".to_owned(),
            _ => format!("peer {index}"),
        };
        let gossipsub = match index {
            0 => discovery::gossipsub::hub_config(count),
            _ => discovery::gossipsub::config(),
        };
        let config = arguments.discovery(interval);
        let (mut page, mut websocket) = (None, arguments.websocket()?);
        if index == 0 && arguments.engine == Engine::Stream {
            let (new, with_page) = Page::new(arguments.runtime, websocket);
            (page, websocket) = (Some(new), with_page);
        }
        let (mut swarm, readiness) = swarm(
            arguments.runtime,
            Keypair::generate_ed25519(),
            websocket,
            gossipsub.build()?,
            config,
            page.as_ref().map(|page| &*page.metrics),
        )?;
        if let Some(page) = &mut page {
            page.union = Some(union.clone());
            page.begin(&mut swarm, readiness);
        }
        union.add(*swarm.local_peer_id(), &name);
        swarm.listen_on(ADDRESS.parse()?)?;
        rows.push(Row {
            name,
            registered: start.elapsed(),
            ..Row::default()
        });
        let hub = (index > 0).then(|| hub.clone());
        let showing = (page, union.clone());
        nodes.push(node(index, swarm, hub, reports.clone(), showing));
    }
    drop(reports);
    // They run beside each other in tasks that end with this function.
    let spawn = |node| arguments.runtime.spawn(node);
    let _tasks: Vec<_> = nodes.into_iter().map(spawn).collect();

    say(format_args!(
        "a hub and {} peers that know only the hub",
        arguments.peers
    ));
    let mut give_up = Delay::new(PATIENCE);
    let mut problems = Vec::new();
    while !rows.iter().all(|row| row.complete.is_some()) {
        let (index, report): (usize, Report) = tokio::select! {
            Some(report) = reported.recv() => report,
            _ = &mut give_up => break,
        };
        let now = start.elapsed();
        let row = &mut rows[index];
        let text = match report {
            Report::Bound(address) => {
                row.bound.get_or_insert(now);
                let text = format!("listening on {address}");
                if index == 0 {
                    found.send_replace(Some(address));
                }
                text
            }
            Report::Skipped(reason) => format!("does not announce: {reason}"),
            Report::Announced => {
                if row
                    .announced
                    .replace(row.announced.unwrap_or(now))
                    .is_some()
                {
                    continue;
                }
                "announced its address".to_owned()
            }
            Report::Discovered(known) if known + 1 < count => {
                format!("knows {known} of {}", count - 1)
            }
            Report::Discovered(_) => {
                row.complete.get_or_insert(now);
                "knows everybody".to_owned()
            }
            Report::Expired(peer) => format!("has forgotten {peer}"),
            Report::Problem(what) => {
                problems.push(format!("{}: {what}", row.name));
                format!("problem: {what}")
            }
        };
        say(format_args!(
            "{:>6} ms  {:<8} {text}",
            now.as_millis(),
            row.name
        ));
    }

    table(&rows);
    if arguments.stay {
        let mut ending = live::ending()?;
        // What they report has to be taken.
        while tokio::select! {
            report = reported.recv() => report.is_some(),
            _ = ending.next() => false,
        } {}
    }
    let incomplete = rows.iter().filter(|row| row.complete.is_none()).count();
    match incomplete {
        0 => Ok(()),
        _ => Err(format!(
            "after {} s, {incomplete} of {count} nodes do not know everybody{}{}",
            PATIENCE.as_secs(),
            if problems.is_empty() { "" } else { "; " },
            problems.join("; ")
        )
        .into()),
    }
}

/// When a node got how far.
#[derive(Default)]
struct Row {
    name: String,
    registered: Duration,
    bound: Option<Duration>,
    announced: Option<Duration>,
    complete: Option<Duration>,
}

fn table(rows: &[Row]) {
    let cell = |time: Option<Duration>| match time {
        Some(time) => format!("{:.1}", time.as_secs_f64() * 1000.0),
        None => "-".to_owned(),
    };
    say("");
    say("node      registered   bound   first announcement   knows everybody   (ms)");
    for row in rows {
        say(format_args!(
            "{:<8} {:>11} {:>7} {:>20} {:>17}",
            row.name,
            cell(Some(row.registered)),
            cell(row.bound),
            cell(row.announced),
            cell(row.complete)
        ));
    }
}

enum Report {
    Bound(Multiaddr),
    Announced,
    Skipped(discovery::SkipReason),
    /// How many it knows now.
    Discovered(usize),
    Expired(PeerId),
    Problem(String),
}

/// Runs one node until its reports have no receiver. A peer dials the hub as soon as the hub has an address.
async fn node(
    index: usize,
    mut swarm: Swarm<Behaviour>,
    hub: Option<watch::Receiver<Option<Multiaddr>>>,
    reports: mpsc::Sender<(usize, Report)>,
    (mut page, union): (Option<Page>, Union),
) {
    let local = *swarm.local_peer_id();
    let mut known = HashSet::new();
    let address = async move {
        match hub {
            Some(mut hub) => match hub.wait_for(Option::is_some).await {
                Ok(address) => address.clone(),
                // The demonstration has ended.
                Err(_) => None,
            },
            None => None,
        }
    };
    let mut address = Box::pin(future::FutureExt::fuse(address));
    loop {
        let event = tokio::select! {
            event = swarm.select_next_some() => event,
            Some(address) = &mut address => {
                // It is dialled again if the connection is lost, for as long as the demonstration stays.
                if let Err(error) = swarm.behaviour_mut().discovery.add_hub(address) {
                    let _ = reports.send((index, Report::Problem(chain(&error)))).await;
                }
                continue;
            }
            page = Page::due(&mut page) => {
                page.show(&swarm);
                continue;
            }
        };
        if let Some(page) = &mut page {
            page.on_event(&event);
        }
        let report = match event {
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                union.connect(local, peer_id);
                continue;
            }
            SwarmEvent::ConnectionClosed {
                peer_id,
                num_established: 0,
                ..
            } => {
                union.disconnect(local, peer_id);
                continue;
            }
            SwarmEvent::NewListenAddr { address, .. } => Report::Bound(with_peer(&address, local)),
            SwarmEvent::ListenerError { error, .. } => Report::Problem(chain(&error)),
            SwarmEvent::OutgoingConnectionError { error, .. } => Report::Problem(chain(&error)),
            SwarmEvent::IncomingConnectionError { error, .. } if live::is_visit(&error) => continue,
            SwarmEvent::IncomingConnectionError { error, .. } => Report::Problem(chain(&error)),
            SwarmEvent::Behaviour(BehaviourEvent::Discovery(event)) => match event {
                discovery::Event::Announced { .. } => Report::Announced,
                discovery::Event::Skipped { reason, .. } => Report::Skipped(reason),
                discovery::Event::Discovered { peer_id, .. } => {
                    known.insert(peer_id);
                    Report::Discovered(known.len())
                }
                discovery::Event::Expired { peer_id, .. } => {
                    known.remove(&peer_id);
                    Report::Expired(peer_id)
                }
                discovery::Event::PublishFailed { error, .. } => Report::Problem(chain(&error)),
                _ => continue,
            },
            _ => continue,
        };
        if reports.send((index, report)).await.is_err() {
            return;
        }
    }
}
