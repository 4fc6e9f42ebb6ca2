// When a node fails, newer pages say at first that it failed, and only in the details why. For our errors the sentence
// that says why, and what to do, comes first. Older pages open a dialog that has it.

import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const OURS = /\bcorrector\./; // the modules of our errors, which samplers may raise as well as our nodes
const NOTICE = "[data-testid=error-overlay-messages] p";

function sayWhy(sentence) {
  const notice = document.querySelector(NOTICE);
  if (!notice) return;
  notice.classList.add("rs-error");
  notice.prepend(Object.assign(document.createElement("b"), { textContent: `${sentence.trim()}\n` }));
}

app.registerExtension({
  name: "rscorrector.Errors",
  setup() {
    api.addEventListener("execution_error", ({ detail: { node_type, exception_type, exception_message } }) => {
      if (!node_type.startsWith("RSCorrector") && !OURS.test(exception_type)) return;
      requestAnimationFrame(() => requestAnimationFrame(() => sayWhy(exception_message))); // when the notice is there
    });
  },
});
