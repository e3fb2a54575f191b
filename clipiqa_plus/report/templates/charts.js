const read = (id) => JSON.parse(document.getElementById(id).textContent);
const [specs, points] = ["specs", "points"].map(read);
const ink = "currentColor";
const font = getComputedStyle(document.body).fontFamily;
const text = { labelFont: font, titleFont: font, labelColor: ink, titleColor: ink, titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 12 };
const config = {
  aria: false,
  font,
  view: { stroke: null },
  axis: { ...text, gridColor: "#8883", domain: false, ticks: false, labelPadding: 6, titlePadding: 8, labelOpacity: .75, titleOpacity: .75, tickCount: 5 },
  header: text,
  legend: { ...text, symbolStrokeWidth: 2 },
  text: { font },
};
const rows = (columns) => {
  const names = Object.keys(columns);
  return columns[names[0]].map((_, row) => Object.fromEntries(names.map((name) => [name, columns[name][row]])));
};
const embed = async (place) => {
  const chart = specs[place.id];
  const table = points[chart.points];
  const datasets = table ? { points: rows(table.columns) } : {};
  const formatTooltip = (value, sanitize) => {
    const { id, image, ...numbers } = value;
    const uri = table && pictures[table.data]?.[id]?.find(Boolean);
    const lines = Object.entries(numbers).map(([name, number]) => `${sanitize(name)}: ${sanitize(number)}`);
    return (uri ? `<img src="${uri}" alt="">` : "") + (image ? `<b>${sanitize(image)}</b><br>` : "") + lines.join("<br>");
  };
  const tooltip = { disableDefaultStyle: true, formatTooltip };
  const spec = { ...chart.spec, datasets, config: { ...chart.spec.config, ...config } };
  const inner = place.appendChild(document.createElement("div"));
  inner.ariaHidden = "true";  // the chart is one image with one description
  const made = await vegaEmbed(inner, spec, { renderer: "svg", actions: false, ast: true, tooltip });
  if (!table) return;
  made.view.addEventListener("click", (_, item) => {
    const { id, image, MOS } = item?.datum ?? {};
    const uri = id !== undefined && source(table.data, id);
    if (!uri) return;
    const card = document.createElement("div");
    const picture = Object.assign(new Image(), { src: uri, alt: image });
    const about = Object.assign(document.createElement("span"), { className: "about", textContent: `${image}, MOS ${MOS}` });
    card.append(picture, about);
    open([card], 0);
  });
};
// Charts are drawn shortly before they scroll into view: many data sets make 100,000s of points.
const watch = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    if (!isIntersecting) continue;
    watch.unobserve(target);
    embed(target);
  }
}, { rootMargin: "800px" });
for (const place of document.querySelectorAll(".chart")) watch.observe(place);
addEventListener("beforeprint", () => {
  for (const place of document.querySelectorAll(".chart:empty")) { watch.unobserve(place); embed(place); }
});
