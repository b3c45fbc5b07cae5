// The list of the latest readouts, and one of them with its bytes coloured by what they are (monitor/events.py).
"use strict"

globalThis.readouts = (() => {
  const find = (selector) => document.querySelector(selector)

  let drawnBytes = ""

  function say(words) {
    panels.rows("#readout-list", words.listed, readoutRow, (row, one) => {
      const button = row.cells[0].firstChild
      if (button.textContent !== String(one.id)) button.textContent = one.id
      panels.texts(row, ["", one.time, one.hits, one.size, one.problems])
      row.classList.toggle("chosen", one.id === words.dissected?.id)
    })
    const now = JSON.stringify(words.dissected)
    if (now === drawnBytes) return
    drawnBytes = now
    const {head = "", pieces = [], rest = "", hits = [], problems = []} = words.dissected ?? {}
    find("#dissected-head").textContent = head
    find("#bytes-rest").textContent = rest
    find("#bytes").replaceChildren(...pieces.flatMap((piece) => [pieceOf(piece), " "]))
    find("#dissected-hits").replaceChildren(...hits.map((text) => element("li", text)))
    find("#dissected-problems").replaceChildren(...problems.map((text) => element("li", text)))
  }

  const MEANT = {
    start: "start byte", hit: "part of a hit", idle: "idle or padding", orphan: "before the first hit",
    extra: "begins a hit that the next readout ends", dropped: "dropped", undecoded: "not decoded",
  }

  function pieceOf({text, meaning, hit}) {
    const span = element("span", text.match(/../g).join(" "))
    span.className = `byte ${meaning}`
    span.title = MEANT[meaning] + (hit === null ? "" : `: hit ${hit}`)
    return span
  }

  function element(name, text) {
    const made = document.createElement(name)
    made.textContent = text
    return made
  }

  function readoutRow(row) {
    return panels.cells(row, 5, (button) => apx.set({readout: button.textContent}))
  }

  function start() {
    find("#newest").addEventListener("click", () => apx.set({readout: ""}))
  }

  return {start, say}
})()
