// A panel while its kernel is there. Only what has changed is touched: an open fold stays open, and a screen reader
// is told of a new state, and of nothing else. Without its kernel it is empty, and what was kept is shown.

const read = (html) => Object.assign(document.createElement("div"), { innerHTML: html });
const parts = (root) => new Map([...root.querySelectorAll("[data-part]")].map((node) => [node.dataset.part, node]));

export default {
  render({ model, el }) {
    let before = null;
    const hear = (_, buffers) => {
      const now = read(JSON.parse(new TextDecoder().decode(buffers[0])).html);
      const [old, fresh, shown] = [before && parts(before), parts(now), parts(el)];
      if (!old || [...fresh.keys()].some((name) => !old.has(name))) el.replaceChildren(...now.cloneNode(true).childNodes);
      else for (const [name, { innerHTML }] of old)
        if (!fresh.has(name)) shown.get(name).closest("details").remove(); // of a consumer that has stopped
        else if (innerHTML !== fresh.get(name).innerHTML) shown.get(name).innerHTML = fresh.get(name).innerHTML;
      before = now;
    };
    const anew = () => {
      before = null;
      el.replaceChildren();
      model.send({ kind: "again" });
    };
    model.on("msg:custom", hear);
    model.on("comm_live_update", anew); // the kernel was restarted, or has ended: it is there when it answers
    anew();
    return () => {
      model.off("msg:custom", hear);
      model.off("comm_live_update", anew);
    };
  },
};
