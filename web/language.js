// What our nodes say, in the language of the page. Sentences come in English from Python, with numbers and names in them.

import { app } from "../../scripts/app.js";
import { SENTENCES } from "./sentences.js";

const JOINTS = ["\n", " · ", ", "]; // between sentences and between their parts
const LITERAL = /[.*+?^${}()|[\]\\]/g; // to escape in a regular expression
const SLOT = /\{#?\}/;
const ANY = "(.*?)", NUMBER = "([\\d.,]+%?)";

/** "left alone {#}: {}" -> a regular expression with a group for each slot. */
function pattern(text) {
  const slots = text.match(new RegExp(SLOT, "g")) ?? [];
  const literals = text.split(SLOT).map((part) => part.replace(LITERAL, "\\$&"));
  return new RegExp(`^${literals.map((part, i) => (i ? (slots[i - 1] === "{#}" ? NUMBER : ANY) : "") + part).join("")}$`);
}

const literalLength = (text) => text.split(SLOT).join("").length;

/** {language: [[pattern, translation]]}, the most specific first. */
const TRANSLATIONS = Object.fromEntries(Object.entries(SENTENCES).map(([language, sentences]) => [
  language,
  Object.entries(sentences).sort(([one], [other]) => literalLength(other) - literalLength(one))
    .map(([text, translation]) => [pattern(text), translation]),
]));

function translated(text, translations) {
  for (const [sentence, translation] of translations) {
    const parts = sentence.exec(text)?.slice(1);
    if (parts) return translation.replace(/\{(\d)\}/g, (_, place) => translated(parts[place], translations));
  }
  const joint = JOINTS.find((each) => text.includes(each));
  return joint ? text.split(joint).map((part) => translated(part, translations)).join(joint) : text;
}

/** A text in the language of the page, or in English if there is no translation. */
export function say(text) {
  return translated(text, TRANSLATIONS[app.extensionManager?.setting?.get("Comfy.Locale")] ?? []);
}
