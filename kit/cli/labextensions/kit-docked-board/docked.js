/* Docks one board beside the text of JupyterLab: it follows the notebook in front, and draws what that one's kernel
   tells of its queue, with the script that comes from there. So a kernel and its picture are always of one kit.

   It stands in the right sidebar, which is opened once, in a fresh layout of a window that is wide enough. From then on
   the layout is the learner's: JupyterLab saves it, and a reload brings back what was open and nothing that was closed. */

(() => {
  const NAME = "kit-docked-board";
  const WIDE = 1100; // pixels of window: below it, a text with a board beside it is too narrow to read
  const NARROW = 700; // below it, a file browser leaves no room for a text
  const STYLE = `
  #${NAME} { display: flex; flex-direction: column; min-width: 400px; background: var(--jp-layout-color1); }
  #${NAME} > p { margin: 0; padding: 6px 12px; color: var(--jp-ui-font-color2); }
  #${NAME} > div { flex: 1; min-height: 0; margin: 0 6px 6px; }
  #${NAME} > div:empty::before { content: ""; display: block; height: 320px; margin: 12px; border-radius: 8px; opacity: 0.5;
    background: repeating-linear-gradient(var(--jp-layout-color2) 0 28px, transparent 28px 40px); }
  .kit-has-docked .jp-OutputArea-child:has(.kit-board, figure.kit-still) > * { display: none !important; }
  .kit-has-docked .jp-OutputArea-child:has(figure.kit-still)::before { content: "The board stands beside this text.";
    padding: 4px 8px; color: var(--jp-ui-font-color2); }
  .jp-RenderedText pre { word-break: normal; overflow-wrap: anywhere; }`; // an error is not broken inside words

  const make = (tag, text = "") => Object.assign(document.createElement(tag), { textContent: text });

  class Docked {
    constructor(widget) {
      this.widget = widget;
      this.line = widget.node.appendChild(make("p"));
      this.root = widget.node.appendChild(make("div"));
      this.panel = this.kernel = this.comm = this.board = null;
      this.connect = () => void this.attachTo(this.panel.context.sessionContext.session?.kernel ?? null);
      this.told = (kernel, { content }) => content.comm_id === NAME && this.hello(kernel);
      this.changed = (kernel, status) => kernel === this.kernel && /restarting|dead/.test(status) && this.drop();
      this.connected = (kernel, status) => status === "connected" && void this.ask(kernel);
      new IntersectionObserver(() => this.panel && this.seen()).observe(widget.node);
      this.say();
    }

    get visible() {
      return this.widget.isVisible && this.widget.node.offsetWidth > 0;
    }

    say() {
      const name = this.panel?.context.path.split("/").pop();
      if (!name) this.line.textContent = "The queue of a notebook is shown here.";
      else this.line.textContent = this.board ? `The queue of ${name}` : `${name}: run kit.postgres(), and its queue is shown here.`;
    }

    // Show the queue of another notebook.
    follow(panel) {
      if (panel === this.panel) return;
      const session = panel.context.sessionContext;
      this.panel?.context.sessionContext.kernelChanged.disconnect(this.connect);
      this.panel?.node.classList.remove("kit-has-docked");
      this.panel = panel;
      panel.disposed.connect(() => panel === this.panel && this.leave());
      session.kernelChanged.connect(this.connect);
      this.connect();
    }

    leave() {
      this.drop();
      this.panel = this.kernel = null;
      this.say();
    }

    drop() {
      this.board?.close();
      this.comm?.dispose();
      this.comm = this.board = null;
      this.root.replaceChildren();
      this.panel?.node.classList.remove("kit-has-docked");
      this.say();
    }

    async attachTo(kernel) {
      if (kernel === this.kernel) return;
      this.drop();
      this.kernel = kernel;
      if (!kernel) return;
      // A kernel that makes its channel later tells of it by a message; one that has it already, as after a reload, is asked.
      kernel.iopubMessage.connect(this.told);
      kernel.statusChanged.connect(this.changed);
      kernel.connectionStatusChanged.connect(this.connected); // an answer is lost where the connection was
      await this.ask(kernel);
    }

    async ask(kernel) {
      const { content } = await kernel.requestCommInfo({ target_name: NAME });
      if (content.comms?.[NAME]) this.hello(kernel);
    }

    hello(kernel) {
      if (kernel !== this.kernel || this.comm) return;
      const comm = (this.comm = kernel.createComm(NAME, NAME));
      comm.onMsg = ({ content }) => comm === this.comm && void this.hear(content.data);
      this.seen();
    }

    // The kernel follows its queue for a board only while that is seen.
    seen() {
      const shown = this.visible && Boolean(this.board);
      this.panel?.node.classList.toggle("kit-has-docked", shown);
      if (this.visible && this.comm && !this.board && this.asked !== this.comm) {
        this.asked = this.comm;
        this.comm.send({ kind: "hello" });
      }
    }

    async hear({ script, style, palette, text }) {
      if (script) {
        const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
        const { comm } = this;
        this.loading = import(address);
        const { follow } = await this.loading;
        if (comm !== this.comm || this.board) return;
        const root = make("div");
        root.style.height = "100%";
        this.root.replaceChildren(make("style", style), root);
        this.board = follow(root, palette, (question) => comm.send(question), { docked: true });
        this.say();
        this.seen();
      } else {
        await this.loading;
        this.board?.hear(text);
      }
    }
  }

  // Make it so until it has stayed so for three seconds (JupyterLab still lays itself out), or somebody lays it out.
  async function settled(done, act) {
    const over = new AbortController();
    const touch = ({ target }) => target.closest(".lm-SplitPanel-handle, .jp-SideBar") && over.abort();
    window.addEventListener("pointerdown", touch, { capture: true, signal: over.signal });
    for (let tries = 0, kept = 0; tries < 300 && kept < 30 && !over.signal.aborted; tries++) {
      kept = done() ? kept + 1 : 0;
      if (!kept) act();
      await new Promise((later) => setTimeout(later, 100));
    }
    over.abort();
  }

  async function activate(app, restorer, tracker, { Widget }) {
    document.head.appendChild(make("style", STYLE));
    const widget = new Widget();
    widget.id = NAME;
    widget.title.label = widget.title.caption = "Board";
    const docked = new Docked(widget);
    app.shell.add(widget, "right", { rank: 10 });
    restorer.add(widget, NAME);
    let toBeOpened = false;
    const front = async () => {
      // A window that never had the focus knows no widget in front, only the notebook that was opened.
      const panel = app.shell.currentWidget ?? tracker.currentWidget;
      if (!tracker.has(panel)) return;
      await panel.context.ready;
      if (panel !== (app.shell.currentWidget ?? tracker.currentWidget)) return; // another one came to the front
      if (!hasCode(panel.context)) return;
      docked.follow(panel);
      if (toBeOpened) open(app, widget);
      toBeOpened = false;
    };
    for (const { currentChanged } of [app.shell, tracker]) currentChanged.connect(() => void front());
    app.shell.layoutModified.connect(() => docked.seen());
    const { fresh } = await app.shell.restored;
    if (window.innerWidth < NARROW) void settled(() => app.shell.leftCollapsed, () => app.shell.collapseLeft());
    toBeOpened = fresh && window.innerWidth >= WIDE;
    void front();
  }

  function open(app, widget) {
    app.shell.expandRight();
    app.shell.activateById(NAME);
    void settled(() => app.shell.leftCollapsed, () => app.shell.collapseLeft());
    // No public way sets the width of a sidebar; tried with JupyterLab 4.5 and 4.6. Without it the learner draws it wider.
    const sizes = () => app.shell._hsplitPanel?.setRelativeSizes?.([0, 0.575, 0.425]);
    void settled(() => widget.node.offsetWidth > 0.38 * window.innerWidth, sizes);
  }

  const hasCode = ({ model }) => [...model.cells].some(({ type }) => type === "code");

  // A notebook without code, such as the glossary, is read: it starts no kernel.
  function readOnlyPages(tracker) {
    tracker.widgetAdded.connect(async (_, { context }) => {
      await context.ready;
      const { sessionContext } = context;
      if (!hasCode(context)) sessionContext.kernelPreference = { ...sessionContext.kernelPreference, shouldStart: false };
    });
  }

  // What JupyterLab expects of a built extension is a module federation container. What it shares comes by `init`.
  let shared;
  const take = async (name) => (await Object.values(shared[name])[0].get())();
  const plugin = async () => {
    const [widgets, { ILayoutRestorer }, { INotebookTracker }] = await Promise.all(
      ["@lumino/widgets", "@jupyterlab/application", "@jupyterlab/notebook"].map(take),
    );
    return {
      id: `${NAME}:plugin`,
      autoStart: true,
      requires: [ILayoutRestorer, INotebookTracker],
      activate: (app, restorer, tracker) => {
        readOnlyPages(tracker);
        if (app.shell.expandRight) void activate(app, restorer, tracker, widgets);
      },
    };
  };
  const get = async () => {
    const module = { __esModule: true, default: await plugin() };
    return () => module;
  };
  (window._JUPYTERLAB ??= {})[NAME] = { init: (scope) => (shared = scope), get };
})();
