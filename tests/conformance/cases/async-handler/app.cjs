exports.handler = async () => {
  await new Promise((resolve) => setTimeout(resolve, 20));
  return { slept: true };
};
