// The browser's end of monitor/page.py: shows the words that the server says, and says what the viewer wishes.
// Texts are set with textContent only, so that nothing from the wire becomes HTML.
"use strict"

globalThis.apx = (() => {
  const find = (selector) => document.querySelector(selector)
  const findAll = (selector) => [...document.querySelectorAll(selector)]
  const extra = {frozen: false, reset: 0} // of the wish, beside what is in the form
  const edited = new Set() // fields that somebody is writing in: what the server says must not overwrite them
  let talk, figures, shown = {}, started = false
  let serial = 0, settled = false, inForce = "" // number of the latest wish; the choice that the fields show
  let asked = 0 // number of the latest wish that was made on the page, and not by an address

  const fields = () => [...find("#wish").elements].filter((field) => field.name)
  const valueOf = (field) => field.type == "checkbox" ? field.checked : field.value

  // ---- what the viewer wishes

  // The server checks each field and answers with what is in force, which then stands in the fields, in the
  // address bar and in the links, and is what a reload asks for again. So a wrong value is never kept.
  function send(wish = null) {
    if (!talk) return
    serial += 1
    if (wish === null) asked = serial
    wish ??= readWish()
    settled = false
    talk.wish = JSON.stringify({serial, choice: {...wish, ...extra}})
  }

  function readWish() {
    return Object.fromEntries(fields().map((field) => [field.name, field.dataset.usual === field.value ? "" : valueOf(field)]))
  }

  function query(choice) {
    return new URLSearchParams(Object.entries(choice).filter(([, value]) => value !== "" && value !== null))
  }

  function settle(choice, refused) {
    const now = JSON.stringify(choice)
    for (const field of fields()) {
      if (field.type != "hidden") showRefused(field, refused[field.name] ?? "")
      if (edited.has(field)) continue
      const value = choice[field.name] ?? ""
      if (field.type == "checkbox") field.checked = value
      else if (field.tagName == "SELECT") choose(field, String(value))
      else if (field.value !== String(value)) field.value = value
    }
    const others = Object.entries(refused).filter(
      ([name]) => !fields().some((field) => field.name == name && field.type != "hidden"))
    setText("error", others.map(([name, words]) => `${name}: ${words}`).join("; "))
    if (now === inForce) return
    const isStep = asked === serial && inForce !== "" && isElsewhere(choice, JSON.parse(inForce))
    inForce = now
    asked = 0
    const {frozen, reset, ...lasting} = choice
    panels.show(choice)
    for (const link of findAll("[data-csv]")) link.href = `api/${link.dataset.csv}.csv?${query(lasting)}`
    find("[data-json]").href = `api/histograms.json?${query(lasting)}`
    for (const link of findAll("[data-export]")) link.href = `api/page.${link.dataset.export}?${query(lasting)}`
    showAddress(lasting, isStep)
  }

  // What a person goes to, and wants to come back from by the browser's button.
  const isElsewhere = (one, other) => ["panel", "run", "chip", "pixel", "readout"].some((name) => one[name] !== other[name])

  // Values of fields, by name; of a list that grows, also one that it does not have yet.
  function set(values) {
    for (const [name, value] of Object.entries(values)) {
      const field = find(`[name=${name}]`)
      edited.delete(field)
      if (field.type == "checkbox") field.checked = value
      else if (field.tagName == "SELECT") choose(field, String(value))
      else field.value = value
    }
    send()
  }

  function choose(select, value) {
    if (![...select.options].some((option) => option.value === value)) {
      if (!("grows" in select.dataset)) return
      select.add(new Option(value, value))
    }
    if (select.value !== value) select.value = value
  }

  function showRefused(field, words) {
    let note = document.getElementById(`refused-${field.name}`)
    if (!note) {
      if (!words) return
      note = document.createElement("span")
      note.id = `refused-${field.name}`
      note.className = "refused"
      note.setAttribute("role", "alert")
      field.closest("label").after(note)
      field.setAttribute("aria-describedby", note.id)
    }
    if (note.textContent !== words) note.textContent = words
    field.toggleAttribute("aria-invalid", words !== "")
  }

  // Only what differs from a fresh page is in the address: short, and it follows the kind of readouts.
  function showAddress(choice, isStep) {
    const usual = (name) => {
      const field = fields().find((field) => field.name == name)
      if (field.dataset.usual !== undefined) return field.dataset.usual
      if (field.type == "checkbox") return "false"
      if (field.tagName == "SELECT") return ([...field.options].find((option) => option.defaultSelected) ?? field.options[0]).value
      return field.defaultValue
    }
    const lasting = Object.fromEntries(
      Object.entries(choice).filter(([name, value]) => String(value ?? "") !== usual(name)))
    const theme = new URLSearchParams(location.search).get("theme")
    const text = query({...(theme ? {theme} : {}), ...lasting}).toString()
    history[isStep ? "pushState" : "replaceState"](null, "", text ? `?${text}` : location.pathname)
    find("#theme").href = `?${query({theme: find("#theme").dataset.other, ...lasting})}`
  }

  // A link chooses as the address says it; the server judges each value. What it leaves out is as on a fresh page.
  function askedByLink() {
    const wish = Object.fromEntries(new URLSearchParams(location.search))
    delete wish.theme
    return {...Object.fromEntries(fields().map((field) => [field.name, ""])), ...wish}
  }

  async function copyLink() {
    const button = find("#link"), before = button.textContent
    let said = "Copied"
    try { await navigator.clipboard.writeText(location.href) } catch { said = copyByHand() ? "Copied" : "Copy it from the address bar" }
    button.textContent = said
    setTimeout(() => { button.textContent = before }, 2000)
  }

  // Without HTTPS a browser has no clipboard for scripts, except this old way.
  function copyByHand() {
    const box = document.createElement("textarea")
    box.value = location.href
    document.body.append(box)
    box.select()
    try { return document.execCommand("copy") } finally { box.remove() }
  }

  function wire() {
    document.addEventListener("input", ({target}) => { if (target.form?.id == "wish") edited.add(target) })
    document.addEventListener("change", ({target}) => {
      if (target.form?.id != "wish") return
      edited.delete(target)
      send()
    })
    find("#wish").addEventListener("submit", (event) => { event.preventDefault(); edited.clear(); send() })
    find("#link").addEventListener("click", copyLink)
    find("#freeze").addEventListener("click", () => {
      extra.frozen = !extra.frozen
      const button = find("#freeze")
      button.setAttribute("aria-pressed", extra.frozen)
      button.textContent = extra.frozen ? "Resume" : "Freeze view"
      setText("frozen", extra.frozen ? `view frozen at ${shown.time}, counting goes on` : "")
      document.body.classList.toggle("is-frozen", extra.frozen)
      send()
    })
    find("#reset").addEventListener("click", () => { extra.reset += 1; send() })
    find("#whole").addEventListener("click", () => { extra.reset = 0; send() })
    find("#mask-hot").addEventListener("click", () => setMasked(shown.mask_all ?? [], true))
    find("#unmask").addEventListener("click", () => { find("[name=masked]").value = ""; send() })
    for (const link of findAll("[data-export]"))
      link.addEventListener("click", (event) => {
        const words = desk.missing(link.dataset.export)
        setText("error", words)
        if (words) event.preventDefault()
      })
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
    const {redraw, drawn, desk: ofDesk, ...words} = JSON.parse(talk.words) // what has changed
    if (!redraw) return // nothing was said yet
    showOnline()
    Object.assign(shown, words)
    for (const [name, value] of Object.entries(words)) if (typeof value == "string") setText(name, value)
    if (words.time) setClock(words.time)
    if (words.state) find(".state").dataset.state = words.state
    if (drawn) drawing.draw(talk.document, drawn)
    if (drawn?.["problems.y_range"]) setLetters()
    if (shown.runs) showRun(shown)
    panels.say(words, shown)
    if (ofDesk) desk.say(ofDesk)
    showState()
    if (redraw % 2 == 0) talk.seen = redraw // the server waits after a few more
    started = true
  }

  function showRun(words) {
    showKind(words.kind)
    fill(find("[name=run]"), words.runs)
    fill(find("[name=compare]"), [...words.references, ...words.runs.filter((run) => run.value !== words.run_name)])
    fill(find("[name=chip]"), words.chips)
    fill(find("[name=other_chip]"), words.chips)
    settled = words.answered === serial
    if (settled) settle(words.shown, words.refused)
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
    from.max = to.max = kind.tot_limit_us
    to.dataset.usual = String(kind.tot_range_us)
  }

  // Options change in place, so that an open list stays open and the focus stays where it is.
  function fill(select, items) {
    if (!items.length) return // nothing has come yet, perhaps not even what a link chooses
    const wanted = items.map((item) => String(item.value))
    for (const option of [...select.options].slice(1)) if (!wanted.includes(option.value) && !option.selected) option.remove()
    items.forEach((item, i) => {
      let option = [...select.options].find((option) => option.value === String(item.value))
      if (!option) {
        option = new Option("", item.value)
        select.add(option, select.options[i + 1] ?? null)
      }
      if (option.textContent !== item.text) option.textContent = item.text
    })
  }

  function showHot(hot) {
    const table = find(".hot table"), body = table.tBodies[0]
    table.hidden = hot.length == 0
    find("#mask-hot").disabled = (shown.mask_all ?? []).length == 0
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

  // ---- the time of day, at the server

  let clock = null // hours, minutes and seconds as seconds, and when they were said

  function setClock(text) {
    const [hours, minutes, seconds] = text.split(":").map(Number)
    clock = {seconds: 3600 * hours + 60 * minutes + seconds, saidMs: performance.now()}
  }

  // The server says the time only beside what is new.
  function tick() {
    if (clock === null || offline) return
    const now = (clock.seconds + Math.round((performance.now() - clock.saidMs) / 1000)) % 86400
    shown.time = [now / 3600, now / 60 % 60, now % 60].map((part) => `${Math.floor(part)}`.padStart(2, "0")).join(":")
    setText("time", shown.time)
  }

  // ---- figures

  // The shorter side of the map gets room on both sides; once a person has zoomed, the ranges stay.
  function squarePixels(figure, image) {
    const [columns] = image.data.columns, [rows] = image.data.rows
    const {inner_width: width, inner_height: height, x_range: x, y_range: y} = figure
    const fit = `${columns} ${rows} ${width} ${height}`
    if (!(width > 1 && height > 1) || columns === undefined || figure.apxFit === fit) return
    figure.apxFit = fit
    const pixel = Math.min(width / columns, height / rows)
    for (const [range, size, length] of [[x, columns, width], [y, rows, height]]) {
      const room = (length / pixel - size) / 2
      const start = -0.5 - room, end = size - 0.5 + room
      range.setv({start, end, reset_start: start, reset_end: end})
    }
  }

  // The style sheet knows how large letters have to be on this screen.
  function setLetters() {
    const size = (name) => getComputedStyle(document.body).getPropertyValue(name).trim()
    const tick = size("--tick-px"), label = size("--label-px")
    for (const figure of figures) {
      for (const axis of [...figure.left, ...figure.below]) {
        if (axis.axis_label === undefined) continue
        axis.setv({major_label_text_font_size: tick, axis_label_text_font_size: label})
      }
      for (const part of figure.right) if (part.color_mapper) part.major_label_text_font_size = tick
      for (const part of figure.center) if (part.label_text_font_size) part.label_text_font_size = tick
      for (const {glyph} of figure.renderers) if (glyph.text_font_size) glyph.text_font_size = tick
      figure.title?.setv?.({text_font_size: label})
      fitNames(figure, parseFloat(tick))
    }
  }

  // Names beside bars are smaller where all would not fit above each other.
  function fitNames(figure, tick) {
    const {y_range: {factors}, inner_height: height} = figure
    if (!factors || !(height > 1)) return
    const size = `${Math.max(9, Math.min(tick, Math.floor(0.85 * height / factors.length)))}px`
    for (const axis of figure.left) if (axis.major_label_text_font_size !== size) axis.major_label_text_font_size = size
  }

  // Bokeh's parts are in shadow roots, where neither names nor our style of the focus reach.
  function nameParts() {
    for (const card of findAll(".card")) {
      const title = card.querySelector("h2").textContent
      for (const part of inside(card)) {
        if (part.matches("canvas")) name(part, "img", `${title}, plot`)
        else if (part.matches(".bk-events[tabindex]")) name(part, "application", `${title}: pan and zoom`)
        else if (part.matches(".bk-tool-overflow")) name(part, "button", `${title}: more tools`)
        else if (part.matches(".bk-OnOffButton, .bk-ClickButton")) {
          name(part, "button", `${title}: ${part.title}`)
          if (part.matches(".bk-OnOffButton")) part.setAttribute("aria-pressed", part.matches(".bk-active"))
        } else continue
        markFocus(part.getRootNode())
      }
    }
  }

  function inside(root) {
    return [...root.querySelectorAll("*")].flatMap(
      (element) => element.shadowRoot ? [element, ...inside(element.shadowRoot)] : [element])
  }

  function name(part, role, label) {
    if (part.getAttribute("aria-label") === label) return
    part.setAttribute("role", role)
    part.setAttribute("aria-label", label)
  }

  function markFocus(root) {
    if (root === document || root.querySelector("#apx-focus")) return
    const style = document.createElement("style")
    style.id = "apx-focus"
    style.textContent = ":focus-visible { outline: 2px solid var(--accent) !important; outline-offset: -2px }" +
      "@media (pointer: coarse) { .bk-OnOffButton, .bk-ClickButton, .bk-tool-overflow { min-width: 44px; min-height: 44px } }"
    root.append(style)
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
    link.download = `${name}_${shown.run_name ?? "no_run"}.png`
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
    panels.start()
    setLetters()
    nameParts()
    addEventListener("resize", setLetters)
    addEventListener("popstate", () => { edited.clear(); send(askedByLink()) })
    for (const figure of figures) leaveToFinger(figure)
    send(askedByLink()) // first, since what the server says goes into the address
    say()
    watch()
    const tellHidden = () => { talk.hidden = document.hidden }
    document.addEventListener("visibilitychange", tellHidden)
    tellHidden()
  }

  // A finger scrolls the page; it zooms once a tool is chosen.
  function leaveToFinger(figure) {
    if (matchMedia("(pointer: coarse)").matches) figure.toolbar.active_drag = null
  }

  // A figure that came after the others.
  function adopt(figure) {
    figures = [...figures, figure]
    leaveToFinger(figure)
    setLetters()
    nameParts()
  }

  // ---- the state, also in the tab's title and icon, and when nobody answers any more

  const ICONS = {live: ["#00734f", "●"], quiet: ["#35586e", "◌"], lagging: ["#8a5a00", "◔"], losing: ["#b34700", "▼"]}

  function showState() {
    const {state = "connecting", sign = "", source = ""} = shown
    const alarms = desk.title()
    setTitle(`${alarms}${sign} ${state}: AstroPix, ${source}`, ...(alarms ? ["#b3261e", "▲"] : ICONS[state] ?? ["#a3246b", "✕"]))
  }

  function setTitle(title, colour, sign) {
    if (document.title === title) return
    document.title = title
    find("#icon").href = "data:image/svg+xml," + encodeURIComponent(
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="${colour}"/>` +
      `<text x="16" y="24" font-size="24" text-anchor="middle" fill="#fff">${sign}</text></svg>`)
  }

  const SILENT_MS = 12000 // the server says something each five seconds at least
  let heardMs = 0, offline = false

  function watch() {
    heardMs = performance.now()
    let beforeMs = heardMs
    setInterval(() => {
      tick()
      nameParts()
      const nowMs = performance.now()
      if (nowMs - beforeMs > 3000) heardMs = nowMs // this computer slept, or the tab did
      beforeMs = nowMs
      if (nowMs - heardMs > SILENT_MS) showOffline()
    }, 1000)
  }

  function showOffline() {
    if (offline) return
    offline = true
    shown.state = "monitor offline"
    shown.sign = "✕"
    const since = shown.time ? `since ${shown.time}` : ""
    setText("sign", "✕")
    setText("state", "monitor offline")
    setText("state_text", since)
    find(".state").dataset.state = "monitor offline"
    setTitle(`✕ monitor offline ${since}: AstroPix`, "#a3246b", "✕")
    find(".lost").hidden = false
    document.body.classList.add("is-lost")
  }

  function showOnline() {
    heardMs = performance.now()
    if (!offline) return
    offline = false
    find(".lost").hidden = true
    document.body.classList.remove("is-lost")
  }

  // A page on a wall has nobody to reload it.
  function lostServer() {
    showOffline()
    const again = async () => {
      try {
        if ((await fetch("api/state.json", {cache: "no-store"})).ok) return location.reload()
      } catch { /* not back yet */ }
      setTimeout(again, 2000)
    }
    setTimeout(again, 1000)
  }

  return {start, say, set, adopt, mask: setMasked, lostServer, squarePixels, get started() { return started }, get settled() { return settled }}
})()
