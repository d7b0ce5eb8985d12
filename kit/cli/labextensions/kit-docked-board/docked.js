/* Docks the board of the lesson that `kit lab` opens beside its text, as JupyterLab's own "Create New View for
   Cell Output" would: a second, live view of what the cell with `kit.board()` shows.

   It is docked once, in a fresh layout. From then on the layout is the learner's: JupyterLab saves it, and a
   reload brings back what was open and nothing that was closed. */

(() => {
  const NAME = "kit-docked-board";
  const BOARD_CELL = /^kit\.board\(/m;
  const WIDE_ENOUGH = 1200; // pixels of window: below it, a text with a board beside it is too narrow to read
  const WAITING = "The board will be here: the queue as a live picture, once the cell with kit.board() has run.";

  const STYLE = `
  .kit-docked-board .jp-OutputArea:empty::before {
    content: ${JSON.stringify(WAITING)};
    display: block;
    max-width: 28em;
    margin: 20vh auto 0;
    padding: 0 16px;
    color: var(--jp-ui-font-color2);
    font: 14px/1.6 var(--jp-ui-font-family);
    text-align: center;
  }`;

  const isOutputView = (widget) => Boolean(widget.content?.hasClass?.("jp-LinkedOutputView"));
  const outputViews = (app) => [...app.shell.widgets("main")].filter(isOutputView);
  const notebookAt = (app, path) =>
    [...app.shell.widgets("main")].find((widget) => widget.context?.path === path && widget.content?.widgets);

  /* Wait for the notebook at `path` to be open with its cells. */
  async function opened(app, path) {
    while (!notebookAt(app, path)) {
      await new Promise((resolve) => {
        const changed = () => (app.shell.layoutModified.disconnect(changed), resolve());
        app.shell.layoutModified.connect(changed);
      });
    }
    const notebook = notebookAt(app, path);
    await notebook.context.ready;
    return notebook;
  }

  const boardCell = (notebook) =>
    notebook.content.widgets.findIndex(
      ({ model }) => model.type === "code" && BOARD_CELL.test(model.sharedModel.getSource()),
    );

  /* Call a view of a board what it is, and say in it what is to come while its cell has not run. */
  function dress(view) {
    view.title.label = "Board";
    view.content.addClass(NAME);
  }

  async function dock(app, notebook) {
    const path = notebook.context.path;
    await app.commands.execute("notebook:create-output-view", { path, index: boardCell(notebook) });
    const view = outputViews(app).find(({ content }) => content.path === path);
    app.shell.add(view, "main", { ref: notebook.id, mode: "split-right", activate: false });
    app.shell.collapseLeft();
    dress(view);
  }

  async function activate(app) {
    const { treePath } = JSON.parse(document.getElementById("jupyter-config-data").textContent);
    const style = document.head.appendChild(document.createElement("style"));
    style.textContent = STYLE;
    const { fresh } = await app.shell.restored;
    if (!treePath) return;
    const notebook = await opened(app, decodeURIComponent(treePath));
    const index = boardCell(notebook);
    if (index < 0) return;
    if (fresh && window.innerWidth >= WIDE_ENOUGH) await dock(app, notebook);
    else outputViews(app).filter(({ content }) => content.index === index).forEach(dress);
  }

  const plugin = { id: `${NAME}:plugin`, autoStart: true, activate: (app) => void activate(app) };
  (window._JUPYTERLAB ??= {})[NAME] = { init: () => {}, get: async () => () => ({ __esModule: true, default: plugin }) };
})();
