// The official TypeScript SDK, version 2, in the era that is named: the same walk as `typescript.mjs`. Prints what it saw as
// JSON. Arguments: `legacy` or `modern`, then `http URL KEY`, or `stdio COMMAND ARGUMENT…`.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";

const [era, kind, ...rest] = process.argv.slice(2);
const transport =
  kind === "http"
    ? new StreamableHTTPClientTransport(new URL(rest[0]), {
        requestInit: { headers: { Authorization: `Bearer ${rest[1]}` } },
      })
    : new StdioClientTransport({ command: rest[0], args: rest.slice(1), stderr: "inherit" });

const saw = { progress: 0, asked: null };
const client = new Client(
  { name: "typescript", version: "2" },
  {
    capabilities: { elicitation: { form: {} } },
    versionNegotiation: { mode: era === "modern" ? { pin: "2026-07-28" } : "legacy" },
  },
);
client.setRequestHandler("elicitation/create", async (request) => {
  saw.asked = request.params.message;
  return { action: "decline" };
});
await client.connect(transport);
saw.era = client.getProtocolEra();
saw.server = client.getServerVersion()?.name;
saw.tools = (await client.listTools()).tools.map((tool) => tool.name);
saw.echo = (await client.callTool({ name: "everything__echo", arguments: { message: "héllo" } })).content;
saw.sum = (await client.callTool({ name: "everything__get-sum", arguments: { a: 2, b: 40 } })).content;
const long = { name: "everything__trigger-long-running-operation", arguments: { duration: 1, steps: 3 } };
await client.callTool(long, { onprogress: () => (saw.progress += 1) });
await client.callTool({ name: "everything__trigger-elicitation-request", arguments: {} });
const resources = (await client.listResources()).resources;
saw.resource = (await client.readResource({ uri: resources[0].uri })).contents.length;
saw.prompts = (await client.listPrompts()).prompts.map((prompt) => prompt.name);
saw.unknown = await client.callTool({ name: "everything__nothing", arguments: {} }).then(
  () => "a result",
  (error) => error.code,
);
await client.close();
console.log(JSON.stringify(saw));
