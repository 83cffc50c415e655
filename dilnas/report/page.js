// What every page of dilnas shares: colours of the reader's theme, charts that follow them, safe text.
"use strict";

const NS = "http://www.w3.org/2000/svg";
const data = JSON.parse(document.getElementById("data").textContent);
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

// plotly reads a few HTML tags in its texts: what came from files must not be one.
const safe = (text) => String(text).replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function draw(tag, attributes = {}, text = "") {
  const node = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text) node.textContent = text;
  return node;
}

const narrow = () => innerWidth < 600;

function layout(x, y, more = {}) {
  const axis = (title, extra) => ({
    title: { text: title, standoff: 8 }, gridcolor: color("grid"), zeroline: false, automargin: true,
    fixedrange: narrow(), ...extra,
  });
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: color("ink"), family: "system-ui, sans-serif", size: narrow() ? 11 : 13 },
    margin: { t: 10, r: 14, l: 54, b: 48 }, hovermode: "closest",
    hoverlabel: { align: "left", bgcolor: color("card"), font: { color: color("ink"), size: 12 } },
    legend: { orientation: "h", y: 1.01, yanchor: "bottom", x: 0, itemsizing: "constant" },
    ...more,
    xaxis: axis(x, more.xaxis), yaxis: axis(y, more.yaxis),
  };
}

// Charts are functions that give [traces, layout]; they are asked again when the theme changes.
const charts = new Map();

function show(id, what) {
  const place = document.getElementById(id);
  if (!place) return null;
  charts.set(id, what);
  const [traces, how] = what();
  return Plotly.react(place, traces, how, { displayModeBar: false, responsive: true });
}

const again = () => { for (const [id, what] of charts) show(id, what); };
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
matchMedia("(max-width: 599px)").addEventListener("change", again);

const metric = (name) => data.metrics.find((one) => one.name === name);

function choose(id, names, chosen, changed) {
  const select = document.getElementById(id);
  for (const name of names) select.append(make("option", { value: name }, metric(name).label));
  select.value = chosen;
  select.addEventListener("change", changed);
}
