// Sends events with the unmodified @jitsu/js, in jsdom.
//
//   node jitsu.cjs HOST WRITE_KEY COUNT
//
// The SDK does not retry: it logs what failed and forgets it. So this gives it, by its own `fetch` option, a fetch that
// asks again after 5xx and cut connections; the messageId is then the same, since the body is.

const { host, writeKey, count, marker, tell, sleep, finish } = require('./told.cjs')
const page = require('./page.cjs')

page.open('https://shop.example/?utm_source=news', 'https://www.google.com/')
const { jitsuAnalytics } = require('@jitsu/js')

finish(async () => {
  const failed = []
  let line
  const persistent = async (url, init) => {
    const event = JSON.parse(init.body)
    Object.assign(line, { event_id: event.messageId, time: event.timestamp, user_id: event.userId ?? null, anonymous_id: event.anonymousId ?? null })
    for (let tries = 1; ; tries += 1) {
      try {
        const response = await fetch(url, init)
        if (response.status < 500 || tries === 20) {
          return response
        }
      } catch (error) {
        if (tries === 20) {
          throw error
        }
      }
      await sleep(100)
    }
  }
  // The SDK throws unless the key is `key:secret` (or a cuid): the server's key is what is before the colon.
  const key = writeKey.includes(':') ? writeKey : `${writeKey}:secret`
  const analytics = jitsuAnalytics({ host, writeKey: key, fetch: persistent, errorPolicy: (message) => failed.push(message) })
  for (let index = 0; index < count; index += 1) {
    const url = `https://shop.example/p/${index}?utm_source=news`
    line = tell({ marker: marker(index), url })
    const properties = { marker: line.marker }
    page.visit(url, 'Home')
    switch (index % 5) {
      case 0:
        Object.assign(line, { kind: 'page' })
        await analytics.page(properties)
        break
      case 1:
        Object.assign(line, { kind: 'conversion', name: 'Order Completed', value: '19.99', currency: 'EUR' })
        await analytics.track(line.name, { ...properties, revenue: 19.99, currency: 'EUR' })
        break
      case 2:
        Object.assign(line, { kind: 'identify' })
        await analytics.identify(`jitsu-user-${index % 7}`, { ...properties, plan: 'gold', name: 'Ännchen Ω 𝄞' })
        break
      case 3:
        Object.assign(line, { kind: 'group', group_id: 'acme' })
        await analytics.group('acme', { ...properties, seats: 3 })
        break
      default:
        Object.assign(line, { kind: 'custom', name: 'Video Played' })
        await analytics.track(line.name, properties)
    }
  }
  return failed
})
