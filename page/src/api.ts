// The gateway's API, as anybody would use it.

import { parse, written } from "./exact.js";
import { credentials, state } from "./state.js";

export class ApiError extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

// What happens where the key does not count any more.
let signOut: (why: string) => void = () => {};
export const onSignOut = (does: (why: string) => void) => (signOut = does);

// `link`: a link to what this is about led the person to it. `keep`: the browser is to keep the cookie of the answer, though a key was
// given.
export async function api(path: string, body?: unknown, method = body ? "POST" : "GET", { link = false, keep = false } = {}): Promise<any> {
  const who = credentials(method);
  const headers = who.headers;
  // The record tells answers that were given on the page from those of other clients of the API.
  if (method !== "GET") headers["Tollgate-Inbox"] = link ? "link" : "page";
  if (body) headers["Content-Type"] = "application/json";
  const key = state.key;
  let answer: Response;
  try {
    answer = await fetch(`/api/v1/${path}`, {
      method,
      headers,
      body: body ? written(body) : null,
      cache: "no-store",
      credentials: keep ? "same-origin" : who.credentials,
    });
  } catch {
    throw new ApiError(0, "The gateway does not answer. Nothing was changed; try again.");
  }
  const read = await answer.text().then(parse).catch(() => null);
  if (answer.ok) return read;
  const message = read && read.error ? read.error.message : `HTTP status ${answer.status}`;
  if (answer.status === 401 && state.me && state.key === key) signOut(state.key ? "Your key is no longer valid." : "Your session is over.");
  throw new ApiError(answer.status, message);
}

// A list of which one answer may not hold all: page by page, in the form of its first answer.
export async function allPages(path: string, ...members: string[]): Promise<any> {
  const first = await api(path);
  for (let last = first; last.truncated; ) {
    last = await api(`${path}${path.includes("?") ? "&" : "?"}after=${encodeURIComponent(last.next)}`);
    for (const member of members) first[member].push(...last[member]);
  }
  return first;
}
