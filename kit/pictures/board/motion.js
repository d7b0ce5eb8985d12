// Cards that change their place glide to the new one.

const LEAP = 200; // more cards than this changing their place at once do not glide
const GLIDE = { duration: 350, easing: "cubic-bezier(0.3, 0.1, 0.2, 1)" };

class Motion {
  constructor(field) {
    this.field = field;
    this.air = make("div", "kb-air"); // above the field, for cards on their way
    this.air.setAttribute("aria-hidden", "true");
  }

  rectOf(job) {
    const { nodes, cells } = this.field;
    return nodes.has(job) ? nodes.get(job).getBoundingClientRect() : cells.get(job).small.rectOf(job);
  }

  // Where those cards stand that are about to change their cell, or their place among few.
  places(lanes) {
    if (document.hidden || matchMedia("(prefers-reduced-motion: reduce)").matches) return [];
    const { nodes, cells } = this.field;
    const moving = [];
    for (const lane of lanes) {
      lane.cells.forEach((cell, column) => {
        for (const { id } of lane.jobs[column]) {
          const before = cells.get(id);
          if (before && (before !== cell || nodes.has(id))) moving.push(id);
        }
      });
    }
    return moving.length > LEAP ? [] : moving.map((job) => [job, this.rectOf(job)]);
  }

  glide(from) {
    const { nodes } = this.field;
    const ground = from.length ? this.air.getBoundingClientRect() : null;
    const steps = from.map(([job, before]) => [job, before, this.rectOf(job)]);
    for (const [job, before, after] of steps) {
      const x = before.x - after.x;
      const y = before.y - after.y;
      if (Math.abs(x) + Math.abs(y) < 2) continue;
      const node = nodes.get(job) ?? this.ghost(job, after.x - ground.x, after.y - ground.y);
      const flight = node.animate([{ transform: `translate(${x}px, ${y}px)` }, { transform: "none" }], GLIDE);
      if (!nodes.has(job)) flight.finished.finally(() => node.remove());
    }
  }

  // A card on its way into many small ones.
  ghost(job, x, y) {
    const { priority } = this.field.queue.cards.get(job);
    const node = make("span", `kb-ghost kb-priority kb-p${step(priority)}`, short(priority));
    node.style.left = `${x}px`;
    node.style.top = `${y}px`;
    this.air.append(node);
    return node;
  }
}
