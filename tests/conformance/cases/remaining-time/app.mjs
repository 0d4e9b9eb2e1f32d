export const handler = async (event, context) => {
  const first = context.getRemainingTimeInMillis();
  await new Promise((resolve) => setTimeout(resolve, 100));
  return { first, elapsed: first - context.getRemainingTimeInMillis() };
};
