"""The report's page: what it says, what it draws, and how that becomes one file.

`words`          the finding, in sentences made from the logs
`terms`          what the names in them stand for
`origin`         what was run, on what, and what it took
`ladder_chart`   accuracy against parameters and multiply-adds, as Plotly takes it
`course_charts`  growth, sweeps, and what expansions promised and brought, likewise
`drawing`        networks to scale, as SVG
`decisions`      what was considered and chosen
`compared`       several studies side by side
`document`       all of it as one HTML file, with page.html, style.css and page.js

Plotly's basic bundle 4.1.1 (MIT; npm: plotly.js-basic-dist-min) is packed into every page, so that
it opens from disk without a network. It was taken over Vega-Lite, whose bundle is 0.15 MB smaller,
because panels that share an axis follow the width of a phone, and the nearest point answers a
finger. It needs no Python package, where Altair's way to an embedded page needs one of 88 MB.
"""
