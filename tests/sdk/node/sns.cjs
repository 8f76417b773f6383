// SES events by way of SNS, signed as SNS signs them and verified with sns-validator.
//
//   python sns_key.py                 a new RSA key and certificate as one JSON line {"private", "cert"}
//   node sns.cjs sign KEY_FILE N      N signed requests {"cert", "headers", "body"}; KEY_FILE holds what sns_key.py printed
//   node sns.cjs verify               reads such lines, prints true or false
//
// Of each two requests in a row one has SignatureVersion 1 (SHA-1) and one 2 (SHA-256). sns-validator takes the certificate
// from the SigningCertURL by `https.get`, which `verify` answers with the line's own; it keeps it by URL for the life of the
// module, which is why the module is loaded anew for each line. It takes hosts of `sns.REGION.amazonaws.com(.cn)` alone.
// It signs UnsubscribeConfirmation without its Token, other than SNS does: none of these here.

const crypto = require('node:crypto')
const { EventEmitter } = require('node:events')
const { readFileSync } = require('node:fs')
const https = require('node:https')
const { verifyLines } = require('./lines.cjs')

const region = 'us-east-1'
const topic = `arn:aws:sns:${region}:123456789012:ses-events`
const phone = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148'

function mail(index, at) {
  const messageId = `0100019abc${String(index).padStart(6, '0')}-${crypto.randomUUID()}-000000`
  const to = `recipient+${index}@example.com`
  return {
    timestamp: at, source: 'Shop <news@shop.example>', sourceArn: `arn:aws:ses:${region}:123456789012:identity/shop.example`,
    sendingAccountId: '123456789012', messageId, destination: [to], headersTruncated: false,
    headers: [
      { name: 'From', value: 'Shop <news@shop.example>' }, { name: 'To', value: to },
      { name: 'Subject', value: 'Späte Angebote 𝄞' }, { name: 'MIME-Version', value: '1.0' },
    ],
    commonHeaders: { from: ['Shop <news@shop.example>'], to: [to], messageId, subject: 'Späte Angebote 𝄞' },
    tags: {
      'ses:operation': ['SendEmail'], 'ses:configuration-set': ['events'], 'ses:source-ip': ['192.0.2.0'],
      'ses:from-domain': ['shop.example'], 'ses:caller-identity': ['mailer'],
      campaign_id: ['spring-2026'], user_id: [`user-${index}`],
    },
  }
}

// What each event type adds beside `mail`, under its own name.
const details = {
  Send: () => ({ send: {} }),
  Delivery: (at, to) => ({ delivery: {
    timestamp: at, processingTimeMillis: 1234, recipients: [to], smtpResponse: '250 2.6.0 Message received',
    remoteMtaIp: '198.51.100.2', reportingMTA: 'a8-50.smtp-out.amazonses.com',
  } }),
  Bounce: (at, to) => ({ bounce: {
    feedbackId: `0100019abd-${crypto.randomUUID()}-000000`, bounceType: 'Permanent', bounceSubType: 'General',
    bouncedRecipients: [{ emailAddress: to, action: 'failed', status: '5.1.1', diagnosticCode: 'smtp; 550 5.1.1 user unknown' }],
    timestamp: at, reportingMTA: 'dsn; a8-50.smtp-out.amazonses.com',
  } }),
  Complaint: (at, to) => ({ complaint: {
    feedbackId: `0100019abe-${crypto.randomUUID()}-000000`, complaintSubType: null, complainedRecipients: [{ emailAddress: to }],
    timestamp: at, userAgent: 'Yahoo!-Mail-Feedback/2.0', complaintFeedbackType: 'abuse', arrivalDate: at,
  } }),
  Open: (at) => ({ open: { timestamp: at, userAgent: phone, ipAddress: '203.0.113.7' } }),
  Click: (at) => ({ click: {
    timestamp: at, ipAddress: '203.0.113.7', userAgent: phone, link: 'https://shop.example/sale?utm_source=news',
    linkTags: { place: ['header'] },
  } }),
  Reject: () => ({ reject: { reason: 'Bad content' } }),
  DeliveryDelay: (at, to) => ({ deliveryDelay: {
    timestamp: at, delayType: 'TransientCommunicationFailure', expirationTime: new Date(Date.parse(at) + 5e7).toISOString(),
    delayedRecipients: [{ emailAddress: to, status: '4.4.1', diagnosticCode: 'smtp; 421 4.4.1 Unable to connect' }],
  } }),
  Subscription: (at) => ({ subscription: {
    contactList: 'news', timestamp: at, source: 'UnsubscribeHeader',
    newTopicPreferences: { unsubscribeAll: true, topicSubscriptionStatus: [{ topicName: 'offers', subscriptionStatus: 'OptOut' }] },
    oldTopicPreferences: { unsubscribeAll: false, topicSubscriptionStatus: [{ topicName: 'offers', subscriptionStatus: 'OptOut' }] },
  } }),
}

function message(index) {
  const at = new Date(Date.now() - 60_000 + index).toISOString()
  const common = { MessageId: crypto.randomUUID(), TopicArn: topic, Timestamp: new Date().toISOString() }
  // Two of each in a row, so that both signature versions sign it; a subscription's confirmation before all.
  const kind = Math.floor(index / 2) % (Object.keys(details).length + 1)
  if (kind === 0) {
    const Token = crypto.randomBytes(128).toString('hex')
    const SubscribeURL = `https://sns.${region}.amazonaws.com/?Action=ConfirmSubscription&TopicArn=${topic}&Token=${Token}`
    const Message = `You have chosen to subscribe to the topic ${topic}.\nTo confirm the subscription, visit the SubscribeURL included in this message.`
    return { Type: 'SubscriptionConfirmation', ...common, Token, Message, SubscribeURL }
  }
  const eventType = Object.keys(details)[kind - 1]
  const sent = mail(index, at)
  const Message = JSON.stringify({ eventType, mail: sent, ...details[eventType](at, sent.destination[0]) }) + '\n'
  const UnsubscribeURL = `https://sns.${region}.amazonaws.com/?Action=Unsubscribe&SubscriptionArn=${topic}:${crypto.randomUUID()}`
  return { Type: 'Notification', ...common, Subject: 'Amazon SES Email Event Notification', Message, UnsubscribeURL }
}

function sign(fields, version, key) {
  const names = fields.Type === 'Notification'
    ? ['Message', 'MessageId', 'Subject', 'Timestamp', 'TopicArn', 'Type']
    : ['Message', 'MessageId', 'SubscribeURL', 'Timestamp', 'Token', 'TopicArn', 'Type']
  const text = names.map((name) => `${name}\n${fields[name]}\n`).join('')
  return crypto.sign(version === '1' ? 'RSA-SHA1' : 'RSA-SHA256', Buffer.from(text), key).toString('base64')
}

// The validator fetches with the `https` that it shares with us.
function answerWith(certificate) {
  https.get = (url, heard) => {
    const response = Object.assign(new EventEmitter(), { statusCode: 200 })
    setImmediate(() => response.emit('data', Buffer.from(certificate)) && response.emit('end'))
    heard(response)
    return new EventEmitter()
  }
}

const [command, keyFile, countText] = process.argv.slice(2)
if (command === 'sign') {
  const key = JSON.parse(readFileSync(keyFile, 'utf8'))
  for (let index = 0; index < Number(countText); index += 1) {
    const fields = message(index)
    const SignatureVersion = String(1 + (index % 2))
    const signed = {
      ...fields, SignatureVersion, Signature: sign(fields, SignatureVersion, key.private),
      SigningCertURL: `https://sns.${region}.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem`,
    }
    // SNS writes its envelope with two spaces and ` : `.
    const body = JSON.stringify(signed, null, 2).replace(/^( {2}"[A-Za-z]+"): /gm, '$1 : ')
    const headers = {
      'Content-Type': 'text/plain; charset=UTF-8',
      'User-Agent': 'Amazon Simple Notification Service Agent',
      'x-amz-sns-message-type': fields.Type,
      'x-amz-sns-message-id': fields.MessageId,
      'x-amz-sns-topic-arn': topic,
    }
    console.log(JSON.stringify({ cert: key.cert, headers, body }))
  }
} else if (command === 'verify') {
  verifyLines(({ cert, body }) => {
    answerWith(cert)
    delete require.cache[require.resolve('sns-validator')]
    const Validator = require('sns-validator')
    return new Promise((resolve) => new Validator().validate(String(body), (error) => resolve(!error)))
  })
} else {
  throw new Error('sign or verify')
}
