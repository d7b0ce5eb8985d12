// What is shown of the job that is pointed at: its payload, times and last error. Of the one that is kept also what
// the kernel knows: why it waits and what could be done, its whole life, its traceback and the SQL that shows it.

const HINT =
  "Point at a job, or reach it with Tab and the arrow keys, to see its payload and times. " +
  "Click it, and it stays here with its whole life, and why it waits.";

class Detail {
  constructor(queue) {
    this.queue = queue;
    this.node = make("div", "kb-detail");
    this.node.setAttribute("role", "region");
    this.node.setAttribute("aria-label", "The job pointed at");
    this.node.tabIndex = 0;
  }

  // Show a job, and keep the room open for the one that is pinned.
  show(job, pinnedJob) {
    const card = this.queue.cards.get(job) ?? null;
    const pinned = job !== null && job === pinnedJob;
    const kept = pinned && card ? this.ask(card) : undefined;
    this.node.classList.toggle("kb-open", pinnedJob !== undefined);
    if (card) setText((this.times ??= make("div", "kb-times")), this.timesOf(card, this.queue.now()).join("  ·  "));
    const key = JSON.stringify([job, card, pinned, kept]);
    if (key === this.key) return;
    this.key = key;
    if (card) this.node.replaceChildren(...this.parts(card, pinned, kept));
    else this.node.replaceChildren(make("p", "kb-hint", job === null ? HINT : `Job #${job} is no longer on the board.`));
  }

  // Ask the kernel about a job that is kept, anew whenever its state has changed.
  ask(card) {
    const key = JSON.stringify([card.id, card.created, card.status, card.attempts]);
    if (key !== this.asked) {
      this.asked = key;
      this.queue.details.delete(card.id);
      this.queue.ask({ kind: "detail", job: card.id });
    }
    return this.queue.details.get(card.id);
  }

  parts(card, pinned, kept) {
    const column = columnOf(card);
    const title = make("div", "kb-what");
    title.append(
      make("span", `kb-priority kb-p${step(card.priority)}`, `${card.priority}`),
      make("strong", "", `#${card.id} ${card.entrypoint}`),
      make("span", `kb-status kb-${column.name}`, `${column.icon} ${statusWord(card)}`),
    );
    if (card.attempts) title.append(make("span", "", `${RETRIED} ${retries(card)}`));
    if (pinned) title.append(make("span", "kb-hint", "kept here; Escape lets it go"));
    const parts = [title];
    if (kept?.why) parts.push(make("div", "kb-why", kept.why));
    if (kept?.todo) parts.push(this.todo(kept.todo));
    parts.push(this.times);
    const unknown = card.ended && card.size === undefined ? "(left the table with the job)" : "none";
    const size = card.size === undefined ? "" : ` (${number(card.size)} bytes)`;
    parts.push(this.line(`payload${size}`, kept?.payload ?? card.payload ?? unknown));
    if (card.error) {
      const error = this.line(card.status === "queued" || card.status === "picked" ? "last error" : "error", card.error);
      error.classList.add("kb-error");
      parts.push(error);
    }
    const trace = kept?.traceback || card.trace;
    if (trace) parts.push(this.fold("traceback", trace, true));
    if (kept?.life?.length) parts.push(this.fold(`its life, ${kept.life.length} steps`, this.life(kept.life), true));
    if (kept?.sql) parts.push(this.fold("the SQL that shows it", kept.sql, false));
    if (pinned && !kept && this.queue.live) parts.push(make("p", "kb-hint", "More comes when the running cell has ended …"));
    return parts;
  }

  line(label, text) {
    const line = make("div", "kb-line");
    line.append(make("span", "kb-named", label), make("code", "", text));
    return line;
  }

  life(rows) {
    return rows.map(({ at, status, note }) => {
      const clock = typeof at === "number" ? this.queue.clock(at) : at;
      return [clock, LOOKS.words[status] ?? status, note].filter(Boolean).join("  ");
    }).join("\n");
  }

  fold(title, text, open) {
    const fold = make("details", "kb-fold");
    fold.open = open;
    fold.append(make("summary", "", title), make("pre", "kb-trace", text));
    return fold;
  }

  // What could be done about it, to be pasted into a cell: the board itself changes nothing.
  todo(code) {
    const line = this.line("to do", code);
    const copy = make("button", "kb-copy", "copy");
    copy.type = "button";
    copy.setAttribute("aria-label", `Copy: ${code}`);
    copy.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(code);
        setText(copy, "copied");
      } catch {
        // The browser lets no page copy here: the line is selected, for the learner's own keys.
        getSelection().selectAllChildren(line.querySelector("code"));
        setText(copy, "selected");
      }
    });
    line.append(copy);
    return line;
  }

  timesOf(card, now) {
    const clock = (at) => this.queue.clock(at);
    const words = [];
    const { created, picked, ended } = card;
    if (created) words.push(`enqueued ${clock(created)}`);
    if (isLater(card, now)) words.push(`due in ${span(Math.ceil(card.due - now), true)}`);
    else if (card.status === "queued" && !card.attempts && created) words.push(`waiting ${span(now - created, true)}`);
    if (picked) words.push(created ? `picked ${span(picked - created)} later` : `picked ${clock(picked)}`);
    if (ended) words.push(picked && ended >= picked ? `ended after ${span(ended - picked)}` : `ended ${clock(ended)}`);
    else if (card.status === "picked" && picked) words.push(`running ${span(now - picked, true)}`);
    if (card.heartbeat) words.push(`heartbeat ${span(now - card.heartbeat, true)} ago`);
    if (card.consumer) words.push(`by ${card.consumer.slice(0, 8)}`);
    return words;
  }
}
