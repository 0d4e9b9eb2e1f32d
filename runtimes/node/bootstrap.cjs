// Entry of the Node runtime, and the life of a Node instance: HELLO, INIT, the handler is loaded, READY,
// then one invocation at a time until the host closes the invoke stream.
//
// It refuses more than one invoke stream: code for AWS Lambda expects to run one invocation at a time.
// What every start needs is here and in lib/wire.cjs: each file more costs a third of a millisecond.
'use strict';

const fs = require('fs');
const path = require('path');
const {
  KIND, InvokeStream, ProtocolError, frame, hangUp, hello, readInit, rehearsal, writeControl,
} = require('./lib/wire.cjs');

// Exit statuses after an error that no handler caught, as AWS's runtime has them.
const UNCAUGHT = 129;
const UNHANDLED = 128;

const REHEARSALS = 3;

let jsonLogs = false;
let report = null; // tells the host of an error that ends the process
let requestId; // of the invocation that runs, or ran last
let traceId;

function main() {
  const streams = process.env.HEARTH_INVOKE_STREAMS ?? '1';
  if (streams !== '1') {
    die(`the Node runtime serves one invoke stream, but HEARTH_INVOKE_STREAMS is '${streams}'`);
  }
  if (process.env.HEARTH_STEM === undefined) return begin();
  // The host has no function for us yet, and HELLO may take its time.
  delete process.env.HEARTH_STEM;
  const { warmUp, tidyUp } = require('./lib/stem.cjs');
  warmUp().then(rehearse).then(tidyUp).then(begin).catch((e) => die(`warming up: ${e.stack}`));
}

// Calls of a handler that does nothing, from finding its file to the answer's bytes. More than one: what V8 learns
// of its own loader at the first pays at the next.
async function rehearse() {
  const folder = path.join(__dirname, 'lib');
  for (let round = 0; round < REHEARSALS; round++) {
    setEnvironment({ TZ: process.env.TZ ?? ':UTC' });
    await import(`${url(path.join(folder, 'stem.mjs'))}?${round}`);
    const handler = await loadHandler(folder, 'stem.handler');
    await new Promise((resolve) => setImmediate(resolve));
    await new Promise((done, fail) => {
      const stream = rehearsal(done, (call) => {
        requestId = call.requestId;
        setTraceId(call.traceId);
        invoke(handler, call, aboutFunction({}), { respond: (json) => stream.respond(json), fail });
      });
    });
    whenLoopIsEmpty = null;
  }
  setTraceId('');
  requestId = undefined;
}

function begin() {
  try {
    writeControl(hello(`nodejs${process.versions.node}`));
    const init = readInit();
    if (init === null) process.exit(0);
    start(init);
  } catch (e) {
    if (e instanceof ProtocolError) die(`protocol error: ${e.message}`);
    throw e;
  }
}

function start(init) {
  const root = init.task_root || '/var/task';
  setEnvironment(init.env);
  if (init.files) require('./lib/files.cjs')(init.files, die);
  patchConsole(process.env);
  report = (error) => {
    writeControl(frame(KIND.INIT_ERROR, errorJson(error)));
    process.exit(1);
  };
  process.on('uncaughtException', (error) => {
    logError('Uncaught Exception', error);
    report(error, UNCAUGHT);
  });
  process.on('unhandledRejection', (reason, promise) => {
    const { UnhandledPromiseRejection } = require('./lib/errors.cjs');
    const error = new UnhandledPromiseRejection(reason, promise);
    logError('Unhandled Promise Rejection', error);
    report(error, UNHANDLED);
  });
  try {
    process.chdir(root);
  } catch {
    // loading the handler says what is missing
  }
  provideStreaming();
  const extensions = findExtensions();
  if (extensions.length > 0) return report(extensionsRefused(extensions));
  loadHandler(root, init.handler).then(
    // In the next turn of the event loop: a rejection that nobody handles is still an error of this phase.
    (handler) => setImmediate(serve, handler, aboutFunction(init.function)),
    (error) => {
      logError('Uncaught Exception', error);
      report(error);
    },
  );
}

// Node reads NODE_PATH when it starts, and layers are wherever AWS has them.
function setEnvironment(env) {
  const major = process.versions.node.split('.')[0];
  for (const [name, value] of Object.entries(env)) {
    // Setting TZ makes V8 forget all it knows of time, also where nothing changes.
    if (process.env[name] !== value) process.env[name] = value;
  }
  process.env.NODE_PATH ??= `/opt/nodejs/node${major}/node_modules:/opt/nodejs/node_modules:/var/runtime/node_modules:/var/runtime:/var/task`;
  module.constructor._initPaths();
}

// They would wait for a Runtime API, which only native functions get.
function findExtensions() {
  return fs.existsSync('/opt/extensions') ? fs.readdirSync('/opt/extensions') : [];
}

function extensionsRefused(names) {
  const error = new Error(
    `there are extensions in /opt/extensions (${names.join(', ')}), which are for runtime provided.al2023: ` +
      'use that with aws-lambda-ric, or leave the layer out',
  );
  error.name = 'Extension.NotSupported';
  return error;
}

// Marks of AWS's own, which others look at too.
const STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HIGH_WATER_MARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');

// The global by which a handler says that it answers in pieces.
function provideStreaming() {
  if (['1', 'true'].includes(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) return;
  globalThis.awslambda = {
    streamifyResponse(handler, options) {
      handler[STREAMING] = 'response';
      if (typeof options?.highWaterMark === 'number') handler[HIGH_WATER_MARK] = Math.trunc(options.highWaterMark);
      return handler;
    },
    get HttpResponseStream() {
      return require('./lib/streaming.cjs').HttpResponseStream;
    },
  };
}

function aboutFunction(f) {
  return {
    functionVersion: f.version,
    functionName: f.name,
    memoryLimitInMB: String(f.memory_mb ?? ''),
    logGroupName: f.log_group,
    logStreamName: f.log_stream,
    invokedFunctionArn: f.arn,
  };
}

function serve(handler, about) {
  const stream = new InvokeStream({
    onCall: (call) => {
      requestId = call.requestId;
      setTraceId(call.traceId);
      invoke(handler, call, about, answer);
    },
    onEnd: () => process.exit(0),
    onProtocolError: (e) => die(`protocol error: ${e.message}`),
  });
  const answer = {
    respond: (json) => stream.respond(json),
    fail: (error) => {
      logError('Invoke Error', error);
      stream.fail(errorJson(error));
    },
    stream: {
      begin: (contentType) => stream.beginStream(contentType),
      data: (bytes, done) => stream.data(bytes, done),
      end: () => stream.endStream(),
      fail: (error) => {
        logError('Invoke Error', error);
        if (stream.streaming) stream.failStream(errorJson(error));
        else stream.fail(errorJson(error));
      },
    },
  };
  report = (error, status) => {
    hangUp();
    // Else its end is all that the host is told.
    if (stream.busy && !stream.isHalfWritten) stream.fail(errorJson(error));
    process.exit(status);
  };
  writeControl(frame(KIND.READY));
  stream.start();
}

const TRACE_ID = '_X_AMZN_TRACE_ID';
const environment = process.env;

// The C library never frees what a variable was before: 200 bytes a call. So the trace id is no variable of this process
// but what `process.env` inherits: there for whoever reads it, and for programs, whose environment Node makes of all that
// is there, inherited or not.
function setTraceId(id) {
  const first = traceId === undefined;
  traceId = id;
  if (process.env !== environment) {
    // The function's own object, or what it was made of: an ordinary one forgets.
    if (id) process.env[TRACE_ID] = id;
    else delete process.env[TRACE_ID];
  } else if (Object.hasOwn(environment, TRACE_ID)) {
    delete environment[TRACE_ID];
  }
  if (!first) return;
  const get = () => traceId || undefined;
  const inherited = { [TRACE_ID]: { get, enumerable: true, configurable: true } };
  Object.setPrototypeOf(environment, Object.create(Object.getPrototypeOf(environment), inherited));
}

function errorJson(error) {
  return Buffer.from(JSON.stringify(require('./lib/errors.cjs').describe(error)));
}

function logError(title, error) {
  const { describe, forLog } = require('./lib/errors.cjs');
  const asError = error instanceof Error ? error : new Error(describe(error).errorMessage);
  if (jsonLogs) console.error(asError);
  else console.error(title, `\t${forLog(asError)}`);
}

function die(message) {
  fs.writeSync(2, `hearth: ${message}\n`);
  process.reallyExit(1);
}

// --- console --------------------------------------------------------------------------------------------

const LEVELS = { TRACE: 1, DEBUG: 2, INFO: 3, WARN: 4, ERROR: 5, FATAL: 6 };
const METHODS = { trace: 'TRACE', debug: 'DEBUG', log: 'INFO', info: 'INFO', warn: 'WARN', error: 'ERROR', fatal: 'FATAL' };

// Makes console.* write LOG frames. process.stdout stays what it is, and is not even created unless the
// function uses it.
function patchConsole(env) {
  jsonLogs = (env.AWS_LAMBDA_LOG_FORMAT || '').toUpperCase() === 'JSON';
  const least = LEVELS[(env.AWS_LAMBDA_LOG_LEVEL || '').toUpperCase()] || LEVELS.TRACE;
  for (const [method, level] of Object.entries(METHODS)) {
    const number = LEVELS[level];
    console[method] = number < least
      ? () => {}
      : (message, ...params) => require('./lib/console.cjs').write(jsonLogs, level, number, requestId, message, params);
  }
}

// --- the handler ----------------------------------------------------------------------------------------

// `index.handler`, `dir/index.handler`, `index.a.b.handler`, in a file without extension, .js (CommonJS or, by
// package.json, ES module), .mjs or .cjs, in a folder with an index.js, or else in whatever Node's own
// resolution finds.
async function loadHandler(root, name) {
  if (name.includes('..')) {
    throw runtimeError('MalformedHandlerName',
      `'${name}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`);
  }
  const base = path.basename(name);
  const folder = name.slice(0, name.indexOf(base));
  const dot = base.indexOf('.');
  if (dot < 0) throw runtimeError('MalformedHandlerName', 'Bad handler');
  const app = await loadModule(root, folder, base.slice(0, dot));
  const handler = base.slice(dot + 1).split('.').reduce((nested, key) => nested && nested[key], app);
  if (!handler) throw runtimeError('HandlerNotFound', `${name} is undefined or not exported`);
  if (typeof handler !== 'function') throw runtimeError('HandlerNotFound', `${name} is not a function`);
  return handler;
}

async function loadModule(root, folder, name) {
  try {
    return await findAndLoad(root, folder, name);
  } catch (e) {
    if (e instanceof SyntaxError) throw runtimeError('UserCodeSyntaxError', e);
    hintAtAwsSdk(e);
    if (e && e.code === 'MODULE_NOT_FOUND') throw runtimeError('ImportModuleError', e);
    throw e;
  }
}

// What is missing here and part of AWS's own runtimes: whoever moves a function here has to be told.
function hintAtAwsSdk(e) {
  const missing = /^Cannot find (?:module|package) '((?:@aws-sdk\/|@smithy\/|aws-sdk\b)[^']*)'/.exec((e && e.message) || '');
  if (missing) e.message += `\n(AWS's runtimes have ${missing[1]}, Hearth's do not: put it into the package, or into a layer)`;
}

async function findAndLoad(root, folder, name) {
  const file = path.resolve(root, folder, name);
  if (isFile(file)) return require(file);
  if (isFile(`${file}.js`)) return isModule(path.dirname(file)) ? import(url(`${file}.js`)) : require(`${file}.js`);
  if (isFile(`${file}.mjs`)) return import(url(`${file}.mjs`));
  if (isFile(`${file}.cjs`)) return require(`${file}.cjs`);
  if (fs.existsSync(file)) return require(file); // a folder with an index.js
  return require(require.resolve(name, { paths: [root, path.resolve(root, folder)] }));
}

function isFile(file) {
  return fs.statSync(file, { throwIfNoEntry: false })?.isFile() ?? false;
}

function url(file) {
  return require('url').pathToFileURL(file).href;
}

// Does the nearest package.json say "type": "module"?
function isModule(folder) {
  if (folder.endsWith('/node_modules')) return false;
  const file = path.join(folder, 'package.json');
  if (fs.existsSync(file)) {
    try {
      return JSON.parse(fs.readFileSync(file)).type === 'module';
    } catch (e) {
      console.warn(`${file} cannot be read, it will be ignored for ES module detection purposes.`, e);
      return false;
    }
  }
  return folder !== '/' && isModule(path.dirname(folder));
}

// Loaded here, since most functions have none.
function runtimeError(name, message) {
  const error = new (require('./lib/errors.cjs')[name])(message);
  Error.captureStackTrace(error, runtimeError);
  return error;
}

// --- one invocation -------------------------------------------------------------------------------------

const DONE_TWICE = 'Invocation has already been reported as done. Cannot call complete more than once per invocation.';

let whenLoopIsEmpty = null;

process.on('beforeExit', () => {
  const act = whenLoopIsEmpty;
  whenLoopIsEmpty = null;
  if (act !== null) act();
});

// When a call is done:
//
//   async handler      done when its promise settles
//   callback handler   callback(error): at once; callback(null, result): when the event loop is empty, or
//                      at once with context.callbackWaitsForEmptyEventLoop = false
//   context.done/succeed/fail: at once
//   none of these      done, with the result null, when the event loop is empty
//
// Only the first answer counts.
//
// `answer.respond(json)` and `answer.fail(error)` are called once, in all, per invocation.
function invoke(handler, call, about, answer) {
  if (handler[STREAMING] === 'response') {
    const event = () => JSON.parse(call.payload.toString());
    const context = contextOf({ callbackWaitsForEmptyEventLoop: true }, call, about);
    const whenEmpty = (act) => {
      whenLoopIsEmpty = act;
    };
    return require('./lib/streaming.cjs').invoke(handler, event, context, answer.stream, handler[HIGH_WATER_MARK], whenEmpty);
  }
  let finished = false; // the function has said how it ends
  let answered = false; // and the host knows
  let waits = true;

  const fail = (error) => {
    if (answered) return console.error(DONE_TWICE);
    answered = true;
    answer.fail(error);
  };
  const complete = (result) => {
    if (answered) return console.error(DONE_TWICE);
    const json = stringify(result);
    answered = true;
    answer.respond(json);
  };
  const once = (act) => (...args) => {
    if (finished) return;
    act(...args);
    finished = true;
  };
  const isError = (error) => error !== undefined && error !== null;

  const done = (error, result) => {
    if (!answered) whenLoopIsEmpty = null; // else it belongs to a later invocation
    if (isError(error)) fail(error);
    else complete(result);
  };
  const callback = once((error, result) => {
    if (answered || isError(error) || !waits) done(error, result);
    else whenLoopIsEmpty = () => setImmediate(orFail, complete, result, fail);
  });

  const context = {
    get callbackWaitsForEmptyEventLoop() { return waits; },
    set callbackWaitsForEmptyEventLoop(value) { waits = value; },
    done: once(done),
    succeed: once((result) => done(null, result)),
    fail: once((error) => done(isError(error) ? error : 'handled')),
  };

  whenLoopIsEmpty = () => complete(null);
  try {
    const event = JSON.parse(call.payload.toString());
    const result = handler(event, contextOf(context, call, about), callback);
    if (result && typeof result.then === 'function') {
      Promise.resolve(result).then(context.succeed, context.fail).catch(context.fail);
    }
  } catch (error) {
    callback(error);
  }
}

// AWS's runtime ends the process where a late result has no JSON; the caller gets the same error from us.
function orFail(complete, result, fail) {
  try {
    complete(result);
  } catch (error) {
    fail(error);
  }
}

function stringify(result) {
  try {
    return JSON.stringify(result === undefined ? null : result) ?? 'null';
  } catch {
    throw new Error('Unable to stringify response body');
  }
}

function contextOf(context, call, about) {
  const { deadlineMs } = call;
  return Object.assign(context, about, {
    clientContext: parse(call.clientContext, 'ClientContext'),
    identity: parse(call.cognitoIdentity, 'CognitoIdentity'),
    invokedFunctionArn: call.functionArn || about.invokedFunctionArn,
    awsRequestId: call.requestId,
    tenantId: undefined,
    getRemainingTimeInMillis: () => deadlineMs - Date.now(),
  });
}

function parse(json, what) {
  if (json === '') return undefined;
  try {
    return JSON.parse(json);
  } catch (e) {
    throw new Error(`Cannot parse ${what} as json: ${e.toString()}`);
  }
}

main();
