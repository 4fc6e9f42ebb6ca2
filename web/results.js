// Shows on each correcting node what its last run did, which nodes/outcome.py sends when a sampling ends; and on our
// other nodes the stage of long work (nodes/progress.py) and then, in its place, the result (nodes/results.py).

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { find, knownOutputs, nodesOf, rootGraph, show } from "./box.js";

const CORRECTING = ["RSCorrectorAnyCheckpoint", "RSCorrector", "RSCorrectorAdvanced"];
const WORKING = [
  "RSCorrectorAudit", "RSCorrectorLearnPreference", "RSCorrectorCalibrate", "RSCorrectorMap", "RSCorrectorAxis",
  "RSCorrectorSavePreference",
];
const OFF = { 4: "off: the node is bypassed", 2: "off: the node is muted" }; // by LGraphEventMode
const KINDS = { success: "corrected", failure: "nothing" }; // of nodes/results.py

/** The node of a message; a prompt of another program has no workflow. */
const nodeOf = ({ node, workflow }, types) => workflow === rootGraph().id ? find(node, types) : null;

function showOutcome(message) {
  const node = nodeOf(message, CORRECTING);
  if (!node) return;
  const why = message.why?.length > 0 && { text: "Copy why", copied: message.why.join("\n") };
  show(node, [
    ...(message.read ?? []).map((text) => ({ text, kind: "said" })),
    ...message.lines.map(({ text, corrected }) => ({ text, kind: corrected ? "corrected" : "nothing" })),
    ...message.notes.map((text) => ({ text, kind: "note" })),
  ], null, why);
}

/** Ask for the outcomes of a prompt or a workflow and show them. */
async function askForOutcomes(kind, id) {
  if (!id || nodesOf(CORRECTING).length === 0) return;
  const answer = await api.fetchApi(`/rs_corrector/outcomes/${kind}/${encodeURIComponent(id)}`);
  if (answer.ok) (await answer.json()).forEach(showOutcome);
  for (const [node] of nodesOf(CORRECTING)) {
    if (node.mode in OFF) show(node, [{ text: OFF[node.mode], kind: "nothing" }]);
  }
}

function showStage(message) {
  const node = nodeOf(message, WORKING);
  if (node) show(node, message.lines, message.preview);
}

/** Show the `ui` output of a node: its lines, its text, and a link to its report. */
function showResult(node, output) {
  if (!output?.rs_lines) return;
  const [report] = output.rs_report ?? [];
  const lines = output.rs_lines.map(({ text, kind }) => ({ text, kind: KINDS[kind] ?? kind }));
  const url = api.apiURL(`/rs_corrector/reports/${report}`);
  show(node, lines, null, report && { text: "Open the report", url });
}

app.registerExtension({
  name: "rscorrector.Results",
  setup() {
    api.addEventListener("rs_corrector.outcome", ({ detail }) => showOutcome(detail));
    api.addEventListener("execution_success", ({ detail }) => askForOutcomes("prompt", detail.prompt_id));
    api.addEventListener("rs_corrector.stage", ({ detail }) => showStage(detail));
    api.addEventListener("executed", ({ detail }) => {
      const node = find(detail.display_node ?? detail.node, WORKING);
      if (node) showResult(node, detail.output);
    });
  },
  afterConfigureGraph() {
    askForOutcomes("workflow", rootGraph()?.id);
    knownOutputs(WORKING, showResult);
  },
});
