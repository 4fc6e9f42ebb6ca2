// RS-Corrector Compare: pictures before and after the correction under one slider.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { find, knownOutputs } from "./box.js";
import { say } from "./language.js";

const TYPES = ["RSCorrectorCompare"];
const LEAST_HEIGHT = 240; // pixels

const url = (picture) => api.apiURL(`/view?${new URLSearchParams(picture)}`);

/** The widget of a node: two pictures, the slider over them, and buttons for the other pictures of the batch. */
function widgetOf(node) {
  const known = node.widgets?.find((widget) => widget.name === "rs_compare");
  if (known) return known;
  const element = document.createElement("div");
  element.className = "rs-compare";
  element.innerHTML = `<div class="rs-pages"><button aria-label="${say("Previous picture")}">‹</button><span></span>
    <button aria-label="${say("Next picture")}">›</button></div>
    <div class="rs-frame"><img class="rs-before" alt="${say("before")}">
    <img class="rs-after" alt="${say("after")}">
    <span class="rs-left">${say("before")}</span><span class="rs-right">${say("after")}</span><i></i>
    <input type="range" min="0" max="100" step="0.5" value="50" aria-label="${say("Before and after")}"></div>`;
  const slider = element.querySelector("input");
  slider.addEventListener("input", () => element.style.setProperty("--at", `${slider.value}%`));
  slider.addEventListener("pointerdown", (event) => event.stopPropagation()); // not a drag of the node
  const [previous, next] = element.querySelectorAll("button");
  previous.addEventListener("click", () => turn(widget, -1));
  next.addEventListener("click", () => turn(widget, 1));
  const widget = node.addDOMWidget("rs_compare", "rs_compare", element, {
    serialize: false, hideOnZoom: false, getMinHeight: () => LEAST_HEIGHT,
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
  element.querySelector(".rs-pages span").textContent = say(`${pictures.shown + 1} of ${count}`);
}

function showPictures(node, output) {
  if (!output?.rs_before?.length || !output.rs_after?.length) return;
  const widget = widgetOf(node);
  widget.element.classList.add("rs-filled");
  widget.pictures = { before: output.rs_before, after: output.rs_after, shown: output.rs_first?.[0] ?? 0 };
  turn(widget, 0);
}

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
