// Tables are sorted by their headings.
for (const button of document.querySelectorAll(".sortable th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const table = head.closest("table");
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.querySelectorAll("th")) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const key = (row) => row.cells[head.cellIndex].dataset.value;
    const order = (a, b) => {
      const [x, y] = [key(a), key(b)];
      if (x === "" || y === "") return (x === "") - (y === "");
      const both = Number(x) - Number(y);
      return (Number.isNaN(both) ? x.localeCompare(y) : both) * (down ? -1 : 1);
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(order));
  });
}

// Terms are explained while they are pointed at or focused; Escape closes the explanation.
const hint = document.getElementById("hint");
const explained = { pointerover: null, focusin: null };
const explain = () => {
  const term = explained.pointerover ?? explained.focusin;
  hint.hidden = !term;
  if (!term) return;
  hint.textContent = document.getElementById(term.getAttribute("aria-describedby")).textContent;
  const box = term.getBoundingClientRect();
  const left = Math.min(box.left, document.documentElement.clientWidth - hint.offsetWidth - 12);
  const above = box.top - hint.offsetHeight - 8;
  hint.style.left = `${Math.max(12, left)}px`;
  hint.style.top = `${above > 0 ? above : box.bottom + 8}px`;
};
for (const kind of Object.keys(explained)) {
  document.addEventListener(kind, ({ target }) => {
    explained[kind] = target.closest?.("[aria-describedby^='term-']");
    explain();
  });
}
document.addEventListener("focusout", () => { explained.focusin = null; explain(); });
addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  explained.pointerover = explained.focusin = null;
  explain();
});
addEventListener("scroll", () => { if (!hint.hidden) explain(); }, { passive: true });

// Pictures stand once in the page, by data set and id; [small, large].
const stored = document.getElementById("pictures");
const pictures = stored ? JSON.parse(stored.textContent) : {};
const source = (set, id) => pictures[set]?.[id]?.findLast(Boolean);
const show = (image) => {
  const uri = source(image.dataset.set, image.dataset.picture);
  if (uri) { image.src = uri; image.hidden = false; }
};
for (const image of document.querySelectorAll("img[data-picture]")) show(image);

// A click on a picture opens it large; arrow keys go to its neighbours.
const viewer = document.getElementById("viewer");
const stage = viewer.querySelector(".stage");
let shown = [];
let at = 0;
const view = (step) => {
  at = (at + step + shown.length) % shown.length;
  const copies = [...shown[at].childNodes].map((node) => node.cloneNode(true));
  stage.replaceChildren(...copies);
  stage.className = ["stage", ...[...shown[at].classList].filter((name) => /^s\d$/.test(name))].join(" ");
  viewer.querySelector("output").value = shown.length > 1 ? `${at + 1} of ${shown.length}` : "";
  for (const other of viewer.querySelectorAll("[data-step]")) other.hidden = shown.length < 2;
};
const open = (elements, first) => {
  [shown, at] = [elements, first];
  view(0);
  viewer.showModal();
  stage.scrollTop = 0;
};
document.addEventListener("click", (event) => {
  const picture = event.target.closest(".enlarge")?.closest(".pair") ?? event.target.closest(".picture");
  if (!picture) return;
  const alike = picture.matches(".pair") ? ".pair:has(.enlarge)" : ".picture";
  const all = [...picture.closest(".pictures").querySelectorAll(alike)].filter((other) => other.offsetParent);
  open(all, all.indexOf(picture));
});
for (const button of viewer.querySelectorAll("[data-step]")) {
  button.addEventListener("click", () => view(Number(button.dataset.step)));
}
viewer.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step && shown.length > 1 && event.target.type !== "range") view(step);
});
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });

document.addEventListener("input", (event) => {
  const slider = event.target.closest?.(".slider");
  if (slider) slider.style.setProperty("--at", `${event.target.value}%`);
});

// A link to a folded part opens it.
const unfold = () => {
  const part = document.getElementById(location.hash.slice(1));
  if (part instanceof HTMLDetailsElement) part.open = true;
};
addEventListener("hashchange", unfold);
unfold();

// On paper everything is open.
addEventListener("beforeprint", () => {
  for (const fold of document.querySelectorAll("details:not([open])")) { fold.open = true; fold.dataset.printed = ""; }
});
addEventListener("afterprint", () => {
  for (const fold of document.querySelectorAll("details[data-printed]")) { fold.open = false; delete fold.dataset.printed; }
});
