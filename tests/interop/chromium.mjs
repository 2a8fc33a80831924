// A Chromium that ends with this process, and leaves nothing behind.

import { spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import { join } from 'node:path'

// `home` keeps its profile, and is removed when it ends, with all that is in it.
export function start (chromium, home, flags, url) {
  const browser = spawn(chromium, [
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    // It ends when the other ends of these pipes are closed, in whatever way this process ends.
    '--remote-debugging-pipe',
    `--user-data-dir=${join(home, 'profile')}`,
    ...flags,
    url
  ], {
    // A process group of its own.
    detached: true,
    env: { ...process.env, HOME: home },
    stdio: ['ignore', 'ignore', 'inherit', 'pipe', 'pipe']
  })
  let isOver = false
  browser.on('exit', () => {
    // Those that it has started may still write to the profile.
    try {
      process.kill(-browser.pid, 'SIGKILL')
    } catch {}
    rmSync(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 })
    process.exit(isOver ? 0 : 1)
  })
  const stop = () => {
    isOver = true
    browser.kill()
  }
  return { pipes: browser.stdio.slice(3), stop }
}
