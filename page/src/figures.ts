// Series of the gateway as lines of a chart.

import { api } from "./api.js";
import type { Drawing, Line } from "./chart.js";
import { el, shown } from "./dom.js";

interface Quantile {
  total: number | null;
  values: (number | null)[];
}

export interface Group {
  name: string | null;
  rest: boolean;
  total: number;
  values: number[];
  p50: Quantile;
  p95: Quantile;
  p99: Quantile;
}

export interface Series {
  unit: string;
  at: number[];
  step_seconds: number;
  groups: Group[];
  truncated: boolean;
  partial: boolean;
}

// Numbers come with all of their digits.
const number = (value: unknown): number => Number(value);
const maybe = (value: unknown): number | null => (value === null || value === undefined ? null : Number(value));

export async function series(query: Record<string, string>): Promise<Series> {
  const read = await api(`series?${new URLSearchParams(query)}`);
  const quantile = (one: any): Quantile => ({ total: maybe(one?.total), values: (one?.values ?? []).map(maybe) });
  return {
    unit: read.unit,
    at: read.at.map(number),
    step_seconds: number(read.step_seconds),
    groups: read.groups.map((group: any) => ({
      name: group.name,
      rest: group.rest,
      total: number(group.total ?? 0),
      values: (group.values ?? []).map(number),
      p50: quantile(group.p50),
      p95: quantile(group.p95),
      p99: quantile(group.p99),
    })),
    truncated: read.truncated,
    partial: read.partial,
  };
}

export const whole = (value: number): string => Math.round(value).toLocaleString();
export const usd = (value: number): string => `${value.toLocaleString(undefined, { minimumFractionDigits: 2, maximumFractionDigits: value !== 0 && Math.abs(value) < 1 ? 6 : 2 })} USD`;
export const share = (value: number): string => `${(value * 100).toLocaleString(undefined, { maximumFractionDigits: 1 })} %`;
export const duration = (ms: number): string => (ms < 1000 ? `${whole(ms)} ms` : ms < 60000 ? `${(ms / 1000).toLocaleString(undefined, { maximumFractionDigits: 1 })} s` : `${(ms / 60000).toLocaleString(undefined, { maximumFractionDigits: 1 })} min`);

// The looks of decisions: the same in every chart.
export const DECISIONS: Record<string, { look: number; words: string }> = {
  allow: { look: 2, words: "allow" },
  allow_with_constraints: { look: 0, words: "allow with constraints" },
  approved: { look: 8, words: "approved" },
  pending_approval: { look: 4, words: "a person is asked" },
  remediate: { look: 5, words: "remediate" },
  suggest: { look: 6, words: "suggest" },
  throttle: { look: 3, words: "throttle" },
  deny: { look: 1, words: "deny" },
  rejected: { look: 7, words: "rejected" },
  expired: { look: 6, words: "expired" },
};

export function counts(read: Series, format: (value: number) => string, all: string): Drawing {
  const lines: Line[] = read.groups.map((group) => {
    const decision = group.name !== null && !group.rest ? DECISIONS[group.name] : undefined;
    const line: Line = { name: decision?.words ?? group.name ?? all, values: group.values, total: format(group.total) };
    if (decision) line.look = decision.look;
    if (group.rest) line.look = 6;
    return line;
  });
  return { at: read.at, step: read.step_seconds, lines, format, unit: read.unit, counted: true };
}

export function latencies(read: Series): Drawing {
  const [group] = read.groups;
  const lines: Line[] = (["p50", "p95", "p99"] as const).map((name) => {
    const one = group?.[name] ?? { total: null, values: [] };
    return { name, values: one.values, total: one.total === null ? "–" : duration(one.total) };
  });
  return { at: read.at, step: read.step_seconds, lines, format: duration, unit: read.unit };
}

// A name that is cut, where it must be, behind its parts and not in the middle of a word.
export function parted(name: string): HTMLElement {
  const parts = name.split(/(?<=[_/.:-]+)(?![_/.:-])/);
  return el("span", {}, ...parts.flatMap((part, at) => (at ? [el("wbr", {}), shown(part, true)] : [shown(part, true)])));
}
