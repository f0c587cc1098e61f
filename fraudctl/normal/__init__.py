"""How a file becomes the normal form: what a project file declares of its times, numbers, ids and missing values.

Owns one reading for every way in: batch, files to score, messages of a stream, and the tables of ``[sources]``.
`form.Form` holds what is declared, `form.Form.applied` reads a table by it and `form.Form.row` one message, with equal
results. It finds the files of a table (`files`), reads texts of times (`times`, `formats`) and numbers (`numbers`), and
finds the types that all rows of a file without types have (`kinds`). It chooses no format: `fraudctl.propose` does.
"""
