"""The live page: what the detector sees, now, in a browser.

======================  ====================================================================================
module
======================  ====================================================================================
`histograms`    pure    counts of one run, in arrays whose size does not depend on the number of hits
`rates`         pure    readouts, hits and losses by time; the older, the coarser
`accumulate`    pure    batches in: runs, rates, losses, state
`choice`        pure    what one viewer wants to see, checked
`view`          pure    what the viewer sees: arrays and texts
`export`        pure    the same as CSV and JSON
`feed`                  the threads that receive and decode
`drawing`       pure    what a redraw changes, encoded once for all viewers who see the same
`plots`, `page`         Bokeh's figures; one document for each viewer
`pages`                 all pages that are open, told what is new in one go
`server`                addresses, origins, the page and its /api
`picture`, `snapshot`   the same as PNG without a browser, into files
======================  ====================================================================================

The pure modules need NumPy and know nothing of Bokeh; all of it comes with the wheel's extra ``monitor``.
"""
