// What a stem does before HELLO, while nobody waits: all that a start would do later, on a call's time.
'use strict';

// Built-in modules that functions use most, directly or by way of AWS's SDK. Node has them all in one file, but
// compiles each when it is first asked for.
const BUILT_IN = [
  'async_hooks', 'buffer', 'crypto', 'events', 'fs/promises', 'http', 'https', 'net', 'os', 'path', 'querystring',
  'stream', 'string_decoder', 'timers', 'tls', 'url', 'util', 'zlib',
];

exports.warmUp = async () => {
  for (const name of BUILT_IN) require(`node:${name}`);
  require('./console.cjs');
  require('./errors.cjs');
};

// Leaves no garbage to collect on the time of the first call, which is a millisecond of it.
exports.tidyUp = () => {
  const v8 = require('node:v8');
  // Off again at once: Node's compiled built-in modules are good for the flags that it started with only.
  v8.setFlagsFromString('--expose-gc');
  const collect = require('node:vm').runInNewContext('gc');
  v8.setFlagsFromString('--no-expose-gc');
  collect();
};
