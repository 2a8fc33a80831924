// js-libp2p in Chromium: page.mjs, on a page that is served on loopback; see README.md.

import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { build } from 'esbuild'
import { start } from './chromium.mjs'

const { values: options } = parseArgs({
  options: {
    chromium: { type: 'string' },
    home: { type: 'string' },
    trust: { type: 'string' },
    listen: { type: 'string', multiple: true, default: [] },
    dial: { type: 'string' }
  }
})

const bundle = await build({
  entryPoints: [fileURLToPath(new URL('page.mjs', import.meta.url))],
  bundle: true,
  write: false
})

const commands = createInterface({ input: process.stdin })

async function answer (request, response) {
  switch (request.url) {
    case '/page.js':
      return response.end(bundle.outputFiles[0].contents)
    case '/line': {
      const chunks = await request.toArray()
      process.stdout.write(Buffer.concat(chunks) + '\n')
      return response.end()
    }
    case '/commands':
      response.writeHead(200, { 'Content-Type': 'text/event-stream' })
      response.flushHeaders()
      commands.on('line', line => response.write(`data: ${line}\n\n`))
      return
    default:
      response.setHeader('Content-Type', 'text/html')
      response.end('<!doctype html><title>js-libp2p</title><script src="/page.js"></script>')
  }
}

const server = createServer(answer).listen(0, '127.0.0.1')
await once(server, 'listening')

// Where Chromium looks for authorities that its user trusts.
const database = join(options.home, '.pki/nssdb')
mkdirSync(database, { recursive: true })
const certutil = (...args) => execFileSync('certutil', [...args, '-d', `sql:${database}`])
certutil('-N', '--empty-password')
if (options.trust != null) {
  certutil('-A', '-n', 'test', '-t', 'C,,', '-i', options.trust)
}

const parameters = new URLSearchParams(options.listen.map(address => ['listen', address]))
if (options.dial != null) {
  parameters.set('dial', options.dial)
}
const url = `http://127.0.0.1:${server.address().port}/?${parameters}`
const flags = ['--host-resolver-rules=MAP *.libp2p.test 127.0.0.1']
const { stop } = start(options.chromium, options.home, flags, url)
commands.on('close', stop)
