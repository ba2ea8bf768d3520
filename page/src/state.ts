// What the views share: who is signed in, and what is in force.

export const KEY = "tollgate-key";

export interface Me {
  id: string;
  roles: string[] | null;
  now: string;
  environment: string;
  csrf: string | null;
}

export const state = {
  key: sessionStorage.getItem(KEY) as string | null,
  // Somebody signed in by the issuer: the browser sends a cookie, and this goes with everything that changes something.
  csrf: null as string | null,
  // When somebody last did something here, by the clock of `performance`.
  touched: 0,
  // The answer of `me`; null: nobody is signed in.
  me: null as Me | null,
  // How far the gateway's clock is ahead of this one, in milliseconds.
  skew: 0,
  view: "pending",
  // What the address says behind the view.
  rest: "",
  // By id: the agents of the authority map, the policies of the bundle in force.
  agents: new Map<string, any>(),
  policies: new Map<string, any>(),
  // Keys of one letter do something.
  shortcuts: true,
};

export const hasRole = (...roles: string[]): boolean => roles.some((role) => state.me !== null && (state.me.roles || []).includes(role));

// Who asks: a key that somebody typed, or the session of the browser. A page that nobody has touched for a minute says so, for
// what it asks by itself keeps no session alive.
export function credentials(method = "GET"): { credentials: RequestCredentials; headers: Record<string, string> } {
  if (state.key) return { credentials: "omit", headers: { Authorization: `Bearer ${state.key}` } };
  const headers: Record<string, string> = {};
  if (method !== "GET") headers["Tollgate-Csrf"] = state.csrf ?? "";
  if (performance.now() - state.touched > 60_000) headers["Tollgate-Idle"] = "1";
  return { credentials: "same-origin", headers };
}
