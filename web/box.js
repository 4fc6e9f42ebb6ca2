// A box of lines on a node, in both renderers: outcomes, stages of long work, results.

import { app } from "../../scripts/app.js";
import { say } from "./language.js";

const WIDGET_NAME = "rs_outcome";
const WIDGET_MARGIN = 5; // around the widget, in the classic renderer

export const rootGraph = () => app.rootGraph ?? app.graph;

/** The node with an execution id ("12" or, inside subgraphs, "7:12") if it has one of some types, or null. */
export function find(id, types) {
  let graph = rootGraph(), node = null;
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(Number(part));
    graph = node?.subgraph;
  }
  return types.includes(node?.type) ? node : null;
}

/** All nodes of some types, also inside subgraphs, each with its execution id: [[node, id]]. */
export function nodesOf(types, graph = rootGraph(), prefix = "") {
  return (graph?.nodes ?? []).flatMap((node) =>
    types.includes(node.type) ? [[node, prefix + node.id]]
      : node.subgraph ? nodesOf(types, node.subgraph, `${prefix}${node.id}:`) : [],
  );
}

/** Show the outputs that the page still has, such as after another workflow was open: `show(node, output)` each. */
export function knownOutputs(types, show) {
  // The page restores them right after the graph.
  setTimeout(() => {
    for (const [node, id] of nodesOf(types)) {
      const inSubgraph = `${node.graph?.id}:${node.id}`; // how the page names nodes of subgraphs
      show(node, app.nodeOutputs?.[inSubgraph] ?? app.nodeOutputs?.[id]);
    }
  });
}

/** The widget of a node with its box; the node grows with it. */
function widgetOf(node) {
  const known = node.widgets?.find((widget) => widget.name === WIDGET_NAME);
  if (known) return known;
  const element = document.createElement("div");
  element.className = "rs-outcome";
  const box = element.appendChild(document.createElement("div"));
  const height = () => box.offsetHeight + 2 * WIDGET_MARGIN;
  const widget = node.addDOMWidget(WIDGET_NAME, WIDGET_NAME, element, {
    serialize: false, hideOnZoom: false, margin: WIDGET_MARGIN, getMinHeight: height, getMaxHeight: height,
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

/** Copy a text; pages that a browser does not trust, of another machine without https, have no clipboard. */
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.body.appendChild(Object.assign(document.createElement("textarea"), { value: text }));
  area.select();
  document.execCommand("copy");
  area.remove();
}

/**
 * Show lines on a node, in the language of the page.
 * @param lines [{text, kind}]; kinds are corrected, nothing, note and said.
 * @param picture a URL, or null.
 * @param link {text, url} that opens in a new tab, {text, copied} that copies a text, or null.
 */
export function show(node, lines, picture = null, link = null) {
  if (lines.length === 0 && !picture && !link && !node.widgets?.some((widget) => widget.name === WIDGET_NAME)) return;
  const parts = lines.map(({ text, kind }) =>
    Object.assign(document.createElement("div"), { textContent: say(text), className: `rs-${kind}` }));
  if (picture) parts.push(Object.assign(new Image(), { src: picture, className: "rs-preview", alt: "preview" }));
  if (link?.url) {
    parts.push(Object.assign(document.createElement("a"), {
      textContent: say(link.text), href: link.url, target: "_blank", rel: "noopener noreferrer", className: "rs-link",
    }));
  }
  if (link?.copied) {
    const button = Object.assign(document.createElement("button"), { textContent: say(link.text), className: "rs-copy" });
    button.addEventListener("click", async () => {
      await copy(link.copied);
      button.textContent = say("copied");
    });
    parts.push(button);
  }
  widgetOf(node).element.firstElementChild.replaceChildren(...parts);
}

document.head.append(Object.assign(document.createElement("link"), {
  rel: "stylesheet", href: new URL("style.css", import.meta.url),
}));
