// What js makes of discovery messages. Without options writes ../fixtures/; with `--decode` reads
// payloads from stdin, in hex, one a line, and prints what js makes of each.

import { mkdirSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { publicKeyFromProtobuf } from '@libp2p/crypto/keys'
import { peerIdFromMultihash, peerIdFromPublicKey } from '@libp2p/peer-id'
import { pubsubPeerDiscovery } from '@libp2p/pubsub-peer-discovery'
import { multiaddr } from '@multiformats/multiaddr'
import { sha256 } from 'multiformats/hashes/sha2'
// Not exported by the package.
import { msgIdFnStrictSign } from './node_modules/@libp2p/gossipsub/dist/src/utils/msgIdFn.js'

const FIXTURES = new URL('../fixtures/', import.meta.url)

// Public keys as libp2p's protobuf; the private halves were thrown away.
const KEYS = {
  ed25519: 'CAESIG+xrYez0LI7+Hvnax/01FpGTnyJXgB2fDXSACuGL9k7',
  secp256k1: 'CAISIQIqPkuj7kEVQFkk7tzU8lm+kFNev2+88nedkBdTpUQ2TA==',
  rsa: 'CAASpgIwggEiMA0GCSqGSIb3DQEBAQUAA4IBDwAwggEKAoIBAQCpoIsjq8yLcVzrQtrZMb6BlLqQ8IqNVOU56c6kF1i8M/E54oLepWE3' +
    'niVFMIRgMQ34HFrKa6KoVws88/5EmxmzCChXa5BQNN90jDT1LWCtnjd2pxCQBuQ0kZRtxoVptBI61/u2+mgyw0I2xcyz3vOOzdHrBLqfiV4Z' +
    '9G4Kjt8bwVlkagycJhN/KIQ1OIvQsfv5AOo/uVWPX98KH3Eom4nnBVtO/0+IFvdjZ1bUN3O7Zk6hDxbgFtz2ico49aj+A5VX27R023vSZesJ' +
    'uYnoPxDmuv6YwD62b4E1yoP232o61kovjfEQHr94qMoc+WFAmYZ7GRSKiPICrASKyXVoWJjXAgMBAAE=',
  ecdsa: 'CAMSWzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCtvpUKzFyVU28FXi1Hd2+vFzBQvgkVmvBLEi/MEffHNSHRoqjWbt6MMoFB3e2ew' +
    'xpViNkiNRBrSFLwGH5LS0T8='
}

const ADDRESSES = [
  '/ip4/127.0.0.1/tcp/4001/ws',
  '/ip6/::1/tcp/4002/ws',
  '/dns4/example.com/tcp/443/tls/ws',
  '/dns6/example.com/tcp/443/wss'
]

const SEQUENCE_NUMBERS = [0n, 1n, 1_700_000_000_000_000_001n, 2n ** 64n - 1n]

function identity (keyType) {
  const protobuf = Buffer.from(KEYS[keyType], 'base64')
  if (keyType === 'ecdsa') {
    // js reads no ECDSA key of the specification and makes no peer id of one. Of a key, the
    // module and the message id use only these two fields.
    return {
      publicKey: { type: 'ECDSA', raw: protobuf.subarray(4) },
      peerId: peerIdFromMultihash(sha256.digest(protobuf))
    }
  }
  const publicKey = publicKeyFromProtobuf(protobuf)
  return { publicKey, peerId: peerIdFromPublicKey(publicKey) }
}

// The discovery module over a pubsub that only keeps what is published and hands on what it is given.
class Module {
  #published
  #receive
  #errors = []
  #module

  constructor ({ publicKey, addresses }) {
    const log = Object.assign(() => {}, { error: (_, err) => this.#errors.push(err) })
    this.#module = pubsubPeerDiscovery()({
      logger: { forComponent: () => log },
      // Nobody's, so that no payload counts as the module's own.
      peerId: { publicKey, toMultihash: () => sha256.digest(new Uint8Array()) },
      addressManager: { getAddresses: () => addresses.map(address => multiaddr(address)) },
      pubsub: {
        subscribe: () => {},
        unsubscribe: () => {},
        addEventListener: (_, listener) => { this.#receive = listener },
        removeEventListener: () => {},
        getSubscribers: () => ['somebody'],
        publish: (_, payload) => { this.#published = payload }
      }
    })
    this.#module.afterStart()
  }

  get published () {
    return this.#published
  }

  decode (data) {
    let peer
    const listener = event => { peer = event.detail }
    this.#module.addEventListener('peer', listener)
    this.#receive({ detail: { topic: this.#module.topics[0], data } })
    this.#module.removeEventListener('peer', listener)
    if (peer == null) {
      throw this.#errors.pop()
    }
    return peer
  }

  stop () {
    this.#module.beforeStop()
    this.#module.stop()
  }
}

function encode (publicKey, addresses) {
  const module = new Module({ publicKey, addresses })
  module.stop()
  return module.published
}

function write () {
  const payloads = []
  const ids = []
  const add = (name, keyType, peerId, publicKey, addresses) => {
    const payload = encode(publicKey, addresses)
    writeFileSync(new URL(`${name}.bin`, FIXTURES), payload)
    payloads.push(`${name}.bin ${keyType} ${peerId} ${addresses.join(',') || '-'}`)
    return payload
  }

  mkdirSync(FIXTURES, { recursive: true })
  for (const keyType of Object.keys(KEYS)) {
    const { publicKey, peerId } = identity(keyType)
    const suffixed = ADDRESSES.map(address => `${address}/p2p/${peerId}`)
    const payload = add(keyType, keyType, peerId, publicKey, suffixed)
    if (keyType === 'ed25519') {
      add('no-addresses', keyType, peerId, publicKey, [])
      add('no-suffix', keyType, peerId, publicKey, ADDRESSES.slice(0, 1))
    }

    // As a receiver has it: an author whose peer id does not hold the key comes without it.
    const from = peerIdFromMultihash(peerId.toMultihash())
    for (const sequenceNumber of SEQUENCE_NUMBERS) {
      const id = msgIdFnStrictSign({ type: 'signed', from, key: publicKey, sequenceNumber, data: payload })
      ids.push([peerId, sequenceNumber, hex(payload), hex(id)].join(' '))
    }
  }
  writeFileSync(new URL('payloads.txt', FIXTURES), payloads.join('\n') + '\n')
  writeFileSync(new URL('message-ids.txt', FIXTURES), ids.join('\n') + '\n')
}

async function decode () {
  const module = new Module({ ...identity('ed25519'), addresses: [] })
  for await (const line of createInterface({ input: process.stdin })) {
    try {
      const { id, multiaddrs } = module.decode(Buffer.from(line, 'hex'))
      process.stdout.write(`${id} ${multiaddrs}\n`)
    } catch (err) {
      process.stdout.write(`error ${err}\n`)
    }
  }
  module.stop()
}

function hex (bytes) {
  return Buffer.from(bytes).toString('hex')
}

const { values } = parseArgs({ options: { decode: { type: 'boolean', default: false } } })
if (values.decode) {
  await decode()
} else {
  write()
}
