// Sends events with the unmodified posthog-js, in jsdom.
//
//   node posthog_browser.cjs HOST WRITE_KEY COUNT
//
// It asks for GET /array/KEY/config and POST /flags/?v=2 too. The SDK retries all but 200 and 4xx (429 among them: lost),
// with the same uuid and `retry_count=` in the query: 10 times, a cut connection 3 times, after 3 s, 6 s, 12 s ...

const { host, writeKey, count, told, marker, tell, sleep, finish } = require('./told.cjs')
const page = require('./page.cjs')

page.open('https://shop.example/?utm_source=news', 'https://www.google.com/')
const { default: posthog } = require('posthog-js')

finish(async () => {
  let line
  posthog.init(writeKey, {
    api_host: host, autocapture: false, capture_pageview: false, capture_pageleave: false, disable_session_recording: true,
    disable_surveys: true, disable_external_dependency_loading: true, request_queue_config: { flush_interval_ms: 250 },
    before_send: (event) => {
      const properties = event.properties
      Object.assign(line, {
        event_id: event.uuid, time: event.timestamp.toISOString(),
        user_id: properties.$user_id ?? null, anonymous_id: properties.$anon_distinct_id ?? properties.$device_id ?? null,
      })
      return event
    },
  })
  for (let index = 0; index < count; index += 1) {
    const url = `https://shop.example/p/${index}?utm_source=news`
    line = tell({ marker: marker(index), url })
    const properties = { marker: line.marker }
    page.visit(url, 'Home')
    switch (index % 6) {
      case 0:
        Object.assign(line, { kind: 'page', name: '$pageview' })
        posthog.capture('$pageview', properties)
        break
      case 1:
        Object.assign(line, { kind: 'conversion', name: 'Order Completed', value: '19.99', currency: 'EUR' })
        posthog.capture(line.name, { ...properties, revenue: 19.99, currency: 'EUR' })
        break
      case 2:
        // `$identify` goes once for a new user; after that the SDK sends `$set`.
        Object.assign(line, { kind: 'identify', name: index === 2 ? '$identify' : '$set' })
        posthog.identify('posthog-user-1', { ...properties, plan: 'gold', name: 'Ännchen Ω 𝄞' })
        break
      case 3:
        Object.assign(line, { kind: 'group', name: '$groupidentify', group_id: 'acme' })
        posthog.group('company', 'acme', { ...properties, seats: index })
        break
      case 4:
        // The marker is the new name itself: an alias has no properties of its own.
        Object.assign(line, { kind: 'alias', name: '$create_alias' })
        posthog.alias(line.marker)
        break
      default:
        Object.assign(line, { kind: 'custom', name: 'Video Played' })
        posthog.capture(line.name, properties)
    }
    await sleep(index % 4 === 3 ? 300 : 5)
  }
  const missing = await page.unanswered(told.map((line) => line.event_id), 120_000)
  return missing.map((id) => `not sent: ${id}`)
})
