// The browser's side of kit.board(). It gets a whole picture once ("full") and then only what has changed
// ("change"), keeps the jobs it was told of, and draws them. Whatever came out of the queue is set as text,
// never as markup. Nothing is asked of any server but the kernel.

const COLUMNS = [
  { name: "queued", icon: "◷", statuses: ["queued"] },
  { name: "picked", icon: "▶", statuses: ["picked"] },
  { name: "successful", icon: "✓", statuses: ["successful"] },
  { name: "exception", icon: "✗", statuses: ["exception"] },
  { name: "held", icon: "‖", statuses: ["failed"] },
  { name: "canceled", icon: "⊘", statuses: ["canceled", "deleted"] },
];
const COLUMN_OF = Object.fromEntries(COLUMNS.flatMap((column, index) => column.statuses.map((s) => [s, index])));
const STEPS = [0, 1, 3, 6, 10]; // a priority's colour: below 0, 0, 1–2, 3–5, 6–9, 10 and more
const CARD = { width: 88, height: 24, gap: 4 };
const SMALL = { width: 22, height: 15, gap: 2 };
const TALL = 6; // more rows of cards than this in one place are drawn small
const LEAP = 300; // more cards than this moving at once do not glide
const LANE_TOP = 24;
const PAD = 6;
const RATE_SECONDS = 60;
const SAY_EVERY = 8000; // milliseconds between two announcements to a screen reader

const step = (priority) => STEPS.filter((from) => priority >= from).length;
const statusWord = (status) => (status === "failed" ? "held" : status);
const number = (value) => value.toLocaleString("en");

function make(tag, className, text) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function span(seconds, whole) {
  const s = Math.max(0, whole ? Math.round(seconds) : seconds);
  if (whole && s < 100) return `${s} s`;
  if (s < 1) return `${Math.round(s * 1000)} ms`;
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 100) return `${Math.round(s)} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  return `${Math.round(s / 3600)} h`;
}

// What has been told of the queue. One for each model, however many views it has.
class Queue {
  constructor(model) {
    this.cards = new Map();
    this.views = new Set();
    this.version = -1;
    this.live = true;
    this.model = model;
    this.fill(model.get("picture"));
    model.on("msg:custom", (message, buffers) => this.hear(message, buffers));
    // The kernel was restarted, ended, or is reached again: believe it is there when it answers.
    model.on("comm_live_update", () => {
      this.live = false;
      this.ask();
      this.redraw();
    });
  }

  fill(picture) {
    this.cards.clear();
    this.rest = {};
    this.take(picture);
  }

  take(change) {
    this.version = change.version;
    this.offset = Date.now() / 1000 - change.now;
    for (const job of change.gone ?? []) this.cards.delete(job);
    for (const card of change.cards ?? []) this.cards.set(card.id, card);
    Object.assign(this.rest, change);
  }

  hear(message, buffers) {
    const change = JSON.parse(new TextDecoder().decode(buffers[0]));
    this.live = true;
    if (message.kind === "full") this.fill(change);
    else if (change.version <= this.version) return;
    else {
      // A message was lost (a reload, a server that limits its rate): ask for everything.
      if (change.version !== this.version + 1) this.ask();
      this.take(change);
    }
    this.redraw();
  }

  ask() {
    try {
      this.model.send({ kind: "again" });
    } catch {
      // There is no kernel to ask; the board says so.
    }
  }

  now() {
    return Date.now() / 1000 - this.offset;
  }

  redraw() {
    for (const view of this.views) view.later();
  }
}

class View {
  constructor(queue, root) {
    this.queue = queue;
    this.nodes = new Map();
    this.lanes = new Map();
    this.build(root);
    this.resize = new ResizeObserver(() => this.later());
    this.resize.observe(root);
    this.timer = setInterval(() => this.tick(), 1000);
    queue.views.add(this);
    this.draw();
  }

  close() {
    this.queue.views.delete(this);
    this.resize.disconnect();
    clearInterval(this.timer);
    cancelAnimationFrame(this.frame);
  }

  build(root) {
    root.className = "kit-board";
    root.setAttribute("role", "region");
    root.setAttribute("aria-label", "Live board of the queue");
    // JupyterLab's own keys (arrows, Enter, Escape) belong to the board while it has the focus.
    root.setAttribute("data-lm-suppress-shortcuts", "true");
    const head = make("div", "kb-head");
    this.title = make("span", "kb-title");
    this.summary = make("span", "kb-summary");
    this.rate = make("span", "kb-rate");
    this.spark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    this.spark.setAttribute("viewBox", "0 0 120 20");
    this.spark.setAttribute("class", "kb-spark");
    this.spark.setAttribute("aria-hidden", "true");
    this.line = document.createElementNS("http://www.w3.org/2000/svg", "path");
    this.spark.append(this.line);
    this.rateText = make("span");
    this.rate.append(this.spark, this.rateText);
    head.append(this.title, this.summary, this.rate);
    this.trouble = make("div", "kb-trouble");
    this.workers = make("ul", "kb-workers");
    this.workers.setAttribute("aria-label", "Consumers");
    this.scroll = make("div", "kb-scroll");
    this.heads = make("div", "kb-columns");
    this.field = make("div", "kb-field");
    this.headNodes = COLUMNS.map((column) => {
      const node = make("div", `kb-column kb-${column.name}`);
      const icon = make("span", "kb-icon", column.icon);
      icon.setAttribute("aria-hidden", "true");
      node.append(icon, make("span", "kb-word", column.name), make("span", "kb-number"));
      this.heads.append(node);
      return node;
    });
    this.scroll.append(this.heads, this.field);
    this.detail = make("div", "kb-detail");
    this.detail.setAttribute("role", "region");
    this.detail.setAttribute("aria-label", "The job pointed at");
    this.detail.tabIndex = 0;
    this.legend = make("div", "kb-legend");
    this.voice = make("div", "kb-voice");
    this.voice.setAttribute("role", "status");
    this.voice.setAttribute("aria-live", "polite");
    root.append(head, this.trouble, this.workers, this.scroll, this.detail, this.legend, this.voice);
    this.root = root;
    const jobAt = (event) => {
      const node = event.target.closest?.(".kb-card");
      return node ? node.job : null;
    };
    this.field.addEventListener("pointerover", (event) => this.point(jobAt(event)));
    this.field.addEventListener("pointerleave", () => this.point(null));
    this.field.addEventListener("focusin", (event) => {
      this.focused = jobAt(event);
      this.point(this.focused);
    });
    this.field.addEventListener("click", (event) => {
      const job = jobAt(event);
      if (job === null) return;
      this.pinned = this.pinned === job ? null : job;
      this.point(job);
    });
    root.addEventListener("keydown", (event) => this.key(event));
  }

  // Draw with the browser's next frame, once however much has changed.
  later() {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  draw() {
    const { rest } = this.queue;
    setText(this.title, rest.database || "queue");
    setText(this.summary, rest.counting ? `${rest.summary} Too many to draw: counted.` : rest.summary);
    const gone = "The kernel that drew this board has restarted or ended: run the cell again for a live one.";
    const trouble = this.queue.live ? rest.trouble : gone;
    this.trouble.hidden = !trouble;
    setText(this.trouble, trouble ? `⚠ ${trouble}` : "");
    this.root.classList.toggle("kb-stale", Boolean(trouble));
    this.drawField();
    this.drawLegend();
    this.drawDetail();
    this.tick();
    this.say(trouble || rest.summary);
  }

  // Everything that changes by the clock alone. It costs the kernel nothing.
  tick() {
    if (document.hidden) return;
    const now = this.queue.now();
    this.drawRate(now);
    this.drawWorkers(now);
    for (const [id, node] of this.nodes) {
      if (node.marked) setText(node.mark, this.markOf(this.queue.cards.get(id), now));
    }
    if (this.shown !== null && this.shown !== undefined) this.drawDetail();
  }

  say(words) {
    // The last words always come, but no more often than a listener can bear.
    this.words = words;
    if (this.saying || words === this.said) return;
    this.saying = setTimeout(() => {
      this.saying = 0;
      if (this.words !== this.said) {
        this.said = this.words;
        this.voice.textContent = this.words;
      }
    }, this.said === undefined ? 0 : SAY_EVERY);
  }

  drawRate(now) {
    const bySecond = new Map(this.queue.rest.rate ?? []);
    const last = Math.floor(now);
    const values = Array.from({ length: RATE_SECONDS }, (_, i) => bySecond.get(last - RATE_SECONDS + 1 + i) ?? 0);
    const most = Math.max(1, ...values);
    const points = values.map((v, i) => `${((i * 120) / (RATE_SECONDS - 1)).toFixed(1)},${(19 - (v / most) * 17).toFixed(1)}`);
    const path = `M${points.join("L")}`;
    if (this.line.getAttribute("d") !== path) this.line.setAttribute("d", path);
    const recent = values.slice(-6, -1).reduce((sum, v) => sum + v, 0) / 5;
    const words = recent >= 10 ? number(Math.round(recent)) : recent.toFixed(1).replace(".0", "");
    setText(this.rateText, `${words} jobs/s`);
    this.rateText.title = `jobs ended a second, over 5 s; the line shows the last minute, at most ${number(most)}/s`;
  }

  drawWorkers(now) {
    const workers = this.queue.rest.workers ?? [];
    const lines = workers.map((worker) => {
      const holds = worker.jobs ? `, holds ${number(worker.jobs)} ${worker.jobs === 1 ? "job" : "jobs"}` : "";
      const beat = worker.heartbeat ? `, heartbeat ${span(now - worker.heartbeat, true)} ago` : "";
      return [`${worker.name}: ${worker.state}${holds}${beat}`, worker];
    });
    while (this.workers.children.length > Math.max(1, lines.length)) this.workers.lastChild.remove();
    while (this.workers.children.length < Math.max(1, lines.length)) this.workers.append(make("li"));
    if (!lines.length) {
      setText(this.workers.firstChild, "No consumer is known yet: nobody has picked a job.");
      this.workers.firstChild.className = "kb-nobody";
    }
    lines.forEach(([text, worker], index) => {
      const item = this.workers.children[index];
      setText(item, text);
      item.className = worker.jobs ? "kb-busy" : "";
    });
  }

  drawLegend() {
    const steps = new Set([...this.queue.cards.values()].map((card) => step(card.priority)));
    const words = ["below 0", "0", "1–2", "3–5", "6–9", "10 and more"];
    const key = [...steps].sort().join();
    if (key === this.legendKey) return;
    this.legendKey = key;
    this.legend.replaceChildren();
    if (!steps.size) return;
    this.legend.append(make("span", "", "priority, highest first:"));
    for (const at of [...steps].sort().reverse()) this.legend.append(make("span", `kb-priority kb-p${at}`, words[at]));
  }

  // Where everything stands: columns by need, lanes below each other, cards in rows.
  drawField() {
    const { rest, cards } = this.queue;
    const counts = rest.counts ?? {};
    const names = new Set(Object.keys(counts));
    for (const card of cards.values()) names.add(card.entrypoint);
    const lanes = [...names].sort().map((name) => ({ name, cells: COLUMNS.map(() => []), counts: counts[name] ?? {} }));
    const byName = new Map(lanes.map((lane) => [lane.name, lane]));
    if (!rest.counting) for (const card of cards.values()) byName.get(card.entrypoint).cells[COLUMN_OF[card.status]].push(card);
    const now = this.queue.now();
    for (const lane of lanes) {
      lane.cells.forEach((cell, column) => {
        if (column === 0) cell.sort((a, b) => (a.due > now) - (b.due > now) || b.priority - a.priority || a.id - b.id);
        else if (column === 1) cell.sort((a, b) => (a.picked ?? 0) - (b.picked ?? 0) || a.id - b.id);
        else cell.sort((a, b) => (b.ended ?? 0) - (a.ended ?? 0) || b.id - a.id);
      });
    }
    const xs = this.columns(lanes);
    this.drawHeads(lanes, xs);
    const moves = [];
    let top = 0;
    for (const lane of lanes) {
      lane.top = top;
      lane.height = rest.counting ? 86 : this.place(lane, xs, moves);
      top += lane.height;
    }
    this.field.style.height = `${Math.max(top, 72)}px`;
    this.field.classList.toggle("kb-empty", !lanes.length);
    this.drawLanes(lanes, xs);
    this.drawCards(moves);
  }

  columns(lanes) {
    const width = this.field.clientWidth || 900;
    const least = Math.min(104, width / 8);
    const weights = COLUMNS.map((_, column) => {
      const most = Math.max(0, ...lanes.map((lane) => lane.cells[column].length));
      return most > 80 ? 6 : most > 24 ? 3 : most > 8 ? 2 : most > 1 || column === 0 || column === 2 ? 1 : 0.25;
    });
    const sum = weights.reduce((a, b) => a + b, 0);
    const spare = width - least * COLUMNS.length;
    const xs = [0];
    for (const weight of weights) xs.push(xs[xs.length - 1] + least + (spare * weight) / sum);
    return xs.map(Math.round);
  }

  drawHeads(lanes, xs) {
    this.headNodes.forEach((node, column) => {
      const total = lanes.reduce((sum, lane) => sum + this.count(lane, column), 0);
      node.style.left = `${xs[column]}px`;
      node.style.width = `${xs[column + 1] - xs[column]}px`;
      setText(node.lastChild, number(total));
      node.classList.toggle("kb-none", total === 0);
    });
  }

  count(lane, column) {
    return COLUMNS[column].statuses.reduce((sum, status) => sum + (lane.counts[status] ?? 0), 0);
  }

  place(lane, xs, moves) {
    let height = CARD.height;
    lane.cells.forEach((cell, column) => {
      const width = xs[column + 1] - xs[column] - 2 * PAD;
      const room = (size) => Math.max(1, Math.floor((width + size.gap) / (size.width + size.gap)));
      const size = cell.length > TALL * room(CARD) ? SMALL : CARD;
      const across = room(size);
      cell.forEach((card, index) => {
        const x = xs[column] + PAD + (index % across) * (size.width + size.gap);
        const y = lane.top + LANE_TOP + Math.floor(index / across) * (size.height + size.gap);
        moves.push([card, x, y, size === SMALL]);
      });
      const rows = Math.ceil(cell.length / across);
      height = Math.max(height, rows * (size.height + size.gap) - size.gap);
    });
    return LANE_TOP + height + 10;
  }

  drawLanes(lanes, xs) {
    const { rest } = this.queue;
    const kept = new Set(lanes.map((lane) => lane.name));
    for (const [name, node] of this.lanes) {
      if (!kept.has(name)) {
        node.remove();
        this.lanes.delete(name);
      }
    }
    lanes.forEach((lane, index) => {
      let node = this.lanes.get(lane.name);
      if (!node) {
        node = make("div", "kb-lane");
        node.cells = COLUMNS.map((column) => make("div", `kb-cell kb-${column.name}`));
        node.append(make("div", "kb-entrypoint", lane.name), ...node.cells);
        this.lanes.set(lane.name, node);
        this.field.append(node);
      }
      node.classList.toggle("kb-first", index === 0);
      node.style.transform = `translateY(${lane.top}px)`;
      node.style.height = `${lane.height}px`;
      node.cells.forEach((cell, column) => {
        cell.style.left = `${xs[column]}px`;
        cell.style.width = `${xs[column + 1] - xs[column]}px`;
        const total = this.count(lane, column);
        if (rest.counting) this.drawCount(cell, total, column === 0 ? (rest.waiting ?? {})[lane.name] : null);
        else {
          const more = total - lane.cells[column].length;
          const words = more > 0 ? `and ${number(more)} before` : "";
          if (cell.childElementCount) cell.replaceChildren();
          setText(cell, words);
        }
      });
    });
  }

  drawCount(cell, total, waiting) {
    const key = JSON.stringify([total, waiting]);
    if (cell.key === key && cell.childElementCount) return;
    cell.key = key;
    const parts = [make("div", "kb-count", total ? number(total) : "–")];
    if (waiting?.length) {
      const bar = make("div", "kb-bar");
      const list = make("div", "kb-shares");
      for (const [priority, jobs] of waiting.slice(0, 12)) {
        const part = make("span", `kb-p${step(priority)}`);
        part.style.flexGrow = jobs;
        bar.append(part);
      }
      for (const [priority, jobs] of waiting.slice(0, 4)) {
        list.append(make("span", `kb-priority kb-p${step(priority)}`, `${priority}`), make("span", "", number(jobs)));
      }
      if (waiting.length > 4) list.append(make("span", "", "…"));
      bar.setAttribute("aria-hidden", "true");
      parts.push(bar, list);
    }
    cell.replaceChildren(...parts);
  }

  drawCards(moves) {
    const kept = new Set();
    let moved = 0;
    for (const [card, x, y, small] of moves) {
      kept.add(card.id);
      let node = this.nodes.get(card.id);
      const fresh = !node;
      if (fresh) {
        node = this.makeCard(card.id);
        this.nodes.set(card.id, node);
      }
      if (node.card !== card || node.small !== small) this.drawCard(node, card, small);
      if (node.x !== x || node.y !== y) {
        node.x = x;
        node.y = y;
        node.style.transform = `translate(${x}px, ${y}px)`;
        moved += 1;
      }
      if (fresh) this.field.append(node);
    }
    this.field.classList.toggle("kb-leap", moved > LEAP);
    let lost = false;
    for (const [id, node] of this.nodes) {
      if (kept.has(id)) continue;
      lost ||= node === document.activeElement;
      node.remove();
      this.nodes.delete(id);
    }
    this.order = moves.map(([card]) => card.id);
    this.keepTabStop(lost);
  }

  makeCard(id) {
    const node = make("button", "kb-card");
    node.type = "button";
    node.tabIndex = -1;
    node.job = id;
    node.priority = make("span", "kb-priority");
    node.label = make("span", "kb-name", `#${id}`);
    node.mark = make("span", "kb-mark");
    node.append(node.priority, node.label, node.mark);
    return node;
  }

  drawCard(node, card, small) {
    node.card = card;
    node.small = small;
    const now = this.queue.now();
    const deferred = card.status === "queued" && card.due > now;
    node.className = `kb-card kb-${COLUMNS[COLUMN_OF[card.status]].name}${small ? " kb-small" : ""}${deferred ? " kb-deferred" : ""}`;
    node.priority.className = `kb-priority kb-p${step(card.priority)}`;
    setText(node.priority, String(card.priority));
    node.marked = deferred || card.attempts > 0;
    setText(node.mark, this.markOf(card, now));
    const words = [`Job ${card.id}`, card.entrypoint, `priority ${card.priority}`, statusWord(card.status)];
    if (card.attempts) words.push(`${card.attempts} ${card.attempts === 1 ? "retry" : "retries"}`);
    if (deferred) words.push("due later");
    if (card.error && card.status !== "successful") words.push(card.error);
    node.setAttribute("aria-label", words.join(", "));
  }

  markOf(card, now) {
    if (!card) return "";
    if (card.status === "queued" && card.due > now) return `◴${span(Math.ceil(card.due - now), true).replace(" ", "")}`;
    return card.attempts ? `↻${card.attempts}` : "";
  }

  // One card is in the Tab order; arrow keys go on from there.
  keepTabStop(lost) {
    if (!this.nodes.has(this.focused)) this.focused = this.order[0] ?? null;
    for (const [id, node] of this.nodes) {
      const stop = id === this.focused ? 0 : -1;
      if (node.tabIndex !== stop) node.tabIndex = stop;
    }
    if (lost) this.nodes.get(this.focused)?.focus();
  }

  key(event) {
    if (event.key === "Escape") {
      this.pinned = null;
      this.point(null);
      return;
    }
    const node = event.target.closest?.(".kb-card");
    if (!node) return;
    const at = this.order.indexOf(node.job);
    const cellOf = (id) => {
      const card = this.queue.cards.get(id);
      return `${card.entrypoint} ${COLUMN_OF[card.status]}`;
    };
    const jump = (by) => {
      let to = at;
      while (this.order[to] !== undefined && cellOf(this.order[to]) === cellOf(node.job)) to += by;
      return to;
    };
    const goals = {
      ArrowRight: () => at + 1,
      ArrowLeft: () => at - 1,
      ArrowDown: () => jump(1),
      ArrowUp: () => jump(-1),
      Home: () => 0,
      End: () => this.order.length - 1,
    };
    const goal = goals[event.key]?.();
    if (goal === undefined) return;
    event.preventDefault();
    const next = this.nodes.get(this.order[goal]);
    if (next) {
      this.focused = next.job;
      this.keepTabStop(false);
      next.focus();
    }
  }

  point(job) {
    this.shown = job ?? this.pinned ?? null;
    this.drawDetail();
  }

  drawDetail() {
    const card = this.queue.cards.get(this.shown) ?? null;
    const key = card ? JSON.stringify([card, this.pinned === card.id, card.ended ? 0 : Math.floor(this.queue.now())]) : "";
    if (key === this.detailKey) return;
    this.detailKey = key;
    for (const [id, node] of this.nodes) node.classList.toggle("kb-pinned", id === this.pinned);
    if (!card) {
      const hint = "Point at a job, or reach it with Tab and the arrow keys, to see its payload, times and traceback. Click to keep it here.";
      this.detail.replaceChildren(make("p", "kb-hint", this.shown === null || this.shown === undefined ? hint : `Job #${this.shown} is no longer on the board.`));
      return;
    }
    const now = this.queue.now();
    const title = make("div", "kb-what");
    title.append(
      make("span", `kb-priority kb-p${step(card.priority)}`, `${card.priority}`),
      make("strong", "", `#${card.id} ${card.entrypoint}`),
      make("span", `kb-status kb-${COLUMNS[COLUMN_OF[card.status]].name}`, `${COLUMNS[COLUMN_OF[card.status]].icon} ${statusWord(card.status)}`),
    );
    if (card.attempts) title.append(make("span", "", `↻ ${card.attempts} ${card.attempts === 1 ? "retry" : "retries"}`));
    if (this.pinned === card.id) title.append(make("span", "kb-hint", "kept here; Escape lets it go"));
    const times = make("div", "kb-times", this.times(card, now).join("  ·  "));
    const payload = make("div", "kb-line");
    const size = card.size === undefined ? "" : ` (${number(card.size)} bytes)`;
    const nothing = card.ended && card.size === undefined ? "left the table with the job" : "none";
    payload.append(make("span", "kb-label", `payload${size}`), make("code", "", card.payload ?? nothing));
    const parts = [title, times, payload];
    if (card.error) {
      const error = make("div", "kb-line kb-error");
      error.append(make("span", "kb-label", card.status === "queued" || card.status === "picked" ? "last error" : "error"), make("code", "", card.error));
      parts.push(error);
    }
    if (card.trace) parts.push(make("pre", "kb-trace", card.trace));
    this.detail.replaceChildren(...parts);
  }

  times(card, now) {
    const clock = (at) => new Date((at + this.queue.offset) * 1000).toLocaleTimeString([], { hour12: false });
    const words = [];
    if (card.created) words.push(`enqueued ${clock(card.created)}`);
    if (card.status === "queued" && card.due > now) words.push(`due in ${span(Math.ceil(card.due - now), true)}`);
    const from = card.created;
    if (card.picked) words.push(from ? `picked ${span(card.picked - from)} later` : `picked ${clock(card.picked)}`);
    else if (card.status === "queued" && from && !(card.due > now)) words.push(`waiting ${span(now - from, true)}`);
    if (card.ended && card.picked && card.ended >= card.picked) words.push(`ended after ${span(card.ended - card.picked)}`);
    else if (card.ended) words.push(`ended ${clock(card.ended)}`);
    else if (card.status === "picked" && card.picked) words.push(`running ${span(now - card.picked, true)}`);
    if (card.heartbeat) words.push(`heartbeat ${span(now - card.heartbeat, true)} ago`);
    if (card.worker) words.push(`by ${card.worker.slice(0, 8)}`);
    return words;
  }
}

export default () => {
  let queue = null;
  return {
    initialize({ model }) {
      queue = new Queue(model);
    },
    render({ el }) {
      const view = new View(queue, el.appendChild(document.createElement("div")));
      return () => view.close();
    },
  };
};
