// Sends events with the unmodified posthog-node.
//
//   node posthog_node.cjs HOST WRITE_KEY COUNT [v0|v1]
//
// v0 (the SDK's default) posts to /batch/, v1 to /i/v1/analytics/events. The SDK retries 408, 429, 5xx and cut
// connections with the same uuid.

const { host, writeKey, count, mode, marker, tell, finish } = require('./told.cjs')
process.env.POSTHOG_CAPTURE_MODE = mode ?? 'v0'
const { PostHog } = require('posthog-node')

finish(async () => {
  const failed = []
  const posthog = new PostHog(writeKey, { host, flushAt: 5, maxBatchSize: 5, flushInterval: 200, fetchRetryCount: 10, fetchRetryDelay: 200 })
  posthog.on('error', (error) => failed.push(String(error)))

  const lines = []
  for (let index = 0; index < count; index += 1) {
    const distinctId = `posthog-user-${index % 7}`
    const url = `https://shop.example/p/${index}?utm_source=news`
    const line = tell({ user_id: distinctId, marker: marker(index) })
    const properties = { marker: line.marker }
    lines.push(line)
    switch (index % 6) {
      case 0:
        Object.assign(line, { kind: 'page', name: '$pageview', url })
        posthog.capture({ distinctId, event: line.name, properties: { ...properties, $current_url: url } })
        break
      case 1:
        Object.assign(line, { kind: 'conversion', name: 'Order Completed', value: '19.99', currency: 'EUR' })
        posthog.capture({ distinctId, event: line.name, properties: { ...properties, revenue: 19.99, currency: 'EUR' } })
        break
      case 2:
        Object.assign(line, { kind: 'identify', name: '$identify' })
        posthog.identify({ distinctId, properties: { ...properties, plan: 'gold', name: 'Ännchen Ω 𝄞' } })
        break
      case 3:
        Object.assign(line, { kind: 'group', name: '$groupidentify', user_id: null, group_id: 'acme' })
        posthog.groupIdentify({ groupType: 'company', groupKey: 'acme', properties: { ...properties, seats: 3 } })
        break
      case 4:
        // The marker is the other name itself: an alias has no properties of its own.
        Object.assign(line, { kind: 'alias', name: '$create_alias', previous_id: line.marker })
        posthog.alias({ distinctId, alias: line.marker })
        break
      default:
        Object.assign(line, { kind: 'custom', name: 'Video Played' })
        posthog.capture({ distinctId, event: line.name, properties })
    }
  }
  posthog.on('flush', (events) => {
    for (const event of events) {
      const line = lines.find((line) => JSON.stringify(event).includes(`"${line.marker}"`))
      line.event_id = event.uuid
      line.time = event.timestamp
    }
  })
  await posthog.shutdown(60_000)
  if (lines.some((line) => line.event_id === null)) {
    failed.push('not every event was flushed')
  }
  return failed
})
