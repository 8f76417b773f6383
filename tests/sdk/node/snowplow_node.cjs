// Sends events with the unmodified @snowplow/node-tracker.
//
//   node snowplow_node.cjs HOST APP_ID COUNT post|get
//
// The tracker keeps what failed (cut connections and all but 400, 401, 403, 410 and 422) and sends it again, with the same
// eid, dtm and a new stm, at the next flush: it has no timer of its own, so this flushes until all is through.

const { newTracker, buildPageView, buildSelfDescribingEvent, buildStructEvent } = require('@snowplow/node-tracker')
const { host, writeKey, count, mode, told, marker, tell, sleep, finish } = require('./told.cjs')

finish(async () => {
  const through = new Set()
  const { hostname, port } = new URL(host)
  const tracker = newTracker({ namespace: 'shop', appId: writeKey, encodeBase64: true }, {
    endpoint: hostname, protocol: 'http', port: Number(port), eventMethod: mode ?? 'post', bufferSize: 5,
    onRequestSuccess: (events) => events.forEach((event) => through.add(event.eid)),
  })
  for (let index = 0; index < count; index += 1) {
    const url = `https://shop.example/p/${index}?utm_source=news&m=${marker(index)}`
    const line = tell({ user_id: `snowplow-user-${index % 7}`, anonymous_id: `device-${index % 7}`, marker: marker(index) })
    tracker.setUserId(line.user_id)
    tracker.setDomainUserId(line.anonymous_id)
    let event
    switch (index % 3) {
      case 0:
        Object.assign(line, { kind: 'page', name: 'Home', url })
        event = buildPageView({ pageUrl: url, pageTitle: 'Home', referrer: 'https://www.google.com/' })
        break
      case 1:
        Object.assign(line, { kind: 'conversion', name: 'order_completed', value: '19.99', currency: 'EUR' })
        event = buildSelfDescribingEvent({ event: {
          schema: 'iglu:com.acme/order_completed/jsonschema/1-0-0',
          data: { revenue: 19.99, currency: 'EUR', marker: line.marker, name: 'Ännchen Ω 𝄞' },
        } })
        break
      default:
        Object.assign(line, { kind: 'custom', name: 'play', value: '2.5' })
        event = buildStructEvent({ category: 'video', action: 'play', label: line.marker, property: 'intro', value: 2.5 })
    }
    const payload = tracker.track(event)
    line.event_id = payload.eid
    line.time = new Date(Number(payload.dtm)).toISOString()
    await sleep(2)
  }
  const missing = () => told.filter((line) => !through.has(line.event_id))
  for (let tries = 0; missing().length > 0 && tries < 100; tries += 1) {
    await tracker.flush()
    await sleep(100)
  }
  return missing().map((line) => `not sent: ${line.event_id}`)
})
