// What the kernel has told of the queue, and how it is said.
// The board's JavaScript is one module, which assets.py puts together. Whatever came out of the queue is set as text,
// never as markup, and nothing is asked of any server but the kernel.

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
const SHORT = new Intl.NumberFormat("en", { notation: "compact" });
const short = (value) => (Math.abs(value) < 1000 ? String(value) : SHORT.format(value));
const TAKEN_EVERY = 1000; // milliseconds between two pictures for the notebook that is saved with its widgets

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
    this.told = new Map(); // the jobs as they are
    this.cards = new Map(); // and as they are shown: the same, but in slow motion
    this.steps = new Map(); // in slow motion, what is still to be shown of a job
    this.views = new Set();
    this.details = new Map();
    this.model = model;
    const picture = model.get("picture");
    this.fill(picture);
    // What was saved with the notebook comes back without a kernel that could keep it true.
    if (picture.saved) this.stop(picture.saved);
    model.on("msg:custom", (message, buffers) => this.hear(message, buffers));
    // The kernel was restarted, ended, or is reached again: believe it is there when it answers.
    model.on("comm_live_update", () => {
      this.stop(Date.now() / 1000);
      this.ask({ kind: "again" });
      this.redraw();
    });
  }

  get live() {
    return this.stopped === undefined;
  }

  stop(at) {
    this.stopped ??= at;
  }

  get slow() {
    return this.model.get("slow") ?? 0;
  }

  fill(picture) {
    this.told.clear();
    this.cards.clear();
    this.steps.clear();
    this.rest = {};
    for (const card of picture.cards ?? []) this.cards.set(card.id, card);
    this.take(picture);
  }

  take(change) {
    this.version = change.version;
    this.offset = (change.saved ?? Date.now() / 1000) - change.now;
    for (const job of change.gone ?? []) for (const known of [this.told, this.cards, this.steps]) known.delete(job);
    for (const card of change.cards ?? []) {
      this.told.set(card.id, card);
      this.show(card);
    }
    Object.assign(this.rest, change);
    delete this.rest.cards;
  }

  // Show a card; in slow motion after each state that it went through since, for as long as that takes.
  show(card) {
    const waiting = this.steps.get(card.id);
    const shown = waiting?.at(-1) ?? this.cards.get(card.id);
    if (!this.slow || (shown?.status === card.status && shown.attempts === card.attempts)) {
      if (waiting) waiting[waiting.length - 1] = card;
      else this.cards.set(card.id, card);
      return;
    }
    const ends = COLUMN_OF[card.status] > 1 || card.status === "failed";
    const before = { ...card, ended: undefined, error: shown?.error, trace: undefined };
    const steps = [];
    if (!shown && card.status !== "queued" && card.created) steps.push({ ...before, status: "queued", picked: undefined });
    if (ends && shown?.status !== "picked" && card.picked) steps.push({ ...before, status: "picked" });
    steps.push(card);
    if (waiting) waiting.push(...steps);
    else {
      if (!shown) this.cards.set(card.id, steps.shift());
      this.steps.set(card.id, steps);
      this.stepLater(card.id);
    }
  }

  // Its time begins with the frame that draws it, which on a busy machine may be late.
  stepLater(job) {
    requestAnimationFrame(() => setTimeout(() => this.step(job), this.slow * 1000));
  }

  step(job) {
    const steps = this.steps.get(job);
    if (!steps) return;
    if (steps.length) this.cards.set(job, steps.shift());
    if (steps.length) this.stepLater(job);
    else this.steps.delete(job);
    this.redraw();
  }

  // How many jobs of an entrypoint stand in a column; in slow motion as many as are seen there.
  count(entrypoint, column) {
    const { statuses } = COLUMNS[column];
    const counts = this.rest.counts[entrypoint] ?? {};
    let sum = statuses.reduce((total, status) => total + (counts[status] ?? 0), 0);
    for (const job of this.steps.keys()) {
      const [told, shown] = [this.told.get(job), this.cards.get(job)];
      if (shown.entrypoint === entrypoint) sum += statuses.includes(shown.status) - statuses.includes(told.status);
    }
    return sum;
  }

  hear(message, buffers) {
    const change = JSON.parse(new TextDecoder().decode(buffers[0]));
    if (message.kind === "detail") this.details.set(message.job, change);
    else {
      if (message.kind === "full") this.fill(change);
      else if (change.version > this.version) {
        // A message was lost (a reload, a server that limits its rate): ask for everything.
        if (change.version !== this.version + 1) this.ask({ kind: "again" });
        this.take(change);
      }
      this.stopped = change.saved; // a board that was closed: this is its last picture
      this.keep();
    }
    this.redraw();
  }

  // A notebook that is saved with its widgets keeps what the model holds: let that be the last picture.
  keep() {
    this.keeping ??= setTimeout(() => {
      this.keeping = undefined;
      const picture = { ...this.rest, version: this.version, now: this.now(), saved: this.stopped ?? Date.now() / 1000 };
      this.model.set("picture", { ...picture, cards: [...this.told.values()] });
    }, TAKEN_EVERY);
  }

  ask(question) {
    try {
      this.model.send(question);
    } catch {
      // There is no kernel to ask; the board says so.
    }
  }

  now() {
    return (this.stopped ?? Date.now() / 1000) - this.offset;
  }

  clock(at) {
    return new Date((at + this.offset) * 1000).toLocaleTimeString([], { hour12: false });
  }

  redraw() {
    for (const view of this.views) view.later();
  }
}
