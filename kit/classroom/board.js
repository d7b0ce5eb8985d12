// The board of a class: asks for the results every two seconds. What comes from learners becomes text, never HTML.
const EVERY = 2000
const SIGNS = { "passed": "✓", "stuck": "!", "tried": "↻", "not tried": "○" }
const ORDER = ["stuck", "tried", "not tried", "passed"]
const SILENT = 30 // minutes; of more than half of the class it says nothing, as at its beginning
const NOW = "\u0000now", ALL = "\u0000all"
const at = id => document.getElementById(id)
let data = null, text = "", by = 0, down = false
let hidden = localStorage.getItem("hidden") === "yes"

function make(tag, words = "", kind = "") {
  const made = document.createElement(tag)
  made.textContent = words
  if (kind) made.className = kind
  return made
}

function nameOf(place) {
  return hidden ? `Learner ${place + 1}` : data.learners[place].name
}

function mark(state, more = "") {
  return make("span", `${SIGNS[state]} ${state}${more}`, state === "not tried" ? "quiet" : `mark ${state}`)
}

function times(count, thing) {
  return `${count} ${thing}${count === 1 ? "" : "s"}`
}

// The cells of a learner: for each what it is sorted by, and its element.
function cells(learner, lessons) {
  const stateOf = one => learner.work[one.id]?.state ?? "not tried"
  if (lessons.length > 1)
    return lessons.map(lesson => {
      const states = lesson.exercises.map(stateOf), passed = states.filter(one => one === "passed").length
      const stuck = states.filter(one => one === "stuck").length
      const state = stuck ? "stuck" : passed === states.length ? "passed" : states.some(one => one !== "not tried") ? "tried" : "not tried"
      return [ORDER.indexOf(state) * 100 + passed, mark(state, state === "not tried" ? "" : `, ${passed} of ${states.length} passed`)]
    })
  return lessons[0].exercises.map(one => {
    const work = learner.work[one.id], state = stateOf(one)
    return [ORDER.indexOf(state) * 1000 - (work?.wrong ?? 0), mark(state, work?.wrong ? `, ${work.wrong} wrong` : "")]
  })
}

function shownLessons() {
  const chosen = at("lesson").value
  if (chosen === ALL) return data.lessons
  const name = chosen === NOW ? data.now_at : chosen
  return [data.lessons.find(one => one.name === name) ?? data.lessons[0]]
}

function draw() {
  document.title = at("name").textContent = data.class
  at("count").textContent = times(data.learners.length, "learner")
  at("join").textContent = `kit class join ${data.join}`
  at("join").parentElement.hidden = at("slips").hidden = !data.join
  at("hide").setAttribute("aria-pressed", hidden)
  at("plan").hidden = !data.plan
  at("plan").textContent = `By the plan ${data.plan}`
  const lessons = shownLessons()
  const columns = ["Learner", "Last seen", "Passed in all",
    ...(lessons.length > 1 ? lessons.map(one => one.name) : lessons[0].exercises.map(one => one.title))]
  if (by >= columns.length) by = 0
  const focused = document.activeElement?.dataset?.column
  const head = make("tr")
  columns.forEach((words, column) => {
    const cell = make("th"), button = make("button", words)
    cell.scope = "col"
    cell.ariaSort = column === by ? (down ? "descending" : "ascending") : "none"
    button.dataset.column = column
    button.onclick = () => { down = by === column && !down; by = column; draw() }
    cell.append(button)
    head.append(cell)
  })
  at("head").replaceChildren(head)
  if (focused) head.querySelector(`[data-column="${focused}"]`)?.focus()
  const rows = data.learners.map((learner, place) => {
    const ago = learner.minutes === null ? "never" : learner.minutes < 1 ? "just now" : `${learner.minutes} min ago`
    const name = nameOf(place), header = make("th", name)
    header.scope = "row"
    return [[hidden ? place : name.toLowerCase(), header], [learner.minutes ?? 1e9, make("td", ago)],
      [learner.passed, make("td", String(learner.passed))],
      ...cells(learner, lessons).map(([key, inside]) => { const cell = make("td"); cell.append(inside); return [key, cell] })]
  })
  rows.sort(([...a], [...b]) => (a[by][0] < b[by][0] ? -1 : a[by][0] > b[by][0] ? 1 : 0) * (down ? -1 : 1))
  at("rows").replaceChildren(...rows.map(row => { const line = make("tr"); line.append(...row.map(([, cell]) => cell)); return line }))
  at("help").replaceChildren(...listed(data.help, one => [
    make("strong", nameOf(one.learner)), " ", mark(one.stuck ? "stuck" : "tried"), ` ${one.title}: ${one.wrong} wrong checks in ${one.minutes} min, ` +
    `${times(one.hints, "hint")}. `, make("small", one.says)], "Of those who were here in the last half hour, nobody is wrong twice in an exercise not passed."))
  const silent = data.learners.flatMap((one, place) => (one.minutes ?? SILENT) >= SILENT ? [nameOf(place)] : [])
  at("silent").hidden = !silent.length || silent.length > data.learners.length / 2
  at("silent").textContent = `Nothing heard of for half an hour, or at all: ${silent.join(", ")}.`
  at("common").replaceChildren(...listed(data.common, one => [
    make("strong", `${one.count} learners`), ` in ${one.title}: ${one.says} `,
    make("small", one.mistakes.length ? `What they think: ${one.mistakes.join(" · ")}` : "")], "No two learners stand at the same wrong answer of the last quarter of an hour."))
}

function listed(entries, parts, none) {
  if (!entries.length) return [make("li", none, "quiet")]
  return entries.map(entry => { const item = make("li"); item.append(...parts(entry)); return item })
}

function choices() {
  const chosen = at("lesson").value || NOW
  const option = (value, words) => { const made = make("option", words); made.value = value; return made }
  at("lesson").replaceChildren(option(NOW, "where the class is"), option(ALL, "all lessons"),
    ...data.lessons.map(one => option(one.name, one.name)))
  at("lesson").value = chosen
}

async function look() {
  try {
    const answer = await fetch("results.json", { signal: AbortSignal.timeout(5000) })
    if (!answer.ok) throw new Error(await answer.text(), { cause: "said" })
    const now = await answer.text()
    if (now !== text) {
      const first = data === null
      data = JSON.parse(text = now)
      if (first) choices()
      draw()
    }
    at("away").hidden = true
  } catch (error) {
    const why = error.cause === "said" ? error.message : "`kit class start` does not answer."
    if (at("away").hidden) at("away").textContent = `No news since ${new Date().toLocaleTimeString()}: ${why}`
    at("away").hidden = false
  }
  setTimeout(look, EVERY)
}

function hide() {
  hidden = !hidden
  localStorage.setItem("hidden", hidden ? "yes" : "no")
  draw()
}

at("hide").onclick = hide
at("lesson").onchange = draw
addEventListener("keydown", event => {
  if (event.key === "n" && data && !event.ctrlKey && !event.metaKey && !event.altKey && event.target.tagName !== "SELECT") hide()
})
look()
