// Sends events with the unmodified matomo-tracker.
//
//   node matomo.cjs HOST SITE_ID COUNT single|bulk
//
// The SDK does not retry: it emits `error` (without saying for which event) and forgets. So this sends one request at a
// time and hands the same one in again. No event has an id: `pv_id` and `ec_id` are what tells two apart.

const MatomoTracker = require('matomo-tracker')
const { host, writeKey, count, mode, marker, tell, sleep, finish } = require('./told.cjs')

finish(async () => {
  const tracker = new MatomoTracker(writeKey, `${host}/matomo.php`)
  let fault = null
  let answered = () => {}
  tracker.on('error', (error) => {
    fault = String(error)
    answered()
  })
  // `track` says nothing when all is well: its answer shows in the HTTP client beneath it.
  const http = tracker.agent
  tracker.agent = {
    request: http.request,
    get: (url, heard) => http.get(url, (response) => {
      heard(response)
      response.resume().once('end', () => answered())
    }),
  }
  const send = (events) => new Promise((resolve) => {
    answered = resolve
    if (mode === 'bulk') {
      tracker.trackBulk(events, resolve)
    } else {
      tracker.track(events[0])
    }
  })

  const size = mode === 'bulk' ? 4 : 1
  const failed = []
  let waiting = []
  for (let index = 0; index < count; index += 1) {
    const url = `https://shop.example/p/${index}?utm_source=news&m=${marker(index)}`
    const device = (0x1000 + (index % 7)).toString(16).padStart(16, '0')
    const line = tell({ user_id: `matomo-user-${index % 7}`, anonymous_id: device, url, marker: marker(index) })
    const event = { url, uid: line.user_id, _id: device, ua: 'Mozilla/5.0 (X11; Linux x86_64) Chrome/140.0.0.0', urlref: 'https://www.google.com/' }
    switch (index % 4) {
      case 0:
        Object.assign(line, { kind: 'page', name: 'Home Ännchen Ω 𝄞' })
        waiting.push({ ...event, action_name: line.name, pv_id: index.toString(36).padStart(6, '0') })
        break
      case 1:
        Object.assign(line, { kind: 'conversion', value: '19.99' })
        waiting.push({ ...event, idgoal: 1, revenue: '19.99' })
        break
      case 2:
        Object.assign(line, { kind: 'custom', name: 'play' })
        waiting.push({ ...event, e_c: 'video', e_a: 'play', e_n: line.marker, e_v: 2.5 })
        break
      default:
        Object.assign(line, { kind: 'conversion', value: '19.99' })
        waiting.push({ ...event, idgoal: 0, ec_id: line.marker, revenue: '19.99', ec_items: JSON.stringify([['sku', 'Cup', 'Kitchen', 19.99, 1]]) })
    }
    if (waiting.length < size && index < count - 1) {
      continue
    }
    for (let tries = 0; tries < 20; tries += 1) {
      fault = null
      await send(waiting)
      if (fault === null || /^4/.test(fault)) {
        break
      }
      await sleep(100)
    }
    if (fault !== null) {
      failed.push(fault)
    }
    waiting = []
  }
  return failed
})
