// JSON whose numbers keep their digits: an approver agrees to what is sent, and a double cannot hold every number that JSON
// can write.

export class Exact {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
  toString(): string {
    return this.text;
  }
}

// A name that nobody else knows, so that no text can pass for a number.
const EXACT = `number ${crypto.getRandomValues(new Uint32Array(4)).join("-")}`;
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*/g;

export function parse(text: string): any {
  const marked = text.replace(TOKENS, (token) =>
    token[0] === '"' || String(Number(token)) === token ? token : `{"${EXACT}":"${token}"}`,
  );
  return JSON.parse(marked, (_: string, value: any) =>
    value !== null && typeof value === "object" && EXACT in value ? new Exact(value[EXACT]) : value,
  );
}

// The same the other way.
export function written(value: unknown, indent?: number): string {
  const mark = (_: string, item: unknown) => (item instanceof Exact ? `${EXACT}${item.text}` : item);
  return JSON.stringify(value, mark, indent).replace(new RegExp(`"${EXACT}([^"]*)"`, "g"), "$1");
}

export const isTree = (value: unknown): boolean => value !== null && typeof value === "object" && !(value instanceof Exact);
