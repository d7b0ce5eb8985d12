// A consumer's panel while its kernel is there. Only what has changed is touched: an open fold stays open, and a
// screen reader is told of a new state, and of nothing else. The page stays out of what is saved with a notebook, and
// one that was saved is not believed: without its kernel the panel is empty, and the still one after it is shown.

const FRESH = 10; // seconds: what the kernel told before, it is asked again
const read = (html) => Object.assign(document.createElement("div"), { innerHTML: html });
const part = (root, name) => root.querySelector(`[data-part=${name}]`);

export default () => {
  const views = new Map(); // what each shows
  let [page, asked] = ["", false];
  const draw = (el) => {
    const [before, now] = [read(views.get(el)), read(page)];
    const parts = [...now.querySelectorAll("[data-part]")].map((node) => [node.dataset.part, node.innerHTML]);
    if (!page || !el.firstChild) el.replaceChildren(...now.childNodes);
    else for (const [name, html] of parts) if (html !== part(before, name).innerHTML) part(el, name).innerHTML = html;
    views.set(el, page);
  };
  return {
    initialize({ model }) {
      const show = (html) => {
        page = html;
        [...views.keys()].forEach(draw);
      };
      const ask = () => {
        asked = true;
        model.send({});
      };
      const take = () => {
        const { html, at } = model.get("page");
        if (!html) return;
        model.set("page", {});
        if (asked || Date.now() / 1000 - at < FRESH) show(html);
        else ask();
      };
      model.on("change:page", take);
      model.on("comm_live_update", () => {
        show("");
        ask();
      });
      take();
    },
    render({ el }) {
      views.set(el, "");
      draw(el);
      return () => views.delete(el);
    },
  };
};
