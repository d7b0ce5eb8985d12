// The board: the picture of a queue at any moment of its history, live or played again.
//
// `draw(history, t, room)` says what is to be seen, and where. A `Board` puts that on a page, lets the moment be
// chosen, and says it in words. At the end stand the three ways to one: a widget, a page beside the text, and what a
// saved notebook keeps. Whatever came out of the queue is set as text, never as markup, and nothing is asked of any
// server but the kernel.

const ENDINGS = ["successful", "exception", "failed", "canceled", "deleted"];
const TABLES = ["jobs", "lanes", "limits", "schedules", "more", "gone", "said"];
const QUIET = 2; // seconds: a stretch in which nothing happens is played as one of this length
const RATE = 30; // seconds that the line of jobs a second shows

// ---- What happened -------------------------------------------------------------------------------------------------

// The state that changes make together, as `fold` of history.py.
function fold(tables, [at, table, key, change]) {
  const rows = tables[table];
  if (change === null) return void rows.delete(key);
  const row = rows.get(key) ?? {};
  const moved = "status" in change ? { created: row.created ?? at, at } : {};
  if (change.status === "picked") moved.picked = at;
  rows.set(key, { ...row, ...moved, ...change });
}

class History {
  constructor() {
    this.changes = [];
    this.next = 0; // the number of the change that comes next
    this.base = Object.fromEntries(TABLES.map((table) => [table, []]));
    this.restart();
  }

  restart() {
    this.head = this.start();
    this.jobs = this.head.jobs.size > 0; // whether there is, or was, one
    this.folded = null;
    this.knots = [[0, 0]]; // moments, and when each is played
    this.ends = []; // moments at which jobs ended, and how many had by then
    this.marks = []; // what happened when, to be seen beside the moment
    this.peak = { waiting: 0, later: 0, running: 0 };
    this.used = new Set();
  }

  start() {
    return Object.fromEntries(TABLES.map((table) => [table, new Map(this.base[table])]));
  }

  // Take in a message; return whether it fits to what is known.
  take(message) {
    if (message.base) {
      Object.assign(this, { name: message.name, begin: message.begin, base: message.base, changes: [] });
      this.next = message.from;
      this.restart();
    }
    if (message.from > this.next || !this.name) return false;
    for (const change of message.changes.slice(this.next - message.from)) {
      this.changes.push(change);
      this.note(change);
    }
    this.next = Math.max(this.next, message.from + message.changes.length);
    this.now = message.now;
    return true;
  }

  // What is asked of the whole history at every drawing is reckoned once, when a change comes.
  note(change) {
    const [at, table, key, fields] = change;
    const before = this.head[table].get(key);
    fold(this.head, change);
    const [last, played] = this.knots.at(-1);
    if (this.changes.length === 1) this.knots = [[at, 0]];
    else if (at > last) this.knots.push([at, played + Math.min(at - last, QUIET)]);
    const status = fields?.status;
    this.jobs ||= table === "jobs";
    if (table === "jobs" && ENDINGS.includes(status)) {
      this.used.add(status);
      if (status !== "failed") this.ended(at, 1);
      if (status === "exception" || status === "failed") this.mark(at, status);
    } else if (table === "more" && ENDINGS.includes(key) && fields) {
      this.used.add(key);
      this.ended(at, fields.n - (before?.n ?? fields.n));
    } else if (table === "lanes" && before && ["killed", "gone"].includes(fields?.state)) this.mark(at, "lost");
    if (status === "queued" || status === "picked") {
      const jobs = [...this.head.jobs.values()];
      this.peak.waiting = Math.max(this.peak.waiting, jobs.filter((job) => job.status === "queued").length);
    }
    if (fields?.due > at || table === "schedules") this.peak.later = 1;
  }

  ended(at, jobs) {
    if (jobs > 0) this.ends.push([at, (this.ends.at(-1)?.[1] ?? 0) + jobs]);
  }

  mark(at, what) {
    const { length } = this.marks;
    if (length < 60 && !(length && this.marks[length - 1][1] === what && at - this.marks[length - 1][0] < 0.3)) {
      this.marks.push([at, what]);
    }
  }

  // The state at a moment. Going forward takes in what is new, going back begins at the beginning.
  at(t) {
    if (!this.folded || t < this.folded.t) this.folded = { t: -Infinity, count: 0, tables: this.start() };
    const { folded, changes } = this;
    while (folded.count < changes.length && changes[folded.count][0] <= t) fold(folded.tables, changes[folded.count++]);
    folded.t = t;
    return folded.tables;
  }

  // When a moment is played, in seconds from the beginning, and the other way round.
  played(t) {
    const [at, played] = this.knots[this.place(0, t)];
    return Math.max(0, played + Math.min(t - at, QUIET));
  }

  moment(played) {
    const place = this.place(1, played);
    const [at, begin] = this.knots[place];
    const [next, end] = this.knots[place + 1] ?? [at + (played - begin), played];
    return end > begin ? at + ((played - begin) / (end - begin)) * (next - at) : at;
  }

  place(column, value) {
    let [low, high] = [0, this.knots.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.knots[middle][column] <= value) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  // How many jobs ended in each of the seconds before a moment.
  rate(t) {
    const seconds = new Array(RATE).fill(0);
    let before = 0;
    for (const [at, jobs] of this.ends) {
      if (at > t) break;
      if (at > t - RATE) seconds[Math.min(RATE - 1, Math.floor(at - t + RATE))] += jobs - before;
      before = jobs;
    }
    return seconds;
  }
}

// ---- What is to be seen --------------------------------------------------------------------------------------------

const number = (value) => value.toLocaleString("en");
const plural = (count, thing) => `${number(count)} ${thing}${count === 1 ? "" : "s"}`;

function span(seconds) {
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 100) return `${Math.round(s)} s`;
  return s < 6000 ? `${Math.round(s / 60)} min` : `${Math.round(s / 3600)} h`;
}

// The sizes of a card: width, height, gap. The two small ones show the id alone, after their priority.
const SIZES = [
  [112, 24, 6],
  [76, 22, 5],
  [48, 19, 3],
  [36, 16, 2],
];
const PAD = 12;

// Where everybody and everything is at a moment, before it is known how much room there is.
function facts(history, t) {
  const tables = history.at(t);
  const timeouts = [...tables.lanes.values()].map((lane) => lane.timeout ?? 0);
  const usual = Math.max(0, ...timeouts) || 30; // what PGQueuer has where nobody says otherwise
  const lanes = new Map();
  for (const [key, lane] of tables.lanes) {
    const dead = ["killed", "gone", "failed"].includes(lane.state);
    lanes.set(key, { ...lane, key, dead, timeout: lane.timeout ?? usual, jobs: [] });
  }
  const found = { tables, lanes, waiting: [], later: [], ended: {}, slots: new Map(), counts: {}, nobody: [] };
  for (const [id, job] of tables.jobs) {
    found.counts[job.status] = (found.counts[job.status] ?? 0) + 1;
    const card = { id, ...job, turn: Math.max(job.turn ?? 0, (job.tries ?? 0) + (job.status === "picked")) };
    if (job.status === "queued") (job.due > t ? found.later : found.waiting).push(card);
    else if (job.status === "picked") {
      const lane = lanes.get(job.worker);
      (lane ? lane.jobs : found.nobody).push(card);
    } else (found.ended[job.status] ??= []).push(card);
  }
  for (const [status, { n }] of [...tables.more, ...tables.gone]) {
    if (n) found.counts[status] = (found.counts[status] ?? 0) + n;
  }
  for (const lane of lanes.values()) {
    lane.jobs.sort((a, b) => b.priority - a.priority || a.picked - b.picked || a.id - b.id);
    const begun = Math.max(0, ...lane.jobs.map((job) => job.picked));
    lane.silent = Math.max(0, t - Math.max(lane.beat ?? 0, begun));
    lane.left = lane.jobs.length ? Math.max(0, 1 - lane.silent / lane.timeout) : Number(!lane.dead);
    lane.lost = lane.jobs.length > 0 && (lane.dead || lane.left === 0);
    for (const job of lane.jobs) {
      job.lost = lane.lost;
      found.slots.set(job.entrypoint, [...(found.slots.get(job.entrypoint) ?? []), job.lost]);
    }
    // Whoever is silent for too long has lost its jobs: they stand in the queue again, until another takes them.
    if (lane.lost && lane.left === 0) found.waiting.push(...lane.jobs.splice(0));
    if (lane.dead && lane.state !== "killed" && !lane.lost) lanes.delete(lane.key);
  }
  found.waiting.sort((a, b) => b.priority - a.priority || a.id - b.id);
  found.later.sort((a, b) => a.due - b.due || a.id - b.id);
  for (const cards of Object.values(found.ended)) cards.sort((a, b) => b.at - a.at || b.id - a.id);
  const { limits } = tables;
  const open = ({ entrypoint }) =>
    !limits.size || (limits.has(entrypoint) && !(limits.get(entrypoint).n <= (found.slots.get(entrypoint)?.length ?? 0)));
  const free = ({ entrypoint }) => open({ entrypoint }) || limits.get(entrypoint)?.n === 0;
  const known = ({ entrypoint }) => !limits.size || limits.has(entrypoint);
  found.next = (found.waiting.find(free) ?? found.waiting.find(known))?.id;
  const due = found.waiting.map((job) => Math.max(job.created, job.due ?? 0));
  if (tables.more.get("oldest")?.due != null) due.push(tables.more.get("oldest").due);
  found.oldest = due.length ? t - Math.min(...due) : null;
  return found;
}

// Put cards into a box, the small ones each group after its priority; return how high that is, and what had no place.
function flow(cards, x, y, width, size, rows) {
  const [least, high, gap] = SIZES[size];
  const across = Math.max(1, Math.floor((width + gap) / (least + gap)));
  const wide = size > 1 ? least : (width + gap) / across - gap;
  const placed = [];
  let [left, row, group] = [x, 0, undefined];
  for (const [index, card] of cards.entries()) {
    const chip = size > 1 && card.priority !== group && group !== null ? 10 + 6 * String(card.priority).length : 0;
    if (left + chip + wide > x + width + 1 && left > x) [left, row] = [x, row + 1];
    if (row >= rows) return { placed, height: rows * (high + gap) - gap, rest: cards.length - index };
    const top = y + row * (high + gap);
    if (chip) placed.push({ chip: card.priority, x: left, y: top, w: chip - 2, h: high });
    placed.push({ card, x: left + chip, y: top, w: Math.min(wide, width - chip), h: high });
    group = card.priority;
    left += chip + wide + gap;
  }
  return { placed, height: cards.length ? (row + 1) * (high + gap) - gap : 0, rest: 0 };
}

// The largest size in which all cards have a place.
function fit(cards, x, y, width, height) {
  let found;
  for (let size = 0; size < SIZES.length; size++) {
    const rows = Math.max(1, Math.floor((height + SIZES[size][2]) / (SIZES[size][1] + SIZES[size][2])));
    found = { size, ...flow(cards, x, y, width, size, rows) };
    if (!found.rest) break;
  }
  return found;
}

// What is to be seen at the moment `t`: boxes with their places, in the order in which they are read.
function draw(history, t, { width, height, fill, palette }) {
  const seen = facts(history, t);
  const { lanes, counts, tables } = seen;
  const boxes = [];
  const wide = width - 2 * PAD;
  const word = (status) => palette.jobs[status].word;
  let y = 6;
  const put = (id, kind, x, top, w, h, more) => boxes.push({ id, kind, x, y: top, w, h, ...more });
  const cards = (placed, where, size) => {
    for (const { card, chip, ...box } of placed) {
      if (!card) put(`chip ${where} ${box.x} ${box.y}`, "chip", box.x, box.y, box.w, box.h, { text: `${chip}` });
      else put(card.id, "card", box.x, box.y, box.w, box.h, { ...say(card, seen, t, palette), size, where });
    }
  };
  const bar = (id, left, top, w, all, drawn) =>
    put(id, "bar", left, top, w, 16, { left: drawn / all, text: `${number(drawn)} drawn of ${number(all)}` });

  // How high what stands below the queue is: lanes share a part of it, a smaller one where many jobs wait
  const ends = ENDINGS.filter((status) => history.used.has(status) || counts[status]);
  const rows = [...lanes.values()];
  const slim = rows.length > 4;
  const label = slim ? 158 : Math.min(wide * 0.42, 176);
  const least = slim ? 26 : 40;
  const timed = seen.later.length || tables.schedules.size || history.peak.later ? 37 : 0;
  let queue;
  for (const part of [0.42, 0.24]) {
    const share = Math.max(least, (height * part) / Math.max(1, rows.length));
    for (const lane of rows) {
      lane.fit = fit(lane.jobs, PAD + label, 0, wide - label - 8, share - 10);
      lane.high = Math.max(least, lane.fit.height + 12 + (lane.fit.rest ? 20 : 0));
    }
    const below = rows.reduce((sum, lane) => sum + lane.high + 5, 100) + ends.length * 29 + timed;
    queue = fit(seen.waiting, PAD, y + 27, wide, Math.max(54, height - below));
    if (!queue.rest) break;
  }

  // The queue
  const queued = counts.queued ?? 0;
  const unseen = tables.more.get("queued")?.n ?? 0;
  const oldest = seen.oldest === null ? "" : `oldest due: ${span(seen.oldest)}`;
  put("waiting", "title", PAD, y, wide, 18, { text: [word("queued"), queued], right: oldest });
  y += 27;
  cards(queue.placed, "queue", queue.size);
  if (!seen.waiting.length) put("none", "note", PAD, y + 3, wide, 18, { text: queued ? "none is due" : "none" });
  y += Math.max(queue.height, Math.min(54, 30 * Math.ceil(history.peak.waiting / Math.floor(wide / 118))), 24) + 6;
  const due = seen.waiting.length + unseen;
  const drawn = seen.waiting.length - queue.rest;
  if (drawn < due) {
    bar("more", PAD, y, wide, due, drawn);
    y += 22;
  }
  // What waits for its time: a bar that shrinks until it is due
  if (timed) {
    const timers = [
      ...[...tables.schedules].map(([key, row]) => [`schedule ${key}`, plan(row, t, palette), row.last, row.next]),
      ...seen.later.map((job) => [job.id, say(job, seen, t, palette), Math.max(job.at, job.created), job.due]),
    ];
    const across = Math.max(1, Math.min(3, Math.floor(wide / 180)));
    const w = (wide - 8 * (across - 1)) / across;
    const shown = timers.slice(0, timers.length > across * 2 ? across * 2 - 1 : across * 2);
    shown.forEach(([id, said, from, to], index) => {
      const left = Math.min(1, Math.max(0, (to - t) / Math.max(0.01, to - from)));
      const [x, top] = [PAD + (index % across) * (w + 8), y + Math.floor(index / across) * 37];
      put(id, "timer", x, top, w, 31, { ...said, size: 0, where: "later", left, last: to - t < 0.3 });
    });
    const more = timers.length - shown.length;
    if (more) put("later more", "note", PAD + (across - 1) * (w + 8) + 8, y + 44, w, 18, { text: `and ${more} more later` });
    y += 37 * Math.max(1, Math.ceil((shown.length + (more ? 1 : 0)) / across)) + 2;
  }
  put("line 1", "line", 0, y, width, 1, {});
  y += 7;

  // Who works
  const slots = [...tables.limits].filter(([, { n }]) => n).map(([entrypoint, { n }]) => {
    const held = seen.slots.get(entrypoint) ?? [];
    return { entrypoint, n, held: held.filter((lost) => !lost).length, lost: held.filter(Boolean).length };
  });
  put("workers", "title", PAD, y, wide, 18, { text: ["workers", null], slots });
  y += 22;
  for (const lane of rows) {
    const { key, fit: inside, high } = lane;
    put(`lane ${key}`, "lane", PAD, y, wide, high, { lane, slim, head: label, ...sayLane(lane, slim) });
    const down = y + (lane.fit.rest ? 6 : Math.max(6, (high - inside.height) / 2));
    cards(inside.placed.map((box) => ({ ...box, y: box.y + down })), "lane", inside.size);
    if (inside.rest) {
      const count = inside.placed.filter(({ card }) => card).length;
      bar(`lane more ${key}`, PAD + label, y + high - 20, wide - label - 8, lane.jobs.length, count);
    }
    y += high + 5;
  }
  if (!rows.length) {
    put("nobody", "note", PAD, y + 3, wide, 18, { text: "No consumer is known." });
    y += 29;
  }

  // What became of jobs: a row each, and where there is room, more
  if (ends.length) put("line 2", "line", 0, y + 1, width, 1, {});
  y += 6;
  let spare = fill ? Math.floor((height - y - ends.length * 30) / 30) : 0;
  for (const status of ends) {
    const { word: name, sign } = palette.jobs[status];
    put(`end ${status}`, "end", PAD, y + 3, 116, 22, { text: name, sign, count: number(counts[status] ?? 0), status });
    const { placed, height: high } = flow(seen.ended[status] ?? [], PAD + 122, y + 2, wide - 122, 0, 1 + Math.max(0, spare));
    cards(placed, "end", 0);
    spare -= Math.max(0, Math.round(high / 30) - 1);
    y += Math.max(24, high) + 6;
  }
  for (const card of seen.nobody) put(card.id, "card", PAD + 40, -40, 112, 24, { ...say(card, seen, t, palette), size: 0 });
  const parts = ["queued", "picked", ...ends].map((status) => `${number(counts[status] ?? 0)} ${word(status)}`);
  const ran = ends.length || queued || counts.picked;
  const words = ran ? parts.join(" · ") : "no job yet";
  return { boxes, height: y + 4, words, trouble: tables.said.get("trouble")?.text, drawn, due, running: rows.length > 0 };
}

// A job in words and signs.
function say(job, seen, t, palette) {
  const look = palette.jobs[job.status];
  const text = `#${job.id}${job.payload ? ` ${job.payload}` : ""}`;
  const words = [`Job ${job.id}`, job.entrypoint, job.payload, `priority ${job.priority}`].filter(Boolean);
  let [status, mark] = [job.status, job.turn > 1 ? `×${job.turn}` : ""];
  if (job.lost) {
    [status, mark] = ["lost", palette.again];
    words.push("its worker is gone");
  } else if (job.status === "queued" && job.due > t) {
    mark = job.turn ? `again in ${span(job.due - t)} · try ${job.turn + 1}` : `due in ${span(job.due - t)}`;
    words.push(mark);
  } else words.push(look.word);
  if (job.turn > 1) words.push(`delivered ${job.turn} times`);
  if (job.error && job.status !== "successful") words.push(job.error);
  const next = job.id === seen.next;
  if (next) words.push("next");
  return { text, priority: `${job.priority}`, mark, status, next, again: job.turn > 1, label: words.join(", "), job };
}

function plan(row, t, palette) {
  const runs = row.state === "picked";
  const mark = runs ? palette.jobs.picked.word : `${row.expression} · in ${span(row.next - t)}`;
  const label = `Schedule ${row.entrypoint}, ${mark}`;
  return { text: `⟳ ${row.entrypoint}`, priority: "", mark, status: runs ? "picked" : "queued", label };
}

function sayLane(lane, slim) {
  const has = lane.jobs.length;
  let doing = lane.state === "running" || lane.state === "working" ? "" : (lane.state ?? "");
  if (lane.lost) {
    const back = lane.timeout - lane.silent;
    doing = `${lane.dead ? doing : "silent"}${back > 0 ? ` · back in ${span(back)}` : ""}`;
  } else if (!lane.dead && has) {
    doing = `${doing ? `${doing} · ` : slim ? "" : "beat "}${span(lane.silent)} ago`;
  } else doing ||= "idle";
  return { doing, label: `${lane.name}: ${doing}${has ? `, ${plural(has, "job")}` : ""}` };
}

// What is shown, in grey, before there has been a job.
function SAMPLE() {
  const history = new History();
  const jobs = [10, 5, 0, 0, 0, 0, 0, 0, 0, -1].map((priority, at) => [0, "jobs", at + 1, { status: "queued", entrypoint: "page", priority, payload: `page ${at + 1}` }]);
  const runs = [1, 2, 3, 4].map((id) => [1, "jobs", id, { status: "picked", worker: id % 2, turn: 1 }]);
  const lanes = [0, 1].map((key) => [0, "lanes", key, { name: `worker ${key + 1}`, state: "running", timeout: 10, beat: 1 }]);
  const done = [1, 2].map((id) => [1.5, "jobs", id, { status: "successful" }]);
  const changes = [[0, "limits", "page", { n: 4 }], ...lanes, ...jobs, ...runs, ...done];
  history.take({ name: "queue", begin: 0, base: history.base, from: 0, now: 3, changes });
  return history;
}

// ---- On a page -----------------------------------------------------------------------------------------------------

function make(tag, name, ...children) {
  const node = document.createElement(tag);
  if (name) node.className = name;
  node.append(...children);
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const SVG = "http://www.w3.org/2000/svg";
function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const LEAP = 120; // more cards than this going elsewhere at once do not fly
const SAY_EVERY = 8000; // milliseconds between two announcements to a screen reader
const LEGEND = "number: priority · edge: what became of it · ×2: delivered twice · ring: time until the jobs of a silent worker go back";
const HINT = "Point at a card, or reach it with Tab and the arrow keys. Enter keeps it here.";

class Board {
  // `ask` sends a question to the kernel; without one there is none. A `docked` one fills the room that it is given.
  constructor(root, history, palette, { ask = null, docked = false } = {}) {
    Object.assign(this, { root, history, palette, ask, docked });
    this.at = null; // the moment that is seen; null is now
    this.speed = 1;
    this.nodes = new Map();
    this.order = [];
    this.build();
    this.sized = new ResizeObserver(() => this.later());
    this.sized.observe(root);
    this.shown = new IntersectionObserver(([entry]) => {
      this.visible = entry.isIntersecting;
      this.later();
    });
    this.shown.observe(root);
    this.arrived();
  }

  close() {
    this.sized.disconnect();
    this.shown.disconnect();
    clearTimeout(this.timer);
    clearTimeout(this.saying);
    clearTimeout(this.settled);
    clearTimeout(this.tidying);
    cancelAnimationFrame(this.frame);
    this.root.replaceChildren();
  }

  build() {
    const { root, palette } = this;
    root.classList.add("kit-board");
    root.classList.toggle("kb-docked", this.docked);
    root.setAttribute("role", "region");
    root.setAttribute("aria-label", "Board of the queue");
    root.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab's own keys are ours while it has the focus
    for (const [status, { colour }] of Object.entries(palette.jobs)) root.style.setProperty(`--c-${status}`, colour);
    for (const [name, [light, dark]] of Object.entries(palette.neutral)) {
      root.style.setProperty(`--l-${name}`, light);
      root.style.setProperty(`--d-${name}`, dark);
    }
    this.line = svg("path", {});
    const spark = svg("svg", { viewBox: "0 0 90 20", class: "kb-spark", "aria-hidden": "true" }, this.line);
    this.name = make("strong", "kb-name");
    this.words = make("span", "kb-words");
    this.rate = make("span", "kb-rate");
    const head = make("div", "kb-head", this.name, this.words, make("span", "kb-pace", spark, this.rate));
    this.trouble = make("div", "kb-trouble");
    this.stage = make("div", "kb-stage");
    this.stage.setAttribute("role", "listbox");
    this.stage.setAttribute("aria-label", "Workers and jobs");
    this.stage.tabIndex = 0;
    this.detail = make("div", "kb-detail");
    this.detail.setAttribute("role", "region");
    this.detail.setAttribute("aria-label", "The job that was chosen");
    this.detail.tabIndex = 0;
    this.detail.hidden = true;
    this.legend = make("div", "kb-legend", LEGEND);
    this.voice = make("div", "kb-voice");
    this.voice.setAttribute("role", "status");
    const middle = make("div", "kb-middle", this.stage);
    root.replaceChildren(head, this.trouble, middle, this.controls(), this.legend, this.detail, this.voice);
    this.stage.addEventListener("keydown", (event) => this.press(event));
    this.stage.addEventListener("pointerover", (event) => this.point(event.target.closest("[role=option]")?.box));
    this.stage.addEventListener("pointerleave", () => this.point(null));
    this.stage.addEventListener("click", (event) => this.choose(event.target.closest("[role=option]")?.box));
    this.detail.addEventListener("keydown", (event) => event.key === "Escape" && this.choose(null));
    this.stage.addEventListener("blur", () => this.focusOn(null));
  }

  controls() {
    const button = (label, act) => {
      const node = make("button", "kb-button");
      node.type = "button";
      node.setAttribute("aria-label", label);
      node.addEventListener("click", act);
      return node;
    };
    this.play = button("Play again", () => (this.playing ? this.pause() : this.replay()));
    this.pace = button("Speed", () => {
      this.speed = this.speed === 1 ? 0.5 : 1;
      this.later();
    });
    this.slider = make("input", "kb-slider");
    Object.assign(this.slider, { type: "range", min: 0, step: "any" });
    this.slider.setAttribute("aria-label", "Moment");
    this.slider.addEventListener("input", () => {
      this.pause();
      const value = Number(this.slider.value);
      this.go(value >= Number(this.slider.max) - 0.01 ? null : this.history.moment(value));
    });
    this.dots = make("span", "kb-dots");
    this.dots.setAttribute("aria-hidden", "true");
    this.moment = make("span", "kb-moment");
    return make("div", "kb-controls", this.play, this.pace, make("span", "kb-track", this.dots, this.slider), this.moment);
  }

  // ---- The moment

  // Now by the database's clock. What a message took to arrive is the least that one took.
  get now() {
    const { history } = this;
    return this.ask ? Math.max(history.now, performance.now() / 1000 - this.lag) : history.now;
  }

  // Something has come from the kernel.
  arrived() {
    const lag = performance.now() / 1000 - this.history.now;
    this.lag = this.begin === this.history.begin ? Math.min(this.lag ?? Infinity, lag) : lag;
    this.begin = this.history.begin;
    this.later();
    if (!this.ask) return;
    clearTimeout(this.settled);
    this.settled = setTimeout(() => this.still(), 1500);
  }

  replay() {
    const { history } = this;
    const ended = this.at === null || history.played(this.at) >= history.played(this.now) - 0.1;
    this.go(ended ? history.knots[0][0] - 0.01 : this.at);
    this.playing = performance.now();
    this.later();
  }

  pause() {
    this.playing = null;
    this.later();
  }

  go(t) {
    this.at = t;
    this.later();
  }

  // ---- Drawing

  later() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.step();
    });
  }

  step() {
    if (this.visible === false || document.hidden) return;
    clearTimeout(this.timer);
    const { history } = this;
    if (this.playing) {
      const since = ((performance.now() - this.playing) / 1000) * this.speed;
      this.playing = performance.now();
      const t = history.moment(history.played(this.at) + since);
      this.at = t;
      if (history.played(t) >= history.played(this.now) - 0.01) [this.at, this.playing] = [null, null];
    }
    const alive = this.draw();
    const pause = this.playing ? 40 : this.at === null && this.ask && alive;
    if (pause) this.timer = setTimeout(() => this.later(), pause);
  }

  // Draw the moment; return after how many milliseconds it looks another way without any news, 0 for never.
  draw() {
    const { palette, docked: fill } = this;
    const sample = fill && !this.history.jobs;
    const history = sample ? SAMPLE() : this.history;
    const t = sample ? history.now : (this.at ?? this.now);
    const width = Math.max(280, this.stage.clientWidth);
    const height = fill ? Math.max(320, this.stage.parentElement.clientHeight - 12) : 500;
    const scene = draw(history, t, { width, height, fill, palette });
    this.root.classList.toggle("kb-sample", sample);
    setText(this.name, this.history.name || "queue");
    setText(this.words, sample ? "A sample: so it looks when jobs run." : scene.words);
    this.trouble.hidden = !scene.trouble;
    setText(this.trouble, scene.trouble ? `⚠ ${scene.trouble}` : "");
    this.drawRate(t);
    this.drawBoxes(scene, t);
    this.drawControls(t);
    this.say(scene.trouble || this.words.textContent);
    if (this.chosen !== undefined) this.tell();
    if (sample) return 0;
    if (scene.boxes.some(({ left, lane }) => left !== undefined || lane?.jobs.length)) return 250;
    return scene.due || history.rate(t).some(Boolean) ? 1000 : 0;
  }

  drawRate(t) {
    const seconds = this.history.rate(t);
    const most = Math.max(1, ...seconds);
    this.line.setAttribute("d", `M${seconds.map((jobs, at) => `${(at * 90) / (RATE - 1)},${19 - (jobs / most) * 17}`).join("L")}`);
    const recent = seconds.slice(-3).reduce((sum, jobs) => sum + jobs, 0) / 3;
    setText(this.rate, `${recent >= 10 ? number(Math.round(recent)) : recent.toFixed(1).replace(".0", "")} jobs/s`);
  }

  drawBoxes({ boxes, height }) {
    const gone = new Set(this.nodes.keys());
    const cut = matchMedia("(prefers-reduced-motion: reduce)").matches;
    let flying = 0;
    for (const box of boxes) {
      const node = this.nodes.get(box.id);
      if (node && node.box.where !== box.where) flying += 1;
    }
    this.order = [];
    for (const box of boxes) {
      gone.delete(box.id);
      let node = this.nodes.get(box.id);
      const before = node?.box;
      if (!node || node.sort !== sort(box)) {
        node?.remove();
        node = this.node(box);
        this.nodes.set(box.id, node);
      }
      node.box = box;
      this.fill(node, box, before);
      const place = `translate(${Math.round(box.x)}px, ${Math.round(box.y)}px)`;
      if (node.place !== place) {
        this.untidy = true;
        // What goes elsewhere flies; the many small ones of a queue that moves up do not.
        const fly = before && !cut && (before.where !== box.where ? flying < LEAP : !(box.size > 1));
        node.classList.toggle("kb-fly", Boolean(fly));
        node.style.transform = node.place = place;
        if (fly && before.where === "queue" && box.where === "end") this.through(node, before, box);
      }
      const size = `${Math.round(box.w)} ${Math.round(box.h)}`;
      if (node.size !== size) {
        node.size = size;
        node.style.width = `${Math.round(box.w)}px`;
        node.style.height = `${Math.round(box.h)}px`;
      }
      if (box.label) this.order.push(box.id);
    }
    for (const id of gone) {
      this.nodes.get(id).remove();
      this.nodes.delete(id);
    }
    if (this.begin !== this.high?.begin) this.high = { begin: this.begin, most: 0 };
    this.high.most = Math.max(this.high.most, height); // the text below stays where it is
    if (this.untidy) {
      this.untidy = false;
      clearTimeout(this.tidying);
      this.tidying = setTimeout(() => this.tidy(boxes), 800);
    }
    const high = `${Math.round(this.docked ? height : this.high.most)}px`;
    if (this.stage.style.height !== high) this.stage.style.height = high;
  }

  // Let what is read aloud come in the order in which it is seen. Not while anything flies, which that would end.
  tidy(boxes) {
    let at = this.stage.firstChild;
    for (const node of boxes.map(({ id }) => this.nodes.get(id)).filter(Boolean)) {
      if (node === at) at = at.nextSibling;
      else this.stage.insertBefore(node, at);
    }
  }

  // A job that came and went between two pictures is seen to pass the lane that it ran in.
  through(node, before, box) {
    const lane = this.nodes.get(`lane ${box.job?.worker}`)?.box;
    if (!lane) return;
    const [from, over, to] = [before, { x: lane.x + lane.head, y: lane.y + 8 }, box].map(
      ({ x, y }) => ({ transform: `translate(${x}px, ${y}px)` }),
    );
    node.animate([from, over, over, to], { duration: 600, easing: "ease-in-out" });
  }

  node(box) {
    const node = make("div");
    node.sort = sort(box);
    const inner = {
      card: () => [make("b", "kb-p"), make("span", "kb-t"), make("span", "kb-m"), make("i", "kb-left")],
      lane: () => [ring(), make("b", "kb-t"), make("span", "kb-m")],
      end: () => [make("i", "kb-sign"), make("span", "kb-t"), make("b", "kb-m")],
      title: () => [make("b", "kb-t"), make("span", "kb-m")],
      bar: () => [make("i", "kb-left"), make("span", "kb-t")],
      line: () => [],
    }[node.sort] ?? (() => [make("span", "kb-t")]);
    node.append(...inner());
    if (box.label) {
      node.setAttribute("role", "option");
      node.setAttribute("aria-selected", "false");
      node.id = `kb-${++Board.ids}`;
    } else node.setAttribute("aria-hidden", "true");
    this.stage.append(node);
    return node;
  }

  fill(node, box, before) {
    const name = ["kb-box", `kb-${box.kind}`];
    if (box.status) name.push(`kb-${box.status}`);
    if (box.size) name.push(`kb-size-${box.size}`);
    if (box.next) name.push("kb-next");
    if (box.again) name.push("kb-again");
    if (box.lane) name.push(box.lane.lost || box.lane.dead ? "kb-dead" : box.lane.jobs.length ? "kb-busy" : "kb-idle");
    if (box.slim) name.push("kb-slim");
    if (this.chosen === box.id) name.push("kb-chosen");
    if (this.focused === box.id) name.push("kb-focused");
    if (node.classList.contains("kb-fly")) name.push("kb-fly");
    const names = name.join(" ");
    if (node.className !== names) node.className = names;
    if (box.label && node.label !== box.label) node.setAttribute("aria-label", (node.label = box.label));
    if (box.left !== undefined) node.style.setProperty("--left", box.left.toFixed(3));
    if (box.kind === "lane") {
      node.style.setProperty("--left", box.lane.left.toFixed(3));
      node.style.setProperty("--head", `${Math.round(box.head)}px`);
      setText(node.children[1], box.lane.name ?? "");
      setText(node.children[2], box.doing);
    } else if (node.sort === "card") {
      setText(node.children[0], box.size > 1 ? "" : box.priority);
      setText(node.children[1], box.size > 1 ? box.text.split(" ")[0] : box.text);
      setText(node.children[2], box.size > 1 ? "" : box.mark);
    } else if (box.kind === "end") {
      setText(node.children[0], box.sign);
      setText(node.children[1], box.text);
      setText(node.children[2], box.count);
    } else if (box.kind === "title") {
      setText(node.children[0], box.text[0]);
      node.children[0].dataset.count = box.text[1] === null ? "" : number(box.text[1]);
      if (box.slots) this.drawSlots(node.children[1], box.slots, before?.slots);
      else setText(node.children[1], box.right ?? "");
    } else if (box.kind === "bar") setText(node.children[1], box.text);
    else if (node.firstChild) setText(node.firstChild, box.text);
  }

  // An entrypoint's limit: a dot for each slot, or a bar where there are many.
  drawSlots(node, slots, before) {
    if (JSON.stringify(slots) === JSON.stringify(before)) return;
    node.replaceChildren(
      ...slots.map(({ entrypoint, n, held, lost }) => {
        const dots = make("span", "kb-slots");
        const of = (at) => (at < held ? "kb-held" : at < held + lost ? "kb-lost" : "");
        if (n <= 12) dots.append(...Array.from({ length: n }, (_, at) => make("i", of(at))));
        else dots.append(make("meter"));
        if (n > 12) Object.assign(dots.firstChild, { max: n, value: held + lost });
        return make("span", "kb-limit", `${entrypoint}: ${held + lost} of ${plural(n, "slot")}`, dots);
      }),
    );
  }

  drawControls(t) {
    const { history } = this;
    const whole = history.played(this.now);
    const live = this.at === null;
    if (Number(this.slider.max) !== whole) this.slider.max = whole;
    this.slider.value = live ? whole : history.played(t);
    const since = Math.max(0, t - history.knots[0][0]);
    const label = live && this.ask ? `now · ${span(since)}` : `${span(since)} of ${span(this.now - history.knots[0][0])}`;
    setText(this.moment, label);
    this.slider.setAttribute("aria-valuetext", label);
    this.root.classList.toggle("kb-replay", !live);
    setText(this.play, this.playing ? "❚❚" : "►");
    this.play.setAttribute("aria-label", this.playing ? "Pause" : "Play again");
    setText(this.pace, this.speed === 1 ? "1×" : "½×");
    this.pace.setAttribute("aria-label", `Speed: ${this.speed === 1 ? "full" : "half"}`);
    const marks = history.marks.map(([at, what]) => [what, (100 * history.played(at)) / (whole || 1)]);
    const key = JSON.stringify(marks);
    if (key === this.marked) return;
    this.marked = key;
    this.dots.replaceChildren(
      ...marks.map(([what, left]) => {
        const dot = make("i", `kb-${what}`);
        dot.style.left = `${left}%`;
        return dot;
      }),
    );
  }

  // The last words always come, but no more often than a listener can bear.
  say(words) {
    this.spoken = words;
    this.saying ??= setTimeout(() => {
      this.saying = null;
      setText(this.voice, this.spoken);
    }, this.voice.textContent ? SAY_EVERY : 0);
  }

  // ---- One job

  point(box) {
    setText(this.legend, box?.label ?? (this.focused === undefined || this.focused === null ? LEGEND : HINT));
  }

  focusOn(id) {
    for (const each of [this.focused, id]) this.nodes.get(each)?.classList.toggle("kb-focused", each === id);
    this.focused = id;
    const node = this.nodes.get(id);
    if (node) this.stage.setAttribute("aria-activedescendant", node.id);
    else this.stage.removeAttribute("aria-activedescendant");
    node?.scrollIntoView?.({ block: "nearest" });
    this.point(node?.box);
  }

  press(event) {
    const at = this.order.indexOf(this.focused);
    const steps = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: this.order.length - 1 };
    if (event.key in steps) {
      const goal = this.order[Math.min(this.order.length - 1, Math.max(0, steps[event.key]))];
      if (goal !== undefined) this.focusOn(goal);
    } else if (event.key === "Enter" || event.key === " ") this.choose(this.nodes.get(this.focused)?.box);
    else if (event.key === "Escape") this.choose(null);
    else return;
    event.preventDefault();
  }

  // Keep a job's life in sight, until Escape or another one.
  choose(box) {
    const id = box?.job && box.id !== this.chosen ? box.id : undefined;
    this.chosen = id;
    this.told = null;
    this.detail.hidden = id === undefined;
    if (id !== undefined) this.ask?.({ kind: "detail", job: id });
    this.later();
  }

  answer(message) {
    if (message.job !== this.chosen) return;
    this.told = message;
    this.tell();
  }

  tell() {
    const { history, palette } = this;
    const job = history.at(this.at ?? this.now).jobs.get(this.chosen);
    const life = history.changes.filter(([, table, key, change]) => table === "jobs" && key === this.chosen && change?.status);
    const clock = (at) => new Date((history.begin + at) * 1000).toLocaleTimeString([], { hour12: false });
    const lane = (key) => history.head.lanes.get(key)?.name ?? (key ? `worker ${key}` : "");
    const lines = life.map(([at, , , change]) =>
      [clock(at), palette.jobs[change.status].word, change.status === "picked" ? lane(change.worker) : "", change.error ?? ""]
        .filter(Boolean).join("  "));
    const parts = [
      make("strong", "", `#${this.chosen} ${job?.entrypoint ?? ""}`),
      make("div", "", this.told?.why ?? (job ? "" : "It is not on the board at this moment.")),
      make("code", "", [`priority ${job?.priority ?? "?"}`, job?.payload].filter((part) => part !== undefined).join("  ·  ")),
      make("pre", "", [...lines, ...(this.told?.traceback ? ["", this.told.traceback] : [])].join("\n")),
    ];
    const key = parts.map((part) => part.textContent).join("\n");
    if (key === this.detail.key) return;
    this.detail.key = key;
    this.detail.replaceChildren(...parts);
  }

  // ---- What a saved notebook keeps

  // Send the kernel the picture as it stands, as an SVG that needs no script: it is what GitHub and paper show.
  still() {
    if (this.at !== null || this.visible === false || document.hidden || !this.root.clientWidth) return;
    const copy = this.root.cloneNode(true);
    copy.querySelectorAll(".kb-controls, .kb-voice, .kb-detail").forEach((node) => node.remove());
    copy.querySelectorAll("[id], [role]").forEach((node) => ["id", "role", "aria-label"].forEach((name) => node.removeAttribute(name)));
    copy.className = "kit-board";
    const { width, height } = { width: this.root.clientWidth, height: this.root.clientHeight - 38 };
    copy.style.height = "auto";
    const page = make("div", "kb-page", make("style", "", this.css()), copy);
    const drawn = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height },
      svg("foreignObject", { width, height }, page));
    this.ask({ kind: "still", svg: new XMLSerializer().serializeToString(drawn) });
  }

  css() {
    for (const sheet of document.styleSheets) {
      try {
        const rules = [...sheet.cssRules].map((rule) => rule.cssText);
        if (rules.some((rule) => rule.startsWith(".kit-board {"))) return rules.filter((rule) => rule.includes("kb-") || rule.includes("kit-")).join("\n");
      } catch {
        // A sheet from elsewhere, which may not be read.
      }
    }
    return "";
  }
}
Board.ids = 0;

const sort = ({ kind }) => (kind === "timer" ? "card" : kind);

function ring() {
  const circle = (name) => svg("circle", { class: name, cx: 12, cy: 12, r: 9 });
  return svg("svg", { class: "kb-ring", viewBox: "0 0 24 24" }, circle("kb-whole"), circle("kb-left"));
}

// ---- Three ways to a board -----------------------------------------------------------------------------------------

// A board that a kernel keeps up to date. Until it answers there is none, and what was kept stands in its place.
function follow(root, palette, ask, options = {}) {
  const history = new History();
  let board = null;
  return {
    hear(text) {
      const message = JSON.parse(text);
      if (message.kind) return board?.answer(message);
      if (!history.take(message)) return ask({ kind: "again" });
      if (board) return board.arrived();
      root.classList.add("kit-live");
      board = new Board(root, history, palette, { ask, ...options });
    },
    close() {
      board?.close();
      board = null;
      root.classList.remove("kit-live");
      history.name = undefined;
    },
  };
}

// In a widget
function render({ model, el }) {
  const root = el.appendChild(make("div"));
  const ask = (question) => {
    try {
      model.send(question);
    } catch {
      // There is no kernel: what was kept is shown.
    }
  };
  const board = follow(root, model.get("palette"), ask);
  const hear = (_, buffers) => board.hear(new TextDecoder().decode(buffers[0]));
  const anew = () => {
    board.close(); // the kernel was restarted, or has ended: it is believed to be there when it answers
    ask({ kind: "again" });
  };
  model.on("msg:custom", hear);
  model.on("comm_live_update", anew);
  ask({ kind: "again" });
  return () => {
    model.off("msg:custom", hear);
    model.off("comm_live_update", anew);
    board.close();
  };
}

// In what a saved notebook keeps, in every place where it is shown, as soon as it is seen.
async function replay(id, packed, palette) {
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const text = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  for (const figure of document.querySelectorAll(`[id="${id}"]:not([data-played])`)) {
    figure.dataset.played = "";
    const watch = new IntersectionObserver(([entry]) => {
      if (!entry.isIntersecting) return;
      watch.disconnect();
      const history = new History();
      history.take(JSON.parse(text));
      const root = make("div");
      figure.firstElementChild.replaceWith(root);
      new Board(root, history, palette);
    });
    watch.observe(figure);
  }
}

export default { render };
export { follow, replay };
