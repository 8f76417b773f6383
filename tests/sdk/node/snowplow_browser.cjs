// Sends events with the unmodified @snowplow/browser-tracker, in jsdom.
//
//   node snowplow_browser.cjs HOST APP_ID COUNT post|get
//
// The tracker keeps what failed (cut connections and all but 400, 401, 403, 410 and 422) and sends it again, with the same
// eid, dtm and a new stm, with the next event or flush: it has no timer of its own, so this flushes until all is through.

const { host, writeKey, count, mode, told, marker, tell, sleep, finish } = require('./told.cjs')
const page = require('./page.cjs')

page.open('https://shop.example/?utm_source=news', 'https://www.google.com/')
const { newTracker, trackPageView, trackSelfDescribingEvent, trackStructEvent, setUserId, flushBuffer } = require('@snowplow/browser-tracker')

finish(async () => {
  const through = new Set()
  let line
  const listener = {
    afterTrack: (payload) => {
      line.event_id = payload.eid
      line.time = new Date(Number(payload.dtm)).toISOString()
      line.anonymous_id = payload.duid
      line.user_id = payload.uid ?? null
    },
  }
  newTracker('sp', host, {
    appId: writeKey, platform: 'web', eventMethod: mode ?? 'post', bufferSize: 3, plugins: [listener],
    onRequestSuccess: (events) => events.forEach((event) => through.add((event.evt ?? event).eid)),
  })
  for (let index = 0; index < count; index += 1) {
    const url = `https://shop.example/p/${index}?utm_source=news`
    line = tell({ marker: marker(index), url })
    page.visit(url, 'Home')
    if (index === 3) {
      setUserId('snowplow-user-1')
    }
    switch (index % 3) {
      case 0:
        // A page view has no properties, and its URL is the next one's referrer: the marker is in the title.
        Object.assign(line, { kind: 'page', name: `Home ${line.marker}` })
        trackPageView({ title: line.name })
        break
      case 1:
        Object.assign(line, { kind: 'conversion', name: 'order_completed', value: '19.99', currency: 'EUR' })
        trackSelfDescribingEvent({ event: {
          schema: 'iglu:com.acme/order_completed/jsonschema/1-0-0',
          data: { revenue: 19.99, currency: 'EUR', marker: line.marker, name: 'Ännchen Ω 𝄞' },
        } })
        break
      default:
        Object.assign(line, { kind: 'custom', name: 'play', value: '2.5' })
        trackStructEvent({ category: 'video', action: 'play', label: line.marker, property: 'intro', value: 2.5 })
    }
    await sleep(5)
  }
  const missing = () => told.filter((line) => !through.has(line.event_id))
  for (let tries = 0; missing().length > 0 && tries < 100; tries += 1) {
    flushBuffer()
    await sleep(100)
  }
  return missing().map((line) => `not sent: ${line.event_id}`)
})
