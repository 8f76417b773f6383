// Sends events with the unmodified @rudderstack/rudder-sdk-node.
//
//   node rudder.cjs HOST WRITE_KEY COUNT
//
// The SDK retries 5xx, 429 and cut connections with the same messageId, originalTimestamp and sentAt. Any other 4xx is an
// unhandled rejection in it unless there is an `errorHandler`, as here.

const { gunzipSync } = require('node:zlib')
const RudderAnalytics = require('@rudderstack/rudder-sdk-node')
const { host, writeKey, count, marker, tell, finish } = require('./told.cjs')

finish(async () => {
  const failed = []
  const analytics = new RudderAnalytics(writeKey, {
    dataPlaneUrl: host, flushAt: 5, flushInterval: 200, retryCount: 10,
    errorHandler: (error) => failed.push(String(error)),
  })
  analytics.logger.error = () => {}

  const sent = []
  for (let index = 0; index < count; index += 1) {
    const person = { userId: `rudder-user-${index % 7}`, anonymousId: `rudder-device-${index % 7}` }
    const url = `https://shop.example/p/${index}?utm_source=news`
    const line = tell({ user_id: person.userId, anonymous_id: person.anonymousId, marker: marker(index) })
    const properties = { marker: line.marker }
    sent.push(new Promise((resolve) => {
      const heard = (error, data) => {
        if (!error) {
          const event = JSON.parse(gunzipSync(data)).batch.find((event) => JSON.stringify(event).includes(line.marker))
          line.event_id = event.messageId
          line.time = event.originalTimestamp
        }
        resolve()
      }
      switch (index % 6) {
        case 0:
          Object.assign(line, { kind: 'page', name: 'Home', url })
          analytics.page({ ...person, name: 'Home', properties: { ...properties, url } }, heard)
          break
        case 1:
          Object.assign(line, { kind: 'conversion', name: 'Order Completed', value: '19.99', currency: 'EUR' })
          analytics.track({ ...person, event: line.name, properties: { ...properties, revenue: 19.99, currency: 'EUR' } }, heard)
          break
        case 2:
          Object.assign(line, { kind: 'identify' })
          analytics.identify({ ...person, traits: { ...properties, plan: 'gold', name: 'Ännchen Ω 𝄞' } }, heard)
          break
        case 3:
          Object.assign(line, { kind: 'group', group_id: 'acme' })
          analytics.group({ ...person, groupId: 'acme', traits: { ...properties, seats: 3 } }, heard)
          break
        case 4:
          Object.assign(line, { kind: 'alias', previous_id: person.anonymousId, anonymous_id: null })
          analytics.alias({ userId: person.userId, previousId: person.anonymousId, properties }, heard)
          break
        default:
          Object.assign(line, { kind: 'custom', name: 'Video Played' })
          analytics.track({ ...person, event: line.name, properties }, heard)
      }
    }))
  }
  await analytics.flush()
  await Promise.all(sent)
  return failed
})
