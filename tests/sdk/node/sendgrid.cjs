// SendGrid's event webhook, signed as SendGrid signs it and verified with its own @sendgrid/eventwebhook.
//
//   node sendgrid.cjs key                 a new EC P-256 pair as one JSON line {"private": PEM, "public": base64 DER}
//   node sendgrid.cjs sign KEY_FILE N     N signed requests {"key", "headers", "body"}; KEY_FILE holds what `key` printed
//   node sendgrid.cjs verify              reads such lines (`body64` in place of `body` for raw bytes), prints true or false
//
// The signature is ECDSA/SHA-256, DER in base64, over the timestamp's text and the raw body. A body is an array of events
// with CRLF between and after, as SendGrid sends it: a parser that re-renders it breaks the signature.

const crypto = require('node:crypto')
const { readFileSync } = require('node:fs')
const { EventWebhook, EventWebhookHeader } = require('@sendgrid/eventwebhook')
const { verifyLines } = require('./lines.cjs')

const phone = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148'
const user = { ip: '203.0.113.7', useragent: phone }
const kinds = {
  processed: { send_at: 1795000000 },
  deferred: { response: '451 4.7.1 Try again later', attempt: '5', domain: 'example.com', ip: '168.245.1.1', tls: 1 },
  delivered: { response: '250 2.0.0 OK 1795000000 d75a77b69052e', ip: '168.245.1.1', tls: 1 },
  dropped: { reason: 'Bounced Address', status: '5.0.0' },
  bounce: {
    reason: '550 5.1.1 The email account does not exist.', status: '5.1.1', type: 'bounce', ip: '168.245.1.1', tls: 1,
    bounce_classification: 'Invalid Address',
  },
  open: { ...user, sg_content_type: 'html', sg_machine_open: false },
  machine_open: { ip: '17.58.97.1', useragent: 'Mozilla/5.0', sg_content_type: 'html', sg_machine_open: true },
  click: { ...user, url: 'https://shop.example/sale?utm_source=news&utm_campaign=sp%C3%A4t', url_offset: { index: 0, type: 'html' } },
  spamreport: {},
  unsubscribe: {},
  group_unsubscribe: { ...user, url: 'https://u123.ct.sendgrid.net/asm/unsubscribe/', asm_group_id: 10 },
  group_resubscribe: { ...user, url: 'https://u123.ct.sendgrid.net/asm/resubscribe/', asm_group_id: 10 },
}

function event(kind, request, index) {
  const id = crypto.randomUUID()
  return {
    email: `ännchen+${request}@example.com`,
    timestamp: 1795000000 + request * 60 + index,
    'smtp-id': `<14c5d75ce93.dfd.${request}@geopod-ismtpd-3>`,
    event: kind === 'machine_open' ? 'open' : kind,
    category: index % 2 === 0 ? ['news', 'spring'] : 'news',
    sg_event_id: Buffer.from(id).toString('base64url'),
    sg_message_id: `14c5d75ce93.dfd.${request}.filterdrecv-5645d9c87f-78xgx-1-65A0F0AB-17.0`,
    ...kinds[kind],
    // The sender's own arguments lie flat among the rest.
    user_id: `user-${request}`, campaign_id: 'spring-2026', variant: 'b',
  }
}

const [command, keyFile, countText] = process.argv.slice(2)
if (command === 'key') {
  const pair = crypto.generateKeyPairSync('ec', { namedCurve: 'P-256' })
  console.log(JSON.stringify({
    private: pair.privateKey.export({ type: 'pkcs8', format: 'pem' }),
    public: pair.publicKey.export({ type: 'spki', format: 'der' }).toString('base64'),
  }))
} else if (command === 'sign') {
  const key = JSON.parse(readFileSync(keyFile, 'utf8'))
  for (let request = 0; request < Number(countText); request += 1) {
    const events = Object.keys(kinds).map((kind, index) => JSON.stringify(event(kind, request, index)))
    const body = `[${events.join(',\r\n')}]\r\n`
    const timestamp = String(Math.floor(Date.now() / 1000))
    const headers = {
      'Content-Type': 'application/json',
      'User-Agent': 'SendGrid Event API',
      [EventWebhookHeader.SIGNATURE()]: crypto.sign('SHA256', Buffer.from(timestamp + body), key.private).toString('base64'),
      [EventWebhookHeader.TIMESTAMP()]: timestamp,
    }
    console.log(JSON.stringify({ key: key.public, headers, body }))
  }
} else if (command === 'verify') {
  verifyLines(({ key, body, header }) => {
    const webhook = new EventWebhook()
    const signature = header(EventWebhookHeader.SIGNATURE().toLowerCase())
    const timestamp = header(EventWebhookHeader.TIMESTAMP().toLowerCase())
    return webhook.verifySignature(webhook.convertPublicKeyToECDSA(key), body, signature, timestamp)
  })
} else {
  throw new Error('key, sign or verify')
}
