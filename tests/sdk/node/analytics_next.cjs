// Sends events with the unmodified @segment/analytics-next, in jsdom, with its settings from HOST.
//
//   node analytics_next.cjs HOST WRITE_KEY COUNT standard|batching
//
// Settings come from HOST/v1/projects/WRITE_KEY/settings and say where events go. The SDK retries 5xx, 408, 410, 429, 460
// and cut connections with the same messageId.

const { host, writeKey, count, mode, told, marker, tell, sleep, finish } = require('./told.cjs')
const page = require('./page.cjs')

page.open('https://shop.example/?utm_source=news', 'https://www.google.com/')
const { AnalyticsBrowser } = require('@segment/analytics-next')

finish(async () => {
  const deliveryStrategy = mode === 'batching' ? { strategy: 'batching', config: { size: 4, timeout: 300 } } : { strategy: 'standard' }
  const analytics = AnalyticsBrowser.load({ writeKey, cdnURL: host }, { integrations: { 'Segment.io': { deliveryStrategy } } })
  await analytics.ready()
  for (let index = 0; index < count; index += 1) {
    const url = `https://shop.example/p/${index}?utm_source=news`
    const userId = `browser-user-${index % 7}`
    const line = tell({ marker: marker(index), url })
    const properties = { marker: line.marker }
    page.visit(url, 'Home')
    const context = await new Promise((resolve) => {
      // The event as the SDK made it; what becomes of it is told by the answers.
      const heard = (context) => resolve(context)
      analytics.instance.once('dispatch_start', heard)
      switch (index % 6) {
        case 0:
          Object.assign(line, { kind: 'page', name: 'Home' })
          analytics.page('Home', properties)
          break
        case 1:
          Object.assign(line, { kind: 'conversion', name: 'Order Completed', value: '19.99', currency: 'EUR' })
          analytics.track(line.name, { ...properties, revenue: 19.99, currency: 'EUR' })
          break
        case 2:
          Object.assign(line, { kind: 'identify' })
          analytics.identify(userId, { ...properties, plan: 'gold', name: 'Ännchen Ω 𝄞' })
          break
        case 3:
          Object.assign(line, { kind: 'group', group_id: 'acme' })
          analytics.group('acme', { ...properties, seats: 3 })
          break
        case 4:
          // The marker is the old name itself: an alias has no properties of its own. (Its new name goes out only while nobody
          // is identified: the SDK puts the identified user in its place.)
          Object.assign(line, { kind: 'alias', previous_id: line.marker })
          analytics.alias(userId, line.marker)
          break
        default:
          Object.assign(line, { kind: 'custom', name: 'Video Played' })
          analytics.track(line.name, properties)
      }
    })
    const event = context.event
    Object.assign(line, {
      event_id: event.messageId, time: new Date(event.timestamp).toISOString(),
      user_id: event.userId ?? null, anonymous_id: event.anonymousId ?? null,
    })
    await sleep(5)
  }
  const missing = await page.unanswered(told.map((line) => line.event_id), 120_000)
  return missing.map((id) => `not sent: ${id}`)
})
