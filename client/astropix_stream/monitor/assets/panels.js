// The parts of the page that are open one at a time: which one is, what is clicked in them, their lists.
// Their figures come when a part is opened for the first time. Texts are set with textContent only.
"use strict"

globalThis.panels = (() => {
  const find = (selector) => document.querySelector(selector)
  const findAll = (selector) => [...document.querySelectorAll(selector)]

  function start() {
    for (const button of findAll("[data-open]"))
      button.addEventListener("click", () => apx.set({panel: button.dataset.open}))
    for (const box of findAll("[data-mirror]"))
      box.addEventListener("change", () => apx.set({[box.dataset.mirror]: box.checked}))
    find("#busiest").addEventListener("click", () => apx.set({pixel: ""}))
    find("#mask-noisy").addEventListener("click", () => apx.mask(noisy.map((one) => one.pixel), true))
    readouts.start()
    new MutationObserver(adoptAll).observe(document.body, {childList: true})
    adoptAll()
  }

  // Bokeh appends a figure that is new to the body; its place is in a card.
  function adoptAll() {
    const strangers = [...document.body.children].filter((element) => element.matches(".bk-Figure"))
    for (const element of strangers) {
      const view = Bokeh.index.roots.find((view) => view.el === element)
      const place = view && document.getElementById(`plot-${view.model.name}`)
      if (!place) return void setTimeout(adoptAll, 20) // it is not listed yet
      place.append(element)
      apx.adopt(view.model)
    }
  }

  // ---- what is open

  function show(choice) {
    const open = choice.panel ?? "overview"
    document.body.dataset.panel = open
    for (const button of findAll("[data-open]")) {
      if (button.dataset.open == open) button.setAttribute("aria-current", "page")
      else button.removeAttribute("aria-current")
    }
    for (const box of findAll("[data-mirror]")) box.checked = choice[box.dataset.mirror]
    find("[data-compare-as]").hidden = !choice.compare
    const wanted = new URLSearchParams()
    for (const name of ["run", "chip", "masked", "noise_above", "noise_in"])
      if (choice[name] !== null && choice[name] !== "") wanted.set(name, choice[name])
    find("#mask-file").href = `api/mask.yaml?${wanted}`
  }

  // Where maps are small, the rates of the chips are in the list only: their names would overlap.
  function fitLabels(figure, maps, labels) {
    const {start, end} = figure.x_range, [pixels = 1] = maps.data.w
    const across = figure.inner_width * pixels / (end - start)
    labels.glyph.text = {field: across < 9 * parseFloat(labels.glyph.text_font_size) ? "short" : "text"}
  }

  // ---- clicks in figures

  const chipText = (chip) => chip > 31 ? `${chip >> 5}.${chip & 31}` : `${chip}`

  function chipAt(maps, x, y) {
    const {x: left, y: bottom, w, h, chip} = maps.data
    for (let i = 0; i < left.length; i++) {
      const column = Math.floor(x - left[i]), row = Math.floor(y - bottom[i])
      if (column >= 0 && column < w[i] && row >= 0 && row < h[i]) return {chip: chip[i], column, row}
    }
    return null
  }

  function chooseChip(event, maps) {
    const at = chipAt(maps, event.x, event.y)
    if (at) apx.set({chip: at.chip, panel: "overview"})
  }

  function choosePixel(event, source) {
    const column = Math.round(event.x), row = Math.round(event.y)
    const {columns: [columns], rows: [rows], chips, chip} = source.data
    if (!(column >= 0 && column < columns && row >= 0 && row < rows)) return
    const of = chips ? chipText(chips[0][row * columns + column]) : chip[0]
    if (of !== "") apx.set({pixel: `${of}/${column}/${row}`, panel: "pixel"})
  }

  // ---- lists

  let noisy = []

  function say(words, shown) {
    if (words.all_chips) rows("#chip-list", words.all_chips, chipRow, (row, one) => {
      texts(row, [one.name, one.hits, one.share, one.rate])
      const button = row.cells[0].firstChild
      if (button.textContent !== one.name) button.textContent = one.name
      button.dataset.chip = one.chip
    })
    if (words.noisy) {
      noisy = words.noisy
      find("#noisy-list").closest("table").hidden = noisy.length == 0
      find("#mask-noisy").disabled = noisy.length == 0
      rows("#noisy-list", noisy, pixelRow, (row, one) => {
        texts(row, [one.pixel, one.hits, one.rate, one.sigma])
        const button = row.cells[0].firstChild
        if (button.textContent !== one.pixel) button.textContent = one.pixel
        row.cells[4].firstChild.checked = one.masked
        row.cells[4].firstChild.setAttribute("aria-label", `mask pixel ${one.pixel}`)
      })
    }
    if (words.listed || "dissected" in words) readouts.say(shown)
  }

  // ---- rows

  // Rows change in place, so that the focus stays where it is. The first cell is a button.
  function rows(body, items, make, show) {
    const list = find(body)
    while (list.rows.length > items.length) list.deleteRow(-1)
    items.forEach((item, i) => show(list.rows[i] ?? make(list.insertRow()), item))
  }

  function texts(row, values) {
    values.forEach((text, i) => {
      if (i && row.cells[i].textContent !== text) row.cells[i].textContent = text
    })
  }

  function cells(row, count, onClick) {
    for (let i = 0; i < count; i++) row.insertCell()
    const button = document.createElement("button")
    button.type = "button"
    button.className = "quiet"
    button.addEventListener("click", () => onClick(button))
    row.cells[0].append(button)
    return row
  }

  function chipRow(row) {
    return cells(row, 4, (button) => apx.set({chip: button.dataset.chip, panel: "overview"}))
  }

  function pixelRow(row) {
    cells(row, 5, (button) => apx.set({pixel: button.textContent}))
    const box = document.createElement("input")
    box.type = "checkbox"
    box.addEventListener("change", () => apx.mask([row.cells[0].textContent], box.checked))
    row.cells[4].append(box)
    return row
  }

  return {start, show, say, rows, texts, cells, chipAt, fitLabels, chooseChip, choosePixel}
})()
