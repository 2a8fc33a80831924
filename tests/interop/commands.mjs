// What a node of js-libp2p is told to do with a peer, in Node.js and in a browser; see README.md.

import { peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'

export const ECHO = '/echo/1.0.0'
export const ECHO_CHUNK = 256 * 1024
// More than are asked for at once.
const MAX_STREAMS = 512
const RANDOM_AT_ONCE = 65536
const LOOK_MS = 20

export function randomBytes (length) {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; at += RANDOM_AT_ONCE) {
    crypto.getRandomValues(bytes.subarray(at, at + RANDOM_AT_ONCE))
  }
  return bytes
}

const hex = bytes => Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('')

function peer (target) {
  return target.startsWith('/') ? multiaddr(target) : peerIdFromString(target)
}

// Sends back what each stream brings, and says who has come, who has gone and what was heard on `topics`.
export async function watch (node, topics, say) {
  await node.handle(ECHO, async stream => {
    try {
      for await (const chunk of stream) {
        if (!stream.send(chunk)) {
          await stream.onDrain()
        }
      }
      await stream.close()
    } catch (err) {
      stream.abort(err)
    }
  }, { maxInboundStreams: MAX_STREAMS, maxOutboundStreams: MAX_STREAMS, runOnLimitedConnection: true })
  node.addEventListener('connection:open', ({ detail }) => say('connected', detail.remotePeer))
  node.addEventListener('connection:close', ({ detail }) => say('disconnected', detail.remotePeer))
  node.addEventListener('self:peer:update', () => say('addresses', node.getMultiaddrs()))
  node.addEventListener('peer:identify', ({ detail }) => {
    say('identified', detail.peerId, detail.agentVersion?.replaceAll(' ', '_'), detail.protocols)
  })
  node.services.pubsub.addEventListener('message', ({ detail }) => {
    if (topics.includes(detail.topic)) {
      say('message', detail.from, detail.topic, hex(detail.data), node.peerId)
    }
  })
}

function open (node, target) {
  const options = { runOnLimitedConnection: true }
  // To one that is connected through a relay, `dialProtocol` would open another connection.
  const [connection] = target.startsWith('/') ? [] : node.getConnections(peer(target))
  return connection?.newStream(ECHO, options) ?? node.dialProtocol(peer(target), ECHO, options)
}

async function exchange (stream, length) {
  const sent = randomBytes(length)
  const send = async () => {
    for (let at = 0; at < sent.length; at += ECHO_CHUNK) {
      if (!stream.send(sent.subarray(at, at + ECHO_CHUNK))) {
        await stream.onDrain()
      }
    }
    await stream.close()
  }
  const compare = async () => {
    let at = 0
    for await (const chunk of stream) {
      const back = chunk.subarray()
      if (back.some((byte, index) => byte !== sent[at + index])) {
        throw new Error(`other bytes came back between ${at} and ${at + back.length}`)
      }
      at += back.length
    }
    if (at !== sent.length) {
      throw new Error(`only ${at} of ${sent.length} bytes came back`)
    }
  }

  try {
    await Promise.all([send(), compare()])
  } catch (err) {
    stream.abort(err)
    throw err
  }
}

export async function echo (node, target, length) {
  await exchange(await open(node, target), length)
}

// Once it can be sent to somebody who has subscribed: gossipsub hears of that before its own stream to the peer is open, for
// which there is no event, and sends nothing where there is none.
async function publish (node, topic, payload) {
  const { pubsub } = node.services
  while (!pubsub.getSubscribers(topic).some(peer => pubsub.streamsOutbound.has(peer.toString()))) {
    await new Promise(resolve => setTimeout(resolve, LOOK_MS))
  }
  await pubsub.publish(topic, Uint8Array.from(payload.match(/../g) ?? [], byte => parseInt(byte, 16)))
}

// The answer to a command, or undefined if it is none of these.
export async function obey (node, topics, [verb, target, argument]) {
  switch (verb) {
    case 'ping':
      await node.services.ping.ping(peer(target))
      return `pong ${target}`
    case 'echo':
      await echo(node, target, Number(argument))
      return `echo ok ${argument}`
    case 'streams': {
      // All are open before the first is used.
      const opened = await Promise.all(Array.from({ length: Number(argument) }, () => open(node, target)))
      await Promise.all(opened.map(stream => exchange(stream, 1000)))
      return `streams ok ${argument}`
    }
    case 'subscribe':
      topics.push(target)
      node.services.pubsub.subscribe(target)
      return `subscribed ${target}`
    case 'publish':
      await publish(node, target, argument)
      return `published ${target}`
    case 'close':
      await node.hangUp(peer(target))
      return `closed ${target}`
  }
}
