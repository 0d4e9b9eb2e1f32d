const print = (text) => process.stdout.write(`${text}\n`);

export const handler = async () => {
  print(JSON.stringify({ level: "error", message: "structured trouble", order: 17 }));
  print(JSON.stringify({ level: "WARN", msg: "in capitals" }));
  print(JSON.stringify({ level: "debug", message: "quiet" }));
  print(JSON.stringify({ message: "no level" }));
  print('{"level": "error" not an object');
  return "done";
};
