import { connect } from "node:net";

const reaches = (host, port) =>
  new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 1000 });
    const end = (answer) => {
      socket.destroy();
      resolve(answer);
    };
    socket.on("connect", () => end(true));
    socket.on("error", () => end(false));
    socket.on("timeout", () => end(false));
  });

export const handler = async ({ addresses }) => {
  const answers = await Promise.all(addresses.map(([host, port]) => reaches(host, port)));
  return addresses.filter((_, index) => answers[index]);
};
