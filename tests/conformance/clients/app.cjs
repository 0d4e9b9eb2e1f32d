'use strict';
let calls = 0;

class AsAsked extends Error {
  constructor() {
    super('as asked');
    this.name = 'AsAsked';
  }
}

exports.handle = async (event, context) => {
  calls += 1;
  if ('fail' in event) throw new AsAsked();
  console.log('mark', event.n);
  return {
    event,
    id: context.awsRequestId,
    name: context.functionName,
    arn: context.invokedFunctionArn,
    calls,
    left: context.getRemainingTimeInMillis(),
  };
};
