// Our nodes in a graph: the colour of their titles, labels of empty text boxes, defaults and links that follow the model, and templates that open readably.

import { app } from "../../scripts/app.js";

const TITLE = "#24566b"; // the hue of our links; the page lightens it in its light theme
const OF_CHECKPOINTS = { width: 512, height: 512, steps: 20, cfg: 7 }; // the defaults of nodes/learning.py
const OF_MINIATURE = { width: 128, height: 128, steps: 16, cfg: 2 };
const READABLE = 0.65; // scale; the page draws text from about 0.57 on
const PAGE_BARS = [70, 105]; // pixels on the left and at the top

/** Size, steps and CFG of a node follow the model that the user connects, unless the user has set them. */
function follow(node, source) {
  const miniature = source?.type === "RSCorrectorMiniature";
  const [before, after] = miniature ? [OF_CHECKPOINTS, OF_MINIATURE] : [OF_MINIATURE, OF_CHECKPOINTS];
  for (const widget of node.widgets ?? []) {
    if (widget.name in before && widget.value === before[widget.name]) widget.value = after[widget.name];
  }
}

/** The CLIP and VAE that belong to a model that the user connects come with it: its node's own, or the graph's only ones. */
function complete(node, source) {
  for (const name of ["clip", "vae"]) {
    const slot = node.inputs.findIndex((input) => input.name === name);
    if (slot < 0 || node.inputs[slot].link != null) continue;
    const has = (other) => other.outputs?.some(({ type }) => type === name.toUpperCase());
    const owners = has(source) ? [source] : node.graph._nodes.filter(has);
    if (owners.length === 1) owners[0].connect(owners[0].outputs.findIndex(({ type }) => type === name.toUpperCase()), node, slot);
  }
}

/** The page fits a whole graph into its window, and when that makes letters too small it draws none. */
function openReadably() {
  const { canvas } = app;
  if (canvas.ds.scale >= READABLE) return;
  canvas.ds.scale = READABLE;
  canvas.ds.offset = PAGE_BARS.map((pixels) => pixels / READABLE); // templates begin at 0, 0
  canvas.setDirty(true, true);
}

app.registerExtension({
  name: "rscorrector.Graph",
  nodeCreated(node) {
    for (const { element, name, label } of node.widgets ?? []) {
      if (element?.placeholder === name) element.placeholder = label; // the id of a text box, instead of its label
    }
    if (!node.comfyClass?.startsWith("RSCorrector")) return;
    node.color ??= TITLE; // a colour that the user gives stays
    const previous = node.onConnectionsChange;
    node.onConnectionsChange = function (kind, slot, connected, link, ...more) {
      const model = kind === 1 && connected && link && node.inputs[slot]?.name === "model"; // 1: an input
      const source = model && !app.configuringGraph && node.graph?.getNodeById(link.origin_id); // not while it opens
      if (source) follow(node, source);
      const result = previous?.call(this, kind, slot, connected, link, ...more);
      if (source) complete(node, source);
      return result;
    };
  },
  afterConfigureGraph() {
    const { extra } = app.graph;
    if (!extra?.rs_corrector_template) return;
    delete extra.rs_corrector_template; // once: afterwards the view is the user's
    // Some front ends fit it in the next frame.
    if (!extra.ds) requestAnimationFrame(() => requestAnimationFrame(openReadably));
  },
});
