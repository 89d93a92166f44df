"""The tables of figures on a Markdown page, written from files of measurements, so that no number is copied by hand.

    python -m eddyline_runtime.page docs/figures.md docs/measurements

A page marks where a table goes by `<!-- table: NAME -->` and `<!-- end of table -->`, each on a line of its own; what
is between them is replaced. Of `evaluate --json evaluation_PROFILE*.json`: `words` (does the picture show what the
words say), `stream` (does it change, follow, move and last as it should), `rivals` (other ways of streaming on the
same weights, as published), `sweep` (the same with what their settings can do). Of `bench stream --json
bench_PROFILE.json` and `bench views --json bench_views.json`, with EDDYLINE_NETWORKS=torch, and with openvino and
`_openvino` before the dot: `speed`, `views`.

Beside it, `python -m eddyline_runtime.page.reference FILE` writes the page of the SDK's names from its docstrings.
"""
