use libp2p_swarm::{NetworkBehaviour, Swarm};

use super::{Announced, Behaviour, PubSub};

/// Announces what `swarm` listens on now, on all topics of the discovery behaviour in it.
///
/// For an application that wants to say it itself: the behaviour announces without being asked when addresses
/// change, when somebody subscribes, and at its interval. It never fails; what it has led to is the answer.
///
/// ```
/// # use libp2p_lazy_websocket::discovery;
/// # #[derive(libp2p::swarm::NetworkBehaviour)]
/// # struct Behaviour { discovery: discovery::Behaviour<discovery::Gossipsub> }
/// # fn example(swarm: &mut libp2p::Swarm<Behaviour>) {
/// match discovery::announce(swarm, |behaviour| &mut behaviour.discovery) {
///     discovery::Announced::Published => println!("announced"),
///     discovery::Announced::Delayed { until } => println!("in {:?}", until - std::time::Instant::now()),
///     discovery::Announced::Skipped(reason) => println!("not announced: {reason}"),
///     _ => {}
/// }
/// # }
/// ```
pub fn announce<B, P>(
    swarm: &mut Swarm<B>,
    discovery: impl FnOnce(&mut B) -> &mut Behaviour<P>,
) -> Announced
where
    B: NetworkBehaviour,
    P: PubSub,
{
    let listeners = swarm.listeners().cloned().collect::<Vec<_>>();
    discovery(swarm.behaviour_mut()).announce(&listeners)
}
