// What the views share: who is signed in, and what is in force.

export const KEY = "tollgate-key";

export interface Me {
  id: string;
  roles: string[] | null;
  now: string;
  environment: string;
}

export const state = {
  key: sessionStorage.getItem(KEY) as string | null,
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
