// {{name}}: greets, called with an event or over HTTP.

// What stands here runs once for each instance, before its first call: load and connect here.
const GREETING = process.env.GREETING ?? "Hello";

export const handler = async (event, context) => {
  // What is printed is in the function's log.
  console.log(`request ${context.awsRequestId}, ${context.getRemainingTimeInMillis()} ms left`);

  if (event.requestContext?.http) return overHttp(event);
  return greet(event.name ?? "world");
};

// Answers a request to the function's URL (AWS's payload format 2.0).
function overHttp(event) {
  return {
    statusCode: 200,
    headers: { "content-type": "application/json" },
    body: JSON.stringify(greet(event.queryStringParameters?.name ?? "world")),
  };
}

const greet = (name) => ({ message: `${GREETING}, ${name}!` });
