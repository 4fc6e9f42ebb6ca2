// The titles of our nodes have one colour, so that they are seen as a family; a colour that the user gives a node stays.

import { app } from "../../scripts/app.js";

const TITLE = "#24566b"; // the hue of our links; the page lightens it in its light theme

app.registerExtension({
  name: "rscorrector.Colours",
  nodeCreated(node) {
    if (node.comfyClass?.startsWith("RSCorrector")) node.color ??= TITLE;
  },
});
