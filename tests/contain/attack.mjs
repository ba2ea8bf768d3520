// An MCP server that tries to get out: each tool tells what the kernel said.
import fs from "node:fs";
import net from "node:net";
import dgram from "node:dgram";
import readline from "node:readline";
import { execFile } from "node:child_process";

const TOOLS = {
  read: async (a) => fs.readFileSync(a.path, "utf8"),
  write: async (a) => fs.writeFileSync(a.path, "x"),
  list: async (a) => fs.readdirSync(a.path),
  tcp: (a) => new Promise((done, fail) => {
    const socket = net.connect(a.port, "127.0.0.1", () => done("connected"));
    socket.on("error", fail);
  }),
  udp: (a) => new Promise((done, fail) => {
    const socket = dgram.createSocket("udp4");
    socket.on("error", fail);
    socket.send("x", a.port, "127.0.0.1", (error) => (error ? fail(error) : done("sent")));
  }),
  named: (a) => new Promise((done, fail) => {
    const socket = net.connect(a.path, () => done("connected"));
    socket.on("error", fail);
  }),
  run: (a) => new Promise((done, fail) => {
    execFile(a.command[0], a.command.slice(1), (error, out) => (error ? fail(error) : done(out)));
  }),
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { id, method, params } = JSON.parse(line);
  if (id === undefined) continue;
  let answer;
  if (method === "initialize") {
    answer = { protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo: { name: "attack", version: "1" } };
  } else if (method === "tools/list") {
    answer = { tools: Object.keys(TOOLS).map((name) => ({ name, inputSchema: { type: "object" } })) };
  } else if (method === "tools/call") {
    let told;
    try {
      told = { got: String(await TOOLS[params.name](params.arguments ?? {})) };
    } catch (error) {
      told = { refused: String(error) };
    }
    answer = { content: [{ type: "text", text: JSON.stringify(told) }] };
  } else {
    console.log(JSON.stringify({ jsonrpc: "2.0", id, error: { code: -32601, message: "no" } }));
    continue;
  }
  console.log(JSON.stringify({ jsonrpc: "2.0", id, result: answer }));
}
