// A js-libp2p node in a browser, as its users write it. browser.mjs bundles and serves it, and prints what it says.

import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { pubsubPeerDiscovery, TOPIC } from '@libp2p/pubsub-peer-discovery'
import { webSockets } from '@libp2p/websockets'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { obey, watch } from './commands.mjs'

let said = Promise.resolve()

function say (...words) {
  said = said.then(() => fetch('/line', { method: 'POST', body: words.join(' ').replaceAll('\n', ' ') }))
}

async function run (parameters) {
  const address = parameters.get('dial')
  const topics = [TOPIC]
  const discovery = components => {
    const module = pubsubPeerDiscovery({ interval: 1000 })(components)
    module.addEventListener('peer', ({ detail }) => say('discovered', detail.id, detail.multiaddrs.join(',')))
    return module
  }
  const node = await createLibp2p({
    addresses: { listen: parameters.getAll('listen') },
    transports: [webSockets(), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    peerDiscovery: [discovery],
    services: { identify: identify(), pubsub: gossipsub({ runOnLimitedConnection: true }), ...(address == null ? { ping: ping() } : {}) },
    // In a browser it would refuse 127.0.0.1, and ws without TLS.
    connectionGater: { denyDialMultiaddr: () => false }
  })
  await watch(node, topics, say)
  setInterval(() => node.getConnections().forEach(({ remotePeer, timeline }) => {
    say('open', remotePeer, Math.floor((Date.now() - timeline.open) / 1000))
  }), 1000)
  const commands = new EventSource('/commands')
  commands.addEventListener('message', async ({ data: line }) => {
    try {
      const [verb, ...rest] = line.split(' ')
      if (verb === 'dial') {
        await node.dial(multiaddr(rest[0]))
      } else {
        say(await obey(node, topics, [verb, ...rest]) ?? `error ${line}: there is no such command`)
      }
    } catch (err) {
      say(`error ${line}:`, err?.stack ?? err)
    }
  })
  await new Promise(resolve => commands.addEventListener('open', resolve))
  say('started', node.peerId)
  if (address != null) {
    await node.dial(multiaddr(address))
  }
}

window.addEventListener('unhandledrejection', ({ reason }) => say('error unhandled rejection:', reason?.stack ?? reason))
run(new URLSearchParams(location.search)).catch(err => say('error', err?.stack ?? err))
