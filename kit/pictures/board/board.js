// The board: the picture of a queue at any moment of its history, live or played again.
//
// `draw(history, t, room)` says what is to be seen, and where. A `Board` puts that on a page, lets the moment be
// chosen, and says it in words. At the end stand the three ways to one: a widget, a page beside the text, and what a
// saved notebook keeps. Whatever came out of the queue is set as text, never as markup, and nothing is asked of any
// server but the kernel.

const ENDINGS = ["successful", "exception", "failed", "canceled", "deleted"];
const TABLES = ["jobs", "lanes", "limits", "schedules", "more", "gone", "said"];
const DEAD = ["killed", "gone", "failed"]; // states of a lane whose jobs nobody works on
const QUIET = 2; // seconds: a stretch in which nothing happens is played as one of this length
const RATE = 30; // seconds that the line of jobs a second shows
const MARKS = 60; // beside the moment, at most

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
    this.base = Object.fromEntries(TABLES.map((table) => [table, []]));
    this.restart();
  }

  restart() {
    this.changes = [];
    this.head = this.start(); // the state after all changes
    this.folded = null;
    this.knots = [[0, 0]]; // moments, and when each is played
    this.ends = []; // moments at which jobs ended, and how many had by then
    this.marks = []; // what happened when, to be seen beside the moment
    this.jobs = this.head.jobs.size > 0; // whether there is, or was, one
    this.waiting = this.most = 0; // how many jobs wait, and the most that did
    this.timed = false; // whether one ever waited for its time
    this.used = new Set(); // the ways in which jobs ended
  }

  start() {
    return Object.fromEntries(TABLES.map((table) => [table, new Map(this.base[table])]));
  }

  // Take in a message; return whether it fits to what is known.
  take(message) {
    if (message.base) {
      Object.assign(this, { name: message.name, begin: message.begin, base: message.base, next: message.from });
      this.restart();
    }
    if (!this.name || message.from > this.next) return false;
    message.changes.slice(this.next - message.from).forEach((change) => this.note(change));
    this.next = Math.max(this.next, message.from + message.changes.length);
    this.now = message.now;
    return true;
  }

  // What is asked of the whole history at every drawing is reckoned once, when a change comes.
  note(change) {
    const [at, table, key, fields] = change;
    const before = this.head[table].get(key);
    const status = fields?.status;
    const [last, played] = this.knots.at(-1);
    if (!this.changes.length) this.knots = [[at, 0]];
    else if (at > last) this.knots.push([at, played + Math.min(at - last, QUIET)]);
    this.changes.push(change);
    fold(this.head, change);
    if (table === "jobs") {
      this.jobs = true;
      if (status || !fields) this.waiting += (status === "queued") - (before?.status === "queued");
      this.most = Math.max(this.most, this.waiting);
      if (ENDINGS.includes(status)) {
        this.used.add(status);
        if (status !== "failed") this.end(at, 1);
        if (status === "exception" || status === "failed") this.mark(at, status);
      }
    } else if (table === "more" && ENDINGS.includes(key) && fields) {
      this.used.add(key);
      this.end(at, fields.n - (before?.n ?? fields.n));
    } else if (table === "lanes" && before && DEAD.includes(fields?.state)) this.mark(at, "lost");
    this.timed ||= fields?.due > at || table === "schedules";
  }

  end(at, jobs) {
    if (jobs > 0) this.ends.push([at, (this.ends.at(-1)?.[1] ?? 0) + jobs]);
  }

  mark(at, what) {
    const again = this.marks.some(([moment, other]) => other === what && at - moment < 0.3);
    if (!again && this.marks.length < MARKS) this.marks.push([at, what]);
  }

  // The state at a moment. Going forward takes in what is new, going back begins at the beginning.
  at(t) {
    if (!this.folded || t < this.folded.t) this.folded = { count: 0, tables: this.start() };
    const { folded, changes } = this;
    while (changes[folded.count]?.[0] <= t) fold(folded.tables, changes[folded.count++]);
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
    const [next, end] = this.knots[place + 1] ?? [at + 1, begin + 1];
    return at + ((played - begin) / (end - begin)) * (next - at);
  }

  place(column, value) {
    return Math.max(0, this.knots.findLastIndex((knot) => knot[column] <= value));
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

const PAD = 12;
// The sizes of a card: width, height, gap, and how it looks. The two small ones show the id alone, after their priority.
const sizes = (digits) => [
  [150, 24, 6, 0],
  [112, 24, 6, 0],
  [76, 22, 5, 1],
  [24 + 7 * digits, 19, 3, 2],
  [13 + 6 * digits, 16, 2, 3],
];

// Who waits, who works and what has ended at a moment, before it is known how much room there is.
function facts(history, t) {
  const tables = history.at(t);
  const usual = Math.max(0, ...[...tables.lanes.values()].map((lane) => lane.timeout ?? 0)) || 30; // PGQueuer's own
  const lanes = new Map();
  for (const [key, lane] of tables.lanes) {
    if (lane.name) lanes.set(key, { timeout: usual, ...lane, key, dead: DEAD.includes(lane.state), jobs: [] });
  }
  const seen = { tables, lanes, waiting: [], later: [], ended: {}, counts: {}, slots: new Map() };
  const unknown = { name: "a consumer", state: "working", key: "?", timeout: usual, jobs: [] };
  for (const [id, job] of tables.jobs) {
    const turn = Math.max(job.turn ?? 0, (job.tries ?? 0) + (job.status === "picked"));
    const card = { id, ...job, turn };
    seen.counts[job.status] = (seen.counts[job.status] ?? 0) + 1;
    if (job.status === "queued") (job.due > t ? seen.later : seen.waiting).push(card);
    else if (job.status === "picked") (lanes.get(job.worker) ?? unknown).jobs.push(card);
    else (seen.ended[job.status] ??= []).push(card);
  }
  if (unknown.jobs.length) lanes.set("?", unknown);
  for (const [status, { n }] of [...tables.more, ...tables.gone]) {
    if (n) seen.counts[status] = (seen.counts[status] ?? 0) + n;
  }
  for (const lane of lanes.values()) {
    lane.jobs.sort((a, b) => b.priority - a.priority || a.picked - b.picked || a.id - b.id);
    lane.quiet = Math.max(0, t - Math.max(lane.beat ?? 0, ...lane.jobs.map((job) => job.picked)));
    lane.left = lane.jobs.length ? Math.max(0, 1 - lane.quiet / lane.timeout) : Number(!lane.dead);
    lane.lost = lane.jobs.length > 0 && (lane.dead || lane.silent === true);
    for (const job of lane.jobs) {
      job.lost = lane.lost;
      seen.slots.set(job.entrypoint, [...(seen.slots.get(job.entrypoint) ?? []), job.lost]);
    }
    // Whoever is silent for too long has lost its jobs: they stand in the queue again, until another takes them.
    if (lane.lost && lane.left === 0) seen.waiting.push(...lane.jobs.splice(0));
    if (lane.dead && lane.state !== "killed" && !lane.lost) lanes.delete(lane.key);
  }
  seen.waiting.sort((a, b) => b.priority - a.priority || a.id - b.id);
  seen.later.sort((a, b) => a.due - b.due || a.id - b.id);
  for (const cards of Object.values(seen.ended)) cards.sort((a, b) => b.at - a.at || b.id - a.id);
  seen.next = next(seen)?.id;
  const due = [...seen.waiting.map((job) => Math.max(job.created, job.due ?? 0)), tables.more.get("oldest")?.due ?? t];
  seen.oldest = t - Math.min(...due);
  return seen;
}

// Which job is next: the first of those that a consumer has the entrypoint of, and a slot for.
function next({ waiting, slots, lanes, tables: { limits } }) {
  const strangers = [...lanes.values()].some((lane) => lane.state === "working" || lane.state === "connected");
  if (!limits.size || strangers) return waiting[0];
  const known = waiting.filter(({ entrypoint }) => limits.has(entrypoint));
  const free = ({ entrypoint, lost }) =>
    lost || !limits.get(entrypoint).n || (slots.get(entrypoint)?.length ?? 0) < limits.get(entrypoint).n;
  return known.find(free) ?? known[0];
}

// Put cards into a box, the small ones each group after its priority; say how high that is, and how many had no place.
function flow(cards, x, y, width, [least, high, gap], small, rows) {
  const across = Math.max(1, Math.floor((width + gap) / (least + gap)));
  const wide = small ? least : (width + gap) / across - gap;
  const placed = [];
  let [left, row, group] = [x, 0, null];
  for (const [index, card] of cards.entries()) {
    const chip = small && card.priority !== group ? 10 + 6 * String(card.priority).length : 0;
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
  for (const shape of sizes(String(cards.at(-1)?.id ?? 1).length)) {
    const [, high, gap, size] = shape;
    const rows = Math.max(1, Math.floor((height + gap) / (high + gap)));
    found = { size, ...flow(cards, x, y, width, shape, size > 1, rows) };
    if (!found.rest) break;
  }
  return found;
}

// What is to be seen at the moment `t`: boxes with their places, in the order in which they are read.
function draw(history, t, { width, height, fill, palette }) {
  const seen = facts(history, t);
  const { counts, tables } = seen;
  const byName = (a, b) => (a.name ?? "").localeCompare(b.name ?? "", "en", { numeric: true });
  const lanes = [...seen.lanes.values()].sort(byName);
  const ends = ENDINGS.filter((status) => history.used.has(status) || counts[status]);
  const wide = width - 2 * PAD;
  const boxes = [];
  let y = 6;
  const put = (id, kind, x, top, w, h, more) => boxes.push({ id, kind, x, y: top, w, h, ...more });
  const cards = (placed, where, size, down = 0) => {
    for (const { card, chip, x, y: top, w, h } of placed) {
      if (!card) put(`chip ${where} ${x} ${top + down}`, "chip", x, top + down, w, h, { text: `${chip}` });
      else put(card.id, "card", x, top + down, w, h, { ...say(card, seen, t, palette), size, where });
    }
  };
  const bar = (id, x, top, w, all, drawn) =>
    put(id, "bar", x, top, w, 16, { left: drawn / all, text: `${number(drawn)} drawn of ${number(all)}` });

  // How high what stands below the queue is: lanes share a part of it, a smaller one where many jobs wait
  const slim = lanes.length > 4;
  const [head, least] = slim ? [184, 26] : [Math.min(wide * 0.56, 196), 40];
  let queue;
  for (const part of [0.42, 0.24]) {
    const share = Math.max(least, (height * part) / Math.max(1, lanes.length));
    for (const lane of lanes) {
      lane.fit = fit(lane.jobs, PAD + head, 0, wide - head - 8, share - 10);
      lane.high = Math.max(least, lane.fit.height + 12 + (lane.fit.rest ? 20 : 0));
    }
    const below = lanes.reduce((sum, { high }) => sum + high + 5, 100) + ends.length * 30 + (history.timed ? 37 : 0);
    queue = fit(seen.waiting, PAD, y + 27, wide, Math.max(54, height - below));
    if (!queue.rest) break;
  }

  // The queue
  const queued = counts.queued ?? 0;
  const due = seen.waiting.length + (tables.more.get("queued")?.n ?? 0);
  const drawn = seen.waiting.length - queue.rest;
  const right = due ? `the oldest waits ${span(seen.oldest)}` : "";
  put("waiting", "title", PAD, y, wide, 18, { text: palette.jobs.queued.word, count: number(queued), right });
  y += 27;
  cards(queue.placed, "queue", queue.size);
  if (!due) put("none", "note", PAD, y + 3, wide, 18, { text: queued ? "none is due" : "none" });
  // As much room as the queue has ever needed, up to two rows, so that what stands below it does not jump
  y += Math.max(24, queue.height, Math.min(54, 30 * Math.ceil(history.most / Math.floor(wide / 118)))) + 6;
  if (drawn < due) {
    bar("more", PAD, y, wide, due, drawn);
    y += 22;
  }
  // What waits for its time: a bar that shrinks until then
  if (history.timed) {
    const timers = [
      ...[...tables.schedules].map(([key, row]) => [`schedule ${key}`, plan(row, t, palette), row.last, row.next]),
      ...seen.later.map((job) => [job.id, say(job, seen, t, palette), job.at, job.due]),
    ];
    const across = Math.max(1, Math.min(3, Math.floor(wide / 180)));
    const w = (wide - 8 * (across - 1)) / across;
    const place = (index) => [PAD + (index % across) * (w + 8), y + Math.floor(index / across) * 37];
    const shown = timers.length > 2 * across ? 2 * across - 1 : timers.length;
    timers.slice(0, shown).forEach(([id, said, from, to], index) => {
      const left = Math.min(1, Math.max(0, (to - t) / Math.max(0.01, to - from)));
      put(id, "timer", ...place(index), w, 31, { ...said, size: 0, where: "later", left });
    });
    const rest = `and ${number(timers.length - shown)} more later`;
    if (shown < timers.length) put("later", "note", ...place(shown), w, 31, { text: rest });
    y += 37 * Math.max(1, Math.ceil(Math.min(timers.length, 2 * across) / across)) + 2;
  }
  put("line 1", "line", 0, y, width, 1, {});
  y += 7;

  // Who works
  const slots = [...tables.limits].filter(([, { n }]) => n).map(([entrypoint, { n }]) => {
    const taken = seen.slots.get(entrypoint) ?? [];
    return { entrypoint, n, taken: taken.length, lost: taken.filter(Boolean).length, dots: n < wide / 36 };
  });
  put("workers", "title", PAD, y, wide, 18, { text: "workers", count: "", slots });
  y += 22;
  if (!lanes.length) put("nobody", "note", PAD, y + 3, wide, 18, { text: "No consumer is known." });
  for (const lane of lanes) {
    const { placed, rest, size, height: inside } = lane.fit;
    put(`lane ${lane.key}`, "lane", PAD, y, wide, lane.high, { lane, slim, head, ...sayLane(lane, slim || wide < 360) });
    cards(placed, "lane", size, y + (rest ? 6 : Math.max(6, (lane.high - inside) / 2)));
    const all = lane.jobs.length;
    if (rest) bar(`more ${lane.key}`, PAD + head, y + lane.high - 20, wide - head - 8, all, all - rest);
    y += lane.high + 5;
  }
  y += lanes.length ? 0 : 29;

  // What became of jobs: a row each, and where there is room, more
  if (ends.length) put("line 2", "line", 0, y + 1, width, 1, {});
  y += 6;
  let spare = fill ? Math.max(0, Math.floor((height - y - ends.length * 30) / 30)) : 0;
  for (const status of ends) {
    const { word: text, sign } = palette.jobs[status];
    put(`end ${status}`, "end", PAD, y + 3, 116, 22, { text, sign, count: number(counts[status] ?? 0), status });
    const { placed, height: high } = flow(
      ...[seen.ended[status] ?? [], PAD + 122, y + 2, wide - 122, sizes(1)[1], false, 1 + spare],
    );
    cards(placed, "end", 0);
    spare -= Math.max(0, Math.round(high / 30) - 1);
    y += Math.max(24, high) + 6;
  }
  const count = (status) => `${number(counts[status] ?? 0)} ${palette.jobs[status].word}`;
  const words = history.jobs || ends.length ? ["queued", "picked", ...ends].map(count).join(" · ") : "no job yet";
  const trouble = tables.said.get("trouble")?.text;
  return { boxes, height: y + 4, words, trouble, due };
}

// A job in words and signs.
function say(job, seen, t, palette) {
  const text = `#${job.id}${job.payload ? ` ${job.payload}` : ""}`;
  const again = job.turn > 1;
  let [status, mark, how] = [job.status, again ? `×${job.turn}` : "", palette.jobs[job.status].word];
  if (job.lost) [status, mark, how] = ["lost", palette.again, "its worker is gone"];
  else if (status === "queued" && job.due > t) {
    mark = how = job.turn ? `again in ${span(job.due - t)} · try ${job.turn + 1}` : `due in ${span(job.due - t)}`;
  }
  const words = [`Job ${job.id}`, job.entrypoint, job.payload, `priority ${job.priority}`, how];
  words.push(again && `delivered ${job.turn} times`, status !== "successful" && job.error);
  words.push(job.id === seen.next && "next");
  const label = words.filter(Boolean).join(", ");
  return { text, priority: `${job.priority}`, mark, status, next: job.id === seen.next, again, label, job };
}

function plan(row, t, palette) {
  const runs = row.state === "picked";
  const mark = runs ? palette.jobs.picked.word : `${row.expression} · in ${span(row.next - t)}`;
  const label = `Schedule ${row.entrypoint}, ${mark}`;
  return { text: `⟳ ${row.entrypoint}`, priority: "", mark, status: runs ? "picked" : "queued", label };
}

function sayLane(lane, brief) {
  const has = lane.jobs.length;
  let doing = lane.state === "running" || lane.state === "working" ? [] : [lane.state];
  if (lane.lost) {
    const back = lane.timeout - lane.quiet;
    doing = [lane.dead ? lane.state : "silent", back > 0 && `jobs back in ${span(back)}`].filter(Boolean);
  } else if (has && !lane.dead) doing.push(`heartbeat ${span(lane.quiet)} ago`);
  const all = doing.join(" · ") || "idle";
  const short = (doing.at(lane.lost ? -1 : 0) ?? all).replace(/^(jobs|heartbeat) /, "");
  return { doing: brief ? short : all, label: `${lane.name}: ${all}${has ? `, ${plural(has, "job")}` : ""}` };
}

// What is shown, in grey, before there has been a job.
function sample(name) {
  const history = new History();
  const job = (id, priority) => ({ status: "queued", entrypoint: "page", priority, payload: `page ${id}` });
  const lane = (key) => ({ name: `worker ${key + 1}`, state: "running", timeout: 10, beat: 1 });
  const changes = [
    [0, "limits", "page", { n: 4 }],
    ...[0, 1].map((key) => [0, "lanes", key, lane(key)]),
    ...[10, 5, 0, 0, 0, 0, 0, 0, 0, -1].map((priority, at) => [0, "jobs", at + 1, job(at + 1, priority)]),
    ...[1, 2, 3, 4].map((id) => [1, "jobs", id, { status: "picked", worker: id % 2, turn: 1 }]),
    ...[1, 2].map((id) => [1.5, "jobs", id, { status: "successful" }]),
  ];
  history.take({ name, begin: 0, base: history.base, from: 0, now: 3, changes });
  return history;
}

// ---- On a page -----------------------------------------------------------------------------------------------------

// An element: its name and classes, attributes, and what is in it.
const SVG = ["svg", "path", "circle", "foreignObject"];
function make(kind, attributes = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const space = SVG.includes(tag) ? "http://www.w3.org/2000/svg" : "http://www.w3.org/1999/xhtml";
  const node = document.createElementNS(space, tag);
  if (classes.length) node.setAttribute("class", classes.join(" "));
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const LEAP = 120; // more cards than this going elsewhere at once do not fly
const SAY_EVERY = 8000; // milliseconds between two announcements to a screen reader
const LEGEND =
  "number: priority, the highest first · edge: what became of it · ×2: delivered twice · " +
  "ring: time until a silent worker's jobs go back · line: jobs a second, the last 30 s";

// What is in a box of each kind.
const INSIDE = {
  card: () => [make("b.kb-p"), make("span.kb-t"), make("span.kb-m"), make("i.kb-left")],
  lane: () => [ring(), make("b.kb-t"), make("span.kb-m")],
  end: () => [make("i.kb-sign"), make("span.kb-t"), make("b.kb-m")],
  title: () => [make("b.kb-t"), make("span.kb-m")],
  bar: () => [make("i.kb-left"), make("span.kb-t")],
  chip: () => [make("span.kb-t")],
  note: () => [make("span.kb-t")],
  line: () => [],
};
INSIDE.timer = INSIDE.card;
const circle = (name) => make(`circle.kb-${name}`, { cx: 12, cy: 12, r: 9 });
const ring = () => make("svg.kb-ring", { viewBox: "0 0 24 24" }, circle("whole"), circle("left"));

class Board {
  // `ask` sends a question to the kernel; without one there is none. A `docked` one fills the room that it is given.
  constructor(root, history, palette, { ask = null, docked = false } = {}) {
    Object.assign(this, { root, history, palette, ask, docked });
    this.at = null; // the moment that is seen; null is now
    this.speed = 1;
    this.nodes = new Map();
    this.order = []; // what is reached by keys
    this.timers = {};
    root.board = this;
    this.build();
    this.watches = [
      new ResizeObserver(() => this.later()),
      new IntersectionObserver(([entry]) => {
        this.visible = entry.isIntersecting;
        this.later();
      }),
    ];
    this.watches.forEach((watch) => watch.observe(root));
    this.arrived();
  }

  close() {
    this.visible = false; // what is still on its way draws nothing any more
    this.watches.forEach((watch) => watch.disconnect());
    Object.values(this.timers).forEach(clearTimeout);
    cancelAnimationFrame(this.frame);
    this.root.replaceChildren();
  }

  wait(what, milliseconds, act) {
    clearTimeout(this.timers[what]);
    this.timers[what] = setTimeout(act, milliseconds);
  }

  build() {
    const { root, palette } = this;
    root.className = `kit-board ${this.ask ? "kit-live" : ""} ${this.docked ? "kb-docked" : ""}`;
    root.setAttribute("role", "region");
    root.setAttribute("aria-label", "Board of the queue");
    root.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab's own keys are ours while it has the focus
    for (const [status, { colour }] of Object.entries(palette.jobs)) root.style.setProperty(`--c-${status}`, colour);
    for (const [name, [light, dark]] of Object.entries(palette.neutral)) {
      root.style.setProperty(`--l-${name}`, light);
      root.style.setProperty(`--d-${name}`, dark);
    }
    this.line = make("path");
    const spark = make("svg.kb-spark", { viewBox: "0 0 90 20", "aria-hidden": "true" }, this.line);
    [this.name, this.words, this.rate] = [make("strong.kb-name"), make("span.kb-words"), make("span.kb-rate")];
    const head = make("div.kb-head", {}, this.name, this.words, make("span.kb-pace", {}, spark, this.rate));
    this.trouble = make("div.kb-trouble");
    this.stage = make("div.kb-stage", { role: "listbox", "aria-label": "Workers and jobs", tabindex: 0 });
    this.middle = make("div.kb-middle", {}, this.stage);
    this.legend = make("div.kb-legend");
    this.detail = make("div.kb-detail", { role: "region", "aria-label": "The chosen job", tabindex: 0, hidden: "" });
    this.voice = make("div.kb-voice", { role: "status" });
    root.replaceChildren(head, this.trouble, this.middle, this.controls(), this.legend, this.detail, this.voice);
    const at = (event) => event.target.closest("[role=option]")?.box;
    this.stage.addEventListener("keydown", (event) => this.press(event));
    this.stage.addEventListener("pointerover", (event) => this.point(at(event)));
    this.stage.addEventListener("pointerleave", () => this.point());
    this.stage.addEventListener("click", (event) => this.choose(at(event)));
    this.stage.addEventListener("blur", () => this.focusOn());
    this.detail.addEventListener("keydown", (event) => event.key === "Escape" && this.choose());
    this.point();
  }

  controls() {
    const button = (act) => {
      const node = make("button.kb-button", { type: "button" });
      node.addEventListener("click", act);
      return node;
    };
    this.play = button(() => this.go(this.at, !this.playing));
    this.pace = button(() => {
      this.speed = this.speed === 1 ? 0.5 : 1;
      this.later();
    });
    this.slider = make("input.kb-slider", { type: "range", min: 0, step: "any", "aria-label": "Moment" });
    this.slider.addEventListener("input", () => {
      const value = Number(this.slider.value);
      this.go(value >= Number(this.slider.max) - 0.01 ? null : this.history.moment(value));
    });
    this.dots = make("span.kb-dots", { "aria-hidden": "true" });
    this.moment = make("span.kb-moment");
    const track = make("span.kb-track", {}, this.dots, this.slider);
    return make("div.kb-controls", {}, this.play, this.pace, track, this.moment);
  }

  // ---- The moment

  // Now by the database's clock. What a message took to arrive is the least that one took.
  get now() {
    const { now } = this.history;
    return this.ask ? Math.max(now, performance.now() / 1000 - this.lag) : now;
  }

  // Something has come from the kernel.
  arrived() {
    const { now, begin } = this.history;
    const lag = performance.now() / 1000 - now;
    this.lag = begin === this.begin ? Math.min(this.lag, lag) : lag;
    if (begin !== this.begin) {
      this.most = 0;
      this.go(null); // a moment, or a job, of the queue before is not one of this
      this.choose();
    }
    this.begin = begin;
    if (this.ask) this.wait("still", 1500, () => this.still());
    this.later();
  }

  // Go to a moment; null is now. Played again from there, or from now, it begins at the beginning.
  go(t, play = false) {
    const { history } = this;
    const over = t === null || history.played(t) >= history.played(this.now) - 0.1;
    this.at = play && over ? history.knots[0][0] - 0.01 : t;
    this.playing = play ? performance.now() : null;
    this.later();
  }

  // ---- Drawing

  later() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      if (this.visible !== false && !document.hidden) this.step();
    });
  }

  step() {
    const { history } = this;
    if (this.playing) {
      const played = history.played(this.at) + ((performance.now() - this.playing) / 1000) * this.speed;
      this.playing = performance.now();
      this.at = history.moment(played);
      if (played >= history.played(this.now) - 0.01) [this.at, this.playing] = [null, null];
    }
    const again = this.draw();
    const pause = this.playing ? 40 : this.at === null && this.ask && again;
    if (pause) this.wait("step", pause, () => this.later());
  }

  // Draw the moment; return after how many milliseconds it looks another way without any news, 0 for never.
  draw() {
    const { palette, docked: fill } = this;
    const none = fill && !this.history.jobs;
    const history = none ? sample(this.history.name) : this.history;
    const t = none ? history.now : (this.at ?? this.now);
    const width = Math.max(280, this.stage.clientWidth);
    const height = fill ? this.middle.clientHeight - 8 : width < 480 ? 700 : 500;
    const scene = draw(history, t, { width, height, fill, palette });
    this.root.classList.toggle("kb-sample", none);
    setText(this.name, history.name);
    setText(this.words, none ? "A sample: so it looks when jobs run." : scene.words);
    this.trouble.hidden = !scene.trouble;
    setText(this.trouble, scene.trouble ? `⚠ ${scene.trouble}` : "");
    this.drawRate(t);
    this.drawBoxes(scene);
    this.drawControls(t);
    this.say(scene.trouble || this.words.textContent);
    if (this.chosen !== undefined) this.tell(t);
    if (none) return 0;
    if (scene.boxes.some(({ kind, lane }) => kind === "timer" || lane?.jobs.length || lane?.lost)) return 250;
    return scene.due || history.rate(t).some(Boolean) ? 1000 : 0;
  }

  drawRate(t) {
    const seconds = this.history.rate(t);
    const most = Math.max(1, ...seconds);
    const points = seconds.map((jobs, at) => `${(at * 90) / (RATE - 1)},${19 - (jobs / most) * 17}`);
    this.line.setAttribute("d", `M${points.join("L")}`);
    const recent = seconds.slice(-3).reduce((sum, jobs) => sum + jobs, 0) / 3;
    setText(this.rate, `${recent >= 10 ? number(Math.round(recent)) : recent.toFixed(1).replace(".0", "")} jobs/s`);
  }

  drawBoxes({ boxes, height }) {
    const gone = new Set(this.nodes.keys());
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const leaves = ({ id, where }) => this.nodes.has(id) && this.nodes.get(id).box.where !== where;
    const leaving = boxes.filter(leaves).length;
    this.order = boxes.filter(({ label }) => label).map(({ id }) => id);
    let moved = false;
    for (const box of boxes) {
      gone.delete(box.id);
      const node = this.nodes.get(box.id) ?? this.node(box);
      const before = node.box;
      node.box = box;
      const [x, y, w, h] = [box.x, box.y, box.w, box.h].map(Math.round);
      const place = `translate(${x}px, ${y}px)`;
      if (node.place !== place) {
        // What goes elsewhere flies; the many small ones of a queue that moves up do not.
        node.flies = before && !still && (before.where === box.where ? !(box.size > 1) : leaving < LEAP);
        node.style.transform = node.place = place;
        moved = true;
        if (node.flies && before.where === "queue" && box.where === "end") this.through(node, before, box);
      }
      Object.assign(node.style, { width: `${w}px`, height: `${h}px` });
      this.fill(node, box, before);
    }
    for (const id of gone) {
      this.nodes.get(id).remove();
      this.nodes.delete(id);
    }
    if (moved) this.wait("tidy", 800, () => this.tidy(boxes));
    this.most = this.docked ? height : Math.max(this.most, height); // the text below stays where it is
    this.stage.style.height = `${Math.round(this.most)}px`;
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
    const lane = this.nodes.get(`lane ${box.job.worker}`)?.box;
    if (!lane) return;
    const over = { x: lane.x + lane.head, y: lane.y + 8 };
    const steps = [before, over, over, box].map(({ x, y }) => ({ transform: `translate(${x}px, ${y}px)` }));
    node.animate(steps, { duration: 600, easing: "ease-in-out" });
  }

  node(box) {
    const node = make("div", {}, ...INSIDE[box.kind]());
    if (box.label) {
      node.setAttribute("role", "option");
      node.setAttribute("aria-selected", "false");
      node.id = `kb-${(Board.ids = (Board.ids ?? 0) + 1)}`;
    } else node.setAttribute("aria-hidden", "true");
    this.nodes.set(box.id, node);
    return this.stage.appendChild(node);
  }

  fill(node, box, before) {
    const { kind, lane, size, left = lane?.left } = box;
    const looks = {
      [`kb-${kind}`]: true,
      [`kb-${box.status}`]: box.status,
      [`kb-size-${size}`]: size,
      "kb-next": box.next,
      "kb-again": box.again,
      "kb-slim": box.slim,
      "kb-dead": lane?.lost || lane?.dead,
      "kb-idle": lane && !lane.jobs.length,
      "kb-fly": node.flies,
      "kb-chosen": this.chosen === box.id,
      "kb-focused": this.focused === box.id,
    };
    const names = `kb-box ${Object.keys(looks).filter((look) => looks[look]).join(" ")}`;
    if (node.className !== names) node.className = names;
    if (box.label && node.label !== box.label) node.setAttribute("aria-label", (node.label = box.label));
    if (left !== undefined) node.style.setProperty("--left", left.toFixed(3));
    const texts = {
      card: size > 1 ? ["", box.text?.split(" ")[0], ""] : [box.priority, box.text, box.mark],
      lane: [null, lane?.name ?? "", box.doing],
      end: [box.sign, box.text, box.count],
      title: [box.text, box.slots ? null : (box.right ?? "")],
      bar: [null, box.text],
    }[kind === "timer" ? "card" : kind] ?? [box.text];
    texts.forEach((text, at) => text != null && setText(node.children[at], text));
    if (kind === "lane") node.style.setProperty("--head", `${Math.round(box.head)}px`);
    if (kind === "title") node.firstChild.dataset.count = box.count;
    if (box.slots && JSON.stringify(box.slots) !== JSON.stringify(before?.slots)) {
      node.lastChild.replaceChildren(...box.slots.map((limit) => this.limit(limit)));
    }
  }

  // An entrypoint's limit: a dot for each slot, or a bar where there are many.
  limit({ entrypoint, n, taken, lost, dots }) {
    const slot = (at) => make(at < taken - lost ? "i.kb-taken" : at < taken ? "i.kb-lost" : "i");
    const bar = make("meter", { max: n, value: taken, "aria-hidden": "true" });
    const slots = dots ? Array.from({ length: n }, (_, at) => slot(at)) : [bar];
    const said = `${entrypoint}: ${taken} of ${plural(n, "slot")}`;
    return make("span.kb-limit", {}, said, make("span.kb-slots", {}, ...slots));
  }

  drawControls(t) {
    const { history, palette: { jobs } } = this;
    const [begin] = history.knots[0];
    const [whole, live] = [history.played(this.now), this.at === null];
    const since = span(t - begin);
    const moment = live && this.ask ? `now · ${since}` : `${since} of ${span(this.now - begin)}`;
    this.slider.max = whole;
    this.slider.value = live ? whole : history.played(t);
    this.slider.setAttribute("aria-valuetext", moment);
    setText(this.moment, moment);
    this.root.classList.toggle("kb-replay", !live);
    setText(this.play, this.playing ? "❚❚" : "►");
    this.play.setAttribute("aria-label", this.playing ? "Pause" : "Play again");
    setText(this.pace, this.speed === 1 ? "1×" : "½×");
    this.pace.setAttribute("aria-label", `Speed: ${this.speed === 1 ? "full" : "half"}`);
    const place = (at) => `left: ${(100 * history.played(at)) / (whole || 1)}%`;
    const marks = history.marks.map(([at, what]) => make(`i.kb-${what}`, { style: place(at), title: jobs[what]?.word ?? "a worker is lost" }));
    if (marks.length || this.dots.firstChild) this.dots.replaceChildren(...marks);
  }

  // The last words always come, but no more often than a listener can bear.
  say(words) {
    this.spoken = words;
    this.timers.say ??= setTimeout(
      () => {
        this.timers.say = undefined;
        setText(this.voice, this.spoken);
      },
      this.voice.textContent ? SAY_EVERY : 0,
    );
  }

  // ---- One job

  point(box) {
    setText(this.legend, box?.label ?? LEGEND);
  }

  focusOn(id) {
    this.focused = id;
    const node = this.nodes.get(id);
    if (node) this.stage.setAttribute("aria-activedescendant", node.id);
    else this.stage.removeAttribute("aria-activedescendant");
    node?.scrollIntoView({ block: "nearest" });
    this.point(node?.box);
    this.later();
  }

  press(event) {
    const last = this.order.length - 1;
    const at = this.order.indexOf(this.focused);
    const goals = { ArrowRight: at + 1, ArrowDown: at + 1, ArrowLeft: at - 1, ArrowUp: at - 1, Home: 0, End: last };
    if (event.key in goals) this.focusOn(this.order[Math.min(last, Math.max(0, goals[event.key]))]);
    else if (event.key === "Enter" || event.key === " ") this.choose(this.nodes.get(this.focused)?.box);
    else if (event.key === "Escape") this.choose();
    else return;
    event.preventDefault();
  }

  // Keep a job's life in sight, until Escape, another one, or the same again.
  choose(box) {
    this.chosen = box?.job && box.id !== this.chosen ? box.id : undefined;
    this.told = null;
    this.detail.hidden = this.chosen === undefined;
    if (this.chosen !== undefined) this.ask?.({ kind: "detail", job: this.chosen });
    this.later();
  }

  // The kernel has told what it knows of a job.
  answer(message) {
    if (message.job === this.chosen) this.told = message;
    this.later();
  }

  tell(t) {
    const { history, palette, chosen } = this;
    const job = history.at(t).jobs.get(chosen);
    const clock = (at) => new Date((history.begin + at) * 1000).toLocaleTimeString([], { hour12: false });
    const who = (key) => history.head.lanes.get(key)?.name ?? (key ? `worker ${key}` : "");
    const life = history.changes
      .filter(([, table, key, change]) => table === "jobs" && key === chosen && change?.status)
      .map(([at, , , { status, worker, error }]) =>
        [clock(at), palette.jobs[status].word, status === "picked" && who(worker), error].filter(Boolean).join("  "));
    const texts = [
      `#${chosen} ${job?.entrypoint ?? ""}`,
      this.told?.why ?? (job ? "" : "It is not on the board at this moment."),
      [`priority ${job?.priority ?? "?"}`, job?.payload].filter(Boolean).join("  ·  "),
      [...life, ...(this.told?.traceback ? ["", this.told.traceback] : [])].join("\n"),
    ];
    if (!this.detail.firstChild) this.detail.append(...["strong", "div", "code", "pre"].map((tag) => make(tag)));
    texts.forEach((text, at) => setText(this.detail.children[at], text));
  }

  // Send the kernel the picture as it stands, as an SVG that needs no script: it is what GitHub and paper show.
  still() {
    if (this.at !== null || this.visible === false || document.hidden || !this.root.clientWidth) return;
    const copy = this.root.cloneNode(true);
    copy.className = "kit-board";
    copy.querySelectorAll(".kb-controls, .kb-voice, .kb-detail").forEach((node) => node.remove());
    for (const name of ["id", "role", "aria-label"]) {
      copy.querySelectorAll(`[${name}]`).forEach((node) => node.removeAttribute(name));
    }
    const [width, height] = [this.root.clientWidth + 2, this.root.clientHeight - 34];
    const page = make("div.kb-page", {}, make("style"), copy);
    const box = { viewBox: `0 0 ${width} ${height}`, width, height };
    const picture = make("svg", box, make("foreignObject", box, page));
    this.ask({ kind: "still", svg: new XMLSerializer().serializeToString(picture) });
  }
}

// ---- Three ways to a board -----------------------------------------------------------------------------------------

// A board that a kernel keeps up to date. Until it answers there is none, and what was kept stands in its place.
function follow(root, palette, ask, options = {}) {
  let [history, board] = [new History(), null];
  return {
    hear(text) {
      const message = JSON.parse(text);
      if (message.kind) board?.answer(message);
      else if (!history.take(message)) ask({ kind: "again" });
      else if (board) board.arrived();
      else board = new Board(root, history, palette, { ask, ...options });
    },
    close() {
      board?.close();
      root.className = "";
      [history, board] = [new History(), null];
    },
  };
}

// In a widget
function render({ model, el }) {
  const root = el.appendChild(make("div"));
  const ask = (question) => model.send(question);
  const board = follow(root, model.get("palette"), ask);
  const hear = (_, buffers) => board.hear(new TextDecoder().decode(buffers[0]));
  const anew = () => {
    board.close(); // the kernel was restarted, or has ended: it is there when it answers
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
