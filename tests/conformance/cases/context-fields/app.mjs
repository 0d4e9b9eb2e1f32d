export const handler = async (event, context) => ({
  id: context.awsRequestId,
  name: context.functionName,
  version: context.functionVersion,
  memory: context.memoryLimitInMB,
  arn: context.invokedFunctionArn,
  group: context.logGroupName,
  stream: context.logStreamName,
  waits: context.callbackWaitsForEmptyEventLoop,
  methods: ["getRemainingTimeInMillis", "done", "fail", "succeed"].map((name) => typeof context[name]),
});
