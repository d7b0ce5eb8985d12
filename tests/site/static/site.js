// The kit's pictures know a dark page by JupyterLab's attribute; the theme has one of its own.
const follow = () => {
  const dark = document.documentElement.dataset.theme === "dark";
  document.body.setAttribute("data-jp-theme-light", String(!dark));
};
document.addEventListener("DOMContentLoaded", () => {
  follow();
  new MutationObserver(follow).observe(document.documentElement, { attributeFilter: ["data-theme"] });
});
// Paper is light: what is white on a dark page would be white on it.
let before;
addEventListener("beforeprint", () => {
  before = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
  follow();
});
addEventListener("afterprint", () => { document.documentElement.dataset.theme = before; });
