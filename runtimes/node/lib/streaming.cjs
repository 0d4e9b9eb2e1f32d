// Handlers that answer in pieces: `awslambda.streamifyResponse` and `awslambda.HttpResponseStream`, as AWS's runtime has
// them. Loaded by the first call of such a handler.
//
//   handler(event, responseStream, context) ──► STREAM with the first write ──► DATA … ──► END
//
// END goes out when the stream has finished and the handler's promise is settled: then the instance is free. A write's
// callback, and with it `drain`, `pipe` and `pipeline`, waits while the caller does not read.
'use strict';

const { Writable } = require('stream');

const WITH_HEAD = 'application/vnd.awslambda.http-integration-response';
const OCTETS = 'application/octet-stream';
const DELIMITER = 8;

class InvalidStreamingOperation extends Error {
  constructor(message) {
    super(message);
    this.name = 'InvalidStreamingOperation';
  }
}

class ResponseStream extends Writable {
  #out;
  #contentType = OCTETS;
  #touched = false; // something was written, if not sent
  #begun = false;

  constructor(out, highWaterMark) {
    super(highWaterMark === undefined ? {} : { highWaterMark });
    this.#out = out;
    this._onBeforeFirstWrite = undefined;
  }

  get begun() {
    return this.#begun;
  }

  setContentType(type) {
    if (this.#touched) throw new InvalidStreamingOperation('Cannot set content-type, too late.');
    this.#contentType = type;
  }

  write(chunk, encoding, callback) {
    this.#touch();
    return super.write(asBytes(chunk), encoding, callback);
  }

  end(chunk, encoding, callback) {
    if (typeof chunk === 'function') [chunk, callback] = [undefined, chunk];
    if (typeof encoding === 'function') [encoding, callback] = [undefined, encoding];
    // A head is an answer too, also where no body follows.
    if (chunk !== undefined && chunk !== null) this.write(chunk, encoding);
    else if (!this.writableEnded) this.#touch();
    return super.end(callback);
  }

  #touch() {
    if (this.#touched) return;
    this.#touched = true;
    if (typeof this._onBeforeFirstWrite === 'function') this._onBeforeFirstWrite((bytes) => super.write(bytes));
  }

  #begin() {
    if (this.#begun) return;
    this.#begun = true;
    this.#out.begin(this.#contentType);
  }

  _write(chunk, encoding, callback) {
    this.#begin();
    this.#out.data(chunk, callback);
  }

  _final(callback) {
    this.#begin();
    callback();
  }
}

function asBytes(chunk) {
  return typeof chunk === 'string' || chunk instanceof Uint8Array ? chunk : JSON.stringify(chunk);
}

class HttpResponseStream {
  // Puts the head of an HTTP answer before what is written.
  static from(stream, head) {
    stream.setContentType(WITH_HEAD);
    const json = JSON.stringify(head);
    stream._onBeforeFirstWrite = (write) => {
      write(json);
      write(new Uint8Array(DELIMITER));
    };
    return stream;
  }
}

// Runs one call. `out` has begin(contentType), data(bytes, callback), end() and fail(error): the first of the last two counts.
// `whenLoopIsEmpty(act)` calls that when nothing is left to wait for.
function invoke(handler, event, context, out, highWaterMark, whenLoopIsEmpty) {
  const stream = new ResponseStream(out, highWaterMark);
  let done = false;
  const once = (act) => (...args) => {
    if (done) return;
    done = true;
    whenLoopIsEmpty(null);
    act(...args);
  };
  const fail = once((error) => {
    // What is still to be written is no part of the answer any more.
    stream.destroy();
    out.fail(error);
  });
  const finish = once(() => out.end());
  stream.on('error', fail);
  whenLoopIsEmpty(() => fail(new Error('Response stream is not finished.')));
  const run = async () => {
    const result = handler(event(), stream, context);
    if (!result || typeof result.then !== 'function') {
      throw new Error('Streaming does not support non-async handlers.');
    }
    if ((await result) !== undefined) console.warn('Streaming handlers ignore return values.');
    if (stream.writableFinished) return finish();
    stream.on('finish', finish);
  };
  run().catch(fail);
}

module.exports = { HttpResponseStream, invoke };
