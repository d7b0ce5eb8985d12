// Many cards in one place: one canvas of small ones. A thousand elements, laid out and painted ten times a
// second, would cost the browser more than it has.

const SMALL_GAP = 2;
const READABLE = 24;
let options = 0; // so that each has an id of its own in the page

class SmallCards {
  constructor() {
    this.canvas = make("canvas", "kb-small-cards");
    this.canvas.setAttribute("role", "listbox");
    this.canvas.tabIndex = -1;
    this.canvas.small = this;
    // What is drawn has no elements: the one that the keyboard has reached stands here for who hears the page.
    this.option = this.canvas.appendChild(make("span"));
    this.option.id = `kb-option-${(options += 1)}`;
    this.option.setAttribute("role", "option");
    this.canvas.setAttribute("aria-activedescendant", this.option.id);
    this.cards = [];
    this.index = new Map();
    this.stamps = new Map();
  }

  say(job, now, pinned) {
    const card = this.cards[this.index.get(job) ?? 0];
    this.said = card.id;
    setText(this.option, sayCard(card, now));
    this.option.setAttribute("aria-selected", String(card.id === pinned));
  }

  show(cards, width, pitch, now, pinned, inHand) {
    this.cards = cards;
    this.pitch = pitch;
    this.index = new Map(cards.map((card, index) => [card.id, index]));
    const ratio = window.devicePixelRatio || 1;
    this.across = across(width, pitch, 0);
    const rows = Math.ceil(cards.length / this.across);
    this.resize(this.across * pitch, rows * pitch, ratio);
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const side = pitch - SMALL_GAP;
    cards.forEach((card, index) => {
      const [x, y] = this.place(index);
      context.drawImage(this.stamp(card, isLater(card, now), ratio), x, y, side, side);
      if (card.id !== pinned && card.id !== inHand) return;
      context.strokeStyle = getComputedStyle(this.canvas).color;
      context.lineWidth = 2;
      context.strokeRect(x + 1, y + 1, side - 2, side - 2);
    });
    this.canvas.dataset.jobs = cards.length;
    this.say(this.said, now, pinned);
  }

  resize(width, height, ratio) {
    if (this.canvas.width !== width * ratio || this.canvas.height !== height * ratio) {
      this.canvas.width = width * ratio;
      this.canvas.height = height * ratio;
      this.canvas.style.width = `${width}px`;
      this.canvas.style.height = `${height}px`;
    }
  }

  place(index) {
    const row = Math.floor(index / this.across);
    return [(index - row * this.across) * this.pitch, row * this.pitch];
  }

  // The small card of one look, drawn once and copied from then on: a corner says it waits for its time, a bar that it
  // was put back, the colour its priority; and its id stands on it where there is room.
  stamp(card, later, ratio) {
    const id = this.pitch >= READABLE ? String(card.id) : "";
    const key = [id, card.priority, later, Boolean(card.attempts), this.pitch, ratio].join(" ");
    let stamp = this.stamps.get(key);
    if (stamp) return stamp;
    const side = this.pitch - SMALL_GAP;
    const look = LOOKS.ramp[step(card.priority)];
    stamp = make("canvas");
    stamp.width = stamp.height = side * ratio;
    const context = stamp.getContext("2d");
    context.scale(ratio, ratio);
    context.fillStyle = look.fill;
    context.fillRect(0, 0, side, side);
    context.fillStyle = look.text;
    context.textAlign = "center";
    context.textBaseline = "middle";
    if (id) {
      context.font = "600 10px system-ui, sans-serif";
      context.fillText(id, side / 2, side / 2 + 0.5, side - 2);
    }
    if (later) context.fillRect(side - 4, 0, 4, 4);
    if (card.attempts) context.fillRect(0, side - 3, side, 3);
    if (this.stamps.size > 3000) this.stamps.clear();
    this.stamps.set(key, stamp);
    return stamp;
  }

  // The job at a point of the canvas, or null. Whoever misses a small card means the nearest.
  at(x, y) {
    const column = Math.min(this.across - 1, Math.max(0, Math.floor(x / this.pitch)));
    const row = Math.max(0, Math.floor(y / this.pitch));
    return this.cards[Math.min(this.cards.length - 1, row * this.across + column)]?.id ?? null;
  }

  rectOf(job) {
    const [x, y] = this.place(this.index.get(job));
    const { left, top } = this.canvas.getBoundingClientRect();
    return new DOMRect(left + x, top + y, this.pitch - SMALL_GAP, this.pitch - SMALL_GAP);
  }
}

// More cards than even that: their number, and of those that wait how many there are of each priority.
function drawCount(cell, total, waiting) {
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
      list.append(make("span", `kb-priority kb-p${step(priority)}`, short(priority)), make("span", "", number(jobs)));
    }
    if (waiting.length > 4) list.append(make("span", "", "…"));
    parts.push(bar, list);
  }
  cell.replaceChildren(...parts);
}
