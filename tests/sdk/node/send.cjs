// Sends events with the unmodified @segment/analytics-node and prints, one JSON line an event, what it handed in.
//
//   node send.cjs HOST WRITE_KEY COUNT
//
// Every fifth event is of another kind. Ids and times are the SDK's own.

const { Analytics } = require('@segment/analytics-node')

const [host, writeKey, countText] = process.argv.slice(2)
const count = Number(countText)

async function main() {
  const analytics = new Analytics({ host, writeKey, flushAt: 20, flushInterval: 200, maxRetries: 10 })
  const failed = []
  analytics.on('error', (error) => failed.push(String(error.reason ?? error)))

  const told = []
  for (let index = 0; index < count; index += 1) {
    const person = { userId: `node-user-${index % 7}`, anonymousId: `node-device-${index % 7}` }
    told.push(new Promise((resolve, reject) => {
      const heard = (error, context) => {
        if (error) {
          reject(error)
          return
        }
        const event = context.event
        resolve({
          kind: event.type, name: event.event ?? event.name ?? null, event_id: event.messageId,
          time: new Date(event.timestamp).toISOString(), user_id: event.userId ?? null,
          anonymous_id: event.anonymousId ?? null, previous_id: event.previousId ?? null, group_id: event.groupId ?? null,
        })
      }
      switch (index % 5) {
        case 0:
          analytics.track({ ...person, event: 'Order Completed', properties: { revenue: 19.99, currency: 'EUR', index } }, heard)
          break
        case 1:
          analytics.page({ ...person, name: 'Home', properties: { url: `https://shop.example/p/${index}?utm_source=news` } }, heard)
          break
        case 2:
          analytics.identify({ ...person, traits: { plan: 'gold', name: 'Ännchen Ω 𝄞' } }, heard)
          break
        case 3:
          analytics.group({ ...person, groupId: 'acme', traits: { seats: 3 } }, heard)
          break
        default:
          analytics.alias({ userId: person.userId, previousId: person.anonymousId }, heard)
      }
    }))
  }
  await analytics.closeAndFlush()
  for (const event of await Promise.all(told)) {
    console.log(JSON.stringify(event))
  }
  if (failed.length > 0) {
    throw new Error(failed.join('\n'))
  }
}

main().catch((error) => {
  console.error(error)
  process.exit(1)
})
