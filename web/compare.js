// RS-Corrector Compare: pictures before and after the correction under one slider.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { find, knownOutputs } from "./box.js";

const TYPES = ["RSCorrectorCompare"];
const LEAST = 240; // height in pixels

const url = (picture) => api.apiURL(`/view?${new URLSearchParams(picture)}`);

/** The widget of a node: two pictures, the slider over them, and buttons for the other pictures of the batch. */
function widgetOf(node) {
  const known = node.widgets?.find((widget) => widget.name === "rs_compare");
  if (known) return known;
  const element = document.createElement("div");
  element.className = "rs-compare";
  element.innerHTML = `<div class="rs-frame"><img class="rs-before" alt="before"><img class="rs-after" alt="after">
    <span class="rs-left">before</span><span class="rs-right">after</span><i></i>
    <input type="range" min="0" max="100" step="0.5" value="50" aria-label="Before and after"></div>
    <div class="rs-pages"><button aria-label="Previous picture">‹</button><span></span>
    <button aria-label="Next picture">›</button></div>`;
  const slider = element.querySelector("input");
  slider.addEventListener("input", () => element.style.setProperty("--at", `${slider.value}%`));
  slider.addEventListener("pointerdown", (event) => event.stopPropagation()); // not a drag of the node
  const [previous, next] = element.querySelectorAll("button");
  previous.addEventListener("click", () => turn(widget, -1));
  next.addEventListener("click", () => turn(widget, 1));
  const widget = node.addDOMWidget("rs_compare", "rs_compare", element, {
    serialize: false, hideOnZoom: false, getMinHeight: () => LEAST,
  });
  widget.serialize = false; // not a part of the saved workflow
  widget.pictures = { before: [], after: [], shown: 0 };
  return widget;
}

/** Show another picture of the batch. */
function turn(widget, by) {
  const { element, pictures } = widget;
  const count = Math.min(pictures.before.length, pictures.after.length);
  pictures.shown = (pictures.shown + by + count) % count;
  for (const name of ["before", "after"]) element.querySelector(`.rs-${name}`).src = url(pictures[name][pictures.shown]);
  element.querySelector(".rs-pages").hidden = count < 2;
  element.querySelector(".rs-pages span").textContent = `${pictures.shown + 1} of ${count}`;
}

function showPictures(node, output) {
  if (!output?.rs_before?.length || !output.rs_after?.length) return;
  const widget = widgetOf(node);
  widget.element.classList.add("rs-filled");
  widget.pictures = { before: output.rs_before, after: output.rs_after, shown: 0 };
  turn(widget, 0);
}

const style = document.createElement("style");
style.textContent = `
  .rs-compare { --at: 50%; display: flex; flex-direction: column; font: 12px/1.35 sans-serif; height: 100%;
    min-height: ${LEAST}px; color: var(--input-text, #ddd); }
  .rs-compare .rs-frame { position: relative; flex: 1; min-height: 0; visibility: hidden; }
  .rs-compare.rs-filled .rs-frame { visibility: visible; }
  .rs-compare img { position: absolute; inset: 0; width: 100%; height: 100%; object-fit: contain; }
  .rs-compare .rs-after { clip-path: inset(0 0 0 var(--at)); }
  .rs-compare i { position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px; margin-left: -1px;
    background: #fff; box-shadow: 0 0 3px #000; pointer-events: none; }
  .rs-compare input { position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; opacity: 0; cursor: ew-resize; }
  .rs-compare .rs-frame:focus-within i { background: #3d87ab; width: 4px; margin-left: -2px; }
  .rs-compare .rs-frame span { position: absolute; top: 4px; padding: 1px 6px; border-radius: 3px;
    background: rgb(0 0 0 / .6); color: #fff; pointer-events: none; }
  .rs-compare .rs-left { left: 4px; } .rs-compare .rs-right { right: 4px; }
  .rs-compare .rs-pages { display: flex; justify-content: center; align-items: center; gap: 8px; padding-top: 3px; }
  .rs-compare .rs-pages[hidden] { display: none; }
  .rs-compare button { border: 0; border-radius: 3px; padding: 0 9px; font-size: 16px; cursor: pointer;
    background: var(--comfy-input-bg, #222); color: inherit; }
`;
document.head.append(style);

app.registerExtension({
  name: "rscorrector.Compare",
  setup() {
    api.addEventListener("executed", ({ detail }) => {
      const node = find(detail.display_node ?? detail.node, TYPES);
      if (node) showPictures(node, detail.output);
    });
  },
  nodeCreated(node) {
    if (TYPES.includes(node.comfyClass)) {
      widgetOf(node).element.querySelector(".rs-pages").hidden = true;
      node.setSize([Math.max(node.size[0], 300), Math.max(node.size[1], 340)]);
    }
  },
  afterConfigureGraph: () => knownOutputs(TYPES, showPictures),
});
