// What the views share: who is signed in, and what is in force.

export const KEY = "tollgate-key";

export const state = {
  key: sessionStorage.getItem(KEY),
  // Somebody signed in by the issuer: the browser sends a cookie, and this goes with everything that changes something.
  csrf: null,
  // When somebody last did something here, by the clock of `performance`.
  touched: 0,
  // The answer of `me`; null: nobody is signed in.
  me: null,
  // How far the gateway's clock is ahead of this one, in milliseconds.
  skew: 0,
  view: "pending",
  // By id: the agents of the authority map, the policies of the bundle in force.
  agents: new Map(),
  policies: new Map(),
  // Keys of one letter do something.
  shortcuts: true,
};

export const hasRole = (...roles) => roles.some((role) => state.me && (state.me.roles || []).includes(role));

// Who asks: a key that somebody typed, or the session of the browser. A page that nobody has touched for a minute says so, for
// what it asks by itself keeps no session alive.
export function credentials(method = "GET") {
  if (state.key) return { credentials: "omit", headers: { Authorization: `Bearer ${state.key}` } };
  const headers = {};
  if (method !== "GET") headers["Tollgate-Csrf"] = state.csrf ?? "";
  if (performance.now() - state.touched > 60_000) headers["Tollgate-Idle"] = "1";
  return { credentials: "same-origin", headers };
}
