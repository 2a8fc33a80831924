// A page in Chromium, as its visitor sees it; see README.md. Prints each error that the console of the browser has, and obeys
// its input: `value <expression>`, `shot <file> <light or dark> <width> <height>` (without it, the whole page).

import { writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { parseArgs } from 'node:util'
import { start } from './chromium.mjs'

const { values: options } = parseArgs({
  options: { chromium: { type: 'string' }, home: { type: 'string' }, url: { type: 'string' } }
})

let isThere = false
// It knows nothing of the authority of a test.
const flags = ['--hide-scrollbars', '--ignore-certificate-errors']
const { pipes: [commands, messages], stop } = start(options.chromium, options.home, flags, 'about:blank')

const say = (...words) => process.stdout.write(words.join(' ').replaceAll(/\s+/g, ' ') + '\n')
const waiting = new Map()
const happens = {
  'Runtime.consoleAPICalled': ({ type, args }) => say('console', type, ...args.map(arg => arg.value ?? arg.description)),
  'Runtime.exceptionThrown': ({ exceptionDetails: details }) => say('exception', details.exception?.description ?? details.text),
  // Such as what the policy of the page forbids, and requests that fail.
  'Log.entryAdded': ({ entry }) => say('log', entry.level, entry.text, entry.url ?? ''),
  // Not of the empty page before it.
  'Page.frameNavigated': ({ frame }) => { isThere = frame.url !== 'about:blank' },
  'Page.loadEventFired': () => isThere && say('loaded')
}

let rest = ''
messages.setEncoding('utf8').on('data', data => {
  const whole = (rest + data).split('\0')
  rest = whole.pop()
  for (const message of whole.map(JSON.parse)) {
    happens[message.method]?.(message.params)
    waiting.get(message.id)?.(message.error == null ? message.result : Promise.reject(new Error(message.error.message)))
    waiting.delete(message.id)
  }
})

let count = 0
let sessionId
function call (method, params = {}) {
  const id = ++count
  commands.write(JSON.stringify({ id, method, params, sessionId }) + '\0')
  return new Promise(resolve => waiting.set(id, resolve))
}

const { targetInfos: [{ targetId }] } = await call('Target.getTargets', { filter: [{ type: 'page' }] })
;({ sessionId } = await call('Target.attachToTarget', { targetId, flatten: true }))
await Promise.all(['Runtime.enable', 'Log.enable', 'Page.enable'].map(method => call(method)))
await call('Page.navigate', { url: options.url })

for await (const line of createInterface({ input: process.stdin })) {
  const [, verb, what] = line.match(/^(\w+) (.*)$/)
  if (verb === 'value') {
    const { result, exceptionDetails } = await call('Runtime.evaluate', { expression: what, awaitPromise: true, returnByValue: true })
    say('value', exceptionDetails?.exception.description ?? JSON.stringify(result.value))
  } else {
    const [file, scheme, width, height] = what.split(' ').map(word => Number(word) || word)
    await call('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] })
    await call('Emulation.setDeviceMetricsOverride', { width, height: height || 900, deviceScaleFactor: 2, mobile: width < 600 })
    const { cssContentSize: size } = await call('Page.getLayoutMetrics')
    const clip = { x: 0, y: 0, width: size.width, height: height || size.height, scale: 1 }
    const { data } = await call('Page.captureScreenshot', { clip, captureBeyondViewport: true })
    writeFileSync(file, Buffer.from(data, 'base64'))
    say('shot', file, size.width, size.height)
  }
}
stop()
