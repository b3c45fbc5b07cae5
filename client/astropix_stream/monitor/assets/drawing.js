// The browser's end of monitor/drawing.py: puts values into Bokeh's models, by their names.
"use strict"

globalThis.drawing = (() => {
  const models = new Map()

  function modelOf(document, name) {
    if (!models.has(name)) models.set(name, document.get_model_by_name(name))
    return models.get(name)
  }

  // Nothing of this goes back to the server, which knows it.
  function draw(document, changes) {
    for (const [name, values] of Object.entries(changes)) {
      const model = modelOf(document, name)
      for (const [attribute, value] of Object.entries(values)) {
        if (attribute == "limits") setLimits(model, ...value)
        else if (attribute == "data") model.setv({data: columnsOf(value)}, {sync: false, check_eq: false})
        else model.setv({[attribute]: value?.model ? modelOf(document, value.model) : value}, {sync: false})
      }
    }
  }

  // Once a person has zoomed, the range stays as it is.
  function setLimits(range, start, end) {
    const {reset_start: start_before, reset_end: end_before} = range
    const zoomed = start_before !== null && (range.start !== start_before || range.end !== end_before)
    range.setv({reset_start: start, reset_end: end, ...(zoomed ? {} : {start, end})}, {sync: false})
  }

  function columnsOf(data) {
    return Object.fromEntries(Object.entries(data).map(([name, values]) => [name, numbersOf(values)]))
  }

  function numbersOf(values) {
    if (Array.isArray(values)) return values.map((value) => value?.f8 === undefined ? value : numbersOf(value))
    const bytes = Uint8Array.from(atob(values.f8), (letter) => letter.charCodeAt(0))
    const numbers = new Float64Array(bytes.buffer) // of little-endian bytes, as all browsers' computers have it
    if (!values.shape) return numbers
    return Bokeh.require("core/util/ndarray").ndarray(numbers.buffer, {dtype: "float64", shape: values.shape})
  }

  return {draw}
})()
