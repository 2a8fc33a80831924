// For `node --import`: a name of AutoTLS resolves to the IPv4 address in its first label, without a name server.

import dns from 'node:dns'

const { lookup } = dns

dns.lookup = (name, options, callback) => {
  if (!name.endsWith('.libp2p.test')) {
    return lookup(name, options, callback)
  }
  const address = name.split('.')[0].replaceAll('-', '.')
  process.nextTick(() => options.all ? callback(null, [{ address, family: 4 }]) : callback(null, address, 4))
}
