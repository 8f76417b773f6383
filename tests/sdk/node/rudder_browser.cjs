// Sends events with the unmodified @rudderstack/analytics-js, in jsdom, with its configuration from HOST.
//
//   node rudder_browser.cjs HOST WRITE_KEY COUNT [batching]
//
// It asks for GET HOST/sourceConfig/ first, and does nothing at all without a good answer. Its headers (Authorization,
// AnonymousId, SentAt) make a browser ask leave before each request, by OPTIONS; so does jsdom. The SDK retries cut connections,
// 5xx and 429 (any other 4xx: lost) with the same messageId and originalTimestamp and a new sentAt: 10 times, after 2 s, 4 s,
// 8 s, 20 s ... (here a tenth of it). Of more than 100 that wait it drops the oldest.

const { host, writeKey, count, mode, told, marker, tell, sleep, finish } = require('./told.cjs')
const page = require('./page.cjs')

page.open('https://shop.example/?utm_source=news', 'https://www.google.com/')
// The SDK listens on `globalThis` and sends itself events there: without these it fails, and fails to say so.
for (const name of ['CustomEvent', 'ErrorEvent', 'devicePixelRatio', 'innerHeight', 'innerWidth']) {
  globalThis[name] = window[name]
}
for (const name of ['addEventListener', 'dispatchEvent']) {
  globalThis[name] = window[name].bind(window)
}
const answered = []
const { send } = window.XMLHttpRequest.prototype
window.XMLHttpRequest.prototype.send = function (body) {
  this.addEventListener('load', () => {
    if (this.status >= 200 && this.status < 300) {
      answered.push(String(body))
    }
  })
  send.call(this, body)
}
// This build brings its plugins along; the usual one fetches them from a CDN.
const { RudderAnalytics } = require('@rudderstack/analytics-js/bundled')

finish(async () => {
  const analytics = new RudderAnalytics()
  analytics.load(writeKey, host, {
    configUrl: host,
    // jsdom has no `navigator.sendBeacon`: the SDK takes it for an old browser, and waits for polyfills from a CDN for ever.
    polyfillIfRequired: false,
    queueOptions: { minRetryDelay: 100, batch: { enabled: mode === 'batching', maxItems: 4, flushInterval: 300 } },
  })
  const ready = new Promise((resolve) => analytics.ready(() => resolve(true)))
  if (!await Promise.race([ready, sleep(20_000)])) {
    return [`the SDK did not become ready with what ${host}/sourceConfig/ says`]
  }
  let line
  const heard = (event) => Object.assign(line, {
    event_id: event.messageId, time: event.originalTimestamp,
    user_id: event.userId || null, anonymous_id: event.anonymousId || null,
  })
  for (let index = 0; index < count; index += 1) {
    const url = `https://shop.example/p/${index}?utm_source=news`
    const userId = `rudder-user-${index % 7}`
    line = tell({ marker: marker(index), url })
    const properties = { marker: line.marker }
    page.visit(url, 'Home')
    switch (index % 6) {
      case 0:
        Object.assign(line, { kind: 'page', name: 'Home' })
        analytics.page(null, line.name, properties, {}, heard)
        break
      case 1:
        Object.assign(line, { kind: 'conversion', name: 'Order Completed', value: '19.99', currency: 'EUR' })
        analytics.track(line.name, { ...properties, revenue: 19.99, currency: 'EUR' }, {}, heard)
        break
      case 2:
        Object.assign(line, { kind: 'identify' })
        analytics.identify(userId, { ...properties, plan: 'gold', name: 'Ännchen Ω 𝄞' }, {}, heard)
        break
      case 3:
        Object.assign(line, { kind: 'group', group_id: 'acme' })
        analytics.group('acme', { ...properties, seats: 3 }, {}, heard)
        break
      case 4:
        // The marker is the old name itself: an alias has no properties of its own.
        Object.assign(line, { kind: 'alias', previous_id: line.marker })
        analytics.alias(userId, line.marker, {}, heard)
        break
      default:
        Object.assign(line, { kind: 'custom', name: 'Video Played' })
        analytics.track(line.name, properties, {}, heard)
    }
    await sleep(5)
  }
  const missing = () => told.filter((line) => !answered.some((body) => body.includes(`"messageId":"${line.event_id}"`)))
  for (const end = Date.now() + 120_000; missing().length > 0 && Date.now() < end;) {
    await sleep(50)
  }
  return missing().map((line) => `not sent: ${line.event_id}`)
})
