// Sends the events on standard input through posthog-node, as a program that uses it would.
// Arguments: the host, the project token. The environment chooses the protocol (POSTHOG_CAPTURE_MODE).
'use strict'

const { PostHog } = require('posthog-node')
const { readFileSync } = require('node:fs')

const [host, token] = process.argv.slice(2)
const client = new PostHog(token, { host, flushAt: 20, maxBatchSize: 40, maxQueueSize: 1000, isServer: true })

let failure
client.on('error', (error) => {
  failure = error
})

for (const { uuid, event, distinct_id, timestamp, properties } of JSON.parse(readFileSync(0, 'utf8'))) {
  client.capture({ uuid, event, distinctId: distinct_id, timestamp: new Date(timestamp), properties })
}

client.shutdown(30000).then(() => {
  if (failure) {
    console.error(failure)
    process.exitCode = 1
  }
})
