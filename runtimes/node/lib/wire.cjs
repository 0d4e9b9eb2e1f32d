// The guest's end of `wire` (docs/wire.md): the codec, and the two inherited descriptors. The control stream is
// used synchronously; the invoke stream is read by the event loop, so that timers and sockets of the function
// go on between two invocations.
//
// It refuses, by throwing ProtocolError, whatever the golden vectors in crates/wire/vectors/invalid.json list.
// One file, because each file more costs a cold start a third of a millisecond.
'use strict';

const fs = require('fs');

const VERSION = 1;
const MAX_BODY = 16 * 1024 * 1024;
const MAX_LOG = 1024 * 1024;
const LAST = 1; // flag bit: the payload is complete in this frame

const CONTROL = 3;
const INVOKE = 4;
const BUFFER = 64 * 1024;
const PIECE = 1024 * 1024; // of an answer that is sent as it comes

const KIND = {
  HELLO: 0x01, INIT: 0x02, READY: 0x03, INIT_ERROR: 0x04, LOG: 0x05,
  INVOKE: 0x10, DATA: 0x11, END: 0x12, RESPONSE: 0x13, ERROR: 0x14, STREAM: 0x16,
};

// The host sent what `wire` does not allow. Nobody can answer that: the process ends.
class ProtocolError extends Error {}

// --- encoding -----------------------------------------------------------------------------------------

function frame(kind, body = Buffer.alloc(0)) {
  const out = Buffer.allocUnsafe(5 + body.length);
  out.writeUInt32LE(body.length, 0);
  out[4] = kind;
  body.copy(out, 5);
  return out;
}

function hello(runtime) {
  const name = str16(runtime);
  const body = Buffer.allocUnsafe(2 + name.length);
  body.writeUInt16LE(VERSION, 0);
  name.copy(body, 2);
  return frame(KIND.HELLO, body);
}

function str16(text) {
  const bytes = Buffer.from(text);
  const head = Buffer.allocUnsafe(2);
  head.writeUInt16LE(bytes.length, 0);
  return Buffer.concat([head, bytes]);
}

function log(timeUs, level, requestId, message) {
  const id = str16(requestId);
  const start = 14 + id.length;
  const room = Math.min(Buffer.byteLength(message), 5 + MAX_LOG - start);
  const out = Buffer.allocUnsafe(start + room);
  const size = out.write(message, start, room); // less than room where that would cut a character
  out.writeUInt32LE(start + size - 5, 0);
  out[4] = KIND.LOG;
  writeU64(out, timeUs, 5);
  out[13] = level;
  id.copy(out, 14);
  return out.subarray(0, start + size);
}

// The buffers of one RESPONSE frame, or, where that would be too long, of RESPONSE, DATA… and END.
function response(payload) {
  if (payload.length < MAX_BODY) return [responseHead(LAST, payload.length), payload];
  const parts = [responseHead(0, 0)];
  for (let at = 0; at < payload.length; at += MAX_BODY) {
    const piece = payload.subarray(at, at + MAX_BODY);
    parts.push(head(KIND.DATA, piece.length), piece);
  }
  parts.push(head(KIND.END, 0));
  return parts;
}

function stream(contentType, payload = Buffer.alloc(0)) {
  return frame(KIND.STREAM, Buffer.concat([str16(contentType), payload]));
}

function responseHead(flags, payloadSize) {
  return Buffer.concat([head(KIND.RESPONSE, payloadSize + 1), Buffer.of(flags)]);
}

function head(kind, size) {
  const out = Buffer.allocUnsafe(5);
  out.writeUInt32LE(size, 0);
  out[4] = kind;
  return out;
}

// Exact up to 2^53, which microseconds reach in the year 2255.
function writeU64(out, value, at) {
  out.writeUInt32LE(value % 0x100000000, at);
  out.writeUInt32LE(Math.floor(value / 0x100000000), at + 4);
}

// --- decoding -----------------------------------------------------------------------------------------

// Cuts a byte stream into frames. `onFrame(kind, body)` gets a view that is valid during the call only.
class FrameReader {
  constructor(allowed, onFrame) {
    this.allowed = allowed;
    this.onFrame = onFrame;
    this.head = Buffer.allocUnsafe(5);
    this.headSize = 0; // bytes of a head that a read cut in two
    this.kind = 0;
    this.body = null; // the body that is being collected
    this.bodySize = 0;
  }

  // At the end of file: was it between two frames?
  get torn() {
    return this.headSize > 0 || this.body !== null;
  }

  push(chunk) {
    let at = 0;
    while (at < chunk.length) {
      if (this.body !== null) at = this.fillBody(chunk, at);
      else if (this.headSize > 0 || chunk.length - at < 5) at = this.fillHead(chunk, at);
      else at = this.take(chunk, at);
    }
  }

  // A head is whole in this chunk; nearly always its body is, too.
  take(chunk, at) {
    const size = chunk.readUInt32LE(at);
    const kind = chunk[at + 4];
    this.check(kind, size);
    const start = at + 5;
    if (chunk.length - start < size) {
      this.begin(kind, size);
      return start;
    }
    this.onFrame(kind, chunk.subarray(start, start + size));
    return start + size;
  }

  fillHead(chunk, at) {
    const n = chunk.copy(this.head, this.headSize, at, at + 5 - this.headSize);
    this.headSize += n;
    if (this.headSize === 5) {
      this.headSize = 0;
      const size = this.head.readUInt32LE(0);
      this.check(this.head[4], size);
      if (size === 0) this.onFrame(this.head[4], this.head.subarray(5));
      else this.begin(this.head[4], size);
    }
    return at + n;
  }

  begin(kind, size) {
    this.kind = kind;
    this.body = Buffer.allocUnsafeSlow(size);
    this.bodySize = 0;
  }

  fillBody(chunk, at) {
    const n = chunk.copy(this.body, this.bodySize, at);
    this.bodySize += n;
    if (this.bodySize === this.body.length) {
      const body = this.body;
      this.body = null;
      this.onFrame(this.kind, body);
    }
    return at + n;
  }

  check(kind, size) {
    if (!this.allowed.includes(kind)) {
      throw new ProtocolError(`frame kind 0x${kind.toString(16).padStart(2, '0')} is not for here`);
    }
    if (size > MAX_BODY) throw new ProtocolError(`a frame of ${size} bytes is too long`);
  }
}

function decodeInvoke(body) {
  if (body.length < 8) throw new ProtocolError('INVOKE ends before its deadline');
  const cursor = { body, at: 8 };
  const call = {
    deadlineMs: body.readUInt32LE(0) + body.readUInt32LE(4) * 0x100000000,
    requestId: text(cursor, 2),
    traceId: text(cursor, 2),
    functionArn: text(cursor, 2),
    clientContext: text(cursor, 4),
    cognitoIdentity: text(cursor, 4),
    last: false,
    payload: null,
  };
  if (cursor.at >= body.length) throw new ProtocolError('INVOKE ends before its flags');
  const flags = body[cursor.at];
  if (flags & ~LAST) throw new ProtocolError(`INVOKE has unknown flags 0x${flags.toString(16)}`);
  call.last = flags === LAST;
  call.payload = body.subarray(cursor.at + 1);
  return call;
}

function text(cursor, width) {
  const { body, at } = cursor;
  const start = at + width;
  if (start > body.length) throw new ProtocolError('a string has no length');
  const end = start + (width === 2 ? body.readUInt16LE(at) : body.readUInt32LE(at));
  if (end > body.length) throw new ProtocolError('a string reaches beyond the end of its frame');
  cursor.at = end;
  if (end === start) return '';
  const decoded = body.toString('utf8', start, end);
  if (decoded.includes('\ufffd')) refuseInvalidUtf8(body.subarray(start, end));
  return decoded;
}

// U+FFFD may have been sent as such, or stand for what could not be decoded.
function refuseInvalidUtf8(bytes) {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new ProtocolError('a string is not UTF-8');
  }
}

function decodeInit(body) {
  let init;
  try {
    init = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body));
  } catch (e) {
    throw new ProtocolError(`INIT does not parse: ${e.message}`);
  }
  const isObject = (v) => v !== null && typeof v === 'object' && !Array.isArray(v);
  if (!isObject(init) || typeof init.handler !== 'string' || !isObject(init.env) || !isObject(init.function)) {
    throw new ProtocolError('INIT lacks its handler, env or function');
  }
  return init;
}

// --- the streams ----------------------------------------------------------------------------------------

// Writes all of it before it returns, also if somebody made the descriptor non-blocking.
function writeAll(fd, bytes) {
  for (let sent = 0; sent < bytes.length;) {
    try {
      sent += fs.writeSync(fd, bytes, sent);
    } catch (e) {
      if (e.code === 'EPIPE') process.exit(0); // nobody is there to read
      if (e.code !== 'EAGAIN') throw e;
      pause();
    }
  }
}

// Sleeps a millisecond: where a descriptor that should block does not, there is no better way to wait.
function pause() {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
}

function writeControl(bytes) {
  if (!hungUp) writeAll(CONTROL, bytes);
}

let hungUp = false;

// The host sends no other event to a process that has closed its control stream. To be done before the last answer.
function hangUp() {
  if (hungUp) return;
  hungUp = true;
  fs.closeSync(CONTROL);
}

// Waits for INIT; null when the host closed the stream instead.
function readInit() {
  let init = null;
  const reader = new FrameReader([KIND.INIT], (kind, body) => {
    if (init !== null) throw new ProtocolError('a second INIT');
    init = decodeInit(body);
  });
  const buffer = Buffer.allocUnsafe(BUFFER);
  while (init === null) {
    const n = readControl(buffer);
    if (n === 0 && reader.torn) throw new ProtocolError('end of file inside a frame');
    if (n === 0) return null;
    reader.push(buffer.subarray(0, n));
  }
  return init;
}

function readControl(buffer) {
  for (;;) {
    try {
      return fs.readSync(CONTROL, buffer, 0, buffer.length, null);
    } catch (e) {
      if (e.code === 'ECONNRESET') return 0;
      if (e.code !== 'EAGAIN') throw e;
      pause();
    }
  }
}

// One invocation at a time: `onCall(call)` gets it with its whole payload and answers with `respond` or
// `fail`. While it runs, this stream does not keep the event loop alive; while it waits, it does.
//
//   start ──► first read, blocking ──► call ──► answered ──► the event loop waits ──► call ──► …
//     └─ where the event loop has something to do, or a debugger ────────▲
//
// The first read blocks because `net` costs a cold start two milliseconds: it is loaded after the first answer.
class InvokeStream {
  constructor({ onCall, onEnd, onProtocolError }) {
    this.onCall = onCall;
    this.onEnd = onEnd;
    this.onProtocolError = onProtocolError;
    this.busy = false;
    this.streaming = false; // an answer has begun that is sent as it comes
    this.call = null; // an invocation whose payload is still arriving
    this.pieces = null;
    this.socket = null;
    this.buffer = Buffer.allocUnsafeSlow(BUFFER);
    this.out = Buffer.allocUnsafeSlow(BUFFER);
    this.reader = new FrameReader([KIND.INVOKE, KIND.DATA, KIND.END], (kind, body) => this.take(kind, body));
  }

  start() {
    // A debugger is answered by the event loop.
    if (!isEventLoopIdle() || (process.env.NODE_OPTIONS || '').includes('--inspect')) return this.wait();
    let calls = 0;
    const { onCall } = this;
    this.onCall = (call) => {
      calls++;
      onCall(call);
    };
    while (calls === 0) {
      const n = this.readBlocking();
      if (n < 0) break;
      this.received(n);
    }
    this.onCall = onCall;
    if (calls === 0) this.wait();
  }

  // How many bytes came, 0 for the end of file, -1 if the descriptor does not block.
  readBlocking() {
    try {
      return fs.readSync(INVOKE, this.buffer, 0, BUFFER, null);
    } catch (e) {
      if (e.code === 'EAGAIN') return -1;
      if (e.code === 'ECONNRESET') return 0;
      throw e;
    }
  }

  // Lets the event loop wait for the next invocation, and live as long as there may be one.
  wait() {
    if (this.socket !== null) {
      this.socket.ref();
      return;
    }
    const callback = (n) => {
      this.received(n);
      return true;
    };
    this.socket = new (require('net').Socket)({ fd: INVOKE, onread: { buffer: this.buffer, callback } });
    this.socket.on('end', () => this.received(0));
    this.socket.on('error', this.onEnd); // the host went away without reading all we wrote
    this.socket.resume();
  }

  received(n) {
    try {
      if (n > 0) this.reader.push(n === BUFFER ? this.buffer : this.buffer.subarray(0, n));
      else if (this.reader.torn || this.call !== null) throw new ProtocolError('end of file inside an invocation');
      else this.onEnd();
    } catch (e) {
      if (!(e instanceof ProtocolError)) throw e;
      this.onProtocolError(e);
    }
  }

  take(kind, body) {
    if (this.call === null) {
      if (kind !== KIND.INVOKE) throw new ProtocolError('payload without an INVOKE');
      if (this.busy) throw new ProtocolError('an INVOKE while another one is running');
      const call = decodeInvoke(body);
      if (call.last) return this.begin(call);
      this.call = call;
      this.pieces = [Buffer.from(call.payload)];
    } else if (kind === KIND.DATA) {
      this.pieces.push(Buffer.from(body));
    } else if (kind === KIND.END && body.length === 0) {
      const call = this.call;
      call.payload = Buffer.concat(this.pieces);
      this.call = this.pieces = null;
      this.begin(call);
    } else {
      throw new ProtocolError('a payload that does not end as it should');
    }
  }

  begin(call) {
    this.busy = true;
    if (this.socket !== null) this.socket.unref();
    this.onCall(call);
  }

  // Sends the JSON text of a result.
  respond(json) {
    this.busy = false; // before the last byte is out: the host may be quicker than we
    if (json.length * 3 + 6 <= BUFFER) {
      const size = this.out.write(json, 6);
      this.out.writeUInt32LE(size + 1, 0);
      this.out[4] = KIND.RESPONSE;
      this.out[5] = LAST;
      this.send(this.out.subarray(0, size + 6));
      return;
    }
    this.wait();
    this.socket.cork(); // one gathering write
    for (const part of response(Buffer.from(json))) this.socket.write(part);
    this.socket.uncork();
  }

  // One synchronous write, as cheap as it gets; the event loop takes over where the socket's buffer is full.
  send(bytes) {
    let sent = 0;
    try {
      sent = fs.writeSync(INVOKE, bytes);
    } catch (e) {
      if (e.code === 'EPIPE') process.exit(0);
      if (e.code !== 'EAGAIN') throw e;
    }
    this.wait();
    if (sent < bytes.length) this.socket.write(Buffer.from(bytes.subarray(sent)));
  }

  // The beginning of an answer in pieces. From here on everything goes by the event loop, in order.
  beginStream(contentType) {
    this.streaming = true;
    this.wait();
    if (this.busy) this.socket.unref();
    this.socket.write(stream(contentType));
  }

  // One of them; `done` is called when it has left the process: when the host does not read, that takes long.
  data(bytes, done) {
    if (bytes.length === 0) return done();
    this.socket.cork();
    for (let at = 0; at < bytes.length; at += PIECE) {
      const piece = bytes.subarray(at, at + PIECE);
      this.socket.write(head(KIND.DATA, piece.length));
      this.socket.write(piece, at + PIECE >= bytes.length ? done : undefined);
    }
    this.socket.uncork();
  }

  endStream() {
    this.busy = this.streaming = false;
    this.socket.write(frame(KIND.END));
    this.wait();
  }

  failStream(json) {
    this.busy = this.streaming = false;
    this.socket.write(frame(KIND.ERROR, Buffer.from(json)));
    this.wait();
  }

  // Whether something is on its way that a write past the event loop would tear.
  get isHalfWritten() {
    return this.streaming && this.socket.writableLength > 0;
  }

  // Errors go out at once, whatever it takes: the process may be about to end.
  fail(json) {
    this.busy = this.streaming = false;
    writeAll(INVOKE, frame(KIND.ERROR, Buffer.from(json)));
    this.wait();
  }
}

// A stream that is connected to nothing, with one call on its way to `onCall`; `onSent` gets the bytes of the answer.
function rehearsal(onSent, onCall) {
  const stream = new InvokeStream({ onCall });
  stream.send = onSent;
  const strings = Buffer.concat(['request', 'trace', 'arn'].map(str16));
  const body = Buffer.concat([Buffer.alloc(8), strings, Buffer.alloc(8), Buffer.of(LAST), Buffer.from('{"a":1}')]);
  decodeInit(Buffer.from('{"handler": "", "env": {}, "function": {}}'));
  isEventLoopIdle();
  setImmediate(() => stream.received(frame(KIND.INVOKE, body).copy(stream.buffer)));
  return stream;
}

// Nothing would notice if the event loop stood still: no timer, socket, worker, and no signal handler.
function isEventLoopIdle() {
  return process.getActiveResourcesInfo().length === 0 &&
    !process.eventNames().some((name) => typeof name === 'string' && name.startsWith('SIG'));
}

module.exports = {
  KIND, ProtocolError, FrameReader, InvokeStream,
  frame, hello, log, response, stream, decodeInvoke, decodeInit, hangUp, readInit, rehearsal, writeControl,
};
