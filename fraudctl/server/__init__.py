"""HTTP in front of scoring (extra `serve`): decisions, labels, rows of other tables; health, metrics, reload.

`service` is what is done and has no HTTP in it; `app` is the HTTP: limits, refusals, and a lean way for decisions
next to Starlette's routes; `run` holds sockets, signals and the end.
"""
