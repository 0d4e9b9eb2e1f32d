import { createServer, connect } from "node:net";
import { once } from "node:events";

export const handler = async () => {
  const server = createServer((socket) => socket.end("hello")).listen(0, "127.0.0.1");
  await once(server, "listening");
  const client = connect(server.address().port, "127.0.0.1");
  const [data] = await once(client, "data");
  client.destroy();
  server.close();
  return data.toString();
};
