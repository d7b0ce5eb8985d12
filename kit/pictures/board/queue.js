// What the kernel has told of the queue, and how it is said.
//
// The board's JavaScript is one module: the constant LOOKS, made from the kit's palette, and then queue.js,
// small_cards.js, motion.js, field.js, detail.js and board.js. Whatever came out of the queue is set as text, never
// as markup, and nothing is asked of any server but the kernel.

const COLUMNS = LOOKS.columns;
const COLUMN_OF = Object.fromEntries(COLUMNS.flatMap((column, index) => column.statuses.map((s) => [s, index])));
const [RETRIED, RETRY, RETRIES] = LOOKS.retried;

// A priority's place in the ramp of colours.
const step = (priority) => LOOKS.ramp.filter(({ least }) => least !== null && priority >= least).length;
const columnOf = (card) => COLUMNS[COLUMN_OF[card.status]];
const statusWord = (card) => LOOKS.words[card.status];
const retries = (card) => `${card.attempts} ${card.attempts === 1 ? RETRY : RETRIES}`;
const isLater = (card, now) => card.status === "queued" && card.due > now;
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

function sayCard(card, now) {
  const words = [`Job ${card.id}`, card.entrypoint, `priority ${card.priority}`, statusWord(card)];
  if (card.attempts) words.push(retries(card));
  if (isLater(card, now)) words.push("due later");
  if (card.error && card.status !== "successful") words.push(card.error);
  return words.join(", ");
}

// What has been told of the queue: the whole picture once ("full"), then only what has changed ("change").
// There is one for each model, however many views it has.
class Queue {
  constructor(model) {
    this.cards = new Map();
    this.views = new Set();
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
    else if (change.version > this.version) {
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
