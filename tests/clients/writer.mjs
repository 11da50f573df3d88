// The client of InfluxDB for JavaScript: `writer.mjs MODULES URL TOKEN SENSOR FIRST COUNT`, as writers.py has it.
import { createRequire } from 'node:module'

const [modules, url, token, sensor, first, count] = process.argv.slice(2)
const { InfluxDB, Point } = createRequire(modules + '/')('@influxdata/influxdb-client')

let written = 0
const options = {
  writeSuccess: (lines) => {
    written += lines.length
  },
  writeFailed: (error) => {
    if (error.statusCode === 401) {
      console.error(error.statusCode, error.message)
      process.exit(1)
    }
  },
  batchSize: 50,
  flushInterval: 100,
  gzipThreshold: 100,
  maxRetries: 30,
  minRetryDelay: 200,
  maxRetryDelay: 1000,
  maxRetryTime: 120000,
}
const api = new InfluxDB({ url, token, timeout: 5000 }).getWriteApi('any', 'any', 'ms', options)
for (let n = 0; n < Number(count); n++) {
  const point = new Point('temperature').tag('room', 'kitchen').tag('sensor_id', sensor)
  api.writePoint(point.floatField('value', 20 + (n % 64) / 8).timestamp(Number(first) + n))
  if (n % 50 === 49) await new Promise((resolve) => setTimeout(resolve, 20))
}
// close() gives up what is waiting for another try
await api.flush().catch(() => {})
while (written < Number(count)) await new Promise((resolve) => setTimeout(resolve, 50))
await api.close()
