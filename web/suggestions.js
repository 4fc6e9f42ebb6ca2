// The nodes that correct come first where a wire is released on the empty canvas, and in a search for what they are for.

import { app } from "../../scripts/app.js";

const FIRST = ["RSCorrectorAnyCheckpoint", "RSCorrector"]; // ids; a server may lack some
const TYPES = ["MODEL", "RS_PREFERENCE"]; // of wires
// The search box sorts by lists of numbers, lowest first. The last one is this before a word is typed,
const NOTHING_TYPED = 0.2;
// and the first one is this if the words are only in a node's search aliases, or in none of its texts but similar.
const IN_NO_NAME = 9;

const first = (ids) => [...FIRST.filter((id) => ids.includes(id)), ...ids.filter((id) => !FIRST.includes(id))];

app.registerExtension({
  name: "rscorrector.Suggestions",
  beforeRegisterVueAppNodeDefs(defs) {
    for (const def of defs.filter(({ name }) => FIRST.includes(name))) {
      const place = FIRST.indexOf(def.name) - FIRST.length; // below 0
      def.postProcessSearchScores = function (scores) {
        const [match, ...more] = Object.getPrototypeOf(this).postProcessSearchScores.call(this, scores);
        if (more.at(-1) === NOTHING_TYPED) return [place, ...more];
        return [match === IN_NO_NAME ? match + place : match, ...more];
      };
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
