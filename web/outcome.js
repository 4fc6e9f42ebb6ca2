// Shows on each correcting node what its last run did. nodes/outcome.py sends it when a sampling ends.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { find, nodesOf, rootGraph, show } from "./box.js";

const TYPES = ["RSCorrector", "RSCorrectorAdvanced"];
const BYPASSED = 4, NEVER = 2; // LGraphEventMode

function showBypassed() {
  for (const [node] of nodesOf(TYPES)) {
    if (node.mode === BYPASSED) show(node, [{ text: "off: the node is bypassed", kind: "nothing" }]);
    if (node.mode === NEVER) show(node, [{ text: "off: the node is muted", kind: "nothing" }]);
  }
}

function receive({ node: id, workflow, lines, notes }) {
  const node = workflow === rootGraph().id ? find(id, TYPES) : null; // a prompt of another program has no workflow
  if (!node) return;
  show(node, [
    ...lines.map(({ text, corrected }) => ({ text, kind: corrected ? "corrected" : "nothing" })),
    ...notes.map((text) => ({ text, kind: "note" })),
  ]);
}

/** Ask for the outcomes of a prompt or a workflow and show them. */
async function ask(kind, id) {
  if (!id || nodesOf(TYPES).length === 0) return;
  const answer = await api.fetchApi(`/rs_corrector/outcomes/${kind}/${encodeURIComponent(id)}`);
  if (answer.ok) (await answer.json()).forEach(receive);
  showBypassed();
}

app.registerExtension({
  name: "rscorrector.Outcome",
  setup() {
    api.addEventListener("rs_corrector.outcome", ({ detail }) => receive(detail));
    api.addEventListener("execution_success", ({ detail }) => ask("prompt", detail.prompt_id));
  },
  afterConfigureGraph: () => ask("workflow", rootGraph()?.id),
});
