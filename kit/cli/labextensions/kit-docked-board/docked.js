/* Docks the board of the lesson that `kit lab` opens beside its text: a second, live view of what the cell with
   `kit.board()` shows, made by JupyterLab's own "Create New View for Cell Output".

   It is docked once, in a fresh layout. From then on the layout is the learner's: JupyterLab saves it, and a
   reload brings back what was open and nothing that was closed. */

(() => {
  const NAME = "kit-docked-board";
  const BOARD_CELL = /^kit\.board\(/m;
  const WIDE_ENOUGH = 1280; // pixels of window: below it, a text with a board beside it is too narrow to read
  const WAITING = "Here you will see the queue as a live picture, once you have run the cell with kit.board().";

  const STYLE = `
  .${NAME} .jp-OutputArea:empty::before {
    content: ${JSON.stringify(WAITING)};
    display: block;
    max-width: 28em;
    margin: 20vh auto 0;
    padding: 0 16px;
    color: var(--jp-ui-font-color2);
    font: 14px/1.6 var(--jp-ui-font-family);
    text-align: center;
  }`;

  const inMain = (app) => [...app.shell.widgets("main")];
  const notebookAt = (app, path) =>
    inMain(app).find(({ context, content }) => context?.path === path && content?.widgets);
  const viewOf = (app, path, index) =>
    inMain(app).find(
      ({ content }) =>
        content?.hasClass?.("jp-LinkedOutputView") && content.path === path && content.index === index,
    );

  /* Wait until the notebook at `path` is open, with its cells. */
  async function opened(app, path) {
    while (!notebookAt(app, path)) {
      await new Promise((resolve) => {
        const changed = () => {
          app.shell.layoutModified.disconnect(changed);
          resolve();
        };
        app.shell.layoutModified.connect(changed);
      });
    }
    const notebook = notebookAt(app, path);
    await notebook.context.ready;
    return notebook;
  }

  async function dock(app, notebook, path, index) {
    await app.commands.execute("notebook:create-output-view", { path, index });
    app.shell.add(viewOf(app, path, index), "main", { ref: notebook.id, mode: "split-right" });
    app.shell.collapseLeft();
    app.shell.activateById(notebook.id);
  }

  async function activate(app) {
    const path = JSON.parse(document.getElementById("jupyter-config-data").textContent).treePath;
    if (!path) return;
    const { fresh } = await app.shell.restored;
    const notebook = await opened(app, path);
    const index = notebook.content.widgets.findIndex(
      ({ model }) => model.type === "code" && BOARD_CELL.test(model.sharedModel.getSource()),
    );
    if (index < 0) return;
    if (fresh && window.innerWidth >= WIDE_ENOUGH) await dock(app, notebook, path, index);
    const view = viewOf(app, path, index);
    if (!view) return; // the window is narrow, or the learner has closed it
    view.title.label = "Board";
    view.content.addClass(NAME);
    document.head.appendChild(document.createElement("style")).textContent = STYLE;
  }

  const plugin = { id: `${NAME}:plugin`, autoStart: true, activate: (app) => void activate(app) };
  // What JupyterLab expects of a built extension: a module federation container.
  const module = { __esModule: true, default: plugin };
  (window._JUPYTERLAB ??= {})[NAME] = { init: () => {}, get: async () => () => module };
})();
