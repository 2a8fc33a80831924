// js-libp2p nodes driven by a line protocol on stdin and stdout; see README.md.

import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { setImmediate } from 'node:timers/promises'
import { connect } from 'node:tls'
import { parseArgs } from 'node:util'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { gossipsub } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { pubsubPeerDiscovery, TOPIC } from '@libp2p/pubsub-peer-discovery'
import { tcp } from '@libp2p/tcp'
import { webSockets } from '@libp2p/websockets'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { ECHO_CHUNK, echo, obey, randomBytes, watch } from './commands.mjs'

const GARBAGE = 100
const KEY_TYPES = { ed25519: 'Ed25519', secp256k1: 'secp256k1', rsa: 'RSA' }

function say (...words) {
  process.stdout.write(words.join(' ').replaceAll('\n', ' ') + '\n')
}

function sayError (what, err) {
  say('error', `${what}:`, err?.stack ?? err)
}

async function start (options) {
  const topics = [...options.topic ?? [TOPIC]]

  // Listens to the module itself: libp2p's own `peer:discovery` comes only once per peer, and
  // never for one that is connected already.
  const discovery = components => {
    const module = pubsubPeerDiscovery({ interval: Number(options.interval), topics: [...topics] })(components)
    module.addEventListener('peer', ({ detail }) => say('discovered', detail.id, detail.multiaddrs.join(',')))
    return module
  }

  const node = await createLibp2p({
    start: false,
    privateKey: await generateKeyPair(KEY_TYPES[options['key-type']]),
    addresses: { listen: [...options.listen ?? [], ...options.search ? ['/p2p-circuit'] : []] },
    transports: [tcp(), webSockets({ https: await certificate(options) }), circuitRelayTransport()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    peerDiscovery: [discovery],
    // What the README of pubsub-peer-discovery shows.
    services: { identify: identify(), pubsub: gossipsub() },
    ...(options['as-documented'] ? {} : forTests(options))
  })
  await watch(node, topics, say)

  // It has no event for this.
  const { score } = node.services.pubsub
  const addPenalty = score.addPenalty.bind(score)
  score.addPenalty = (peer, count, reason) => {
    say('penalty', peer, count, reason, node.peerId)
    addPenalty(peer, count, reason)
  }

  await node.start()
  say('started', node.peerId)
  node.getMultiaddrs().forEach(address => say('listening', address))
  await Promise.all((options.dial ?? []).map(address => dial(node, address).catch(err => sayError(`dial ${address}`, err))))
  node.topics = topics
  return node
}

async function certificate ({ cert, key }) {
  return cert != null ? { cert: await readFile(cert), key: await readFile(key) } : undefined
}

function forTests (options) {
  return {
    // All share one IP, from which js lets in five a second, and which it holds against more than ten.
    connectionManager: { inboundConnectionThreshold: Infinity },
    // On a busy machine a ping may be late, and this would close the connection for it.
    connectionMonitor: { enabled: options.monitor },
    services: {
      identify: identify(),
      ping: ping(),
      pubsub: gossipsub({
        // Also through a relay.
        runOnLimitedConnection: true,
        scoreParams: { IPColocationFactorWeight: 0 },
        // Time for a busy machine to send what was asked for. What never comes still counts.
        gossipsubIWantFollowupMs: Number(options.followup)
      })
    }
  }
}

async function startAll (options) {
  const nodes = []
  for (let i = 0; i < Number(options.count); i++) {
    nodes.push(await start(options))
  }
  return nodes
}

async function dial (node, address) {
  if (address.endsWith(`/p2p/${node.peerId}`)) {
    return
  }
  // On a busy machine the 10 seconds of an upgrade may be too few.
  for (let left = 4; left > 0; left--) {
    try {
      return await node.dial(multiaddr(address))
    } catch (err) {
      sayError(`cannot dial ${address}, ${left} times more`, err)
    }
  }
  return node.dial(multiaddr(address))
}

// Goes on until it is told to be quiet, and says how often it has heard itself.
async function traffic (node, target) {
  node.isQuiet = false
  let count = 0
  for (; !node.isQuiet; count++) {
    await echo(node, target, ECHO_CHUNK)
  }
  say('traffic ok', count)
}

// The serial number of the certificate that is served on a port of this host.
async function serial (port) {
  const socket = connect({ host: '127.0.0.1', port: Number(port) })
  try {
    await once(socket, 'secureConnect')
    say('serial', port, Number(`0x${socket.getPeerCertificate().serialNumber}`))
  } finally {
    socket.destroy()
  }
}

// What the module announces of a node.
function announcement (node) {
  let payload
  const pubsub = { getSubscribers: () => ['somebody'], publish: (_, published) => { payload = published } }
  const addressManager = { getAddresses: () => node.getMultiaddrs() }
  pubsubPeerDiscovery()({ logger: node.logger, peerId: node.peerId, addressManager, pubsub })._broadcast()
  return payload
}

// As fast as it can be signed and sent. The pause lets the node do all else that it has to do.
async function flood (node, payload, count) {
  for (let i = 0; i < count; i++) {
    await node.services.pubsub.publish(TOPIC, payload())
    if (i % 100 === 0) {
      await setImmediate()
    }
  }
  say('flooded', count)
}

function scores (node) {
  const { pubsub } = node.services
  pubsub.getPeers().forEach(peer => say('score', peer, pubsub.getScore(peer.toString())))
  say('scored', node.peerId)
}

// What was asked of whom after gossip, and has not come from anybody.
function promises (node) {
  for (const [id, peers] of node.services.pubsub.gossipTracer.promises) {
    peers.forEach((_, peer) => say('promised', peer, id, node.peerId))
  }
  say('promises', node.peerId)
}

async function command (nodes, line) {
  const [verb, ...rest] = line.trim().split(/\s+/)
  switch (verb) {
    case '':
      return
    case 'dial':
      return Promise.all(nodes.map(node => dial(node, rest[0])))
    case 'traffic':
      return Promise.all(nodes.map(node => traffic(node, rest[0])))
    case 'quiet':
      return nodes.forEach(node => { node.isQuiet = true })
    case 'serial':
      return serial(rest[0])
    case 'score':
      return nodes.forEach(scores)
    case 'promises':
      return nodes.forEach(promises)
    case 'flood-announcements':
      return Promise.all(nodes.map(node => flood(node, () => announcement(node), Number(rest[0]))))
    case 'flood-garbage':
      return Promise.all(nodes.map(node => flood(node, () => randomBytes(GARBAGE), Number(rest[0]))))
    default:
      return Promise.all(nodes.map(async node => {
        const answer = await obey(node, node.topics, [verb, ...rest])
        if (answer == null) {
          throw new Error('there is no such command')
        }
        say(answer)
      }))
  }
}

process.on('unhandledRejection', err => sayError('unhandled rejection', err))

const { values: options } = parseArgs({
  options: {
    listen: { type: 'string', multiple: true },
    search: { type: 'boolean', default: false },
    dial: { type: 'string', multiple: true },
    topic: { type: 'string', multiple: true },
    interval: { type: 'string', default: '10000' },
    followup: { type: 'string', default: '10000' },
    'as-documented': { type: 'boolean', default: false },
    monitor: { type: 'boolean', default: false },
    'key-type': { type: 'string', default: 'ed25519' },
    cert: { type: 'string' },
    key: { type: 'string' },
    count: { type: 'string', default: '1' }
  }
})
if (!(options['key-type'] in KEY_TYPES)) {
  throw new Error(`--key-type is one of ${Object.keys(KEY_TYPES)}`)
}

const starting = startAll(options)
const input = createInterface({ input: process.stdin })
input.on('line', line => {
  starting.then(nodes => command(nodes, line)).catch(err => sayError(line, err))
})
input.on('close', () => process.exit(0))
await starting
