// Reads tools as JSON from stdin, and compiles every schema of theirs with ajv in strict mode, as clients do at their start.
import Ajv from "ajv";
import Ajv2020 from "ajv/dist/2020.js";
import addFormats from "ajv-formats";

let text = "";
for await (const part of process.stdin) text += part;
const faults = [];
for (const Kind of [Ajv, Ajv2020]) {
  const Class = Kind.default ?? Kind;
  for (const tool of JSON.parse(text)) {
    for (const member of ["inputSchema", "outputSchema"]) {
      const schema = tool[member] && { ...tool[member] };
      if (!schema) continue;
      delete schema.$schema;
      const warn = (...words) => faults.push(`${tool.name}.${member}: ${words.join(" ")}`);
      const ajv = new Class({ strict: true, strictRequired: false, logger: { log: warn, warn, error: warn } });
      (addFormats.default ?? addFormats)(ajv);
      try {
        ajv.compile(schema);
      } catch (error) {
        faults.push(`${tool.name}.${member}: ${error.message}`);
      }
    }
  }
}
console.log(JSON.stringify(faults));
