// Shows on each correcting node what its last run did. nodes/outcome.py sends it when a sampling ends.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const TYPES = ["RSCorrector", "RSCorrectorAdvanced"];
const NAME = "rs_outcome";
const MARGIN = 5; // around the widget, in the classic renderer
const BYPASSED = 4, NEVER = 2; // LGraphEventMode

const rootGraph = () => app.rootGraph ?? app.graph;

/** The node with an execution id: "12" or, inside subgraphs, "7:12". */
function find(id) {
  let graph = rootGraph(), node = null;
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(Number(part));
    graph = node?.subgraph;
  }
  return TYPES.includes(node?.type) ? node : null;
}

function correctingNodes(graph = rootGraph()) {
  return (graph?.nodes ?? []).flatMap((node) =>
    TYPES.includes(node.type) ? [node] : node.subgraph ? correctingNodes(node.subgraph) : [],
  );
}

/** The widget of a node with the box for its lines; it grows with them. */
function widgetOf(node) {
  const known = node.widgets?.find((widget) => widget.name === NAME);
  if (known) return known;
  const element = document.createElement("div");
  element.className = "rs-outcome";
  const box = element.appendChild(document.createElement("div"));
  const height = () => box.offsetHeight + 2 * MARGIN;
  const widget = node.addDOMWidget(NAME, "rs_outcome", element, {
    serialize: false, hideOnZoom: false, margin: MARGIN, getMinHeight: height, getMaxHeight: height,
  });
  widget.serialize = false; // not a part of the saved workflow
  let chosen = node.size[1], ours = chosen; // the height that the user chose, and the one set below
  new ResizeObserver(() => {
    if (node.size[1] !== ours) chosen = node.size[1];
    const [width, least] = node.computeSize();
    node.setSize([Math.max(node.size[0], width), Math.max(chosen, least)]);
    ours = node.size[1];
    node.setDirtyCanvas(true, true);
  }).observe(box);
  return widget;
}

/** Show lines {text, corrected} and notes on a node. */
function show(node, lines, notes = []) {
  if (lines.length === 0 && !node.widgets?.some((widget) => widget.name === NAME)) return;
  const shown = [
    ...lines.map(({ text, corrected }) => [text, corrected ? "rs-corrected" : "rs-nothing"]),
    ...notes.map((note) => [note, "rs-note"]),
  ];
  const { element } = widgetOf(node);
  element.firstElementChild.replaceChildren(
    ...shown.map(([text, className]) => Object.assign(document.createElement("div"), { textContent: text, className })),
  );
}

function showBypassed() {
  for (const node of correctingNodes()) {
    if (node.mode === BYPASSED) show(node, [{ text: "off: the node is bypassed", corrected: false }]);
    if (node.mode === NEVER) show(node, [{ text: "off: the node is muted", corrected: false }]);
  }
}

function receive({ node: id, workflow, lines, notes }) {
  const node = workflow === rootGraph().id ? find(id) : null; // a prompt of another program has no workflow
  if (node) show(node, lines, notes);
}

/** Ask for the outcomes of a prompt or a workflow and show them. */
async function ask(kind, id) {
  if (!id || correctingNodes().length === 0) return;
  const answer = await api.fetchApi(`/rs_corrector/outcomes/${kind}/${encodeURIComponent(id)}`);
  if (answer.ok) (await answer.json()).forEach(receive);
  showBypassed();
}

const style = document.createElement("style");
style.textContent = `
  .rs-outcome { font: 12px/1.35 sans-serif; overflow: hidden; color: var(--input-text, #ddd); }
  .rs-outcome > div { min-width: 180px; } /* the first layout has no width, and would wrap into many lines */
  .rs-outcome .rs-corrected, .rs-outcome .rs-nothing { padding: 3px 7px; margin-bottom: 3px; border-radius: 4px; }
  .rs-outcome .rs-corrected { background: var(--comfy-input-bg, #222); border-left: 3px solid #4a9d5b; }
  .rs-outcome .rs-nothing { background: #f5c14e; color: #2b1d00; border-left: 3px solid #b06f00; font-weight: 600; }
  .rs-outcome .rs-note { padding: 0 7px 3px 10px; font-size: 11px; opacity: 0.75; }
`;
document.head.append(style);

app.registerExtension({
  name: "RSCorrector.Outcome",
  setup() {
    api.addEventListener("rs_corrector.outcome", ({ detail }) => receive(detail));
    api.addEventListener("execution_success", ({ detail }) => ask("prompt", detail.prompt_id));
  },
  afterConfigureGraph: () => ask("workflow", rootGraph()?.id),
});
