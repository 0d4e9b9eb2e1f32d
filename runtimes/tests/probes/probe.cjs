// The Node bootstrap's codec, for test_vectors.py: a JSON list of jobs on stdin, of results on stdout.
'use strict';

const fs = require('fs');
const wire = require('../../node/lib/wire.cjs');

const { KIND } = wire;

function encode(kind, f) {
  if (kind === 'HELLO') return wire.hello(f.runtime);
  if (kind === 'LOG') return wire.log(f.time_us, f.level, f.request_id, f.message);
  if (kind === 'STREAM') return wire.stream(f.content_type, Buffer.from(f.payload_hex, 'hex'));
  if (kind === 'RESPONSE') {
    const payload = Buffer.from(f.payload_hex, 'hex');
    if (f.last) return Buffer.concat(wire.response(payload));
    return wire.frame(KIND.RESPONSE, Buffer.concat([Buffer.of(0), payload]));
  }
  const body = 'payload_hex' in f ? Buffer.from(f.payload_hex, 'hex') : Buffer.from(f.json ?? '');
  return wire.frame(KIND[kind], body);
}

function decode(stream, bytes) {
  const allowed = stream === 'control' ? [KIND.INIT] : [KIND.INVOKE, KIND.DATA, KIND.END];
  let fields;
  const reader = new wire.FrameReader(allowed, (kind, body) => { fields = decodeBody(kind, body); });
  reader.push(bytes);
  return fields;
}

function decodeBody(kind, body) {
  if (kind === KIND.INIT) {
    wire.decodeInit(body);
    return { json: body.toString() };
  }
  if (kind !== KIND.INVOKE) return kind === KIND.DATA ? { payload_hex: body.toString('hex') } : {};
  const call = wire.decodeInvoke(body);
  return {
    deadline_ms: call.deadlineMs,
    request_id: call.requestId,
    trace_id: call.traceId,
    function_arn: call.functionArn,
    client_context: call.clientContext,
    cognito_identity: call.cognitoIdentity,
    last: call.last,
    payload_hex: call.payload.toString('hex'),
  };
}

function work(job) {
  try {
    if (job.do === 'encode') return { hex: encode(job.kind, job.fields).toString('hex') };
    return { fields: decode(job.stream, Buffer.from(job.hex, 'hex')) };
  } catch (e) {
    if (!(e instanceof wire.ProtocolError)) throw e;
    return { refused: e.message };
  }
}

process.stdout.write(JSON.stringify(JSON.parse(fs.readFileSync(0, 'utf8')).map(work)));
