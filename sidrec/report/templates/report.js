"use strict";
// The tree of prefixes, its search, and the filters over the users. All text goes in as text, never as markup.
(function () {
  const data = JSON.parse(document.getElementById("tree-data").textContent);
  const tree = document.getElementById("tree");
  const MOST_FOUND = 50;

  function make(tag, text, className) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  function token(level, code) {
    return "<" + data.levels[level] + "_" + code + ">";
  }

  function tokens(item) {
    return item[0].map((code, level) => token(level, code)).join("");
  }

  function describe(item) {
    const line = make("li");
    line.append(make("span", item[2]), " ", make("span", item[1] + ", " + item[3] + " events", "id"));
    return line;
  }

  // Items lie in order of their codes, so those of a prefix are one stretch, [first, last).
  function stretches(first, last, level) {
    const found = [];
    for (let at = first; at < last; ) {
      let end = at + 1;
      while (end < last && data.items[end][0][level] === data.items[at][0][level]) end++;
      found.push([at, end]);
      at = end;
    }
    return found;
  }

  function branch(first, last, level) {
    const node = make("details");
    const code = data.items[first][0][level];
    const count = last - first;
    const title = count === 1 ? data.items[first][2] : count + " items";
    const summary = make("summary");
    summary.append(make("code", token(level, code)), " ", make("span", title, "id"));
    node.append(summary);
    node.dataset.code = code;
    node.addEventListener("toggle", () => { if (node.open) fill(node, first, last, level + 1); });
    node.fill = () => fill(node, first, last, level + 1);
    return node;
  }

  function fill(node, first, last, level) {
    if (node.dataset.filled) return;
    node.dataset.filled = "yes";
    if (level === data.levels.length) {
      const list = make("ul");
      for (let at = first; at < last; at++) list.append(describe(data.items[at]));
      node.append(list);
      return;
    }
    for (const [from, to] of stretches(first, last, level)) node.append(branch(from, to, level));
  }

  function reveal(item) {
    let node = tree;
    for (const code of item[0]) {
      node = Array.from(node.children).find((child) => child.dataset.code === String(code));
      node.fill();
      node.open = true;
    }
    tree.scrollTop += node.getBoundingClientRect().top - tree.getBoundingClientRect().top - 20;
  }

  const found = document.getElementById("tree-found");
  const count = document.getElementById("tree-count");

  function search(words) {
    const wanted = words.trim().toLowerCase();
    found.replaceChildren();
    count.textContent = "";
    if (!wanted) return;
    const matches = data.items.filter((item) => (item[2] + " " + item[1] + " " + tokens(item)).toLowerCase().includes(wanted));
    count.textContent = matches.length + " found" + (matches.length > MOST_FOUND ? ", the first " + MOST_FOUND + " shown" : "");
    for (const item of matches.slice(0, MOST_FOUND)) {
      const line = describe(item);
      const button = make("button", tokens(item));
      button.type = "button";
      button.addEventListener("click", () => reveal(item));
      line.append(" ", button);
      found.append(line);
    }
  }

  for (const [first, last] of stretches(0, data.items.length, 0)) tree.append(branch(first, last, 0));
  document.getElementById("tree-search").addEventListener("input", (event) => search(event.target.value));

  const buttons = document.querySelectorAll("[data-filter]");
  buttons.forEach((button) => button.addEventListener("click", () => {
    const kind = button.dataset.filter;
    buttons.forEach((each) => each.setAttribute("aria-pressed", String(each === button)));
    document.querySelectorAll(".user").forEach((user) => {
      user.hidden = kind !== "all" && !user.dataset.kinds.split(" ").includes(kind);
    });
  }));

  window.addEventListener("beforeprint", () => document.querySelectorAll(".user").forEach((user) => { user.open = true; }));
})();
