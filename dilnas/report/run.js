// The report of one run: a front with axes to choose, a picked trial with its drawing, curves.
"use strict";

const GROUPS = [
  ["rejected", "rejected, never trained", "triangle-down-open", 8],
  ["failed", "failed", "x", 8],
  ["pruned", "stopped early", "circle-open", 7],
  ["running", "in training or waiting", "triangle-up-open", 8],
  ["complete", "trained to the end", "circle", 8],
  ["reference", "the paper's variants", "square", 11],
  ["front", "front", "diamond", 13],
];
const BEYOND = 1.25; // a variant that costs this much more than everything searched is named, not drawn
let picked = null;

const chosen = (axis) => metric(document.getElementById(`${axis}-axis`).value);
const value = (point, what) =>
  point.values[what.name] === undefined ? null : what.scale * point.values[what.name];
const hover = (point) => point.hover.map(safe).join("<br>");

function bar(points, what) {
  const ends = points.map((point) => point.spreads[what.name] || [0, 0]);
  if (!ends.some(([low, high]) => low + high > 0)) return { visible: false };
  return {
    type: "data", symmetric: false, width: 4, thickness: 1.5,
    array: ends.map((pair) => what.scale * pair[1]), arrayminus: ends.map((pair) => what.scale * pair[0]),
  };
}

// Right end of a cost axis: what was searched, the budget, variants that lie near it.
function reach(what) {
  const searched = data.points.filter((p) => !["reference", "rejected"].includes(p.group));
  const known = searched.map((p) => value(p, what)).filter((v) => v !== null);
  const most = Math.max(...known, data.budgets[what.name] || 0);
  const near = data.points.filter((p) => p.group === "reference").map((p) => value(p, what));
  return Math.max(most, ...near.filter((v) => v !== null && (v <= BEYOND * most || !most)));
}

// Points without a height on this axis (failed, rejected) stand on the lower edge.
function floor(y) {
  const known = data.points.filter((p) => p.group !== "rejected").map((p) => value(p, y));
  const heights = known.filter((v) => v !== null);
  if (!heights.length) return 0;
  const low = Math.min(...heights), span = Math.max(...heights) - low;
  return low - 0.06 * (span || 1);
}

function frontTraces(x, y) {
  const bottom = floor(y);
  const traces = [];
  if (y.higher && !x.higher) traces.push(staircase(x, y));
  for (const [group, name, symbol, size] of GROUPS) {
    const edge = group === "failed" || group === "rejected";
    const points = data.points.filter(
      (p) => p.group === group && value(p, x) !== null && (edge || value(p, y) !== null));
    if (!points.length) continue;
    const ink = color(group);
    traces.push({
      type: "scatter", mode: "markers", name: `${name} (${points.length})`,
      x: points.map((p) => value(p, x)), y: points.map((p) => value(p, y) ?? bottom),
      error_x: bar(points, x), error_y: bar(points, y),
      customdata: points.map((p) => data.points.indexOf(p)), hovertext: points.map(hover),
      hovertemplate: "%{hovertext}<extra></extra>",
      marker: { color: ink, symbol, size, line: { color: ink, width: 1.5 } },
    });
  }
  if (y.name === "val_accuracy") traces.push(...retrained(x));
  if (picked !== null && value(picked, x) !== null) {
    traces.push({
      type: "scatter", mode: "markers", x: [value(picked, x)], y: [value(picked, y) ?? bottom],
      hoverinfo: "skip", showlegend: false,
      marker: { symbol: "circle-open", size: 24, color: color("ink"), line: { width: 2 } },
    });
  }
  return traces;
}

function staircase(x, y) {
  const whole = data.points
    .filter((p) => ["front", "complete"].includes(p.group))
    .map((p) => [value(p, x), value(p, y)])
    .filter(([a, b]) => a !== null && b !== null)
    .sort((one, other) => one[0] - other[0] || other[1] - one[1]);
  const steps = [];
  for (const [a, b] of whole) if (!steps.length || b > steps[steps.length - 1][1]) steps.push([a, b]);
  if (steps.length) steps.push([Math.max(reach(x), steps[steps.length - 1][0]), steps[steps.length - 1][1]]);
  return {
    type: "scatter", mode: "lines", x: steps.map((s) => s[0]), y: steps.map((s) => s[1]),
    line: { shape: "hv", width: 2, color: color("front") }, hoverinfo: "skip", showlegend: false,
  };
}

function retrained(x) {
  const final = metric("final_accuracy");
  const points = final ? data.points.filter((p) => value(p, final) !== null && value(p, x) !== null) : [];
  if (!points.length) return [];
  return [{
    type: "scatter", mode: "markers", name: "re-trained, mean and sd", hoverinfo: "skip",
    x: points.map((p) => value(p, x)), y: points.map((p) => value(p, final)),
    error_y: { ...bar(points, final), color: color("again") },
    marker: { symbol: "line-ew-open", size: 12, color: color("again"), line: { width: 2 } },
  }];
}

function lines(x, y) {
  const shapes = [], annotations = [];
  const rule = (at, text, ink, dash, top) => {
    shapes.push({ type: "line", x0: at, x1: at, y0: 0, y1: 1, yref: "paper", line: { color: ink, dash, width: 1 } });
    annotations.push({
      x: at, y: top ? 1 : 0, yref: "paper", yanchor: top ? "top" : "bottom", xanchor: "right",
      text: safe(text), showarrow: false, font: { color: ink },
    });
  };
  if (data.budgets[x.name] !== undefined) rule(data.budgets[x.name], "budget", color("rejected"), "dash", false);
  const right = x.higher ? Infinity : reach(x);
  for (const point of data.points.filter((p) => p.group === "reference")) {
    const at = value(point, x);
    if (at !== null && at <= right && value(point, y) === null) rule(at, point.short, color("reference"), "dot", true);
  }
  for (const point of data.points) {
    const named = value(point, x) !== null && value(point, y) !== null && point.short.includes(" ");
    if (point.group !== "front" && point.group !== "reference") continue;
    if (named || (point.group === "reference" && value(point, y) !== null)) {
      annotations.push({
        x: value(point, x), y: value(point, y), text: safe(point.short), showarrow: false, xanchor: "left", xshift: 9,
        font: { color: color("reference") },
      });
    }
  }
  return { shapes, annotations };
}

function front() {
  const x = chosen("x"), y = chosen("y");
  const more = { ...lines(x, y), margin: { t: 10, r: 14, l: 54, b: 48 } };
  if (!x.higher) more.xaxis = { range: [0, 1.08 * reach(x)] };
  if (!y.higher) more.yaxis = { range: [0, 1.08 * reach(y)] };
  const beyond = data.points
    .filter((p) => p.group === "reference" && !x.higher && value(p, x) > reach(x))
    .map((p) => `${p.name} at ${value(p, x).toPrecision(3)}`);
  document.getElementById("beyond").textContent =
    beyond.length ? `Beyond the right edge, not drawn: ${beyond.join(", ")}.` : "";
  return [frontTraces(x, y), layout(safe(x.label), safe(y.label), more)];
}

// --- a picked trial ------------------------------------------------------------------------------

function pick(index) {
  picked = data.points[index];
  const place = document.getElementById("picked");
  const group = GROUPS.find((one) => one[0] === picked.group)[1];
  place.replaceChildren(
    make("h3", {}, `${picked.name} · ${group}`), facts(picked), stages(picked), command(picked));
  for (const row of document.querySelectorAll("tr[data-trial]")) {
    row.classList.toggle("picked", Number(row.dataset.trial) === picked.trial);
  }
  show("front-chart", front);
}

function facts(point) {
  const list = make("dl", { class: "facts" });
  const tell = (what, said) => list.append(make("div", {}, make("dt", {}, what), make("dd", {}, said)));
  for (const what of data.metrics) {
    const number = value(point, what);
    if (number === null) continue;
    const ends = point.spreads[what.name];
    const spread = ends && ends[0] === ends[1] && ends[0] > 0 ? ` ± ${(what.scale * ends[0]).toFixed(2)}` : "";
    tell(what.label, (what.higher ? number.toFixed(2) : number.toPrecision(4)) + spread);
  }
  if (point.origin) tell("proposed by", point.origin);
  if (point.reason) tell("reason", point.reason);
  return list;
}

function command(point) {
  const text = point.trial === null ? `dilnas export ${point.name}` : `${data.export}${point.trial}`;
  const button = make("button", { type: "button" }, "copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch { // no clipboard here: mark the text, so that the reader can copy it
      getSelection().selectAllChildren(button.previousSibling);
    }
  });
  return make("div", { class: "command" }, make("code", {}, text), button);
}

function stages(point) {
  const place = make("div", { class: "stages" });
  point.stages.forEach((stage, i) => {
    const map = data.image_size ? `${data.image_size.map((side) => side / (4 << i)).join(" × ")} map` : `map at 1/${4 << i}`;
    const words = [];
    if (stage.msda) words.push(`${stage.msda} dilated (D): window ${stage.window}, dilation${stage.dilations.length > 1 ? "s" : ""} ${stage.dilations.join(", ")}`);
    if (stage.global) words.push(`${stage.global} global (G)`);
    const more = [stage.heads && `${stage.heads} heads`, stage.mlp && `MLP × ${stage.mlp}`].filter(Boolean);
    place.append(make("div", { class: "stage" },
      make("h4", {}, `Stage ${i + 1}: ${stage.dim} channels`), make("p", {}, map), blocks(stage), ...fields(stage),
      make("p", {}, words.join("; ")), make("p", {}, more.join(", "))));
  });
  if (!point.stages.length) place.append(make("p", {}, "The tables of this run do not hold its widths."));
  return place;
}

// A block is as tall as the stage is wide (square root of its channels), with its letter.
function blocks(stage) {
  const kinds = ["D".repeat(stage.msda), "G".repeat(stage.global)].join("").slice(0, 64);
  const tall = 14 + Math.min(40, 1.2 * Math.sqrt(stage.dim)), wide = 20, gap = 3, most = 7;
  const rows = Math.ceil(kinds.length / most), columns = Math.min(most, kinds.length);
  const picture = draw("svg", {
    viewBox: `0 0 ${columns * (wide + gap)} ${rows * (tall + gap)}`, width: columns * (wide + gap),
    height: rows * (tall + gap), role: "img", "aria-label": `${stage.msda} dilated and ${stage.global} global blocks`,
  });
  [...kinds].forEach((kind, i) => {
    const x = (i % most) * (wide + gap), y = Math.floor(i / most) * (tall + gap);
    picture.append(draw("rect", { x, y, width: wide, height: tall, rx: 3, class: kind === "D" ? "msda" : "global" }));
    picture.append(draw("text", { x: x + wide / 2, y: y + tall / 2 + 4, class: "letter" }, kind));
  });
  return picture;
}

// What the heads of each dilation look at: the query in the middle, the window's keys around it.
function fields(stage) {
  if (!stage.msda || stage.window > 15) return [];
  const half = (stage.window - 1) / 2, size = 54;
  const rates = [...new Set(stage.dilations)].slice(0, 6);
  const span = 2 * half * Math.max(...rates) + 1;
  const picture = draw("svg", {
    viewBox: `0 0 ${rates.length * (size + 6)} ${size + 14}`, width: rates.length * (size + 6), height: size + 14,
    role: "img", "aria-label": `windows of ${stage.window} at dilations ${rates.join(", ")}`,
  });
  rates.forEach((rate, i) => {
    const left = i * (size + 6), cell = size / span, middle = size / 2;
    picture.append(draw("rect", { x: left + 0.5, y: 0.5, width: size - 1, height: size - 1, rx: 3, class: "field" }));
    for (let row = -half; row <= half; row++) {
      for (let column = -half; column <= half; column++) {
        picture.append(draw("circle", {
          cx: left + middle + column * rate * cell, cy: middle + row * rate * cell,
          r: Math.max(1, Math.min(2.6, 0.42 * cell)), class: row || column ? "tap" : "query",
        }));
      }
    }
    picture.append(draw("text", { x: left + middle, y: size + 11, class: "caption" }, `dilation ${rate}`));
  });
  return [picture];
}

// --- the other charts ----------------------------------------------------------------------------

function curves() {
  const traces = GROUPS.map(([group, name, symbol]) => {
    const x = [], y = [], text = [];
    const points = data.points.filter((p) => p.group === group && p.rungs.length);
    for (const point of points) {
      for (const [images, accuracy] of point.rungs) {
        x.push(images); y.push(accuracy === null ? null : 100 * accuracy); text.push(safe(point.name));
      }
      x.push(null); y.push(null); text.push("");
    }
    const ink = color(group);
    return {
      type: "scatter", mode: "lines+markers", name, x, y, text, line: { color: ink, width: group === "front" ? 2.5 : 1 },
      marker: { color: ink, symbol, size: group === "front" ? 7 : 4 },
      opacity: group === "front" ? 1 : Math.min(0.6, Math.max(0.1, 20 / points.length)),
      hovertemplate: "%{text}<br>%{x:,} images: %{y:.2f} %<extra></extra>",
    };
  }).filter((trace) => trace.x.length);
  return [traces, layout("training images seen", "validation accuracy (%)", { xaxis: { rangemode: "tozero" } })];
}

const growth = (name, title) => () => {
  const rows = data.history.filter((row) => row[name] !== null);
  const trace = {
    type: "scatter", mode: "lines+markers", x: rows.map((row) => row[name]), y: rows.map((row) => row.hypervolume),
    line: { shape: "hv", color: color("front") }, marker: { size: 5 },
    hovertemplate: "%{x:.4~g}: %{y:.4f}<extra></extra>",
  };
  return [[trace], layout(title, "hypervolume (share)", { showlegend: false, xaxis: { rangemode: "tozero" } })];
};

function importance() {
  const shares = [...data.importance].reverse();
  const trace = {
    type: "bar", orientation: "h", x: shares.map((one) => one[1]), y: shares.map((one) => safe(one[0])),
    marker: { color: color("front") }, hovertemplate: "%{y}: %{x:.1%}<extra></extra>",
  };
  return [[trace], layout("share of the importance", "", { xaxis: { tickformat: ".0%" } })];
}

function parallel() {
  const { dimensions, accuracy } = data.parallel;
  const trace = {
    type: "parcoords", labelfont: { color: color("ink") }, tickfont: { color: color("ink"), size: 10 },
    rangefont: { color: "rgba(0,0,0,0)" }, labelangle: -25, labelside: "top",
    line: { color: accuracy, colorscale: "Cividis", showscale: true,
      colorbar: { title: { text: "accuracy (%)", side: "right" }, thickness: 12, tickfont: { color: color("ink") } } },
    dimensions: dimensions.map((one) => ({ ...one, label: safe(one.label), ticktext: one.ticktext?.map(safe) })),
  };
  return [[trace], layout("", "", { margin: { t: 90, r: 40, l: 50, b: 20 } })];
}

const names = (higher) => data.metrics.filter((one) => one.higher === higher).map((one) => one.name);
const all = [...names(false), ...names(true)];
const redraw = () => show("front-chart", front);
choose("x-axis", all, data.x, redraw);
choose("y-axis", [...names(true), ...names(false)], data.y, redraw);
redraw();
const onFront = data.points.filter((point) => point.group === "front");
pick(data.points.indexOf(onFront[Math.floor(onFront.length / 2)]));
document.getElementById("front-chart").on("plotly_click", (event) => {
  const index = event.points[0].customdata;
  if (index !== undefined) pick(index);
});
document.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-trial]");
  const index = row ? data.points.findIndex((point) => String(point.trial) === row.dataset.trial) : -1;
  if (index >= 0) {
    pick(index);
    if (event.target.closest("button")) document.getElementById("picked").scrollIntoView({ block: "nearest" });
  }
});
show("curves-chart", curves);
show("growth-trials", growth("started", "candidates sent to training"));
show("growth-seconds", growth("seconds", "seconds of the search"));
show("importance-chart", importance);
show("parallel-chart", parallel);
