// One view of the queue: its state in words and numbers, the field of cards, and the job pointed at.

const RATE_SECONDS = 60;
const NARROW = 50; // a board of fewer ems of width has its columns one below the other
const MEDIUM = 76; // one of fewer has the numbers of its columns below their names
const SAY_EVERY = 8000; // milliseconds between two announcements to a screen reader

class View {
  constructor(queue, root) {
    this.queue = queue;
    this.root = root;
    this.field = new Field(queue, () => this.later(), () => this.tick());
    this.detail = new Detail(queue);
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
    this.root.className = "kit-board kit-live";
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
    this.facts = make("div", "kb-facts");
    this.consumers = make("ul", "kb-consumers");
    this.consumers.setAttribute("aria-label", "Consumers");
    this.legend = make("div", "kb-legend");
    this.voice = make("div", "kb-voice");
    this.voice.setAttribute("role", "status");
    this.voice.setAttribute("aria-live", "polite");
    // Trouble takes the place of what is said of consumers and ages, so that the cards stay where they are.
    this.middle = make("div", "kb-middle");
    this.middle.append(this.trouble, this.consumers, this.facts);
    this.root.append(head, this.middle, this.field.node, this.detail.node, this.legend, this.voice);
    this.root.addEventListener("keydown", (event) => this.field.keys.press(event));
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
    const ems = this.root.clientWidth / parseFloat(getComputedStyle(this.root).fontSize);
    this.root.classList.toggle("kb-narrow", ems < NARROW);
    this.root.classList.toggle("kb-medium", ems < MEDIUM);
    // Before all else, for it measures where cards stand, which is free only while nothing has changed.
    this.field.draw(this.queue.now(), ems < NARROW);
    setText(this.title, rest.database || "queue");
    setText(this.summary, rest.counting ? `${rest.summary} More than can be drawn: counted.` : rest.summary);
    const ended = () => `As it was at ${this.queue.clock(this.queue.now())}; run the cell again for a live board.`;
    const trouble = this.queue.live ? rest.trouble : ended();
    this.trouble.hidden = !trouble;
    this.consumers.hidden = this.facts.hidden = Boolean(trouble);
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
    this.drawConsumers(now);
    this.drawFacts(now);
    this.field.tick(now);
    const { pointed, pinned } = this.field;
    this.detail.show(pointed ?? pinned?.id ?? null, pinned?.id);
  }

  // An operator's first two questions, once a second. The kernel would have to reckon with each look at the tables.
  drawFacts(now) {
    if (Math.floor(now) === this.reckoned) return;
    this.reckoned = Math.floor(now);
    let oldest = now;
    const kinds = new Map();
    for (const card of this.queue.cards.values()) {
      if (card.status === "queued" && !isLater(card, now)) oldest = Math.min(oldest, card.created ?? now);
      const [kind] = ["exception", "failed"].includes(card.status) ? (card.error ?? "").split(":") : [""];
      if (kind) kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
    }
    const words = [...kinds].sort((a, b) => b[1] - a[1]).map(([kind, jobs]) => `${number(jobs)} × ${kind}`);
    if (words.length > 3) words.splice(3, words.length, `${words.length - 3} other exceptions`);
    if (oldest < now) words.unshift(`oldest waits ${span(now - oldest, true)}`);
    setText(this.facts, words.join("  ·  "));
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
    // The second that has begun counts, too: just after a burst the rate is not 0.
    const recent = values.slice(-6).reduce((sum, value) => sum + value, 0) / (5 + (now % 1));
    setText(this.rate, `${recent >= 10 ? number(Math.round(recent)) : recent.toFixed(1).replace(".0", "")} jobs/s`);
    this.rate.title = `jobs ended a second, over 5 s; the line is the last minute, at most ${number(most)} a second`;
  }

  drawConsumers(now) {
    const lines = this.queue.rest.consumers.map((consumer) => {
      const holds = consumer.jobs ? `, holds ${number(consumer.jobs)} ${consumer.jobs === 1 ? "job" : "jobs"}` : "";
      const beat = consumer.heartbeat ? `, heartbeat ${span(now - consumer.heartbeat, true)} ago` : "";
      return [`${consumer.name}: ${consumer.state}${holds}${beat}`, consumer.jobs ? "kb-busy" : ""];
    });
    if (!lines.length) lines.push(["No consumer is known: nobody holds a job now.", "kb-nobody"]);
    while (this.consumers.children.length > lines.length) this.consumers.lastChild.remove();
    while (this.consumers.children.length < lines.length) this.consumers.append(make("li"));
    lines.forEach(([text, look], index) => {
      setText(this.consumers.children[index], text);
      this.consumers.children[index].className = look;
    });
  }

  drawLegend() {
    const used = new Set();
    for (const card of this.queue.cards.values()) used.add(step(card.priority));
    const steps = [...used].sort().reverse();
    if (steps.join() === this.steps) return;
    this.steps = steps.join();
    const keys = steps.map((at) => make("span", `kb-priority kb-p${at}`, LOOKS.ramp[at].name));
    this.legend.replaceChildren(...(keys.length ? [make("span", "", "priority, highest first:"), ...keys] : []));
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
