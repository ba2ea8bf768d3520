// Makes what the binary serves of the page: one script and one style sheet, readable, the same bytes wherever it is built.
// `node build.mjs` writes them; `node build.mjs --check` fails where what is committed differs.

import { build } from "esbuild";
import { readFile, readdir, writeFile } from "node:fs/promises";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const served = path.join(here, "../src/front/admin/assets");

const script = await build({
  absWorkingDir: here,
  entryPoints: ["src/main.ts"],
  bundle: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "inline",
  write: false,
  outfile: "main.js",
});
const styles = [path.join(here, "src/page.css"), path.join(here, "node_modules/uplot/dist/uPlot.min.css")];
const style = await Promise.all(styles.map((file) => readFile(file, "utf8")));
const made = new Map([
  ["main.js", `// Built of page/src by page/build.mjs: do not edit.\n${script.outputFiles[0].text}`],
  ["page.css", `/* Built of page/src/page.css and uPlot by page/build.mjs: do not edit. */\n${style.map((text) => text.trimEnd()).join("\n")}\n`],
]);
for (const name of ["index.html", "icon.svg"]) made.set(name, await readFile(path.join(here, "src", name), "utf8"));

if (!process.argv.includes("--check")) {
  await Promise.all([...made].map(([name, text]) => writeFile(path.join(served, name), text)));
} else {
  const known = await readdir(served);
  const differs = [];
  for (const [name, text] of made) {
    const committed = known.includes(name) ? await readFile(path.join(served, name), "utf8") : "";
    if (committed !== text) differs.push(name);
  }
  differs.push(...known.filter((name) => !made.has(name)));
  if (differs.length) {
    console.error(`What is served differs from what page/src makes: ${differs.join(", ")}.\nRun \`npm --prefix page run build\` and commit what it writes.`);
    process.exit(1);
  }
  console.log("What is served is what page/src makes.");
}
