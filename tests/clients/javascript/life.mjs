// The life of a function by AWS's SDK for JavaScript. Where it goes is said by the environment alone, as for AWS.
// Arguments: its name, a zip, another zip. Prints what it saw as JSON.
import { readFile } from "node:fs/promises";
import {
  CreateAliasCommand,
  CreateFunctionCommand,
  DeleteFunctionCommand,
  GetFunctionCommand,
  InvokeCommand,
  InvokeWithResponseStreamCommand,
  LambdaClient,
  paginateListFunctions,
  PublishVersionCommand,
  ResourceNotFoundException,
  UpdateFunctionCodeCommand,
  UpdateFunctionConfigurationCommand,
  waitUntilFunctionActiveV2,
  waitUntilFunctionUpdatedV2,
} from "@aws-sdk/client-lambda";
import { CreateQueueCommand, DeleteMessageCommand, DeleteQueueCommand, ReceiveMessageCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";

const [, , FunctionName, first, second] = process.argv;
const lambda = new LambdaClient({});
const wait = { client: lambda, maxWaitTime: 30 };
const seen = {};

const call = async (more = {}) => {
  const answer = await lambda.send(
    new InvokeCommand({ FunctionName, Payload: JSON.stringify({ n: 1 }), LogType: "Tail", ...more }),
  );
  return { body: JSON.parse(answer.Payload.transformToString()), version: answer.ExecutedVersion, error: answer.FunctionError ?? null };
};

const made = await lambda.send(
  new CreateFunctionCommand({
    FunctionName,
    Runtime: "python3.11",
    Handler: "app.handler",
    Role: "arn:aws:iam::000000000000:role/any",
    Code: { ZipFile: await readFile(first) },
  }),
);
seen.made = made.State;
await waitUntilFunctionActiveV2(wait, { FunctionName });
seen.first = await call();
const { Version } = await lambda.send(new PublishVersionCommand({ FunctionName }));
await lambda.send(new UpdateFunctionCodeCommand({ FunctionName, ZipFile: await readFile(second) }));
await waitUntilFunctionUpdatedV2(wait, { FunctionName });
await lambda.send(new UpdateFunctionConfigurationCommand({ FunctionName, MemorySize: 256, Environment: { Variables: { COLOUR: "red" } } }));
await waitUntilFunctionUpdatedV2(wait, { FunctionName });
seen.second = await call();
await lambda.send(new CreateAliasCommand({ FunctionName, Name: "live", FunctionVersion: Version }));
seen.alias = await call({ Qualifier: "live" });
seen.event = (await lambda.send(new InvokeCommand({ FunctionName, InvocationType: "Event", Payload: "{}" }))).StatusCode;
seen.memory = (await lambda.send(new GetFunctionCommand({ FunctionName }))).Configuration.MemorySize;
const stream = await lambda.send(new InvokeWithResponseStreamCommand({ FunctionName, Payload: "{}" }));
seen.streamed = "";
for await (const event of stream.EventStream) {
  if (event.PayloadChunk) seen.streamed += Buffer.from(event.PayloadChunk.Payload).toString();
  if (event.InvokeComplete) seen.complete = event.InvokeComplete.ErrorCode ?? null;
}
seen.listed = false;
for await (const page of paginateListFunctions({ client: lambda, pageSize: 5 }, {})) {
  seen.listed ||= page.Functions.some((one) => one.FunctionName === FunctionName);
}

const sqs = new SQSClient({});
const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: `${FunctionName}-queue` }));
await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: "hello" }));
const { Messages } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 5 }));
seen.message = Messages[0].Body;
await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle: Messages[0].ReceiptHandle }));
await sqs.send(new DeleteQueueCommand({ QueueUrl }));

await lambda.send(new DeleteFunctionCommand({ FunctionName }));
try {
  await call();
} catch (error) {
  seen.gone = error instanceof ResourceNotFoundException;
}
console.log(JSON.stringify(seen));
