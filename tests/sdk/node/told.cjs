// What the scripts here share: their arguments, and how they print what they handed in.

const [host, writeKey, countText, mode] = process.argv.slice(2)
const count = Number(countText)
const run = Date.now().toString(36)
const told = []

// A word that is in one event alone.
function marker(index) {
  return `m-${run}-${process.pid}-${String(index).padStart(6, '0')}`
}

// Notes an event as handed in. What the SDK learns later (its id, its time) may be set on the line that comes back.
function tell(fields) {
  const line = {
    kind: null, name: null, event_id: null, time: null, user_id: null, anonymous_id: null, previous_id: null,
    group_id: null, value: null, currency: null, url: null, marker: null, ...fields,
  }
  told.push(line)
  return line
}

function sleep(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

// Runs `main`, which gives the errors that the SDK gave up with; prints what was told and ends the process.
async function finish(main) {
  let failed
  // posthog-node waits for its next try on a timer that does not keep the process: without this it would end there, well.
  setInterval(() => {}, 1_000)
  try {
    failed = await main()
  } catch (error) {
    failed = [error.stack ?? String(error)]
  }
  process.stdout.write(told.map((line) => JSON.stringify(line) + '\n').join(''), () => {
    if (failed?.length > 0) {
      console.error(failed.join('\n'))
    }
    process.exit(failed?.length > 0 ? 1 : 0)
  })
}

module.exports = { host, writeKey, count, mode, told, marker, tell, sleep, finish }
