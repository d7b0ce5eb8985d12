// The keyboard's way through the cards: one is in the Tab order, the arrow keys go on from there.

class Keys {
  constructor(field) {
    this.field = field;
  }

  keepTabStop() {
    const stop = this.field.holder(this.field.focused);
    if (stop === this.stop && stop?.tabIndex === 0) return;
    if (this.stop) this.stop.tabIndex = -1;
    if (stop) stop.tabIndex = 0;
    this.stop = stop;
  }

  focusOn(job) {
    const { field } = this;
    field.focused = job;
    this.keepTabStop();
    const holder = field.holder(job);
    const card = field.queue.cards.get(job);
    if (!holder || !card) return;
    holder.small?.say(job, field.queue.now(), field.pinned?.id);
    if (holder !== document.activeElement) holder.focus();
    if (holder.small) field.again();
    field.point(job);
  }

  press(event) {
    const { field } = this;
    const { order, cells, focused } = field;
    if (event.key === "Escape") return field.pin(null);
    if (!event.target.small && !event.target.job) return undefined;
    const at = order.indexOf(focused);
    const nextCell = (by) => {
      let to = at;
      while (to in order && cells.get(order[to]) === cells.get(focused)) to += by;
      return to;
    };
    const goals = {
      ArrowRight: () => at + 1,
      ArrowLeft: () => at - 1,
      ArrowDown: () => nextCell(1),
      ArrowUp: () => nextCell(-1),
      Home: () => 0,
      End: () => order.length - 1,
    };
    if (event.key === "Enter" || event.key === " ") {
      field.pin(focused);
      this.focusOn(focused);
    } else if (!(event.key in goals)) return undefined;
    else {
      const goal = order[goals[event.key]()];
      if (goal !== undefined) this.focusOn(goal);
    }
    return event.preventDefault();
  }
}
