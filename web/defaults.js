// Size, steps and CFG of our nodes follow the model that the user connects, unless the user has set them.

import { app } from "../../scripts/app.js";

const TYPES = ["RSCorrectorAudit", "RSCorrectorLearnPreference", "RSCorrectorCalibrate", "RSCorrectorMap"];
const OF_CHECKPOINTS = { width: 512, height: 512, steps: 20, cfg: 7 }; // the defaults of nodes/learning.py
const OF_MINIATURE = { width: 128, height: 128, steps: 16, cfg: 2 };

function follow(node, source) {
  const miniature = source?.type === "RSCorrectorMiniature";
  const [before, after] = miniature ? [OF_CHECKPOINTS, OF_MINIATURE] : [OF_MINIATURE, OF_CHECKPOINTS];
  for (const widget of node.widgets ?? []) {
    if (widget.name in before && widget.value === before[widget.name]) widget.value = after[widget.name];
  }
}

app.registerExtension({
  name: "rscorrector.Defaults",
  nodeCreated(node) {
    if (!TYPES.includes(node.comfyClass)) return;
    const previous = node.onConnectionsChange;
    node.onConnectionsChange = function (kind, slot, connected, link, ...more) {
      const model = kind === 1 && connected && link && node.inputs[slot]?.name === "model"; // 1: an input
      if (model && !app.configuringGraph) follow(node, node.graph?.getNodeById(link.origin_id)); // not while it opens
      return previous?.call(this, kind, slot, connected, link, ...more);
    };
  },
});
