// A browser's page in jsdom, whose names become this process's own, for the SDKs that expect a browser.
// The network is Node's `fetch`; what it got through is kept, since the browser SDKs do not all say so.

const { gunzipSync } = require('node:zlib')
const { JSDOM, ResourceLoader } = require('jsdom')

const userAgent = 'Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36'
const answered = []
let page

function open(url, referrer) {
  const resources = new ResourceLoader({ userAgent })
  page = new JSDOM('<!doctype html><title>Shop</title><script></script>', { url, referrer, resources, pretendToBeVisual: true })
  for (const name of ['document', 'history', 'localStorage', 'location', 'navigator', 'screen', 'sessionStorage', 'XMLHttpRequest']) {
    Object.defineProperty(globalThis, name, { value: page.window[name], configurable: true, writable: true })
  }
  globalThis.window = page.window
  globalThis.self = page.window
  const send = globalThis.fetch
  globalThis.fetch = async (resource, init) => {
    const packed = Buffer.from(await new Response(init?.body ?? '').arrayBuffer())
    const body = packed[0] === 0x1f ? gunzipSync(packed) : packed
    const response = await send(resource, init)
    if (response.ok) {
      answered.push(`${resource.url ?? resource} ${body}`)
    }
    return response
  }
  Object.assign(page.window, { fetch: globalThis.fetch, Request, Response, Headers, AbortController })
}

// Goes to another page as a single-page application does.
function visit(url, title) {
  page.window.history.pushState({}, '', url)
  page.window.document.title = title
}

// Waits until each of these texts was in a request that was answered 2xx; gives those that were not.
async function unanswered(texts, timeoutMs) {
  const end = Date.now() + timeoutMs
  for (;;) {
    const missing = texts.filter((text) => !answered.some((request) => request.includes(text)))
    if (missing.length === 0 || Date.now() > end) {
      return missing
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

module.exports = { open, visit, unanswered }
