// A chart: a drawing for the eye with the same figures in a table, in words, and by the keyboard.

import uPlot from "uplot";

import { el, shown, table, td } from "./dom.js";

export interface Line {
  name: string;
  // Null: nothing was there to be measured.
  values: (number | null)[];
  // What stands beside its name.
  total: string;
  // Which colour and dash; without one its place says.
  look?: number;
  // Filled to its foot.
  filled?: boolean;
}

export interface Drawing {
  // When each point begins, in seconds since 1970.
  at: number[];
  step: number;
  lines: Line[];
  format: (value: number) => string;
  // What the figures are in.
  unit: string;
  // Each figure is of all of its step, and not of a moment.
  counted?: boolean;
}

// Told apart by people who see colours differently, and by their dashes by those who see none. For light and dark.
const COLOURS = [
  ["#0068a6", "#5bb8ee"],
  ["#b84a00", "#ff9152"],
  ["#00735a", "#35c9a0"],
  ["#97407c", "#e59cc7"],
  ["#7a6000", "#e3c33a"],
  ["#4455b5", "#a5b6ff"],
  ["#5a6472", "#a3adba"],
  ["#8b2d2d", "#ff9d9d"],
  ["#3d6b00", "#a6d65c"],
];
const DASHES = [[], [7, 3], [], [10, 3, 2, 3], [4, 2], [12, 4], [1, 2], [8, 2, 1, 2, 1, 2], [5, 5]];
// The looks of lines that have none of their own.
const ORDER = [0, 1, 3, 4, 5, 7, 8, 6];

const dark = matchMedia("(prefers-color-scheme: dark)");
const colour = (look: number): string => COLOURS[look % COLOURS.length]![dark.matches ? 1 : 0]!;
const css = (name: string): string => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const lookOf = (line: Line, at: number): number => line.look ?? ORDER[at % ORDER.length]!;

const DAY = 86400;
const TIME = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const DATE = new Intl.DateTimeFormat(undefined, { month: "short", day: "2-digit" });
const BOTH = new Intl.DateTimeFormat(undefined, { month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit" });

// The zone in which times are told, and how long a step is.
const ZONE = new Intl.DateTimeFormat(undefined, { timeZoneName: "short" });
export const zone = (at: number): string => ZONE.formatToParts(new Date(at * 1000)).find((part) => part.type === "timeZoneName")?.value ?? "";
const stepped = (step: number): string => (step % DAY === 0 ? (step === DAY ? "day" : `${step / DAY} days`) : step % 3600 === 0 ? (step === 3600 ? "hour" : `${step / 3600} hours`) : step === 60 ? "minute" : `${Math.round(step / 60)} minutes`);

const timed = (at: number, step: number): string => (step >= DAY ? DATE : BOTH).format(new Date(at * 1000));

// As a picture of its line: the same colour and dash.
function swatch(look: number): SVGElement {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const line = document.createElementNS(space, "line");
  for (const [name, value] of Object.entries({ viewBox: "0 0 26 8", width: "26", height: "8", "aria-hidden": "true", class: "swatch" })) svg.setAttribute(name, value);
  for (const [name, value] of Object.entries({ x1: "0", y1: "4", x2: "26", y2: "4", "stroke-width": "3", stroke: colour(look) })) line.setAttribute(name, value);
  line.setAttribute("stroke-dasharray", DASHES[look % DASHES.length]!.join(" "));
  svg.append(line);
  return svg;
}

// Figures without a neighbour: no line leads to them.
const alone = (values: (number | null)[]): number[] => values.flatMap((value, at) => (value !== null && (values[at - 1] ?? null) === null && (values[at + 1] ?? null) === null ? [at] : []));

let made = 0;

export class Chart {
  readonly node: HTMLElement;
  private readonly name: string;
  private readonly picture: HTMLElement;
  private readonly legend = el("ul", { class: "legend" });
  private readonly says = el("p", { class: "soft says", role: "status" });
  private readonly measure = el("p", { class: "soft measure" });
  private readonly figures = el("div", { hidden: true });
  private readonly toggle: HTMLButtonElement;
  private readonly empty = el("p", { class: "soft nothing", hidden: true });
  private readonly nothing: string;
  private plot: uPlot | null = null;
  private drawn: Drawing | null = null;
  private point: number | null = null;
  private readonly watch = new ResizeObserver(() => this.fit());

  // `nothing` teaches what would be drawn here.
  constructor(name: string, words: string, nothing: string) {
    made += 1;
    const id = `chart-${made}`;
    this.name = name;
    this.nothing = nothing;
    this.picture = el("div", { class: "plot", tabindex: "0", role: "img", "aria-label": name, "aria-describedby": `${id}-says`, hidden: true });
    this.says.id = `${id}-says`;
    this.says.hidden = true;
    this.toggle = el("button", { type: "button", class: "small", "aria-expanded": "false", "aria-label": `${name} as a table` }, "Table") as HTMLButtonElement;
    this.toggle.hidden = true;
    this.toggle.addEventListener("click", () => this.showFigures(this.figures.hidden));
    this.picture.addEventListener("keydown", (event: KeyboardEvent) => this.key(event));
    this.picture.addEventListener("blur", () => this.pick(null));
    this.node = el(
      "figure",
      { class: "panel chart", "aria-labelledby": id },
      el("figcaption", {}, el("h3", { id }, name), el("span", { class: "soft" }, words), this.toggle),
      this.empty,
      this.measure,
      this.picture,
      this.says,
      this.legend,
      this.figures,
    );
    this.watch.observe(this.picture);
    dark.addEventListener("change", this.recolour);
  }

  // Draws it again in other colours.
  private readonly recolour = () => {
    if (this.drawn) this.draw(this.drawn);
  };

  destroy(): void {
    this.watch.disconnect();
    dark.removeEventListener("change", this.recolour);
    this.plot?.destroy();
    this.plot = null;
  }

  private showFigures(open: boolean): void {
    this.figures.hidden = !open;
    this.toggle.setAttribute("aria-expanded", String(open));
    this.toggle.textContent = open ? "No table" : "Table";
    this.fill();
  }

  // The table is made when somebody looks at it.
  private fill(): void {
    if (this.figures.hidden || !this.drawn) return;
    const { at, lines, format, step } = this.drawn;
    const rows = at.map((time, point) => [
      el("th", { scope: "row" }, timed(time, step)),
      ...lines.map((line) => td(line.values[point] === null || line.values[point] === undefined ? "–" : format(line.values[point]!))),
    ]);
    // The newest first.
    rows.reverse();
    this.figures.replaceChildren(table(`${this.name}, as a table`, [this.drawn.counted ? "From" : "At", ...lines.map((line) => line.name)], rows, { class: "figures" }));
  }

  draw(drawing: Drawing): void {
    this.drawn = drawing;
    const { at, lines } = drawing;
    const some = lines.some((line) => line.values.some((value) => value));
    this.empty.hidden = some;
    this.empty.textContent = some ? "" : this.nothing;
    this.picture.hidden = !some;
    this.legend.hidden = !some;
    this.toggle.hidden = !some;
    this.says.hidden = !some;
    this.measure.hidden = !some;
    this.measure.textContent = some ? `${drawing.unit}${drawing.counted ? ` by the ${stepped(drawing.step)}` : ""}; times in ${zone(at[0] ?? 0)}` : "";
    if (!some && !this.figures.hidden) this.showFigures(false);
    this.plot?.destroy();
    this.plot = null;
    this.legend.replaceChildren(...lines.map((line, index) => el("li", {}, swatch(lookOf(line, index)), shown(line.name, true), " ", el("b", {}, line.total))));
    this.picture.setAttribute("aria-label", this.words());
    this.fill();
    if (!some) return;
    const width = this.picture.clientWidth;
    const series: uPlot.Series[] = lines.map((line, index) => {
      const stroke = colour(lookOf(line, index));
      const one: uPlot.Series = { label: line.name, stroke, width: 2, dash: DASHES[lookOf(line, index) % DASHES.length]!, spanGaps: false, points: { show: true, size: 6, fill: stroke, filter: (plot, at) => alone(plot.data[at] as (number | null)[]) } };
      if (drawing.counted) {
        one.paths = uPlot.paths.stepped!({ align: 1, extend: true });
        one.points = { show: false };
      }
      // One line filled to its foot is easier to read than a bare one.
      if (line.filled || (drawing.counted && lines.length === 1)) one.fill = `${stroke}2e`;
      return one;
    });
    const axis = { stroke: css("--soft"), grid: { stroke: css("--line"), width: 1 }, ticks: { stroke: css("--line"), width: 1 }, font: "12px system-ui, sans-serif" };
    const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 2 });
    this.plot = new uPlot(
      {
        width: Math.max(width, 120),
        height: 180,
        legend: { show: false },
        // Half a label has room beyond the last point.
        padding: [8, 30, 0, 0],
        cursor: { drag: { x: false, y: false }, y: false, points: { size: 7 } },
        scales: { x: { range: (_plot, low, high) => [low, drawing.counted ? high + drawing.step : Math.max(high, low + 1)] }, y: { range: (_plot, _low, high) => [0, (high || 1) * 1.08] } },
        axes: [
          { ...axis, space: 62, values: (_plot, splits) => this.ticks(splits) },
          { ...axis, size: 52, space: 34, values: (_plot, splits) => splits.map((value) => compact.format(value)) },
        ],
        series: [{}, ...series],
        hooks: { setCursor: [(plot) => this.tell(plot.cursor.idx ?? null)] },
      },
      [at, ...lines.map((line) => line.values)] as uPlot.AlignedData,
      this.picture,
    );
    if (this.point !== null) this.pick(Math.min(this.point, at.length - 1));
    else this.tell(null);
  }

  private ticks(splits: number[]): string[] {
    const within = splits.length > 1 && splits[splits.length - 1]! - splits[0]! < DAY;
    let day = "";
    return splits.map((at) => {
      const date = new Date(at * 1000);
      if (within) return TIME.format(date);
      const own = DATE.format(date);
      const fresh = own !== day;
      day = own;
      return fresh ? own : TIME.format(date);
    });
  }

  private fit(): void {
    const width = this.picture.clientWidth;
    if (this.plot && width > 0 && Math.abs(width - this.plot.width) > 1) this.plot.setSize({ width, height: this.plot.height });
    else if (!this.plot && this.drawn && width > 0) this.draw(this.drawn);
  }

  // What it shows, in a sentence.
  private words(): string {
    const drawn = this.drawn;
    if (!drawn) return this.name;
    return `${this.name}: ${drawn.lines.map((line) => `${line.name} ${line.total}`).join(", ")}. Left and right go from point to point.`;
  }

  // What is under the pointer, or where the keys are.
  private tell(point: number | null): void {
    const drawn = this.drawn;
    if (!drawn) return;
    const at = point === null ? undefined : drawn.at[point];
    if (at === undefined || point === null) {
      this.says.replaceChildren("Point at it, or go along it with the arrow keys.");
      return;
    }
    const parts = drawn.lines.flatMap((line) => {
      const value = line.values[point];
      return value === null || value === undefined || (value === 0 && drawn.counted && drawn.lines.length > 2) ? [] : [`${line.name} ${drawn.format(value)}`];
    });
    this.says.replaceChildren(el("b", {}, timed(at, drawn.step)), " ", shown(parts.join(" · ") || "nothing", true));
  }

  private pick(point: number | null): void {
    this.point = point;
    const { plot, drawn } = this;
    if (!plot || !drawn) return;
    const at = point === null ? undefined : drawn.at[point];
    if (at === undefined) plot.setCursor({ left: -10, top: -10 });
    else plot.setCursor({ left: plot.valToPos(at, "x"), top: 0 });
    this.tell(point);
  }

  private key(event: KeyboardEvent): void {
    const count = this.drawn?.at.length ?? 0;
    const now = this.point ?? count;
    const next = { ArrowLeft: now - 1, ArrowRight: now + 1, Home: 0, End: count - 1 }[event.key];
    if (next === undefined || !count) return;
    event.preventDefault();
    this.pick(Math.max(0, Math.min(count - 1, next)));
  }
}
