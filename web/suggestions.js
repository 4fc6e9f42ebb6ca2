// Where a wire is released on the empty canvas, the page suggests nodes for it: those that correct come first.

import { app } from "../../scripts/app.js";

const FIRST = ["RSCorrectorAnyCheckpoint", "RSCorrector"]; // ids; a server may lack some
const TYPES = ["MODEL", "RS_PREFERENCE"]; // of wires
const NOTHING_TYPED = 0.2; // the search box's last score of every node before a word is typed

const first = (ids) => [...FIRST.filter((id) => ids.includes(id)), ...ids.filter((id) => !FIRST.includes(id))];

app.registerExtension({
  name: "rscorrector.Suggestions",
  /** The search box sorts by scores, lowest first: whether words match, then how often a node is used elsewhere. */
  beforeRegisterVueAppNodeDefs(defs) {
    for (const def of defs.filter(({ name }) => FIRST.includes(name))) {
      const place = FIRST.indexOf(def.name) - FIRST.length;
      def.postProcessSearchScores = (scores) => scores.at(-1) === NOTHING_TYPED ? [place, ...scores.slice(1)] : scores;
    }
  },
  /** The context menu shows the first of these lists, in the number that the user has set. */
  setup() {
    const slots = app.extensions.find(({ name }) => name === "Comfy.SlotDefaults");
    for (const lists of [slots?.slot_types_default_out, slots?.slot_types_default_in]) {
      for (const type of TYPES) if (lists?.[type]) lists[type] = first(lists[type]);
    }
    slots?.setDefaults(slots.suggestionsNumber?.value);
  },
});
