const task = JSON.parse(document.getElementById("task").textContent);
const key = `clipiqa-rate-${task.id}`;
const byId = (id) => document.getElementById(id);
const stars = task.kind === "stars";

// Answers in the order in which they were given: [item, answer]; kept after each.
let answers = [];
const problem = (text) => { byId("problem").textContent = text; };
try {
  const kept = JSON.parse(localStorage.getItem(key) ?? "{}");
  answers = (kept.answers ?? []).filter(([item]) => item < task.items.length);
  byId("rater").value = kept.rater ?? "";
} catch {
  problem("This browser stores no answers: save the CSV before you close the page.");
}
const keep = () => {
  try {
    localStorage.setItem(key, JSON.stringify({ answers, rater: byId("rater").value }));
  } catch {
    problem("This browser stores no answers: save the CSV before you close the page.");
  }
};

const open_item = () => {
  const rated = new Set(answers.map(([item]) => item));
  return task.items.findIndex((_, item) => !rated.has(item));
};
// The window may be smaller than a picture: quality is judged at the size that is shown.
const show_sizes = () => {
  for (const figure of byId("shown").children) {
    const image = figure.firstChild;
    const [width, height] = [image.getAttribute("width"), image.getAttribute("height")];
    const share = Math.min(1, image.getBoundingClientRect().width / width);
    const smaller = share < 0.995 ? `, shown at ${Math.round(100 * share)}%` : "";
    figure.lastChild.textContent = `${width} × ${height} pixels${smaller}`;
  }
};
const show_item = () => {
  const item = open_item();
  const total = task.items.length;
  byId("progress").value = answers.length;
  byId("status").value = item < 0 ? `${total} of ${total} rated` : `${answers.length + 1} of ${total}`;
  byId("undo").disabled = !answers.length;
  byId("done").hidden = item >= 0;
  byId("answers").hidden = item < 0;
  const sides = stars ? ["Picture to rate"] : ["Left picture", "Right picture"];
  const figures = (item < 0 ? [] : task.items[item]).map((at, side) => {
    const picture = task.pictures[at];
    const image = new Image(picture.width, picture.height);
    image.src = `data:image/jpeg;base64,${picture.jpeg}`;
    image.alt = `${sides[side]}, number ${answers.length + 1}`;
    image.style.height = "auto";
    const figure = document.createElement("figure");
    figure.append(image, document.createElement("figcaption"));
    return figure;
  });
  byId("shown").replaceChildren(...figures);
  show_sizes();
  byId("as-text").hidden = true;
};
const answer = (value) => {
  const item = open_item();
  if (item < 0) return;
  answers.push([item, value]);
  keep();
  show_item();
};
const undo = () => {
  if (!answers.length) return;
  answers.pop();
  keep();
  show_item();
};

const cell = (text) => (/[",\n\r]/.test(text) ? `"${String(text).replaceAll('"', '""')}"` : text);
const csv = () => {
  const head = stars
    ? ["page", "rater", "image", "image_sha256", "stars"]
    : ["page", "rater", "first", "first_sha256", "second", "second_sha256", "vote"];
  const rows = answers.map(([item, value]) => {
    const named = task.items[item].flatMap((at) => [task.pictures[at].name, task.pictures[at].sha256]);
    const said = stars ? value : { 0: "first", 1: "second", same: "same" }[value];
    return [task.id, byId("rater").value.trim(), ...named, said];
  });
  return [head, ...rows].map((row) => row.map(cell).join(",")).join("\n") + "\n";
};
const show_text = () => {
  byId("csv").value = csv();
  byId("as-text").hidden = false;
  byId("csv").focus();
  byId("csv").select();
};
const save = () => {
  try {
    const link = document.createElement("a");
    const who = byId("rater").value.trim().replace(/[^\p{L}\p{N}]+/gu, "_");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = `ratings-${task.id}${who ? `-${who}` : ""}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  } catch {
    show_text();
  }
};

for (const button of document.querySelectorAll("[data-answer]")) {
  button.addEventListener("click", () => answer(button.dataset.answer));
}
byId("undo").addEventListener("click", undo);
byId("save").addEventListener("click", save);
byId("text").addEventListener("click", show_text);
byId("rater").addEventListener("input", keep);
const keys = stars
  ? Object.fromEntries([1, 2, 3, 4, 5].map((grade) => [String(grade), String(grade)]))
  : { ArrowLeft: "0", ArrowRight: "1", ArrowDown: "same" };
addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea");
  if (typing || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Backspace") undo();
  else if (event.key in keys) answer(keys[event.key]);
  else return;
  event.preventDefault();
});
addEventListener("resize", show_sizes);
show_item();
