// zigbee2mqtt as it is, with only the radio replaced: `radio.cjs FOLDER`, the folder that build.sh made.
// What a device sends is read from standard input, a frame a line:
//   {"from": its network address, "endpoint": 1, "cluster": 1026, "frame": "raw ZCL, in hex", "linkquality": 120}
const { createRequire } = require('node:module')
const { createInterface } = require('node:readline')

const need = createRequire(process.argv[2] + '/')
const { Adapter } = need('zigbee-herdsman/dist/adapter')
const { Header } = need('zigbee-herdsman/dist/zspec/zcl')

class Radio extends Adapter {
  async start() {
    createInterface({ input: process.stdin }).on('line', (line) => this.hear(JSON.parse(line)))
    return 'resumed'
  }

  hear({ from, endpoint, cluster, frame, linkquality }) {
    const data = Buffer.from(frame, 'hex')
    const to = { groupID: 0, wasBroadcast: false, destinationEndpoint: 1 }
    const header = Header.fromBuffer(data)
    this.emit('zclPayload', { clusterID: cluster, address: from, header, data, endpoint, linkquality, ...to })
  }

  async stop() {}
  async getCoordinatorIEEE() {
    return '0x00124b0000000000'
  }
  async getCoordinatorVersion() {
    return { type: 'none', meta: {} }
  }
  async getNetworkParameters() {
    const { panID, channelList } = this.networkOptions
    return { panID, extendedPanID: '0xdddddddddddddddd', channel: channelList[0], nwkUpdateID: 0 }
  }
  async supportsBackup() {
    return false
  }
  async permitJoin() {}

  // nobody answers what is sent
  waitFor() {
    return { promise: new Promise(() => {}), cancel() {} }
  }
  async sendZdo() {
    throw new Error('no answer')
  }
  async sendZclFrameToEndpoint() {
    throw new Error('no answer')
  }
  async sendZclFrameToGroup() {}
  async sendZclFrameToAll() {}
}

Adapter.create = async (...options) => new Radio(...options)
process.stdin.on('end', () => process.exit(1)) // whoever started it is gone
need('zigbee2mqtt').start()
