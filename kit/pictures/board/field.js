// The field of the board: a lane for each entrypoint, a column for each status, and the cards in their places.
// It holds still: what has grown shrinks only after a while in which nothing has changed.

const QUIET = 8000; // milliseconds without a change

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
    this.crowded = new Set(); // columns that are wide
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
    this.ground.addEventListener("focusin", (event) => this.keys.focusOn(this.jobAt(event) ?? this.focused));
    this.ground.addEventListener("focusout", () => this.point(null));
    this.ground.addEventListener("click", (event) => this.pin(this.jobAt(event)));
    this.keys = new Keys(this);
  }

  jobAt(event) {
    const { target } = event;
    if (target.small) return "offsetX" in event ? target.small.at(event.offsetX, event.offsetY) : this.focused;
    return target.closest(".kb-card")?.job ?? null;
  }

  // What changes by the clock alone.
  tick(now) {
    for (const [job, node] of this.nodes) setText(node.mark, this.markOf(this.queue.cards.get(job), now));
    if (this.settled || performance.now() - this.changed < QUIET || this.pointed !== null) return;
    this.settled = true;
    this.marks = false;
    this.crowded.clear();
    for (const lane of this.lanes.values()) {
      lane.more = false;
      for (const cell of lane.cells) Object.assign(cell, { size: WIDE, used: false });
    }
    this.again();
  }

  draw(now, narrow) {
    const { rest } = this.queue;
    if (this.queue.version !== this.drawn) {
      [this.changed, this.settled, this.drawn] = [performance.now(), false, this.queue.version];
    }
    const lanes = this.sort(now);
    const from = this.motion.places(lanes);
    const held = this.ground.contains(document.activeElement);
    lanes.forEach((lane, index) => {
      const there = this.ground.children[index];
      if (there !== lane.node) this.ground.insertBefore(lane.node, there ?? null);
    });
    while (this.ground.children.length > lanes.length) this.ground.lastChild.remove();
    this.drawColumns(lanes);
    const room = rooms(lanes.length, narrow);
    for (const card of this.queue.cards.values()) this.marks ||= card.attempts > 0 || isLater(card, now);
    this.widths = cardWidths(String(Math.max(0, ...this.queue.cards.keys())).length, this.marks);
    this.widths.forEach((width, size) => this.node.style.setProperty(`--card-${size}`, `${width}px`));
    const inner = lanes.length ? lanes[0].cells.map((cell) => cell.cards.clientWidth) : [];
    this.cells.clear();
    this.order = [];
    for (const lane of lanes) {
      lane.cells.forEach((cell, column) => {
        const total = this.queue.count(lane.entrypoint, column);
        cell.used ||= total > 0;
        cell.classList.toggle("kb-unused", !cell.used);
        if (rest.counting) drawCount(cell.cards, total, column === 0 ? rest.waiting[lane.entrypoint] : null);
        else this.fill(lane, column, total, now, inner[column] || inner[0], room);
      });
      lane.node.style.setProperty("--room", `${room[lane.more ? 1 : 0]}px`);
    }
    this.forget();
    // Whoever walked through the cards with the keyboard goes on where they were.
    if (held && !this.ground.contains(document.activeElement)) this.holder(this.focused)?.focus();
    this.motion.glide(from);
  }

  // The lanes, each with its jobs by column: queued in the order they will run, ended with the newest first.
  // A new lane comes after those that are there.
  sort(now) {
    const { rest, cards } = this.queue;
    const names = new Set(Object.keys(rest.counts));
    for (const card of cards.values()) names.add(card.entrypoint);
    for (const name of this.lanes.keys()) if (!names.has(name)) this.lanes.delete(name);
    for (const name of [...names].sort()) this.lane(name);
    const lanes = [...this.lanes.values()];
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
    if (lane) return lane;
    lane = { entrypoint: name, node: make("div", "kb-lane"), more: false };
    const row = make("div", "kb-grid");
    lane.cells = COLUMNS.map((column) => {
      const cell = make("div", `kb-cell kb-${column.name}`);
      cell.setAttribute("role", "group");
      const label = make("div", "kb-label", column.icon);
      label.setAttribute("aria-hidden", "true"); // the group is called so
      cell.append(label, (cell.cards = make("div", "kb-cards")));
      cell.size = WIDE;
      row.append(cell);
      return cell;
    });
    lane.node.append(make("div", "kb-entrypoint", name), row);
    this.lanes.set(name, lane);
    return lane;
  }

  drawColumns(lanes) {
    COLUMNS.forEach((_, column) => {
      if (GROWS[column] && lanes.some((lane) => lane.jobs[column].length > CROWD)) this.crowded.add(column);
    });
    if (this.queue.rest.counting) this.crowded.clear();
    const shares = SHARES.map((share, column) => (this.crowded.has(column) ? CROWD_SHARE : share));
    const template = shares.map((share) => `minmax(var(--least), ${share}fr)`).join(" ");
    if (template !== this.template) this.node.style.setProperty("--columns", (this.template = template));
    this.heads.forEach((head, column) => {
      const total = lanes.reduce((sum, lane) => sum + this.queue.count(lane.entrypoint, column), 0);
      setText(head.lastChild, number(total));
      head.classList.toggle("kb-none", total === 0);
      for (const lane of lanes) {
        const words = `${lane.entrypoint}, ${COLUMNS[column].name}: ${number(this.queue.count(lane.entrypoint, column))}`;
        if (lane.cells[column].ariaLabel !== words) lane.cells[column].ariaLabel = words;
      }
    });
  }

  fill(lane, column, total, now, width, room) {
    const [cell, wanted] = [lane.cells[column], []];
    const cards = GROWS[column] ? lane.jobs[column] : lane.jobs[column].slice(0, lastShown(width, room));
    const { size, more } = fitting(cards.length, width, this.widths, room, GROWS[column] && cards.length > CALM);
    cell.size = cards.length ? Math.max(cell.size, size) : WIDE;
    lane.more ||= more;
    if (cell.size >= FIRST_SMALL) {
      cell.small ??= new SmallCards();
      const inHand = cell.small.canvas === document.activeElement ? this.focused : null;
      cell.small.show(cards, width, PITCHES[cell.size - FIRST_SMALL], now, this.pinned?.id, inHand);
      cell.small.canvas.ariaLabel = cell.ariaLabel;
      wanted.push(cell.small.canvas);
    } else for (const card of cards) wanted.push(this.cardNode(card, now, cell.size));
    for (const card of cards) {
      this.cells.set(card.id, cell);
      this.order.push(card.id);
    }
    if (total > cards.length) {
      cell.more ??= make("span", "kb-more");
      setText(cell.more, `and ${number(total - cards.length)} before`);
      wanted.push(cell.more);
    }
    cell.cards.counted = null;
    wanted.forEach((node, index) => {
      const there = cell.cards.childNodes[index];
      if (there !== node) cell.cards.insertBefore(node, there ?? null);
    });
    while (cell.cards.childNodes.length > wanted.length) cell.cards.lastChild.remove();
  }

  cardNode(card, now, size) {
    let node = this.nodes.get(card.id);
    if (!node) {
      node = make("button", "kb-card");
      node.type = "button";
      node.tabIndex = -1;
      node.job = card.id;
      node.append(
        (node.priority = make("span")),
        make("span", "kb-name", `#${card.id}`),
        (node.text = make("span", "kb-text")),
        (node.mark = make("span", "kb-mark")),
      );
      this.nodes.set(card.id, node);
    }
    const pinned = card.id === this.pinned?.id;
    const looks = [columnOf(card).name, `size-${size}`];
    if (isLater(card, now)) looks.push("deferred");
    if (pinned) looks.push("pinned");
    const look = `kb-card ${looks.map((name) => `kb-${name}`).join(" ")}`;
    if (node.card === card && node.className === look) return node;
    node.card = card;
    node.className = look;
    node.priority.className = `kb-priority kb-p${step(card.priority)}`;
    setText(node.priority, short(card.priority));
    setText(node.text, size === WIDE ? (card.payload ?? "") : "");
    setText(node.mark, this.markOf(card, now));
    node.setAttribute("aria-label", sayCard(card, now));
    node.setAttribute("aria-pressed", String(pinned));
    return node;
  }

  markOf(card, now) {
    if (!card) return "";
    const again = card.attempts ? `${RETRIED}${card.attempts}` : "";
    if (!isLater(card, now)) return again;
    const wait = span(Math.ceil(card.due - now), true).replace(" ", "");
    const tight = this.cells.get(card.id)?.size === TIGHT;
    return again ? (tight ? again : `${again} ${wait}`) : tight ? "◴" : `◴${wait}`;
  }

  // Let go of the elements of cards that are elsewhere now.
  forget() {
    for (const [job, node] of this.nodes) {
      const cell = this.cells.get(job);
      if (cell && node.parentNode === cell.cards) continue;
      node.remove();
      this.nodes.delete(job);
    }
    // After a reset another job may have the same id: it is not the one that was kept.
    const kept = this.pinned && this.queue.cards.get(this.pinned.id);
    if (kept?.created && this.pinned.created && Math.abs(kept.created - this.pinned.created) > 0.001) this.pinned = null;
    if (!this.cells.has(this.focused)) this.focused = this.order[0] ?? null;
    this.keys.keepTabStop();
  }

  // What has the keyboard's focus when this job has: its own element, or the canvas of small cards.
  holder(job) {
    return this.nodes.get(job) ?? this.cells.get(job)?.small?.canvas ?? null;
  }

  point(job) {
    if (job === this.pointed) return;
    this.pointed = job;
    this.tell();
  }

  pin(job) {
    if (job === null && this.pinned === null) return;
    this.pinned = job === null || this.pinned?.id === job ? null : { ...this.queue.cards.get(job) };
    this.again();
  }
}
