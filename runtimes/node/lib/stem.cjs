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
  // The loader of ES modules comes up with the first one.
  await import('./stem.mjs');
  JSON.parse(JSON.stringify({ event: [1, 2.5, 'b', null] }));
};
