// Shows on our other nodes the stage of long work and then, in its place, the result.
// nodes/progress.py sends the stages with their previews, and nodes/results.py makes the `ui` of the results.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";
import { find, knownOutputs, rootGraph, show } from "./box.js";

const TYPES = [
  "RSCorrectorAudit", "RSCorrectorLearnPreference", "RSCorrectorCalibrate", "RSCorrectorMap", "RSCorrectorAxis",
  "RSCorrectorSavePreference",
];
const KINDS = { success: "corrected", failure: "nothing" }; // of nodes/results.py

/** Show the `ui` output of a node: its lines, its text, and a link to its report. */
function showResult(node, output) {
  if (!output?.rs_lines) return;
  const [report] = output.rs_report ?? [];
  const lines = output.rs_lines.map(({ text, kind }) => ({ text, kind: KINDS[kind] ?? kind }));
  const url = api.apiURL(`/rs_corrector/reports/${report}`);
  show(node, lines, null, report && { text: "Open the report", url });
}

function showStage({ node: id, workflow, lines, preview }) {
  const node = workflow === rootGraph().id ? find(id, TYPES) : null;
  if (node) show(node, lines, preview);
}

app.registerExtension({
  name: "rscorrector.Results",
  setup() {
    api.addEventListener("rs_corrector.stage", ({ detail }) => showStage(detail));
    api.addEventListener("executed", ({ detail }) => {
      const node = find(detail.display_node ?? detail.node, TYPES);
      if (node) showResult(node, detail.output);
    });
  },
  afterConfigureGraph: () => knownOutputs(TYPES, showResult),
});
