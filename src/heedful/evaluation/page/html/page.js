"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const SVG = "http://www.w3.org/2000/svg";

  // Text enters the page through textContent and attributes alone: nothing of the data is ever parsed as markup.
  function make(tag, attributes, ...children) {
    const element = tag.startsWith("svg:") ? document.createElementNS(SVG, tag.slice(4)) : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  const words = (name) => name.replaceAll("_", " ");
  const place = (head) => `L${head.l}H${head.h}`;
  const badge = ([mark, word, look]) => make("span", { class: `badge ${look}` }, mark ? make("span", { "aria-hidden": "true" }, `${mark} `) : null, word);

  function number(value) {
    if (value === null || value === undefined) return "–";
    if (value === 0) return "0";
    const size = Math.abs(value);
    if (size >= 1e5 || size < 1e-3) return value.toExponential(1);
    return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : size >= 0.1 ? value.toFixed(2) : value.toFixed(3);
  }
  const between = (low, high) => (low === null && high === null ? "" : `[${number(low)}, ${number(high)}]`);

  // What the map shows: a statistic ("s" and its index) or the estimate of a claim ("c" and its index).
  function value(head, measure) {
    const index = Number(measure.slice(1));
    if (measure[0] === "s") return head.s[index];
    const found = head.c.find((claim) => claim[0] === index);
    return found ? found[2] : null;
  }
  function told(measure) {
    const index = Number(measure.slice(1));
    if (measure[0] === "c") return [data.claims[index][0], data.claims[index][1], ["estimate of the claim, head by head", data.claims[index][2].replace(/\.$/, "")].filter(Boolean).join(". ")];
    return data.statistics[index];
  }

  const SPAN = { nat: 0.05, mass: 0.02, share: 0.02 };
  let shown = [];
  let current = null;
  const cells = new Map();

  function option(select, key, text) { select.append(make("option", { value: key }, text)); }

  function fillControls() {
    const measure = at("measure");
    const statistics = make("optgroup", { label: "Statistics" });
    data.statistics.forEach(([name], index) => option(statistics, `s${index}`, words(name)));
    measure.append(statistics);
    if (data.claims.length) {
      const claims = make("optgroup", { label: "Claims" });
      data.claims.forEach(([name], index) => option(claims, `c${index}`, words(name)));
      measure.append(claims);
    }
    const first = data.statistics.findIndex(([name]) => name === "concentration");
    measure.value = `s${Math.max(first, 0)}`;
    const kinds = (key) => [...new Set(data.heads.map(key))].sort();
    option(at("verdict"), "", "any");
    kinds((head) => head.verdict[1]).forEach((word) => option(at("verdict"), word, word));
    option(at("pattern"), "*", "any");
    kinds((head) => head.pattern).forEach((word) => option(at("pattern"), word, word || "none named"));
    at("controls").hidden = at("atlas").hidden = false;
    at("controls").addEventListener("input", draw);
    at("controls").addEventListener("submit", (event) => event.preventDefault());
  }

  function chosen(head) {
    const wanted = at("name").value.trim().toLowerCase();
    const verdict = at("verdict").value;
    const pattern = at("pattern").value;
    const named = `${place(head)} ${head.name} ${head.module}`.toLowerCase();
    return (!verdict || head.verdict[1] === verdict) && (pattern === "*" || head.pattern === pattern) && (!wanted || named.includes(wanted));
  }

  function cell(head, measure, scale, withText) {
    const known = value(head, measure);
    const [name] = told(measure);
    const step = known === null ? "x" : Math.min(8, Math.floor(9 * scale(known)));
    const label = `${place(head)}, ${words(name)} ${number(known)}, ${head.verdict[1]}${head.pattern ? `, ${head.pattern}` : ""}`;
    const button = make("button", { type: "button", class: `cell q${step}`, "aria-label": label, title: label, tabindex: "-1", "data-head": place(head) });
    if (withText) button.textContent = number(known);
    button.addEventListener("click", () => open(head, true));
    cells.set(place(head), button);
    return button;
  }

  function draw() {
    const measure = at("measure").value;
    const [name, unit, reading] = told(measure);
    const values = data.heads.map((head) => value(head, measure)).filter((one) => one !== null);
    const least = Math.min(...values);
    const most = Math.max(...values);
    const span = Math.max(most - least, SPAN[unit] || 0); // differences too small to matter stay pale
    const scale = (one) => (span > 0 ? (one - least) / span : 0);
    cells.clear();
    const order = at("order").value;
    const kept = data.heads.filter(chosen);
    shown = order === "place" ? data.heads : [...kept].sort((a, b) => ranked(a, b, measure, order));
    at("map").replaceChildren(order === "place" ? grid(measure, scale) : ranking(measure, scale));
    for (const head of data.heads) if (order === "place" && !chosen(head)) cells.get(place(head)).classList.add("out");
    at("reading").textContent = `${words(name)}${unit ? ` (${unit})` : ""}${reading ? `: ${reading}` : ""}. ${kept.length} of ${data.heads.length} heads.`;
    legend(least, most, values.length);
    mark();
  }

  function ranked(a, b, measure, order) {
    const [left, right] = [value(a, measure), value(b, measure)];
    if (left === null || right === null) return (left === null) - (right === null);
    return order === "down" ? right - left : left - right;
  }

  const indices = (name) => [...new Set(data.heads.map((head) => head[name]))].sort((a, b) => a - b);

  function grid(measure, scale) {
    const layers = indices("l");
    const columns = indices("h");
    const top = make("tr", {}, make("td"), ...columns.map((head) => make("th", { scope: "col" }, `H${head}`)));
    const rows = layers.map((layer) => {
      const mine = new Map(data.heads.filter((head) => head.l === layer).map((head) => [head.h, head]));
      const row = columns.map((head) => make("td", {}, mine.has(head) ? cell(mine.get(head), measure, scale, columns.length <= 16) : null));
      return make("tr", {}, make("th", { scope: "row" }, `L${layer}`), ...row);
    });
    const table = make("table", { "aria-label": "Map of layers and heads; arrow keys move, Enter opens a card" }, make("thead", {}, top), make("tbody", {}, ...rows));
    // A small model fills the room of a large one: rows share a height, within what a finger and an eye take.
    table.style.setProperty("--height", `${Math.min(4.5, Math.max(1.65, 24 / layers.length))}rem`);
    table.style.setProperty("--text", columns.length <= 8 ? ".95rem" : ".78rem");
    return table;
  }

  function ranking(measure, scale) {
    return make("ol", { class: "ranking" }, ...shown.map((head) => {
      const button = cell(head, measure, scale, false);
      button.append(make("span", {}, place(head)), make("span", {}, number(value(head, measure))));
      return make("li", {}, button);
    }));
  }

  function legend(least, most, any) {
    const steps = [...Array(9).keys()].map((step) => make("i", { class: `q${step}` }));
    at("legend").replaceChildren(number(any ? least : null), make("span", {}, ...steps), number(any ? most : null), make("i", { class: "qx" }), "undefined");
    at("legend").hidden = false;
  }

  // One cell of the map can be reached by Tab; arrows move from there.
  function mark() {
    for (const [name, button] of cells) {
      const on = current !== null && name === place(current);
      button.classList.toggle("on", on);
      button.setAttribute("aria-pressed", String(on));
      button.tabIndex = -1;
    }
    const first = current !== null && cells.get(place(current)) || cells.values().next().value;
    if (first) first.tabIndex = 0;
  }

  function move(event) {
    const from = event.target.closest(".cell");
    if (!from) return;
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    let next = null;
    if (at("order").value === "place") {
      const [layer, head] = from.dataset.head.slice(1).split("H").map(Number);
      const [rows, columns] = [indices("l"), indices("h")];
      next = cells.get(`L${rows[rows.indexOf(layer) + step[1]]}H${columns[columns.indexOf(head) + step[0]]}`);
    } else {
      const index = shown.findIndex((head) => place(head) === from.dataset.head) + step[0] + step[1];
      next = shown[index] && cells.get(place(shown[index]));
    }
    if (next) { from.tabIndex = -1; next.tabIndex = 0; next.focus(); }
  }

  function open(head, focus) {
    current = head;
    mark();
    const card = at("card");
    card.replaceChildren(...content(head).filter((part) => part !== null));
    card.hidden = false;
    card.scrollTop = 0;
    if (!focus) return;
    history.replaceState(null, "", `#${place(head)}`);
    const title = at("card-title");
    title.focus({ preventScroll: true });
    const box = card.getBoundingClientRect();
    if (box.top < 0 || box.top > innerHeight * 0.7) card.scrollIntoView({ block: "start" });
  }

  function step(head, by) {
    const index = shown.findIndex((one) => place(one) === place(head));
    return shown[(index + by + shown.length) % shown.length] || head;
  }

  function content(head) {
    const tool = (text, label, act) => { const button = make("button", { type: "button", "aria-label": label }, text); button.addEventListener("click", act); return button; };
    const tools = make("span", { class: "card-tools" },
      tool("‹", "previous head", () => open(step(head, -1), true)), tool("›", "next head", () => open(step(head, 1), true)));
    const title = make("h3", { id: "card-title", tabindex: "-1" }, head.name && head.name.startsWith(place(head)) ? head.name : `${place(head)} ${head.name}`.trim());
    return [
      make("div", { class: "card-head" }, title, badge(head.verdict), head.pattern ? make("span", { class: "badge calm" }, head.pattern) : null, tools),
      make("p", { class: "quiet" }, make("code", {}, head.module), head.reason ? `: ${head.reason}` : ""),
      picture(head), reach(head), strongest(head), ablation(head), statistics(head), claims(head),
    ];
  }

  const part = (title, ...children) => make("div", {}, make("h4", {}, title), ...children);

  function picture(head) {
    if (data.document === null) return make("p", { class: "quiet" }, "Pictures of heads were not gathered for this report: heedful validate MODEL --html PATH does.");
    if (!head.image) return make("p", { class: "quiet" }, "No picture: the weights of this head are not finite, or its layer was not met.");
    const image = make("img", { alt: `weights of ${place(head)}: queries downwards, keys from left to right`, src: `data:image/png;base64,${head.image}` });
    const bar = make("svg:svg", { viewBox: "0 0 15 1", preserveAspectRatio: "none", "aria-hidden": "true" },
      ...data.shades.map((colour, index) => make("svg:rect", { x: index, y: 0, width: 1.05, height: 1, fill: colour })));
    const bins = data.length > head.bins[1] ? `, binned to ${head.bins[0]} × ${head.bins[1]}` : "";
    return part(`Pattern on ${data.document}`,
      make("div", { class: "picture" }, make("span", { class: "side" }, "← query"), frame(head, image), make("span", { class: "below" }, `key → (${data.length} tokens${bins})`)),
      make("p", { class: "quiet pair", id: "pair", "aria-live": "polite" }, "Point at the picture, or move in it with the arrow keys, to see its tokens."),
      make("p", { class: "shades" }, "1/16", bar, `${head.bins[1]}×`),
      make("p", { class: "quiet" }, "Weight over what equal weights would give, on a log scale, so that a sink does not hide the rest."));
  }

  // The picture can be read pair by pair: the pointer or the arrow keys choose a bin, whose query and key are shown.
  function frame(head, image) {
    const [rows, columns] = head.bins;
    const cross = make("span", { class: "cross", hidden: "" });
    const box = make("span", { class: "frame", tabindex: "0", role: "application", "aria-label": `pattern of ${place(head)}: arrow keys move over queries and keys`, "aria-describedby": "pair" }, image, cross);
    let at_ = null;
    const show = (row, column) => {
      at_ = [Math.max(0, Math.min(rows - 1, row)), Math.max(0, Math.min(columns - 1, column))];
      cross.hidden = false;
      cross.style.left = `${(100 * at_[1]) / columns}%`;
      cross.style.top = `${(100 * at_[0]) / rows}%`;
      cross.style.width = `${100 / columns}%`;
      cross.style.height = `${100 / rows}%`;
      at("pair").replaceChildren("query ", ...span(at_[0], rows, true), " → key ", ...span(at_[1], columns, head.named));
    };
    box.addEventListener("pointermove", (event) => {
      const room = image.getBoundingClientRect();
      show(Math.floor((rows * (event.clientY - room.top)) / room.height), Math.floor((columns * (event.clientX - room.left)) / room.width));
    });
    box.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!by) return;
      event.preventDefault();
      show(...(at_ ? [at_[0] + by[0], at_[1] + by[1]] : [0, 0]));
    });
    return box;
  }

  function span(bin, bins, named) {
    const first = Math.floor((bin * data.length) / bins);
    const last = Math.max(first, Math.floor(((bin + 1) * data.length) / bins) - 1);
    const texts = named === false ? [] : [first, last].filter((one, index) => !index || last > first).map((one) => data.tokens[one]).filter((one) => one !== undefined);
    const tokens = texts.flatMap((text, index) => [...(index ? [" … "] : []), make("span", { class: "token" }, text)]);
    return [...tokens, make("span", { class: "place" }, last > first ? ` at ${first}–${last}` : ` at ${first}`)];
  }

  function reach(head) {
    if (!head.reach || !head.reach.length) return null;
    const [width, height, foot] = [320, 120, 16];
    const most = Math.max(...head.reach.flatMap(([mid, , high, uniform]) => [mid || 0, high || 0, uniform || 0])) || 1;
    const slot = width / head.reach.length;
    const y = (one) => 6 + (height - 6) * (1 - one / most);
    const parts = head.reach.flatMap(([mid, low, high, uniform], index) => {
      const x = index * slot;
      const middle = x + slot / 2;
      const drawn = [make("svg:text", { x: middle, y: height + 12 }, data.distances[index] || "")];
      if (mid !== null) drawn.push(make("svg:rect", { x: x + slot * 0.2, y: y(mid), width: slot * 0.6, height: height - y(mid) }, make("svg:title", {}, `${data.distances[index]} tokens away: ${number(mid)} ${between(low, high)}, equal weights ${number(uniform)}`)));
      if (low !== null && high !== null) drawn.push(make("svg:line", { class: "band", x1: middle, x2: middle, y1: y(low), y2: y(high) }));
      if (uniform !== null) drawn.push(make("svg:line", { class: "uniform", x1: x + slot * 0.1, x2: x + slot * 0.9, y1: y(uniform), y2: y(uniform) }));
      return drawn;
    });
    const described = head.reach.map(([mid], index) => `${data.distances[index]}: ${number(mid)}`).join(", ");
    return part("Mass by distance (tokens from query to key)",
      make("svg:svg", { class: "reach", viewBox: `0 0 ${width} ${height + foot}`, role: "img", "aria-label": described }, ...parts),
      make("p", { class: "quiet" }, make("span", { class: "key" }), ` equal weights; tallest bar ${number(most)}; whiskers: 95 % interval over documents`));
  }

  const token = (position, named) => (named && data.tokens[position] !== undefined ? make("span", { class: "token" }, data.tokens[position]) : make("span", { class: "token" }, `key ${position}`));

  function strongest(head) {
    const lists = [...(head.received ? [head.received] : []), ...(head.strongest || [])];
    if (!lists.length) return null;
    const items = lists.map(([query, keys]) => make("li", {},
      ...(query === null ? [make("strong", {}, "all queries")] : [token(query, true), make("span", { class: "place" }, `at ${query}`)]), "→",
      ...keys.map(([key, weight]) => make("span", { title: `position ${key}` }, token(key, head.named), make("span", { class: "place" }, ` ${number(weight)}`)))));
    return part("Strongest keys", make("ul", { class: "keys" }, ...items));
  }

  function ablation(head) {
    const index = data.claims.findIndex(([name]) => name === data.ablation);
    const found = head.c.find((claim) => claim[0] === index);
    if (!found) return part("Ablation", make("p", { class: "quiet" }, "Not measured head by head: --preset full does."));
    const [, verdict, estimate, low, high] = found;
    return part("Ablation", make("p", {}, badge(verdict), ` equal weights in its place: ${estimate > 0 ? "+" : ""}${number(estimate)} ${between(low, high)} nat/token`));
  }

  function statistics(head) {
    const untrained = head.untrained || [];
    const any = untrained.some((one) => one);
    const rows = data.statistics.map(([name, unit], index) => make("tr", {},
      make("th", { scope: "row" }, words(name)), make("td", { class: "n" }, number(head.s[index])), make("td", { class: "quiet" }, unit),
      any ? make("td", { class: "n" }, untrained[index] ? `${number(untrained[index][0])} – ${number(untrained[index][2])}` : "") : null));
    const top = make("tr", {}, ...["statistic", "mean", "unit", ...(any ? ["nothing learned"] : [])].map((text, index) => make("th", { scope: "col", class: index % 2 ? "n" : "" }, text)));
    return part("Statistics", make("table", {}, make("thead", {}, top), make("tbody", {}, ...rows)));
  }

  function claims(head) {
    if (!head.c.length) return null;
    const rows = head.c.map(([index, verdict, estimate, low, high, p]) => make("tr", {},
      make("td", {}, badge(verdict)), make("th", { scope: "row", title: data.claims[index][2] }, words(data.claims[index][0])),
      make("td", { class: "n" }, `${number(estimate)} ${between(low, high)}`), make("td", { class: "n" }, p === null ? "" : p < 1e-4 ? "<.0001" : number(p))));
    const top = make("tr", {}, ...["verdict", "claim", "estimate, 95 %", "adj. p"].map((text, index) => make("th", { scope: "col", class: index > 1 ? "n" : "" }, text)));
    const table = make("table", {}, make("thead", {}, top), make("tbody", {}, ...rows));
    return part("Claims", make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Claims on this head" }, table));
  }

  function follow() {
    const found = /^#L(\d+)H(\d+)$/.exec(location.hash);
    const head = found && data.heads.find((one) => one.l === Number(found[1]) && one.h === Number(found[2]));
    if (head) { at("heads").scrollIntoView(); open(head, true); }
    return Boolean(head);
  }

  function unfolding() {
    const button = at("unfold");
    const rows = [...document.querySelectorAll(".block details")];
    button.hidden = !rows.length;
    button.addEventListener("click", () => {
      const all = rows.some((row) => !row.open);
      rows.forEach((row) => { row.open = all; });
      button.textContent = all ? "Fold all evidence" : "Open all evidence";
    });
  }

  // Paper has no folds: everything is opened for it, and folded again.
  function printing() {
    let folded = [];
    addEventListener("beforeprint", () => {
      folded = [...document.querySelectorAll("details:not([open])")];
      folded.forEach((one) => { one.open = true; });
    });
    addEventListener("afterprint", () => folded.forEach((one) => { one.open = false; }));
  }

  // Escape takes the explanation of a claim away, as it must be possible without moving the pointer.
  function explaining() {
    addEventListener("keydown", (event) => document.body.classList.toggle("untold", event.key === "Escape"));
    addEventListener("pointermove", () => document.body.classList.remove("untold"), { passive: true });
  }

  function begin() {
    unfolding();
    printing();
    explaining();
    if (!data.heads.length) return;
    fillControls();
    draw();
    at("map").addEventListener("keydown", move);
    at("card").addEventListener("keydown", (event) => {
      if (event.key === "Escape" && current && cells.get(place(current))) cells.get(place(current)).focus();
    });
    for (const button of document.querySelectorAll(".to-map")) {
      const index = data.claims.findIndex(([name]) => name === button.dataset.claim);
      button.hidden = index < 0;
      button.addEventListener("click", () => { at("measure").value = `c${index}`; draw(); at("heads").scrollIntoView(); at("measure").focus({ preventScroll: true }); });
    }
    addEventListener("hashchange", follow);
    const measure = at("measure").value;
    if (!follow()) open([...data.heads].sort((a, b) => ranked(a, b, measure, "down"))[0], false);
  }
  begin();
})();
