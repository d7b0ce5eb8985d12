// What is shown of the job that is pointed at: its payload, times, last error and traceback.

const HINT =
  "Point at a job, or reach it with Tab and the arrow keys, to see its payload, times and traceback. " +
  "Click to keep it here.";

class Detail {
  constructor(queue) {
    this.queue = queue;
    this.node = make("div", "kb-detail");
    this.node.setAttribute("role", "region");
    this.node.setAttribute("aria-label", "The job pointed at");
    this.node.tabIndex = 0;
  }

  show(job, pinned) {
    const card = this.queue.cards.get(job) ?? null;
    const now = this.queue.now();
    const key = JSON.stringify([job, card, pinned, card && !card.ended ? Math.floor(now) : 0]);
    if (key === this.key) return;
    this.key = key;
    if (card) this.node.replaceChildren(...this.parts(card, pinned, now));
    else this.node.replaceChildren(make("p", "kb-hint", job === null ? HINT : `Job #${job} is no longer on the board.`));
  }

  parts(card, pinned, now) {
    const column = columnOf(card);
    const title = make("div", "kb-what");
    title.append(
      make("span", `kb-priority kb-p${step(card.priority)}`, `${card.priority}`),
      make("strong", "", `#${card.id} ${card.entrypoint}`),
      make("span", `kb-status kb-${column.name}`, `${column.icon} ${statusWord(card)}`),
    );
    if (card.attempts) title.append(make("span", "", `${RETRIED} ${retries(card)}`));
    if (pinned) title.append(make("span", "kb-hint", "kept here; Escape lets it go"));
    const parts = [title, make("div", "kb-times", this.times(card, now).join("  ·  "))];
    const unknown = card.ended && card.size === undefined ? "(left the table with the job)" : "none";
    const size = card.size === undefined ? "" : ` (${number(card.size)} bytes)`;
    parts.push(this.line(`payload${size}`, card.payload ?? unknown));
    if (card.error) {
      const error = this.line(card.status === "queued" || card.status === "picked" ? "last error" : "error", card.error);
      error.classList.add("kb-error");
      parts.push(error);
    }
    if (card.trace) parts.push(make("pre", "kb-trace", card.trace));
    return parts;
  }

  line(label, text) {
    const line = make("div", "kb-line");
    line.append(make("span", "kb-label", label), make("code", "", text));
    return line;
  }

  times(card, now) {
    const clock = (at) => new Date((at + this.queue.offset) * 1000).toLocaleTimeString([], { hour12: false });
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
