// The browser's end of monitor/page.py: shows the words that the server says, and says what the viewer wishes.
// Texts are set with textContent only, so that nothing from the wire becomes HTML.
"use strict"

globalThis.apx = (() => {
  const find = (selector) => document.querySelector(selector)
  const findAll = (selector) => [...document.querySelectorAll(selector)]
  const extra = {frozen: false, reset: 0} // of the wish, beside what is in the form
  let talk, figures, shown = {}, started = false

  // ---- what the viewer wishes

  function readWish() {
    const wish = {...extra}
    for (const field of find("#wish").elements) {
      if (field.type == "number" && !field.checkValidity()) return null
      wish[field.name] = field.type == "checkbox" ? field.checked : field.value
    }
    return wish
  }

  function send() {
    const wish = readWish()
    if (!wish || !talk) return
    remember(wish)
    talk.wish = JSON.stringify(wish)
    for (const link of findAll("[data-csv]")) link.href = `api/${link.dataset.csv}.csv?${query(wish)}`
    find("[data-json]").href = `api/histograms.json?${query(wish)}`
  }

  function query({frozen, reset, ...wish}) {
    return new URLSearchParams(Object.entries(wish).filter(([, value]) => value !== ""))
  }

  // A reload, by hand or after the program was away, keeps what was chosen; a link can choose, too.
  function remember({reset, frozen, ...wish}) {
    try { sessionStorage.setItem("apx-wish", JSON.stringify(wish)) } catch { /* not allowed: then not */ }
  }

  function recall() {
    let wish = {}
    try { wish = JSON.parse(sessionStorage.getItem("apx-wish") ?? "{}") } catch { /* damaged: as if none */ }
    wish = {...wish, ...Object.fromEntries(new URLSearchParams(location.search))}
    for (const field of find("#wish").elements) {
      const value = wish[field.name]
      if (value === undefined) continue
      if (field.type == "checkbox") field.checked = value === true || value === "1" || value === "true"
      else {
        field.value = value
        const unknown = field.tagName == "SELECT" && field.selectedIndex < 0
        if (unknown && "grows" in field.dataset) field.add(new Option(value, value, true, true))
        if (field.tagName == "SELECT" && field.selectedIndex < 0) field.selectedIndex = 0
      }
    }
  }

  function wire() {
    document.addEventListener("change", (event) => { if (event.target.form?.id == "wish") send() })
    find("#wish").addEventListener("submit", (event) => { event.preventDefault(); send() })
    find("#freeze").addEventListener("click", () => {
      extra.frozen = !extra.frozen
      const button = find("#freeze")
      button.setAttribute("aria-pressed", extra.frozen)
      button.textContent = extra.frozen ? "Go on" : "Freeze view"
      setText("frozen", extra.frozen ? `view frozen at ${shown.time}, counting goes on` : "")
      document.body.classList.toggle("is-frozen", extra.frozen)
      send()
    })
    find("#reset").addEventListener("click", () => { extra.reset += 1; send() })
    find("#whole").addEventListener("click", () => { extra.reset = 0; send() })
    find("#mask-hot").addEventListener("click", () => setMasked((shown.hot ?? []).map((hot) => hot.pixel), true))
    find("#unmask").addEventListener("click", () => { find("[name=masked]").value = ""; send() })
    for (const button of findAll("[data-png]")) button.addEventListener("click", () => savePng(button.dataset.png))
  }

  function setMasked(pixels, masked) {
    const field = find("[name=masked]")
    const all = new Set(field.value.split(/[\s,]+/).filter(Boolean))
    for (const pixel of pixels) masked ? all.add(pixel) : all.delete(pixel)
    field.value = [...all].join(" ")
    send()
  }

  // ---- what the server says

  function setText(name, text) {
    for (const element of findAll(`[data-text=${name}]`))
      if (element.textContent !== text) element.textContent = text
  }

  function say() {
    const words = JSON.parse(talk.words)
    Object.assign(shown, words)
    for (const [name, value] of Object.entries(words)) if (typeof value == "string") setText(name, value)
    if (words.state) find(".state").dataset.state = words.state
    if (words.runs) showRun(words)
    talk.seen = words.redraw
  }

  function showRun(words) {
    fill(find("[name=run]"), words.runs)
    fill(find("[name=compare]"), words.runs)
    fill(find("[name=chip]"), words.chips)
    showKind(words.kind)
    find("[data-several-chips]").hidden = words.chips.length < 2 && find("[name=chip]").value == ""
    find(".live").classList.toggle("whole", words.whole)
    find("#whole").hidden = extra.reset == 0
    showHot(words.hot)
  }

  // The axis of TOT depends on the kind of readouts, which a page that was opened early learns late.
  function showKind(kind) {
    document.body.classList.toggle("half-hits", kind.half_hits)
    for (const element of findAll("[data-half-hits]")) element.hidden = !kind.half_hits
    setText("pixel", kind.pixel)
    const from = find("[name=tot_from]"), to = find("[name=tot_to]")
    if (+to.max == kind.tot_limit_us) return
    from.max = to.max = kind.tot_limit_us
    if (to.value == to.defaultValue || !to.checkValidity()) to.value = kind.tot_range_us
    if (!from.checkValidity()) from.value = 0
    to.defaultValue = kind.tot_range_us
    send()
  }

  // Options change in place, so that an open list stays open and the focus stays where it is.
  function fill(select, items) {
    if (!items.length) return // nothing has come yet, perhaps not even what a link chooses
    const before = select.value
    const wanted = items.map((item) => String(item.value))
    for (const option of [...select.options].slice(1)) if (!wanted.includes(option.value)) option.remove()
    items.forEach((item, i) => {
      let option = [...select.options].find((option) => option.value === String(item.value))
      if (!option) {
        option = new Option("", item.value)
        select.add(option, select.options[i + 1] ?? null)
      }
      if (option.textContent !== item.text) option.textContent = item.text
    })
    if (select.value !== before) send() // what was chosen is no more
  }

  function showHot(hot) {
    const table = find(".hot table"), body = table.tBodies[0]
    table.hidden = hot.length == 0
    find("#mask-hot").disabled = hot.length == 0
    while (body.rows.length > hot.length) body.deleteRow(-1)
    hot.forEach((one, i) => showHotRow(body.rows[i] ?? addHotRow(body), one))
  }

  function addHotRow(body) {
    const row = body.insertRow()
    for (let i = 0; i < 4; i++) row.insertCell()
    const box = document.createElement("input")
    box.type = "checkbox"
    box.addEventListener("change", () => setMasked([row.dataset.pixel], box.checked))
    row.cells[3].append(box)
    return row
  }

  function showHotRow(row, one) {
    row.dataset.pixel = one.pixel
    ;[one.pixel, one.hits, one.share].forEach((text, i) => {
      if (row.cells[i].textContent !== text) row.cells[i].textContent = text
    })
    const box = row.cells[3].firstChild
    box.checked = one.masked
    box.setAttribute("aria-label", `mask pixel ${one.pixel}`)
  }

  // ---- pictures

  async function savePng(name) {
    const figure = figures.find((figure) => figure.name == name)
    const plot = Bokeh.index.find_one(figure).export("png").canvas
    const scale = window.devicePixelRatio, margin = 12 * scale, line = 20 * scale
    const canvas = document.createElement("canvas")
    canvas.width = plot.width + 2 * margin
    const context = canvas.getContext("2d")
    const font = (weight, size) => `${weight} ${size * scale}px system-ui, sans-serif`
    context.font = font("normal", 12)
    const caption = wrap(context, shown.caption ?? "", plot.width)
    canvas.height = plot.height + 2 * margin + line * (2 + caption.length)
    const style = getComputedStyle(document.body)
    context.fillStyle = style.getPropertyValue("--card")
    context.fillRect(0, 0, canvas.width, canvas.height)
    context.fillStyle = style.getPropertyValue("--text")
    context.font = font("bold", 15)
    context.fillText(find(`#${name}-title`).textContent, margin, margin + line * 0.8)
    context.drawImage(plot, margin, margin + line * 1.5)
    context.font = font("normal", 12)
    caption.forEach((text, i) => context.fillText(text, margin, margin + line * (2.3 + i) + plot.height))
    const link = document.createElement("a")
    link.href = URL.createObjectURL(await new Promise((done) => canvas.toBlob(done, "image/png")))
    link.download = `${name}_${(shown.run ?? "").replaceAll(" ", "")}.png`
    link.click()
    URL.revokeObjectURL(link.href)
  }

  function wrap(context, text, width) {
    const lines = [""]
    for (const word of text.split(" ")) {
      const longer = `${lines.at(-1)} ${word}`.trim()
      if (context.measureText(longer).width > width) lines.push(word)
      else lines[lines.length - 1] = longer
    }
    return lines
  }

  // ---- beginning and end

  function start(model, allFigures) {
    talk = model
    figures = allFigures
    wire()
    recall()
    if (matchMedia("(pointer: coarse)").matches) // a finger scrolls the page; it zooms once a tool is chosen
      for (const figure of figures) figure.toolbar.active_drag = null
    say()
    send()
    started = true
  }

  // A page on a wall has nobody to reload it.
  function lostServer() {
    find(".lost").hidden = false
    document.body.classList.add("is-lost")
    const again = async () => {
      try {
        if ((await fetch("api/state.json", {cache: "no-store"})).ok) return location.reload()
      } catch { /* not back yet */ }
      setTimeout(again, 2000)
    }
    setTimeout(again, 1000)
  }

  return {start, say, lostServer, get started() { return started }}
})()
