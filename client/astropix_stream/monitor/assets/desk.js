// What a shift crew has beside the plots: alarms with their log and a sound, and notes. Texts are set with
// textContent only. The server's end is monitor/desk.py.
"use strict"

globalThis.desk = (() => {
  const find = (selector) => document.querySelector(selector)
  let now = {raised: []}

  function say(words) {
    now = words
    showBar(words.raised)
    show("#alarms-trouble", words.trouble)
    show("#webhook", words.webhook)
    showSetup(words)
    find("#no-alarms").hidden = words.rules.length > 0
    find("#alarm-rules").hidden = words.rules.length == 0
    fill(find("#alarm-rules").tBodies[0], words.rules, showRule)
    fill(find("#alarm-log"), words.log, showEvent)
    find("#no-events").hidden = words.log.length > 0 || words.rules.length == 0
    fill(find("#note-list"), words.notes, showNote)
    ring()
  }

  // Long ones are folded away: of a file, that is the whole configuration of the chips.
  function showSetup({setup, setup_lines: lines}) {
    show("#setup", setup && `Setup: ${setup}.`)
    find(".setup").hidden = lines.length < 2
    fill(find("#setup-lines"), lines, setParts)
  }

  function show(selector, text) {
    const element = find(selector)
    element.hidden = text === ""
    setText(element, text)
  }

  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text
  }

  // Elements stay where they are, so that what is selected or read aloud does not jump.
  function fill(parent, items, showItem) {
    while (parent.children.length > items.length) parent.lastElementChild.remove()
    items.forEach((item, i) => showItem(parent.children[i] ?? add(parent, showItem), item))
  }

  function add(parent, showItem) {
    const cells = {TBODY: ["tr", "td", parent.id == "setup-lines" ? 2 : 3], OL: ["li", "span", 3], UL: ["li", "span", 3]}
    const [name, part, count] = cells[parent.tagName]
    const element = document.createElement(name)
    for (let i = 0; i < count; i++) element.append(document.createElement(part), " ")
    parent.append(element)
    return element
  }

  function setParts(element, texts) {
    texts.forEach((text, i) => setText(element.children[i], text))
  }

  const SIGNS = {raised: "▲", pending: "△", ok: "✓", unknown: "?"}

  function showRule(row, {alarm, rule, state, text}) {
    row.dataset.state = state
    setParts(row, [alarm === rule ? alarm : `${alarm} (${rule})`, `${SIGNS[state]} ${state}`, text])
  }

  function showEvent(item, {time, what, text}) {
    item.dataset.state = what
    setParts(item, [time, what, text])
  }

  function showNote(item, {time, author, text}) {
    setParts(item, [time, author, text])
  }

  function showBar(raised) {
    find(".alarm-bar").hidden = raised.length == 0
    fill(find("#alarm-bar"), raised, (item, {alarm, text, since}) => setParts(item, [alarm, text, `since ${since}`]))
  }

  // For the tab: how many alarms there are, before all else.
  function title() {
    const count = now.raised.length
    return count ? `▲ ${count} alarm${count == 1 ? "" : "s"}, ` : ""
  }

  // ---- the sound, if this viewer wants one; a browser plays none before somebody has clicked

  const EVERY_MS = 5000
  let audio = null, rang = 0

  function ring() {
    showSound()
    if (!now.raised.length || !find("#sound").checked || audio?.state != "running") return
    if (performance.now() - rang < EVERY_MS) return
    rang = performance.now()
    for (const [at, pitch] of [[0, 880], [0.25, 660]]) {
      const tone = audio.createOscillator(), volume = audio.createGain()
      tone.frequency.value = pitch
      volume.gain.setValueAtTime(0.2, audio.currentTime + at)
      volume.gain.exponentialRampToValueAtTime(0.001, audio.currentTime + at + 0.22)
      tone.connect(volume).connect(audio.destination)
      tone.start(audio.currentTime + at)
      tone.stop(audio.currentTime + at + 0.23)
    }
  }

  function showSound() {
    const waits = find("#sound").checked && audio?.state != "running"
    show("#sound-note", waits ? "click anywhere to let it sound" : "")
  }

  async function unlock() {
    if (!find("#sound").checked) return
    audio ??= new AudioContext()
    await audio.resume()
    ring()
  }

  function remembered() {
    try { return localStorage.getItem("apx-sound") == "on" } catch { return false }
  }

  function remember(on) {
    try { localStorage.setItem("apx-sound", on ? "on" : "off") } catch { /* it is for this visit only */ }
  }

  // ---- a note

  async function send(event) {
    event.preventDefault()
    const form = event.target, text = form.elements.text
    let trouble = ""
    try {
      const answer = await fetch("api/notes.json", {
        method: "POST",
        headers: {"Content-Type": "application/json"},
        body: JSON.stringify({author: form.elements.author.value, text: text.value}),
      })
      if (answer.ok) text.value = ""
      else trouble = (await answer.text()).trim()
    } catch {
      trouble = "the monitor does not answer; the note was not kept"
    }
    show("#note-trouble", trouble)
  }

  function start() {
    const sound = find("#sound")
    sound.checked = remembered()
    sound.addEventListener("change", () => { remember(sound.checked); unlock(); showSound() })
    document.addEventListener("click", unlock)
    document.addEventListener("keydown", unlock)
    find("#note").addEventListener("submit", send)
    setInterval(ring, 1000)
  }

  addEventListener("DOMContentLoaded", start)
  // What to install for a format that the program cannot write; '' for one that it can.
  const missing = (format) => now.missing?.[format] ?? ""

  return {say, title, missing, get audio() { return audio }}
})()
