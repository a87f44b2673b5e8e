"use strict";
// Unpacks Plotly and the charts, and draws each in its place; where a browser cannot, the pictures
// that stand there stay.
(async () => {
  const narrow = () => window.innerWidth < 640;
  const touched = window.matchMedia("(pointer: coarse)").matches;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");

  async function unpack(id) {
    const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).text();
  }

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  // The chart's layout in the page's colours and fonts, for its width.
  function dressed({ data, layout }) {
    const font = { family: getComputedStyle(document.body).fontFamily, color: colour("--ink"), size: narrow() ? 11 : 13 };
    const own = { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font };
    own.hoverlabel = { bgcolor: colour("--panel"), bordercolor: colour("--line"), font: { color: colour("--ink"), size: 12 }, align: "left" };
    // On a phone the legend takes a line an entry, elsewhere a line four or so.
    const entries = data.filter((trace) => trace.showlegend !== false).length;
    const high = layout.height || (narrow() ? 480 : 520);
    own.height = narrow() ? 0.75 * high + 18 * entries : high + 18 * Math.ceil(entries / 4);
    // A finger that moves over a chart scrolls the page.
    own.dragmode = touched ? false : "zoom";
    const result = { ...structuredClone(layout), ...own };
    for (const name of Object.keys(result).filter((key) => /^[xy]axis/.test(key))) {
      const axis = { gridcolor: colour("--line"), linecolor: colour("--soft"), showline: true, zeroline: false, ticks: "outside", tickcolor: colour("--soft") };
      result[name] = { ...axis, ...result[name] };
    }
    return result;
  }

  // Of one tap Plotly counts two clicks, and would change the axes.
  const options = { responsive: true, displayModeBar: false, doubleClick: touched ? false : "reset" };
  const shown = new Map(); // Place → the chart that is drawn there.
  let charts;

  function draw(place) {
    const chart = charts[shown.get(place)];
    return Plotly.react(place, chart.data, dressed(chart), options);
  }

  function fillTables(tables) {
    for (const link of document.querySelectorAll("a.csv")) {
      const text = tables[link.dataset.table];
      if (text === undefined) link.remove();
      else link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    }
  }

  function choose(button) {
    const place = document.getElementById(button.dataset.place);
    for (const other of button.parentElement.children) other.setAttribute("aria-pressed", other === button);
    shown.set(place, button.dataset.chart);
    return draw(place);
  }

  if (typeof DecompressionStream === "undefined") return;
  const library = document.createElement("script");
  library.textContent = await unpack("library");
  document.head.append(library);
  const content = JSON.parse(await unpack("content"));
  charts = content.charts;
  fillTables(content.tables);
  for (const place of document.querySelectorAll(".chart")) {
    shown.set(place, place.id);
    place.replaceChildren();
    await draw(place);
  }
  for (const button of document.querySelectorAll(".switch button")) button.addEventListener("click", () => choose(button));
  const again = () => shown.forEach((_, place) => draw(place));
  dark.addEventListener("change", again);
  let before = narrow();
  window.addEventListener("resize", () => {
    if (narrow() !== before) again();
    before = narrow();
  });
  document.documentElement.classList.add("ready");
})();
