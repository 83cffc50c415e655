// Several runs: the trials of each that were trained to the end, and their fronts on any two axes.
"use strict";

const COLORS = ["front", "failed", "complete", "reference", "pruned", "running", "rejected"];
const SYMBOLS = ["diamond", "square", "circle", "triangle-up", "star", "cross", "hexagon"];
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
const chosen = (axis) => metric(document.getElementById(`${axis}-axis`).value);
const value = (point, what) =>
  point.values[what.name] === undefined ? null : what.scale * point.values[what.name];

// Whether a value is better than another on an axis: accuracies are better when higher.
const better = (what, one, other) => (what.higher ? one > other : one < other);

function best(points, x, y) {
  const sorted = [...points].sort((one, other) => {
    const [a, b] = [value(one, x), value(other, x)];
    return a === b ? (better(y, value(one, y), value(other, y)) ? -1 : 1) : better(x, a, b) ? -1 : 1;
  });
  const kept = [];
  for (const point of sorted) {
    if (!kept.length || better(y, value(point, y), value(kept[kept.length - 1], y))) kept.push(point);
  }
  return kept;
}

function fronts() {
  const x = chosen("x"), y = chosen("y"), traces = [];
  data.runs.forEach((run, i) => {
    const ink = color(COLORS[i % COLORS.length]), symbol = SYMBOLS[i % SYMBOLS.length];
    const whole = run.points.filter(
      (p) => ["front", "complete"].includes(p.group) && value(p, x) !== null && value(p, y) !== null);
    const front = best(whole, x, y);
    const marks = (points, how) => ({
      type: "scatter", x: points.map((p) => value(p, x)), y: points.map((p) => value(p, y)), legendgroup: String(i),
      hovertext: points.map((p) => [run.name, ...p.hover].map(safe).join("<br>")),
      hovertemplate: "%{hovertext}<extra></extra>", ...how,
    });
    traces.push(marks(whole.filter((p) => !front.includes(p)), {
      mode: "markers", showlegend: false, marker: { color: ink, symbol: `${symbol}-open`, size: 6 }, opacity: 0.7,
    }));
    traces.push(marks(front, {
      mode: "lines+markers", name: safe(run.name), marker: { color: ink, symbol, size: 11 },
      line: { color: ink, width: 2, shape: "hv", dash: DASHES[i % DASHES.length] },
    }));
  });
  return [traces, layout(safe(x.label), safe(y.label))];
}

const names = (higher) => data.metrics.filter((one) => one.higher === higher).map((one) => one.name);
const redraw = () => show("fronts", fronts);
choose("x-axis", [...names(false), ...names(true)], data.x, redraw);
choose("y-axis", [...names(true), ...names(false)], data.y, redraw);
redraw();
