/* Copyright 2026 The ssgpa authors. All rights reserved. Licensed under the Apache License, Version 2.0. */
"use strict";

const PAGE = 60;
const cards = JSON.parse(document.getElementById("cards").textContent);
const field = (name) => document.getElementById(name);
const picked = (name) => document.querySelector(`input[name=${name}]:checked`).value;
const VERDICTS = { right: true, wrong: false, open: null };
let limit = PAGE;

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function image(card, side) {
  const frame = element("div", "image");
  const image = element("img", "");
  image.src = card[side];
  image.alt = side;
  frame.append(image);
  if (card["map_" + side]) {
    const map = element("img", "map");
    map.src = card["map_" + side];
    map.alt = "evidence " + side;
    frame.append(map);
  }
  return frame;
}

function draw(card) {
  const verdict = card.right === null ? "" : card.right ? " right" : " wrong";
  const box = element("article", "card" + verdict);
  box.dataset.pair = card.pair_id;
  const head = element("div", "head");
  const scores = `CIDEr-D ${(100 * card.cider).toFixed(0)}, ROUGE-L ${(100 * card.rouge_l).toFixed(0)}`;
  head.append(element("span", "", card.pair_id), element("span", "", card.change_type ?? ""), element("span", "", scores));
  const images = element("div", "images");
  images.append(image(card, "before"), image(card, "after"));
  const caption = element("p", "caption");
  caption.title = card.caption;
  card.words.forEach(([word, known]) => caption.append(element("span", known ? "" : "absent", word), " "));
  if (!card.words.length) caption.append("(nothing)");
  const checks = element("div", "");
  const marks = { true: ["check", "\u2713 "], false: ["check bad", "\u2717 "], null: ["check open", "? "] };
  card.checks.forEach(([name, ok]) => checks.append(element("span", marks[ok][0], marks[ok][1] + name)));
  const references = element("ul", "");
  card.references.forEach((text) => references.append(element("li", "", text)));
  box.append(head, images, caption, checks, references);
  return box;
}

function chosen() {
  const metric = field("metric").value;
  const low = field("low").value === "" ? -Infinity : Number(field("low").value);
  const high = field("high").value === "" ? Infinity : Number(field("high").value);
  const words = field("words").value.toLowerCase().trim();
  const verdict = picked("verdict");
  const type = picked("type");
  const found = cards.filter((card) =>
    (type === "" || String(card.change_type) === type) &&
    (verdict === "" || card.right === VERDICTS[verdict]) &&
    100 * card[metric] >= low && 100 * card[metric] <= high &&
    (words === "" || [card.caption, card.pair_id, ...card.references].join("\n").toLowerCase().includes(words)));
  const sign = { up: 1, down: -1 }[field("order").value];
  return sign ? found.sort((one, other) => sign * (one[metric] - other[metric])) : found;
}

function show() {
  const found = chosen();
  field("gallery").replaceChildren(...found.slice(0, limit).map(draw));
  field("gallery").classList.toggle("no-maps", !field("maps").checked);
  field("count").textContent = `${found.length} of ${cards.length} pairs`;
  field("more").hidden = found.length <= limit;
}

function chips(place, name, values, belongs) {
  ["", ...values].forEach((value) => {
    const label = element("label", "chip");
    const input = element("input", "");
    Object.assign(input, { type: "radio", name, value, checked: value === "" });
    const count = value === "" ? cards.length : cards.filter((card) => belongs(card, value)).length;
    label.append(input, element("span", "", `${value === "" ? "all" : value === "null" ? "unknown" : value} ${count}`));
    field(place).append(label);
  });
}

const types = [...new Set(cards.map((card) => String(card.change_type)))].sort();
chips("types", "type", types, (card, value) => String(card.change_type) === value);
chips("verdicts", "verdict", Object.keys(VERDICTS), (card, value) => card.right === VERDICTS[value]);
field("filters").addEventListener("input", () => { limit = PAGE; show(); });
field("filters").addEventListener("submit", (event) => event.preventDefault());
field("more").addEventListener("click", () => { limit += PAGE; show(); });
show();
