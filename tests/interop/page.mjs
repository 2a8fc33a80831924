// A js-libp2p node in a browser, as its users write it. browser.mjs bundles and serves it, and prints what it says.

import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { pubsubPeerDiscovery, TOPIC } from '@libp2p/pubsub-peer-discovery'
import { webSockets } from '@libp2p/websockets'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

let said = Promise.resolve()

function say (...words) {
  said = said.then(() => fetch('/line', { method: 'POST', body: words.join(' ').replaceAll('\n', ' ') }))
}

async function run (address) {
  const discovery = components => {
    const module = pubsubPeerDiscovery({ interval: 1000 })(components)
    module.addEventListener('peer', ({ detail }) => say('discovered', detail.id, detail.multiaddrs.join(',')))
    return module
  }
  const node = await createLibp2p({
    transports: [webSockets()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    peerDiscovery: [discovery],
    services: { identify: identify(), pubsub: gossipsub() },
    // In a browser it would refuse 127.0.0.1, and ws without TLS.
    connectionGater: { denyDialMultiaddr: () => false }
  })
  node.addEventListener('connection:open', ({ detail }) => say('connected', detail.remotePeer))
  node.addEventListener('connection:close', ({ detail }) => say('disconnected', detail.remotePeer))
  node.services.pubsub.addEventListener('message', ({ detail }) => {
    if (detail.topic === TOPIC) {
      say('message', detail.from, detail.topic)
    }
  })
  setInterval(() => node.getConnections().forEach(({ remotePeer, timeline }) => {
    say('open', remotePeer, Math.floor((Date.now() - timeline.open) / 1000))
  }), 1000)
  say('started', node.peerId)
  await node.dial(multiaddr(address))
}

window.addEventListener('unhandledrejection', ({ reason }) => say('error unhandled rejection:', reason?.stack ?? reason))
run(new URLSearchParams(location.search).get('dial')).catch(err => say('error', err?.stack ?? err))
