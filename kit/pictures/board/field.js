// The field of the board: a lane for each entrypoint, a column for each status, and the cards in their places.

const FEW = 14; // more cards than this in one place are drawn small

class Field {
  // `again` asks for a new drawing, `pointed` tells that another job is to be shown in detail.
  constructor(queue, again, pointed) {
    this.queue = queue;
    this.again = again;
    this.tell = pointed;
    this.nodes = new Map(); // the cards that are elements, by job
    this.lanes = new Map();
    this.cells = new Map(); // where each job was drawn last
    this.order = [];
    this.focused = this.pinned = this.pointed = null;
    this.node = make("div", "kb-scroll");
    const heads = make("div", "kb-columns kb-grid");
    this.heads = COLUMNS.map((column) => {
      const node = make("div", `kb-column kb-${column.name}`);
      const icon = make("span", "kb-icon", column.icon);
      icon.setAttribute("aria-hidden", "true");
      node.append(icon, make("span", "", column.name), make("span", "kb-number"));
      heads.append(node);
      return node;
    });
    this.ground = make("div", "kb-field");
    this.motion = new Motion(this);
    this.node.append(heads, this.ground, this.motion.air);
    this.ground.addEventListener("pointermove", (event) => this.point(this.jobAt(event)));
    this.ground.addEventListener("pointerleave", () => this.point(null));
    this.ground.addEventListener("pointerdown", (event) => (this.focused = this.jobAt(event) ?? this.focused));
    this.ground.addEventListener("focusin", (event) => this.focusOn(this.jobAt(event) ?? this.focused));
    this.ground.addEventListener("focusout", () => this.point(null));
    this.ground.addEventListener("click", (event) => this.pin(this.jobAt(event)));
  }

  jobAt(event) {
    const { target } = event;
    if (target.small) return target.small.at(event.offsetX ?? -1, event.offsetY ?? -1);
    return target.closest(".kb-card")?.job ?? null;
  }

  // What changes by the clock alone.
  tick(now) {
    for (const [job, node] of this.nodes) setText(node.mark, this.markOf(this.queue.cards.get(job), now));
  }

  draw(now) {
    const { rest } = this.queue;
    const lanes = this.sort(now);
    const from = this.motion.places(lanes);
    const held = this.ground.contains(document.activeElement);
    lanes.forEach((lane, index) => {
      const there = this.ground.children[index];
      if (there !== lane) this.ground.insertBefore(lane, there ?? null);
    });
    while (this.ground.children.length > lanes.length) this.ground.lastChild.remove();
    this.drawColumns(lanes);
    const widths = this.heads.map((head) => head.clientWidth - 12);
    this.cells.clear();
    this.order = [];
    for (const lane of lanes) {
      lane.cells.forEach((cell, column) => {
        const total = this.count(lane.entrypoint, column);
        if (rest.counting) drawCount(cell, total, column === 0 ? rest.waiting[lane.entrypoint] : null);
        else this.fill(cell, lane.jobs[column], total, now, widths[column]);
      });
    }
    this.forget();
    // Whoever walked through the cards with the keyboard goes on where they were.
    if (held && !this.ground.contains(document.activeElement)) this.holder(this.focused)?.focus();
    this.motion.glide(from);
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
      return most > 80 ? 6 : most > 24 ? 4 : most > 8 ? 2 : column === 0 || column === 2 ? 1.4 : most > 1 ? 1 : 0.6;
    });
    const template = weights.map((weight) => `minmax(100px, ${weight}fr)`).join(" ");
    if (template !== this.template) this.node.style.setProperty("--columns", (this.template = template));
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
    if (cards.length > FEW) {
      cell.small ??= new SmallCards();
      const inHand = cell.small.canvas === document.activeElement ? this.focused : null;
      cell.small.show(cards, width, new Set([this.pinned, inHand]));
      wanted.push(cell.small.canvas);
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
    const wait = isLater(card, now) ? span(Math.ceil(card.due - now), true).replace(" ", "") : "";
    if (wait) return card.attempts ? `${RETRIED}${card.attempts} ${wait}` : `◴${wait}`;
    return card.attempts ? `${RETRIED}${card.attempts}` : "";
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

  // What has the keyboard's focus when this job has: its own element, or the canvas of small cards.
  holder(job) {
    return this.nodes.get(job) ?? this.cells.get(job)?.small?.canvas ?? null;
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
    if (holder.small) this.again();
    this.point(job);
  }

  point(job) {
    if (job === this.pointed) return;
    this.pointed = job;
    this.tell();
  }

  pin(job) {
    if (job === null && this.pinned === null) return;
    this.pinned = this.pinned === job ? null : job;
    this.again();
  }

  key(event) {
    if (event.key === "Escape") return this.pin(null);
    if (!event.target.small && !event.target.job) return undefined;
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
