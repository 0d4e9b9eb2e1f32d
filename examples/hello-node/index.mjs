// Says hello, to an event or over HTTP.

export const handler = async (event) => {
  // Called through its URL, the function finds its arguments in the query string.
  const name = event.name ?? event.queryStringParameters?.name ?? "world";
  if (typeof name !== "string") {
    throw new TypeError(`name must be a string, got ${typeof name}`);
  }
  // Over HTTP, a result without a statusCode is the body of a 200.
  return { message: `Hello, ${name}!` };
};
