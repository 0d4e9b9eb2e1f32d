// Errors as AWS's Node runtime reports them: {errorType, errorMessage, trace}, and their form in the log.
'use strict';

const { types } = require('util');

const RUNTIME_ERRORS = [
  class ImportModuleError extends Error {},
  class HandlerNotFound extends Error {},
  class MalformedHandlerName extends Error {},
  class UserCodeSyntaxError extends Error {},
  class UnhandledPromiseRejection extends Error {
    constructor(reason, promise) {
      super(String(reason));
      this.reason = reason;
      this.promise = promise;
    }
  },
];

// What instanceof misses: errors of other realms, and what only looks like one.
function isError(value) {
  return types.isNativeError(value) ||
    (value && ['name', 'message', 'stack'].every((key) => value[key] && typeof value[key] === 'string'));
}

// The error JSON of `wire`, as an object.
function describe(error) {
  try {
    if (isError(error)) {
      return { errorType: String(error.name), errorMessage: String(error.message), trace: String(error.stack).split('\n') };
    }
    return { errorType: typeof error, errorMessage: error.toString(), trace: [] };
  } catch {
    return {
      errorType: 'handled',
      errorMessage: 'callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack',
    };
  }
}

// The same for the log: also what user code hung onto the error. Text; never throws.
function forLog(error) {
  try {
    return JSON.stringify(error, (_, value) => (value instanceof Error ? withOwnFields(value) : value));
  } catch {
    return JSON.stringify(describe(error));
  }
}

function withOwnFields(error) {
  const fields = { errorType: error.name, errorMessage: error.message, code: error.code, ...error };
  if (typeof error.stack === 'string') fields.stack = error.stack.split('\n');
  return fields;
}

module.exports = { describe, forLog };
for (const type of RUNTIME_ERRORS) {
  type.prototype.name = `Runtime.${type.name}`;
  module.exports[type.name] = type;
}
