// Our templates open where their note can be read. The page fits a whole graph into its window, and when that makes
// letters too small it draws none.

import { app } from "../../scripts/app.js";

const READABLE = 0.65; // scale; the page draws text from about 0.57 on
const MARGIN = [70, 105]; // pixels, for the page's bars on the left and at the top

app.registerExtension({
  name: "rscorrector.View",
  afterConfigureGraph() {
    const { extra } = app.graph;
    if (!extra?.rs_corrector_template) return;
    delete extra.rs_corrector_template; // once: afterwards the view is the user's
    if (!extra.ds) requestAnimationFrame(() => requestAnimationFrame(open)); // some front ends fit it in the next frame
  },
});

function open() {
  const { canvas } = app;
  if (canvas.ds.scale >= READABLE) return;
  canvas.ds.scale = READABLE;
  canvas.ds.offset = MARGIN.map((pixels) => pixels / READABLE); // templates begin at 0, 0
  canvas.setDirty(true, true);
}
