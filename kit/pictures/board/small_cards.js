// Many cards in one place: one canvas of small ones. A thousand elements, laid out and painted ten times a
// second, would cost the browser more than it has.

const SMALL = { width: 22, height: 15, gap: 2 };

class SmallCards {
  constructor() {
    this.canvas = make("canvas", "kb-small-cards");
    this.canvas.setAttribute("role", "img");
    this.canvas.tabIndex = -1;
    this.canvas.small = this;
    this.cards = [];
    this.index = new Map();
    this.stamps = new Map();
  }

  show(cards, width, marks) {
    this.cards = cards;
    this.index = new Map(cards.map((card, index) => [card.id, index]));
    const ratio = window.devicePixelRatio || 1;
    this.across = Math.max(1, Math.floor((width + SMALL.gap) / (SMALL.width + SMALL.gap)));
    const rows = Math.ceil(cards.length / this.across);
    this.resize(this.across * (SMALL.width + SMALL.gap), rows * (SMALL.height + SMALL.gap), ratio);
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    cards.forEach((card, index) => {
      const [x, y] = this.place(index);
      context.drawImage(this.stamp(card.priority, ratio), x, y, SMALL.width, SMALL.height);
      if (!marks.has(card.id)) return;
      context.strokeStyle = "#fff";
      context.lineWidth = 2;
      context.strokeRect(x + 1, y + 1, SMALL.width - 2, SMALL.height - 2);
    });
    this.canvas.dataset.jobs = cards.length;
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
    return [(index - row * this.across) * (SMALL.width + SMALL.gap), row * (SMALL.height + SMALL.gap)];
  }

  // One priority's small card, drawn once and copied from then on.
  stamp(priority, ratio) {
    const key = `${priority} ${ratio}`;
    let stamp = this.stamps.get(key);
    if (!stamp) {
      stamp = make("canvas");
      stamp.width = SMALL.width * ratio;
      stamp.height = SMALL.height * ratio;
      const context = stamp.getContext("2d");
      context.scale(ratio, ratio);
      context.fillStyle = LOOKS.ramp[step(priority)].fill;
      context.fillRect(0, 0, SMALL.width, SMALL.height);
      context.fillStyle = "#fff";
      context.font = "600 10px system-ui, sans-serif";
      context.textAlign = "center";
      context.textBaseline = "middle";
      context.fillText(String(priority), SMALL.width / 2, SMALL.height / 2 + 0.5, SMALL.width - 2);
      this.stamps.set(key, stamp);
    }
    return stamp;
  }

  // The job at a point of the canvas, or null.
  at(x, y) {
    const column = Math.floor(x / (SMALL.width + SMALL.gap));
    const index = Math.floor(y / (SMALL.height + SMALL.gap)) * this.across + column;
    return column < this.across ? (this.cards[index]?.id ?? null) : null;
  }

  rectOf(job) {
    const [x, y] = this.place(this.index.get(job));
    const { left, top } = this.canvas.getBoundingClientRect();
    return new DOMRect(left + x, top + y, SMALL.width, SMALL.height);
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
      list.append(make("span", `kb-priority kb-p${step(priority)}`, `${priority}`), make("span", "", number(jobs)));
    }
    if (waiting.length > 4) list.append(make("span", "", "…"));
    parts.push(bar, list);
  }
  cell.replaceChildren(...parts);
}
