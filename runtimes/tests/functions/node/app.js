'use strict';

const { execFileSync } = require('child_process');

process.stdout.write('module is being loaded\n');
const seenAtLoad = process.env.SEEN;
let calls = 0;

exports.echo = async (event) => event;
exports.nothing = async () => {};
exports.count = async () => ++calls;

exports.later = async (event) => {
  await new Promise((resolve) => setTimeout(resolve, 1));
  return { later: event };
};

exports.later_fails = async (event) => {
  await null;
  throw new RangeError(`not found: ${event}`);
};

exports.about = async (event, context) => ({
  function_name: context.functionName,
  function_version: context.functionVersion,
  invoked_function_arn: context.invokedFunctionArn,
  memory_limit: context.memoryLimitInMB,
  request_id: context.awsRequestId,
  log_group: context.logGroupName,
  log_stream: context.logStreamName,
  remaining: context.getRemainingTimeInMillis(),
});

exports.client = async (event, context) => ({
  title: context.clientContext.client.app_title,
  custom: context.clientContext.custom,
  env: context.clientContext.env,
  identity: context.identity.cognitoIdentityId,
  pool: context.identity.cognitoIdentityPoolId,
});

exports.surroundings = async (event) => ({
  seen_at_load: seenAtLoad,
  env: Object.fromEntries(event.map((name) => [name, process.env[name] ?? null])),
  child: execFileSync('/usr/bin/env', { encoding: 'utf8' }).trim().split('\n'),
  cwd: process.cwd(),
  hour: new Date(0).getHours(),
});

exports.descriptors = async () => ({
  streams: [3, 4].map((fd) => require('fs').readlinkSync(`/proc/self/fd/${fd}`)),
  child: execFileSync('/bin/ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' }),
});

exports.fails = (event) => {
  throw new TypeError(`grüße: ${event}`);
};

exports.unserialisable = async () => ({ a: 1n });
exports.big = async (event) => 'x'.repeat(event);

exports.prints = async (event) => {
  process.stdout.write(`to stdout ${event}\n`);
  process.stderr.write(`to stderr ${event}\n`);
  process.stdout.write('no newline');
};

exports.logs = async (event) => {
  for (const level of ['debug', 'info', 'warn', 'error', 'fatal']) console[level]('at %s: %s', level, event);
};

exports.log_size = async (event) => console.error('y'.repeat(event));

exports.log_exception = async () => {
  const error = new RangeError('k');
  console.error('it went wrong', error);
};

exports.exits = async (event) => {
  process.stdout.write('last words\n');
  console.error('last log');
  process.exit(event);
};

exports.crashes = () => {
  process.stdout.write('last words\n');
  process.abort();
};
