// One view of the queue: lanes of entrypoints, columns of statuses, cards that move between them.

const CROWD = 14; // more cards than this in one place are drawn small
const LEAP = 200; // more cards than this changing their place at once do not glide
const GLIDE = { duration: 350, easing: "cubic-bezier(0.3, 0.1, 0.2, 1)" };
const RATE_SECONDS = 60;
const SAY_EVERY = 8000; // milliseconds between two announcements to a screen reader

class View {
  constructor(queue, root) {
    this.queue = queue;
    this.root = root;
    this.nodes = new Map(); // the cards that are elements, by job
    this.lanes = new Map();
    this.cells = new Map(); // where each job was drawn last
    this.order = [];
    this.focused = this.pinned = this.pointed = null;
    this.build();
    this.resized = new ResizeObserver(() => this.later());
    this.resized.observe(root);
    this.timer = setInterval(() => this.tick(), 1000);
    queue.views.add(this);
    this.later();
  }

  close() {
    this.queue.views.delete(this);
    this.resized.disconnect();
    clearInterval(this.timer);
    clearTimeout(this.saying);
    cancelAnimationFrame(this.frame);
  }

  build() {
    this.root.className = "kit-board";
    this.root.setAttribute("role", "region");
    this.root.setAttribute("aria-label", "Live board of the queue");
    // JupyterLab's own keys (arrows, Enter, Escape) belong to the board while it has the focus.
    this.root.setAttribute("data-lm-suppress-shortcuts", "true");
    const head = make("div", "kb-head");
    const rate = make("span", "kb-rate");
    const spark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    spark.setAttribute("viewBox", "0 0 120 20");
    spark.setAttribute("class", "kb-spark");
    spark.setAttribute("aria-hidden", "true");
    spark.append((this.line = document.createElementNS("http://www.w3.org/2000/svg", "path")));
    rate.append(spark, (this.rate = make("span")));
    head.append((this.title = make("span", "kb-title")), (this.summary = make("span", "kb-summary")), rate);
    this.trouble = make("div", "kb-trouble");
    this.workers = make("ul", "kb-workers");
    this.workers.setAttribute("aria-label", "Consumers");
    const heads = make("div", "kb-columns kb-grid");
    this.heads = COLUMNS.map((column) => {
      const node = make("div", `kb-column kb-${column.name}`);
      const icon = make("span", "kb-icon", column.icon);
      icon.setAttribute("aria-hidden", "true");
      node.append(icon, make("span", "", column.name), make("span", "kb-number"));
      heads.append(node);
      return node;
    });
    const scroll = make("div", "kb-scroll");
    scroll.append(heads, (this.field = make("div", "kb-field")), (this.air = make("div", "kb-air")));
    this.air.setAttribute("aria-hidden", "true");
    this.detail = new Detail(this.queue);
    this.legend = make("div", "kb-legend");
    this.voice = make("div", "kb-voice");
    this.voice.setAttribute("role", "status");
    this.voice.setAttribute("aria-live", "polite");
    this.root.append(head, this.trouble, this.workers, scroll, this.detail.node, this.legend, this.voice);
    this.field.addEventListener("pointermove", (event) => this.point(this.jobAt(event)));
    this.field.addEventListener("pointerleave", () => this.point(null));
    this.field.addEventListener("pointerdown", (event) => (this.focused = this.jobAt(event) ?? this.focused));
    this.field.addEventListener("focusin", (event) => this.focusOn(this.jobAt(event) ?? this.focused));
    this.field.addEventListener("focusout", () => this.point(null));
    this.field.addEventListener("click", (event) => this.pin(this.jobAt(event)));
    this.root.addEventListener("keydown", (event) => this.key(event));
  }

  jobAt(event) {
    const { target } = event;
    if (target.crowd) return target.crowd.at(event.offsetX ?? -1, event.offsetY ?? -1);
    return target.closest(".kb-card")?.job ?? null;
  }

  // Draw with the browser's next frame, once however much has changed.
  later() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.draw();
    });
  }

  draw() {
    const { rest } = this.queue;
    // The still picture in the next output says the same; the style sheet hides it beside a live board.
    this.root.closest(".jp-OutputArea-child")?.classList.add("kb-live");
    // First of all, for it measures where cards stand, which is free only while nothing has changed.
    this.drawField();
    setText(this.title, rest.database || "queue");
    setText(this.summary, rest.counting ? `${rest.summary} More than can be drawn: counted.` : rest.summary);
    const ended = "The kernel that drew this board has restarted or ended: run the cell again for a live one.";
    const trouble = this.queue.live ? rest.trouble : ended;
    this.trouble.hidden = !trouble;
    setText(this.trouble, trouble ? `⚠ ${trouble}` : "");
    this.root.classList.toggle("kb-stale", Boolean(trouble));
    this.drawLegend();
    this.tick();
    this.say(trouble || rest.summary);
  }

  // Everything that changes by the clock alone. It costs the kernel nothing.
  tick() {
    if (document.hidden) return;
    const now = this.queue.now();
    this.drawRate(now);
    this.drawWorkers(now);
    for (const [job, node] of this.nodes) setText(node.mark, this.markOf(this.queue.cards.get(job), now));
    this.detail.show(this.pointed ?? this.pinned, this.pinned !== null && (this.pointed ?? this.pinned) === this.pinned);
  }

  // The last words always come, but no more often than a listener can bear.
  say(words) {
    this.words = words;
    this.saying ??= setTimeout(
      () => {
        this.saying = null;
        if (this.words !== this.said) setText(this.voice, (this.said = this.words));
      },
      this.said === undefined ? 0 : SAY_EVERY,
    );
  }

  drawRate(now) {
    const bySecond = new Map(this.queue.rest.rate);
    const first = Math.floor(now) - RATE_SECONDS + 1;
    const values = Array.from({ length: RATE_SECONDS }, (_, index) => bySecond.get(first + index) ?? 0);
    const most = Math.max(1, ...values);
    const points = values.map((value, index) => `${(index * 120) / (RATE_SECONDS - 1)},${19 - (value / most) * 17}`);
    const path = `M${points.join("L")}`;
    if (this.line.getAttribute("d") !== path) this.line.setAttribute("d", path);
    const recent = values.slice(-6, -1).reduce((sum, value) => sum + value, 0) / 5;
    setText(this.rate, `${recent >= 10 ? number(Math.round(recent)) : recent.toFixed(1).replace(".0", "")} jobs/s`);
    this.rate.title = `jobs ended a second, over 5 s; the line is the last minute, at most ${number(most)} a second`;
  }

  drawWorkers(now) {
    const lines = this.queue.rest.workers.map((worker) => {
      const holds = worker.jobs ? `, holds ${number(worker.jobs)} ${worker.jobs === 1 ? "job" : "jobs"}` : "";
      const beat = worker.heartbeat ? `, heartbeat ${span(now - worker.heartbeat, true)} ago` : "";
      return [`${worker.name}: ${worker.state}${holds}${beat}`, worker.jobs ? "kb-busy" : ""];
    });
    if (!lines.length) lines.push(["No consumer is known yet: nobody has picked a job.", "kb-nobody"]);
    while (this.workers.children.length > lines.length) this.workers.lastChild.remove();
    while (this.workers.children.length < lines.length) this.workers.append(make("li"));
    lines.forEach(([text, look], index) => {
      setText(this.workers.children[index], text);
      this.workers.children[index].className = look;
    });
  }

  drawLegend() {
    const used = new Set();
    for (const card of this.queue.cards.values()) used.add(step(card.priority));
    const steps = [...used].sort().reverse();
    if (steps.join() === this.steps) return;
    this.steps = steps.join();
    const keys = steps.map((at) => make("span", `kb-priority kb-p${at}`, STEP_NAMES[at]));
    this.legend.replaceChildren(...(keys.length ? [make("span", "", "priority, highest first:"), ...keys] : []));
  }

  drawField() {
    const { rest } = this.queue;
    const now = this.queue.now();
    const lanes = this.sort(now);
    const from = this.places(lanes);
    const held = this.field.contains(document.activeElement);
    lanes.forEach((lane, index) => {
      const there = this.field.children[index];
      if (there !== lane) this.field.insertBefore(lane, there ?? null);
    });
    while (this.field.children.length > lanes.length) this.field.lastChild.remove();
    this.drawColumns(lanes);
    const widths = this.heads.map((head) => head.clientWidth - 12);
    this.cells.clear();
    this.order = [];
    for (const lane of lanes) {
      lane.cells.forEach((cell, column) => {
        const total = this.count(lane.entrypoint, column);
        if (rest.counting) this.drawCount(cell, total, column === 0 ? rest.waiting[lane.entrypoint] : null);
        else this.fill(cell, lane.jobs[column], total, now, widths[column]);
      });
    }
    this.forget();
    // Whoever walked through the cards with the keyboard goes on where they were.
    if (held && !this.field.contains(document.activeElement)) this.holder(this.focused)?.focus();
    this.glide(from);
  }

  // The lanes, each with its jobs by column: queued in the order they will run, ended with the newest first.
  sort(now) {
    const { rest, cards } = this.queue;
    const names = new Set(Object.keys(rest.counts));
    for (const card of cards.values()) names.add(card.entrypoint);
    for (const name of this.lanes.keys()) if (!names.has(name)) this.lanes.delete(name);
    const lanes = [...names].sort().map((name) => this.lane(name));
    for (const lane of lanes) lane.jobs = COLUMNS.map(() => []);
    if (rest.counting) return lanes;
    for (const card of cards.values()) this.lanes.get(card.entrypoint).jobs[COLUMN_OF[card.status]].push(card);
    for (const lane of lanes) {
      const [queued, picked, ...ended] = lane.jobs;
      queued.sort((a, b) => isLater(a, now) - isLater(b, now) || b.priority - a.priority || a.id - b.id);
      picked.sort((a, b) => (a.picked ?? 0) - (b.picked ?? 0) || a.id - b.id);
      for (const cell of ended) cell.sort((a, b) => (b.ended ?? 0) - (a.ended ?? 0) || b.id - a.id);
    }
    return lanes;
  }

  lane(name) {
    let lane = this.lanes.get(name);
    if (!lane) {
      lane = make("div", "kb-lane");
      lane.entrypoint = name;
      const row = make("div", "kb-grid");
      lane.cells = COLUMNS.map((column) => {
        const cell = make("div", `kb-cell kb-${column.name}`);
        cell.setAttribute("role", "group");
        row.append(cell);
        return cell;
      });
      lane.append(make("div", "kb-entrypoint", name), row);
      this.lanes.set(name, lane);
    }
    return lane;
  }

  count(entrypoint, column) {
    const counts = this.queue.rest.counts[entrypoint] ?? {};
    return COLUMNS[column].statuses.reduce((sum, status) => sum + (counts[status] ?? 0), 0);
  }

  // Columns are as wide as what they have to show.
  drawColumns(lanes) {
    const weights = COLUMNS.map((_, column) => {
      const most = Math.max(0, ...lanes.map((lane) => lane.jobs[column].length));
      return most > 80 ? 6 : most > 24 ? 4 : most > 6 ? 2.5 : most > 1 || column === 0 || column === 2 ? 1.2 : 0.6;
    });
    const template = weights.map((weight) => `minmax(100px, ${weight}fr)`).join(" ");
    if (template !== this.template) this.root.style.setProperty("--columns", (this.template = template));
    this.heads.forEach((head, column) => {
      const total = lanes.reduce((sum, lane) => sum + this.count(lane.entrypoint, column), 0);
      setText(head.lastChild, number(total));
      head.classList.toggle("kb-none", total === 0);
      for (const lane of lanes) {
        const words = `${lane.entrypoint}, ${COLUMNS[column].name}: ${number(this.count(lane.entrypoint, column))}`;
        if (lane.cells[column].ariaLabel !== words) lane.cells[column].ariaLabel = words;
      }
    });
  }

  fill(cell, cards, total, now, width) {
    const wanted = [];
    if (cards.length > CROWD) {
      cell.crowd ??= new Crowd();
      const inHand = cell.crowd.canvas === document.activeElement ? this.focused : null;
      cell.crowd.show(cards, width, new Set([this.pinned, inHand]));
      wanted.push(cell.crowd.canvas);
    } else for (const card of cards) wanted.push(this.cardNode(card, now));
    for (const card of cards) {
      this.cells.set(card.id, cell);
      this.order.push(card.id);
    }
    if (total > cards.length) {
      cell.more ??= make("span", "kb-more");
      setText(cell.more, `and ${number(total - cards.length)} before`);
      wanted.push(cell.more);
    }
    cell.counted = null;
    wanted.forEach((node, index) => {
      const there = cell.childNodes[index];
      if (there !== node) cell.insertBefore(node, there ?? null);
    });
    while (cell.childNodes.length > wanted.length) cell.lastChild.remove();
  }

  cardNode(card, now) {
    let node = this.nodes.get(card.id);
    if (!node) {
      node = make("button", "kb-card");
      node.type = "button";
      node.tabIndex = -1;
      node.job = card.id;
      node.append(
        (node.priority = make("span")),
        make("span", "kb-name", `#${card.id}`),
        (node.mark = make("span", "kb-mark")),
      );
      this.nodes.set(card.id, node);
    }
    const later = isLater(card, now);
    const look = `kb-card kb-${columnOf(card).name}${later ? " kb-deferred" : ""}${card.id === this.pinned ? " kb-pinned" : ""}`;
    if (node.card === card && node.className === look) return node;
    node.card = card;
    node.className = look;
    node.priority.className = `kb-priority kb-p${step(card.priority)}`;
    setText(node.priority, String(card.priority));
    setText(node.mark, this.markOf(card, now));
    node.setAttribute("aria-label", sayCard(card, now));
    return node;
  }

  markOf(card, now) {
    if (!card) return "";
    if (isLater(card, now)) return `◴${span(Math.ceil(card.due - now), true).replace(" ", "")}`;
    return card.attempts ? `↻${card.attempts}` : "";
  }

  drawCount(cell, total, waiting) {
    const key = JSON.stringify([total, waiting]);
    if (cell.counted === key) return;
    cell.counted = key;
    const parts = [make("div", "kb-count", total ? number(total) : "–")];
    if (waiting) {
      const bar = make("div", "kb-bar");
      const list = make("div", "kb-shares");
      bar.setAttribute("aria-hidden", "true");
      for (const [priority, jobs] of waiting.slice(0, 12)) {
        const part = make("span", `kb-p${step(priority)}`);
        part.style.flexGrow = jobs;
        bar.append(part);
      }
      for (const [priority, jobs] of waiting.slice(0, 4)) {
        list.append(make("span", `kb-priority kb-p${step(priority)}`, `${priority}`), make("span", "", number(jobs)));
      }
      if (waiting.length > 4) list.append(make("span", "", "…"));
      parts.push(bar, list);
    }
    cell.replaceChildren(...parts);
  }

  // Let go of the elements of cards that are elsewhere now.
  forget() {
    for (const [job, node] of this.nodes) {
      const cell = this.cells.get(job);
      if (cell && node.parentNode === cell) continue;
      node.remove();
      this.nodes.delete(job);
    }
    if (!this.cells.has(this.focused)) this.focused = this.order[0] ?? null;
    this.keepTabStop();
  }

  rectOf(job) {
    const node = this.nodes.get(job);
    return node ? node.getBoundingClientRect() : this.cells.get(job).crowd.rectOf(job);
  }

  // Where those cards stand that are about to change their cell, or their place among few.
  places(lanes) {
    if (document.hidden || matchMedia("(prefers-reduced-motion: reduce)").matches) return [];
    const moving = [];
    for (const lane of lanes) {
      lane.cells.forEach((cell, column) => {
        for (const { id } of lane.jobs[column]) {
          const before = this.cells.get(id);
          if (before && (before !== cell || this.nodes.has(id))) moving.push(id);
        }
      });
    }
    return moving.length > LEAP ? [] : moving.map((job) => [job, this.rectOf(job)]);
  }

  glide(from) {
    const field = from.length ? this.air.getBoundingClientRect() : null;
    const steps = from.map(([job, before]) => [job, before, this.rectOf(job)]);
    for (const [job, before, after] of steps) {
      const x = before.x - after.x;
      const y = before.y - after.y;
      if (Math.abs(x) + Math.abs(y) < 2) continue;
      const node = this.nodes.get(job) ?? this.ghost(job, after.x - field.x, after.y - field.y);
      const flight = node.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], GLIDE);
      if (!this.nodes.has(job)) flight.finished.finally(() => node.remove());
    }
  }

  // A card on its way into a crowd.
  ghost(job, x, y) {
    const { priority } = this.queue.cards.get(job);
    const node = make("span", `kb-ghost kb-priority kb-p${step(priority)}`, `${priority}`);
    node.style.left = `${x}px`;
    node.style.top = `${y}px`;
    this.air.append(node);
    return node;
  }

  // What has the keyboard's focus when this job has: its own element, or its crowd's canvas.
  holder(job) {
    return this.nodes.get(job) ?? this.cells.get(job)?.crowd?.canvas ?? null;
  }

  // One card is in the Tab order; the arrow keys go on from there.
  keepTabStop() {
    const stop = this.holder(this.focused);
    if (stop === this.stop && stop?.tabIndex === 0) return;
    if (this.stop) this.stop.tabIndex = -1;
    if (stop) stop.tabIndex = 0;
    this.stop = stop;
  }

  focusOn(job) {
    this.focused = job;
    this.keepTabStop();
    const holder = this.holder(job);
    const card = this.queue.cards.get(job);
    if (!holder || !card) return;
    holder.setAttribute("aria-label", sayCard(card, this.queue.now()));
    if (holder !== document.activeElement) holder.focus();
    if (holder.crowd) this.later();
    this.point(job);
  }

  point(job) {
    if (job === this.pointed) return;
    this.pointed = job;
    this.tick();
  }

  pin(job) {
    if (job === null && this.pinned === null) return;
    this.pinned = this.pinned === job ? null : job;
    this.later();
  }

  key(event) {
    if (event.key === "Escape") return this.pin(null);
    if (!event.target.crowd && !event.target.job) return undefined;
    const at = this.order.indexOf(this.focused);
    const nextCell = (by) => {
      let to = at;
      while (to in this.order && this.cells.get(this.order[to]) === this.cells.get(this.focused)) to += by;
      return to;
    };
    const goals = {
      ArrowRight: () => at + 1,
      ArrowLeft: () => at - 1,
      ArrowDown: () => nextCell(1),
      ArrowUp: () => nextCell(-1),
      Home: () => 0,
      End: () => this.order.length - 1,
    };
    if (event.key === "Enter" || event.key === " ") this.pin(this.focused);
    else if (!(event.key in goals)) return undefined;
    else {
      const goal = this.order[goals[event.key]()];
      if (goal !== undefined) this.focusOn(goal);
    }
    return event.preventDefault();
  }
}

export default () => {
  let queue = null;
  return {
    initialize({ model }) {
      queue = new Queue(model);
    },
    render({ el }) {
      const view = new View(queue, el.appendChild(make("div")));
      return () => view.close();
    },
  };
};
