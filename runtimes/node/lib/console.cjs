// What console.* writes: LOG frames, in AWS's text or JSON format. Loaded with the first line that a function
// logs.
'use strict';

const util = require('util');
const { log, writeControl } = require('./wire.cjs');

// `level` is a name with its number in `wire`; `requestId` is undefined before the first invocation, and printed as
// such, as on AWS.
function write(json, level, number, requestId, message, params) {
  const now = new Date();
  const line = (json ? jsonLine : textLine)(now.toISOString(), requestId, level, message, params);
  writeControl(log(now.getTime() * 1000, number, requestId || '', line));
}

function textLine(time, requestId, level, message, params) {
  return `${time}\t${requestId}\t${level}\t${util.format(message, ...params)}`;
}

function jsonLine(timestamp, requestId, level, message, params) {
  const line = { timestamp, level, requestId };
  if (params.length === 0) {
    try {
      return JSON.stringify({ ...line, message }, errorsAsFields);
    } catch {
      return JSON.stringify({ ...line, message: util.format(message) });
    }
  }
  line.message = util.format(message, ...params);
  const error = [message, ...params].find((param) => param instanceof Error);
  return JSON.stringify(error ? { ...line, ...errorFields(error) } : line);
}

function errorsAsFields(_, value) {
  return value instanceof Error ? { ...errorFields(value), ...value } : value;
}

function errorFields(error) {
  return {
    errorType: error.constructor?.name ?? 'UnknownError',
    errorMessage: error.message,
    stackTrace: typeof error.stack === 'string' ? error.stack.split('\n') : error.stack,
  };
}

module.exports = { write };
