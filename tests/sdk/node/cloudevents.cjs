// Sends events in messages made by the unmodified cloudevents package.
//
//   node cloudevents.cjs HOST WRITE_KEY COUNT [binary|structured|batch]
//
// Without a mode, the three take turns. The package makes messages and leaves sending to the caller, so this posts them and
// asks again after 5xx and cut connections. An event is the same as another if `source` and `id` are.

const { CloudEvent, HTTP } = require('cloudevents')
const { host, writeKey, count, mode, marker, tell, sleep, finish } = require('./told.cjs')

// `HTTP` makes no batches: the specification's form is an array of events as they are in structured mode.
function batch(events) {
  return { headers: { 'content-type': 'application/cloudevents-batch+json' }, body: JSON.stringify(events) }
}

async function post({ headers, body }) {
  for (let tries = 1; ; tries += 1) {
    try {
      const response = await fetch(`${host}/v1/cloudevents?writeKey=${writeKey}`, { method: 'POST', headers, body })
      if (response.ok || response.status < 500 || tries === 20) {
        return response.ok ? [] : [`${response.status}: ${await response.text()}`]
      }
    } catch (error) {
      if (tries === 20) {
        return [String(error)]
      }
    }
    await sleep(100)
  }
}

finish(async () => {
  const failed = []
  let waiting = []
  for (let index = 0; index < count; index += 1) {
    const url = `https://shop.example/p/${index}?utm_source=news`
    const line = tell({ user_id: `cloud-user-${index % 7}`, anonymous_id: `cloud-device-${index % 7}`, marker: marker(index) })
    const data = { marker: line.marker, user_id: line.user_id, anonymous_id: line.anonymous_id, note: 'Ännchen Ω 𝄞' }
    switch (index % 3) {
      case 0:
        Object.assign(line, { kind: 'page', name: 'com.acme.page.viewed', url })
        Object.assign(data, { url })
        break
      case 1:
        Object.assign(line, { kind: 'conversion', name: 'com.acme.order.completed', value: '19.99', currency: 'EUR' })
        Object.assign(data, { value: 19.99, currency: 'EUR' })
        break
      default:
        Object.assign(line, { kind: 'custom', name: 'com.acme.video.played' })
    }
    const event = new CloudEvent({ type: line.name, source: 'https://shop.example/cart', subject: line.user_id, data })
    Object.assign(line, { event_id: event.id, time: event.time })
    switch (mode ?? ['binary', 'structured', 'batch'][Math.floor(index / 3) % 3]) {
      case 'binary':
        failed.push(...await post(HTTP.binary(event)))
        break
      case 'structured':
        failed.push(...await post(HTTP.structured(event)))
        break
      default:
        waiting.push(event)
    }
    if (waiting.length === 5 || (waiting.length > 0 && index === count - 1)) {
      failed.push(...await post(batch(waiting)))
      waiting = []
    }
  }
  return failed
})
