export const handler = () => Promise.resolve({ kept: true });
