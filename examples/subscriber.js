// A subscriber in JavaScript, written from docs/protocol.md: gaps, restarts, heartbeats, silence, history, CURVE.
//     npm install && node subscriber.js [--zstd] ENDPOINT [STREAM [RELAY.key OURS.key_secret]]
// Prints the account, a line of JSON, whenever something has changed. --zstd: for slow lines.
const fs = require('fs'), zmq = require('zeromq'), {unpack} = require('./zstd.js');
const slow = process.argv[2] === '--zstd';
const [endpoint, stream = 'astropix', relayKey, ourKey] = process.argv.slice(slow ? 3 : 2);
const DATA = `apx${slow ? 'z' : ''}/${stream}/data`, BEAT = `apx/${stream}/beat`;
const SILENT_S = 5, AGAIN_S = 2, GIVE_UP_S = 5, TURN_S = 0.1, MAX_HELD = 1000, KEPT = 1000;
const PLACES = {before_socket: 'before_socket', relay_kernel: 'in_kernel', relay_rejected: 'rejected'};
let relayId, expected = 0n, seen = 0n, missed = 0n, stride = 1, restarts = 0, count = 0;
let base, latest, historyPort, gaveUp = false, printed = '', looked = performance.now();
let lost = {before_socket: 0, relay_kernel: 0, relay_rejected: 0, relay_to_client: 0};
let last = new Map(), resumed = new Map(); // readout_ids by source: the last one, and that before a restart
const held = [], delivered = []; // data messages behind a gap; the latest readout_ids

function account() {
  const now = {...lost};
  if (latest) for (const [place, key] of Object.entries(PLACES)) now[place] += latest[key] - base[key];
  return {count, delivered, lost: now, restarts};
}
// Return the readouts of a data message, or nothing if it does not hold `count` of them.
function parseData(header, payload) {
  const readouts = [], source = header.toString('hex', 32, 50);
  let at = 0;
  while (at + 19 <= payload.length && payload.readUIntBE(at, 3) === 0xfedcba) {
    const end = at + 19 + payload.readUInt32LE(at + 15);
    readouts.push({id: payload.readUInt32LE(at + 3), bytes: payload.subarray(at, end)});
    at = end;
  }
  const count = header.readUInt16LE(6), sound = at === payload.length && readouts.length === count && (count || slow);
  return sound ? {sequence: header.readBigUInt64LE(16), readouts, source} : undefined;
}
function take(frames) {
  const [topic, header, payload] = frames, name = topic.toString('latin1');
  if (frames.length === 1 && name.startsWith('apx/hello\0')) {
    const hello = JSON.parse(topic.subarray(10));
    [historyPort, gaveUp, stride] = [hello.history_port, false, hello.streams[stream]?.stride ?? 1];
  }
  if (frames.length !== 3 || header.length < 56 || header.toString('latin1', 0, 5) !== 'APXR\x01') return;
  const sequence = header.readBigUInt64LE(16);
  if (name === BEAT) {
    if (slow && relayId === undefined) return; // what is compressed begins a moment after the heartbeats
    const {totals, stride: told = stride} = JSON.parse(payload);
    follow(header.readBigUInt64LE(8), sequence);
    latest = {...totals, rejected: Object.values(totals.rejected).reduce((a, b) => a + b, 0)};
    base ??= latest, stride = told;
    if (sequence > seen) seen = sequence;
  } else if (name === DATA) {
    const message = parseData(header, slow && header[5] & 2 ? unpack(payload) : payload);
    if (!message) return;
    follow(header.readBigUInt64LE(8), sequence);
    held.push(message);
    if (held.length > MAX_HELD) held.shift(); // history has it, too
    const end = sequence + BigInt(message.readouts.length);
    if (end > seen) seen = end;
  }
  settle();
}
function follow(id, sequence) {
  if (relayId === undefined) expected = seen = sequence; // what came before was never ours
  else if (id !== relayId) {
    giveUp();
    ({lost} = account()); // and all that the new relay counts is ours
    base = latest = {before_socket: 0, in_kernel: 0, rejected: 0};
    [expected, seen, gaveUp, resumed, restarts] = [0n, 0n, false, new Map(last), restarts + 1];
  }
  relayId = id;
}
const gapEnd = () => held.length ? held[0].sequence : seen;
function settle() { // deliver up to the next gap that history may fill
  while (gapEnd() <= expected || !historyPort || gaveUp) {
    lose(gapEnd());
    if (!held.length) { gaveUp = false; return; }
    deliver(held.shift());
  }
}
function giveUp() { gaveUp = true; settle(); }
function lose(until) {
  if (until <= expected) return;
  lost.relay_to_client += Number(until - expected);
  [missed, expected] = [missed + until - expected, until];
}
function deliver({sequence, readouts, source}) {
  lose(sequence);
  for (const {id} of readouts.slice(Number(expected - sequence))) { // less what is known already
    if (resumed.has(source)) {
      const ahead = (id - resumed.get(source)) >>> 0, step = Math.floor((ahead - 1) / stride) - Number(missed);
      if (ahead > 0 && ahead <= 2 ** 20 * stride && step > 0) lost.before_socket += step; // else a new run
      resumed.delete(source);
    }
    last.set(source, id);
    [expected, missed, count] = [expected + 1n, 0n, count + 1];
    if (delivered.push(id) > KEPT) delivered.shift();
  }
}
let history, asked, ids = 0n, now = 0, heard = 0; // s, without those in which we were stopped
function takeAnswer([answer, page]) {
  const number = (at) => answer.readBigUInt64LE(at);
  if (answer.toString('latin1', 0, 5) !== 'APXA\x01' || number(8) !== asked?.id || gapEnd() <= expected) return;
  const [begin, end, until] = [number(40), number(48), gapEnd()];
  asked = undefined;
  if (answer[5] !== 0) return giveUp();
  for (let at = 0, size; at < page.length; at += 60 + size) {
    size = page.readUInt32LE(at);
    const message = parseData(page.subarray(at + 4, at + 60), page.subarray(at + 60, at + 60 + size));
    if (message && message.sequence < until) deliver(message);
  }
  const gone = begin > end ? begin : end;
  lose(gone < until ? gone : until);
  settle();
}
function ask() {
  const until = gapEnd(), late = asked && now - asked.first > GIVE_UP_S, done = until <= expected || late;
  if (done) asked = undefined;
  if (late) giveUp();
  if (done || (asked && now - asked.at < AGAIN_S)) return;
  if (asked) { history.close(); history = undefined; } // the answer may have been lost with its connection
  history ??= open(zmq.Dealer, endpoint.replace(/\d+$/, historyPort), takeAnswer);
  asked = {id: ++ids, at: now, first: asked?.first ?? now};
  const request = Buffer.concat([Buffer.from('APXQ\x01\x01'), Buffer.alloc(34), Buffer.from(stream)]);
  [asked.id, relayId, expected, until].forEach((number, i) => request.writeBigUInt64LE(number, 8 + 8 * i));
  history.send(request).catch(() => {}); // closed
}
function keys() {
  const find = (path, name) => fs.readFileSync(path, 'utf8').match(`${name}-key *= *"(.{40})"`)[1];
  const [curveServerKey, curvePublicKey] = [find(relayKey, 'public'), find(ourKey, 'public')];
  return {curveServerKey, curvePublicKey, curveSecretKey: find(ourKey, 'secret')};
}
function open(Kind, where, taker) { // the options are those that docs/protocol.md recommends
  const options = {linger: 0, receiveHighWaterMark: 1000, reconnectMaxInterval: 500, tcpKeepalive: 1};
  const socket = new Kind({...options, ipv6: where.includes('['), ...(relayKey ? keys() : {})});
  if (Kind === zmq.Subscriber) socket.subscribe('apx/hello', BEAT, DATA);
  socket.connect(where);
  (async () => {
    for await (const frames of socket) {
      try { taker(frames); } catch (error) { console.error(`ignored: ${error.message}`); } // not of this protocol
    }
  })();
  return socket;
}
const listen = () => open(zmq.Subscriber, endpoint, (frames) => { heard = now; take(frames); });
let live = listen();
setInterval(() => {
  now += Math.min((performance.now() - looked) / 1000, 2 * TURN_S); // a longer turn is one in which we were stopped
  looked = performance.now();
  ask();
  if (now - heard > SILENT_S) { live.close(); live = listen(); heard = now; }
  const line = JSON.stringify(account());
  if (line !== printed) console.log(printed = line);
}, 1000 * TURN_S);
