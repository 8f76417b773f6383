// Reads JSON lines from stdin and prints one `true` or `false` for each, as `verify(line)` says; what throws is false.

const { createInterface } = require('node:readline')

async function verifyLines(verify) {
  for await (const text of createInterface({ input: process.stdin })) {
    if (text.trim() !== '') {
      const line = JSON.parse(text)
      const header = (name) => Object.entries(line.headers).find(([key]) => key.toLowerCase() === name)?.[1]
      const body = line.body64 === undefined ? line.body : Buffer.from(line.body64, 'base64')
      let good = false
      try {
        good = await verify({ ...line, body, header })
      } catch {
        good = false
      }
      console.log(good)
    }
  }
}

module.exports = { verifyLines }
