const spin = (milliseconds) => {
  const end = performance.now() + milliseconds;
  while (performance.now() < end);
};

export const handler = async () => {
  spin(200);
  const wall = performance.now();
  const before = process.cpuUsage();
  spin(1500);
  const { user, system } = process.cpuUsage(before);
  return { share: (user + system) / 1000 / (performance.now() - wall) };
};
